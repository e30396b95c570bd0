"""Files are read without trust, written whole or not at all, and swept after a kill."""

import fcntl
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from bench.errors import UserError
from bench.files import (
    DocumentError,
    SchemaError,
    UnfitFileError,
    beside,
    delete,
    leads_out,
    open_regular,
    process_folder,
    read_array,
    read_bytes,
    read_document,
    replacing,
    resuming,
    sweep,
    write_atomically,
)
from tests.damage import OTHERS, bounded_memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="as Linux has them")


class _Note(BaseModel):
    text: str = ""
    number: float = 0.0


@linux
@pytest.mark.parametrize("what", ["folder", "pipe", "device", "sparse", "loop"])
def test_only_a_regular_file_of_a_size_that_is_meant_is_opened(tmp_path: Path, what: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    OTHERS[what](path)
    with pytest.raises(UnfitFileError, match=r"no regular file|over 1,000 bytes"):
        open_regular(path, 1000)


@linux
def test_a_link_is_followed_only_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link", 100) == b"content"
    with pytest.raises(UnfitFileError, match="no regular file"):
        read_bytes(tmp_path / "link", 100, follow=False)


@linux
def test_a_file_that_does_not_know_its_size_is_not_read() -> None:
    with pytest.raises(UnfitFileError, match="more than its 0 bytes"):
        read_bytes("/proc/self/status", 10**6)


@linux
def test_reading_takes_memory_for_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with bounded_memory(2**24):
        assert read_bytes(tmp_path / "file", 2**40) == b"content"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"text": ' * 100_000, "recursion limit"),
        (b'{"number": "many"}', "number: "),
        (b'{"text": "\xff"}', "Invalid JSON"),
        (b"[]", "object"),
    ],
)
def test_what_is_no_document_is_told_in_one_short_clause(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "note.json"
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=reason) as error:
        read_document(path, _Note, 10**6)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 200


def test_a_document_with_other_fields_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    class Strict(BaseModel, extra="forbid"):
        text: str

    path = tmp_path / "note.json"
    path.write_bytes(b'{"text": "a", "\\u001b[2J\\n::error::": 1}')
    with pytest.raises(SchemaError) as error:
        read_document(path, Strict, 100)
    assert str(error.value).isprintable()


# ---------------------------------------------------------------------------------------- arrays


def _npy(array: np.ndarray, **header: Any) -> bytes:
    """Return an array as an `.npy` file, with parts of its header exchanged."""
    file = io.BytesIO()
    known = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, known | header)
    return file.getvalue() + array.tobytes()


@linux
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        b"\x80\x04\x95",
        _npy(np.zeros(3), shape=(2**50,)),
        _npy(np.zeros(3), shape=(2**50, 2**20)),
        _npy(np.zeros(3), shape=(-1,)),
        _npy(np.zeros(4), shape=(-2, -2)),
        _npy(np.zeros(3), shape=(4,)),
        _npy(np.zeros(3), shape=(2,)),
        _npy(np.zeros(3), descr="|O"),
        _npy(np.zeros(3), descr="<f4"),
    ],
    ids=range(12),
)
def test_an_array_whose_header_lies_takes_no_memory(content: bytes) -> None:
    with bounded_memory(2**26), pytest.raises(ValueError, match=r"it is no|header says|objects"):
        read_array(io.BytesIO(content), len(content))


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_comes_back_as_it_was_written(order: Any) -> None:
    array = np.asarray(np.arange(6, dtype=np.float32).reshape(2, 3), order=order)
    file = io.BytesIO()
    np.save(file, array)
    file.seek(0)
    back = read_array(file, len(file.getvalue()))
    assert np.array_equal(back, array)
    assert back.dtype == array.dtype


# -------------------------------------------------------------------------------------- sweeping

