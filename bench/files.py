"""Files: read without trust, written whole or not at all, and swept where a kill left a half.

What a file says of itself is checked before memory is taken for it. Only regular files are opened,
since a pipe without a writer holds a program for ever, and a device may never end. Documents are
JSON with a schema; what is wrong with one is told in a clause.
"""

import contextlib
import errno
import hashlib
import io
import math
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from bench.clean import printable
from bench.digest import digest
from bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np

try:
    import fcntl
except ImportError:  # on Windows, where a file that is open cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

Document = TypeVar("Document", bound=BaseModel)

#: What stands for this machine in the names of files that are not whole yet.
_HOST = f"h{digest(platform.node())[:8]}"
#: The names of files that are not whole yet: of what, by which machine and process.
_UNFINISHED = re.compile(r"\..+?(?:-(h[0-9a-f]{8}))?-\d+-[0-9a-f]{8}\.part")
#: Seconds after which nobody writes a file any more, where there are no locks to tell.
_ABANDONED = 3600.0
#: The end of the names of files that somebody may go on with, and the seconds that they are kept.
_BEGUN = ".begun"
_KEPT_BEGUN = 7 * 86400.0
#: What opens to something else than a file: a link that must not be followed, a socket.
_NO_FILE = (errno.ELOOP, errno.ENXIO)
#: What pydantic calls fields that a schema does not have, or lacks.
_OTHER_FIELDS = ("missing", "extra_forbidden", "unexpected_keyword_argument", "literal_error")
#: Longest clause about a document, in characters.
_LONGEST = 200
#: Longest header of an `.npy` file, in bytes; that of plain numbers has 118.
_HEADER = 1024
#: Bytes before the length of that header: a magic text and the version.
_BEFORE_LENGTH = 8


class UnfitFileError(OSError):
    """What is at a path is no regular file, or larger than what is meant can be."""


class DocumentError(ValueError):
    """Why a file is not the document that it should be, as a clause."""


class SchemaError(DocumentError):
    """A document has other fields than it should: another version may have written it."""


def open_regular(path: Path | str, most: int, *, follow: bool = True) -> BinaryIO:
    """Open a file to read it. The last part of the path may be a link only if `follow`.

    Raises `OSError`, which is an `UnfitFileError` where there is no regular file or one of more
    than `most` bytes.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    except OSError as error:
        if error.errno in _NO_FILE:
            raise UnfitFileError(errno.EINVAL, "it is no regular file", str(path)) from None
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UnfitFileError(errno.EINVAL, "it is no regular file", str(path))
        if status.st_size > most:
            raise UnfitFileError(errno.EFBIG, f"it has over {most:,} bytes", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: Path | str, most: int, *, follow: bool = True) -> bytes:
    """Return the content of a regular file. Raises as `open_regular` does."""
    with open_regular(path, most, follow=follow) as file:
        # So many, since Python takes memory for what is asked for, and not for what is there.
        size = os.fstat(file.fileno()).st_size
        content = file.read(size)
        if file.read(1):
            raise UnfitFileError(errno.EFBIG, f"it has more than its {size:,} bytes", str(path))
    return content


#: The largest file of weights that is read.
MOST_WEIGHTS = 2**34


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a regular file. Raises `UserError` where it cannot be read."""
    try:
        status = path.stat()
        return _file_digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


@lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, changed: int) -> str:
    total = hashlib.sha256()
    with open_regular(path, MOST_WEIGHTS) as file:
        while part := file.read(2**20):
            total.update(part)
    return total.hexdigest()


def leads_out(path: Path, folder: Path) -> bool:
    """Return whether a path leads out of a folder, by a link or otherwise."""
    real, root = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath((real, root)) != root


def read_document(path: Path, model: type[Document], most: int, *, follow: bool = True) -> Document:
    """Read a document of JSON. How deep it may be nested, and its numbers, are pydantic's to check.

    Raises `DocumentError` where it is none, and `OSError` where it cannot be read.
    """
    kind = DocumentError
    try:
        return model.model_validate_json(read_bytes(path, most, follow=follow))
    except UnfitFileError as error:
        why = str(error.strerror)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        why = f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
        kind = SchemaError if first["type"] in _OTHER_FIELDS else DocumentError
    except UserError as error:  # a budget, for example, that a flag could have had too
        why = str(error)
    raise kind(clause(why))


def clause(text: str) -> str:
    """Return what is said of a file, fit for a line: it may quote what stands there."""
    shown = printable(text[: 2 * _LONGEST])
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def read_array(file: IO[bytes], size: int) -> "np.ndarray[Any, np.dtype[Any]]":
    """Return the array of an `.npy` file that has `size` bytes in all.

    Raises `ValueError` where it holds an object, which is a pickle, or not what its header says.
    """
    from numpy import frombuffer

    header = file.read(_BEFORE_LENGTH)
    wide = header[6:7] == b"\x02"  # of version 2: the length has four bytes, not two
    header += file.read(4 if wide else 2)
    length = int.from_bytes(header[_BEFORE_LENGTH:], "little")
    if length > _HEADER:
        raise ValueError("it is no .npy file (its header is too long)")
    shape, by_column, dtype = _array_header(header + file.read(length))
    if dtype.hasobject:
        raise ValueError("it holds objects, which are pickles (allow_pickle=False)")
    content = size - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != content:
        raise ValueError(f"its header says {shape} of {dtype}, and {content:,} bytes follow")
    array: np.ndarray[Any, np.dtype[Any]] = frombuffer(file.read(content), dtype)
    return array.reshape(shape, order="F" if by_column else "C")


@lru_cache(maxsize=64)
def _array_header(header: bytes) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    """Return shape, whether columns come first, and type. Files of one kind have one header."""
    from numpy.lib import format as npy

    file = io.BytesIO(header)
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, by_column, dtype = read(file, max_header_size=_HEADER)
    except Exception as error:  # numpy parses the header as Python, which may raise almost anything
        raise ValueError(f"it is no .npy file ({type(error).__name__})") from None
    return shape, by_column, dtype


# --------------------------------------------------------------------------------------- writing


def _lock(handle: int, *, wait: bool) -> bool | None:
    """Lock an open file or folder against other processes, until it is closed.

    The lock ends with the process, however that ends. Returns whether it is ours, and None where
    there are no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # network and FUSE mounts may have none
        return None
    return True


@contextlib.contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Keep other processes from the same block for the same folder, as far as there are locks."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # as on Windows
        yield
        return
    try:
        _lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def beside(path: Path) -> Path:
    """Return a new name beside a path, for what is not whole yet; `sweep` deletes what is left."""
    return path.with_name(f".{path.name}-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.part")


def _begun(path: Path) -> tuple[Path, BinaryIO]:
    """Return a new, locked file beside a path, to be renamed to it."""
    while True:
        temporary = beside(path)
        file = temporary.open("xb")
        _lock(file.fileno(), wait=True)
        if temporary.exists():
            return temporary, file
        file.close()  # it was swept before it was locked


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of another when the block ends. If it raises, none is left.

    It is locked while it is written, so that `sweep` knows that somebody does.
    """
    temporary, file = _begun(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                temporary.replace(path)  # while it is locked
        if fcntl is None:
            temporary.replace(path)  # Windows renames no open file
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def resuming(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO | None]]:
    """Yield a file that takes the place of another when the block ends, and a journal of it.

    If the block raises, or its process is killed, whoever comes next gets both as they are. What
    the journal says is the block's own; where it says nothing, nothing is kept. Where somebody else
    is writing, or there are no locks, the file is that of `replacing`, and the journal None.
    """
    begun, told = (path.with_name(path.name + end) for end in (_BEGUN, f".journal{_BEGUN}"))
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(_open_to_go_on(begun))
        # Its last writer may have renamed it before the lock was ours.
        if (locked := _lock(file.fileno(), wait=False)) and _is_at(file, begun):
            journal = opened.enter_context(_open_to_go_on(told))
            try:
                yield file, journal
                file.flush()
                os.fsync(file.fileno())
                told.unlink()  # first, since nobody would look for it once the file is there
                begun.replace(path)  # while it is locked
            except BaseException:
                if not os.fstat(journal.fileno()).st_size:
                    begun.unlink(missing_ok=True)
                    told.unlink(missing_ok=True)
                raise
            return
    if locked is None:
        begun.unlink(missing_ok=True)
    with replacing(path) as anew:
        yield anew, None