_WRITER = """
import sys, time
from pathlib import Path
from bench.files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


@linux
def test_a_half_written_file_is_swept_once_its_writer_is_dead(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "deep/file")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        (half,) = (tmp_path / "deep").iterdir()
        sweep(tmp_path)
        assert half.exists()  # somebody writes it
        writer.send_signal(signal.SIGKILL)
    assert half.exists()
    sweep(tmp_path)
    assert not half.exists()


@linux
def test_sweeping_takes_nothing_else(tmp_path: Path) -> None:
    kept = ["run.json", ".hidden", "x.part", ".run.json-12-abcdef01.par", ".a-b-0123456z.part"]
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / ".run.json-12-abcdef01.part")
    (tmp_path / ".other-1-00000000.part").symlink_to("run.json")
    (tmp_path / ".gone-1-00000000.part").write_bytes(b"")
    sweep(tmp_path)
    assert not (tmp_path / ".gone-1-00000000.part").exists()
    assert {path.name for path in tmp_path.iterdir()} >= set(kept)
    assert (tmp_path / ".run.json-12-abcdef01.part").is_fifo()


@linux
def test_what_another_machine_writes_is_swept_after_an_hour(tmp_path: Path) -> None:
    # Its lock may not be seen here, as on NFS.
    fresh, old = (tmp_path / f".{name}-h00000000-1-00000000.part" for name in ("fresh", "old"))
    own = beside(tmp_path / "own")
    for path in (fresh, old, own):
        path.write_bytes(b"")
    hour = time.time() - 3700
    os.utime(old, (hour, hour))
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [fresh.name]


@linux
def test_without_locks_only_an_old_file_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    fresh, old = (tmp_path / f".{name}-1-00000000.part" for name in ("fresh", "old"))
    fresh.write_bytes(b"")
    old.write_bytes(b"")
    day = time.time() - 86_400
    os.utime(old, (day, day))
    sweep(tmp_path)
    assert fresh.exists()
    assert not old.exists()
    write_atomically(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_that_is_swept_before_it_is_locked_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench import files

    lock, swept = files._lock, list[Path]()

    def late(handle: int, *, wait: bool) -> bool | None:
        if not swept:
            swept.extend(tmp_path.iterdir())
            swept[0].unlink()
        return lock(handle, wait=wait)

    monkeypatch.setattr(files, "_lock", late)
    with replacing(tmp_path / "file") as file:
        file.write(b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@linux
def test_a_link_to_itself_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    write_atomically(tmp_path / "loop", b"content")
    assert (tmp_path / "loop").read_bytes() == b"content"


@linux
def test_links_are_followed_to_see_whether_a_path_leads_out(tmp_path: Path) -> None:
    inside, outside = tmp_path / "root", tmp_path / "root-2"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "own").symlink_to(inside)
    assert leads_out(inside / "link/file", inside)
    assert leads_out(inside / "../root-2/file", inside)
    assert not leads_out(inside / "own/file", inside)
    assert not leads_out(inside, inside)


_HOLDER = """
import sys, time
from bench.files import process_folder
print(process_folder("held"), flush=True)
time.sleep(60)
"""


@linux
def test_a_process_s_folder_lasts_as_long_as_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    command, others = [sys.executable, "-c", _HOLDER], {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=others, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        theirs = Path(holder.stdout.readline().strip())
        (theirs / "socket").touch()
        assert process_folder("held") != theirs
        assert theirs.exists()
        holder.kill()
    ours = process_folder("held")
    assert not theirs.exists()
    assert ours.exists()


def test_what_cannot_be_deleted_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot delete .*folder"):
        delete(tmp_path / "folder")
    delete(tmp_path / "nothing")


# ------------------------------------------------------------------------------- going on with it


@linux
def test_what_may_be_gone_on_with_is_swept_after_a_week(tmp_path: Path) -> None:
    fresh, old, written = (tmp_path / f"{name}.rows.begun" for name in ("fresh", "old", "written"))
    month = time.time() - 30 * 86_400
    for path in (fresh, old, written):
        path.write_bytes(b"half")
    with open_regular(written, 4) as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        for path in (old, written):
            os.utime(path, (month, month))
        sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {fresh.name, written.name}


@linux
def test_what_was_begun_is_no_link_that_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"whole")
    (tmp_path / "file.begun").symlink_to("precious")
    with pytest.raises(OSError, match="symbolic links"), resuming(tmp_path / "file"):
        pass
    assert (tmp_path / "precious").read_bytes() == b"whole"


@linux
def test_one_who_goes_on_has_what_is_there_to_himself(tmp_path: Path) -> None:
    with resuming(tmp_path / "file") as (mine, journal):
        assert journal is not None
        with resuming(tmp_path / "file") as (another, none):
            another.write(b"of another")
            assert none is None
        mine.write(b"mine")
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