def _open_to_go_on(path: Path) -> BinaryIO:
    """Open a regular file to read and write it, and make it if it is not there."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UnfitFileError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(handle, "r+b")


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none.

    A link is followed: the file that it leads to is replaced, and the link stays. What is no file,
    such as a device or a pipe, is written into, since a rename would put a file in its place.

    Raises `UserError` with the fix where the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path = Path(os.path.realpath(path))  # `resolve` raises for a link to itself
        if path.exists() and not path.is_file():
            with path.open("wb") as target:
                target.write(content)
            return
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; nothing finished is lost. "
            "Free space or name another folder with --results, then run the same command again"
        ) from None


def write_files(folder: Path, contents: Mapping[str, bytes]) -> dict[str, Path]:
    """Write files by name into a folder; return where each is. Raises as `write_atomically`."""
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return {name: folder / name for name in contents}


def delete(path: Path) -> None:
    """Delete a file if it is there. Raises `UserError` where it cannot be deleted."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot delete {path}: {error.strerror}; delete it yourself") from None


def sweep(folder: Path, *, below: bool = True) -> None:
    """Delete what killed processes left half written in a folder, and `below` it.

    What somebody writes at this moment is locked, and stays. Without locks an hour tells, and so it
    does for what another machine writes, whose locks may not be seen here. What may be gone on with
    stays for a week.
    """
    for above, folders, names in os.walk(folder):
        if not below:
            folders.clear()
        for name in names:
            kept = _KEPT_BEGUN if name.endswith(_BEGUN) else 0.0
            unfinished = _UNFINISHED.fullmatch(name)
            if kept or unfinished:
                ours = unfinished is None or unfinished[1] in (None, _HOST)
                with contextlib.suppress(OSError):
                    _sweep_one(Path(above, name), kept, ours)


def _sweep_one(path: Path, kept: float, ours: bool) -> None:
    with open_regular(path, sys.maxsize, follow=False) as file:
        free = _lock(file.fileno(), wait=False) if ours else None
        age = time.time() - os.fstat(file.fileno()).st_mtime
        if age >= kept and (age > _ABANDONED if free is None else free):
            path.unlink()  # while it is locked


#: Longest path of a folder, in bytes, in which the path of a socket has no more than 104.
_LONGEST_FOLDER = 60


def _temporary() -> str:
    """Return the system's folder for temporary files; a shorter one where no socket fits in it."""
    usual = tempfile.gettempdir()
    short = "/tmp"
    fits = len(os.fsencode(usual)) <= _LONGEST_FOLDER or not os.access(short, os.W_OK)
    return usual if fits else short


def process_folder(kind: str) -> Path:
    """Return a new temporary folder that is this process's own for as long as it lives.

    Those of the same kind whose process has ended, as after a kill, are deleted. A lock tells.
    """
    parent = _temporary()
    for left in Path(parent).glob(f"{kind}-*"):
        with contextlib.suppress(OSError):
            _sweep_folder(left)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=parent))
        handle = os.open(folder, os.O_RDONLY)  # open, and so locked, until the process ends
        _lock(handle, wait=True)
        if folder.exists():
            return folder
        os.close(handle)  # it was swept before it was locked


def _sweep_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(handle).st_uid == os.geteuid() and _lock(handle, wait=False):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)
