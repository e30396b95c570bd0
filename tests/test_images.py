"""Files to rows, and the cache of rows: read once, read again where it must be, never half."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from PIL import Image

from bench.errors import UserError
from bench.files import sweep
from bench.images import (
    FileRows,
    Row,
    content_digest,
    identity,
    read_header,
    read_image,
    read_mask,
    read_rows,
)

Files = list[Path]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Six images of 8 × 6 pixels, each in one grey: 0, 10, 20, …"""
    made = [tmp_path / f"{index}.png" for index in range(6)]
    for index, path in enumerate(made):
        Image.new("RGB", (8, 6), (10 * index,) * 3).save(path)
    return made


class Reader:
    """Reads a grey image and counts how often it was asked to."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, path: Path) -> Row:
        self.read.append(path.name)
        return read_image(path, (6, 8), "L")


def _rows(
    files: Files, cache: Path | None, reader: Callable[[Path], Row] | None = None
) -> FileRows:
    return read_rows(files, reader or Reader(), "grey", (1, 6, 8), cache)


def _greys(found: FileRows) -> list[int]:
    return [int(row[0, 0, 0]) for row in found.rows]


def test_rows_are_read_once_and_come_from_the_cache_after_that(
    files: Files, tmp_path: Path
) -> None:
    first, second = Reader(), Reader()
    read = _rows(files, tmp_path / "cache", first)
    again = _rows(files, tmp_path / "cache", second)
    assert (sorted(first.read), second.read) == ([f"{i}.png" for i in range(6)], [])
    assert _greys(read) == _greys(again) == [0, 10, 20, 30, 40, 50]
    assert content_digest(read.rows) == content_digest(_rows(files, None).rows)
    assert again.kept == tuple(range(6))
    again.rows.add_(1)  # who writes to the rows writes to memory of their own
    assert _greys(_rows(files, tmp_path / "cache")) == [0, 10, 20, 30, 40, 50]


def test_only_what_was_asked_is_in_the_cache(files: Files, tmp_path: Path) -> None:
    _rows(files, tmp_path / "cache")
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".rows"]


def test_a_changed_file_another_list_or_another_way_to_read_is_read_anew(
    files: Files, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    _rows(files, cache)
    before = identity(files)
    Image.new("RGB", (8, 6), (200,) * 3).save(files[2])
    os.utime(files[2], ns=(1, 1))
    assert identity(files) != before
    assert _greys(_rows(files, cache)) == [0, 10, 200, 30, 40, 50]
    assert _greys(_rows(files[::-1], cache)) == [50, 40, 30, 200, 10, 0]
    other = read_rows(files, lambda _: np.full((1, 6, 8), 7, np.uint8), "seven", (1, 6, 8), cache)
    assert _greys(other) == [7] * 6


@pytest.mark.parametrize("suffix", [".rows", ".json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "early", "gone", "empty"])
def test_a_damaged_cache_is_made_again(
    files: Files, tmp_path: Path, suffix: str, damage: str
) -> None:
    cache = tmp_path / "cache"
    _rows(files, cache)
    (victim,) = cache.glob(f"*{suffix}")
    content = victim.read_bytes()
    match damage:
        case "cut":
            victim.write_bytes(content[: len(content) // 2])
        case "changed":
            victim.write_bytes(content[:-9] + b"X" + content[-8:])
        case "early":  # there the page says which files the rows are of
            victim.write_bytes(content.replace(b" 1,", b" 0,", 1) if suffix == ".json" else b"X")
        case "empty":
            victim.write_bytes(b"")
        case "gone":
            victim.unlink()
    reader = Reader()
    assert _greys(_rows(files, cache, reader)) == [0, 10, 20, 30, 40, 50]
    assert len(reader.read) == 6
    assert victim.read_bytes() == content


def test_two_that_read_at_once_under_one_process_number_do_not_disturb_each_other(
    files: Files, tmp_path: Path
) -> None:
    both = Barrier(2, timeout=20)

    def together(path: Path) -> Row:
        if path.name == "3.png":
            both.wait()
        return read_image(path, (6, 8), "L")

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: _rows(files, tmp_path / "cache", together), range(2)))
    assert [_greys(rows) for rows in found] == [[0, 10, 20, 30, 40, 50]] * 2


def test_a_reading_that_is_cut_short_leaves_nothing_behind(files: Files, tmp_path: Path) -> None:
    def interrupt(path: Path) -> Row:
        if path.name == "4.png":
            raise KeyboardInterrupt
        return read_image(path, (6, 8), "L")

    with pytest.raises(KeyboardInterrupt):
        _rows(files, tmp_path / "cache", interrupt)
    assert not list((tmp_path / "cache").iterdir())


class Killed(BaseException):
    """Ends a reading wherever it is, as a kill does."""


def _cut_short(files: Files, cache: Path, at: int, reader: Reader) -> None:
    """Read files of which one ends the reading."""

    def read(path: Path) -> Row:
        if path.name == f"{at}.png":
            raise Killed
        return reader(path)

    with pytest.raises(Killed):
        _rows(files, cache, read)


@pytest.fixture
def by_twos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read two files at a time, of rows of 48 bytes."""
    monkeypatch.setattr("bench.images._BLOCK_BYTES_OF_ROWS", 2 * 48)


@pytest.mark.usefixtures("by_twos")
def test_a_reading_that_is_cut_short_goes_on_where_it_was(files: Files, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    files[1].write_bytes(b"no image")
    _cut_short(files, cache, 5, Reader())
    sweep(cache)
    after = Reader()
    found = _rows(files, cache, after)
    assert sorted(after.read) == ["4.png", "5.png"]  # the block that was cut short
    assert (found.kept, _greys(found)) == ((0, 2, 3, 4, 5), [0, 20, 30, 40, 50])
    assert found.bad == {1: "cannot be read: cannot identify image file"}
    undisturbed = tmp_path / "undisturbed"
    _rows(files, undisturbed)
    written = {path.name: path.read_bytes() for path in cache.iterdir()}
    assert written == {path.name: path.read_bytes() for path in undisturbed.iterdir()}


@pytest.mark.usefixtures("by_twos")
@pytest.mark.parametrize("end", ["rows.begun", "journal.begun"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "empty"])
def test_of_what_was_begun_only_what_holds_is_used(
    files: Files, tmp_path: Path, end: str, damage: str
) -> None:
    cache = tmp_path / "cache"
    _cut_short(files, cache, 5, Reader())
    (victim,) = cache.glob(f"*.{end}")
    content = victim.read_bytes()
    match damage:
        case "cut":
            victim.write_bytes(content[:-1])
        case "changed":
            victim.write_bytes(content[:-9] + b"X" + content[-8:])
        case "gone":
            victim.unlink()
        case "empty":
            victim.write_bytes(b"")
    after = Reader()
    assert _greys(_rows(files, cache, after)) == [0, 10, 20, 30, 40, 50]
    again = 4 if damage in ("cut", "changed") else 6  # the first block of two holds, or none
    assert len(after.read) == again


@pytest.mark.usefixtures("by_twos")
def test_what_was_begun_of_other_files_is_not_used(files: Files, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    _cut_short(files, cache, 5, Reader())
    Image.new("RGB", (8, 6), (200,) * 3).save(files[0])
    assert _greys(_rows(files, cache)) == [200, 10, 20, 30, 40, 50]


@pytest.mark.usefixtures("by_twos")
def test_without_locks_nothing_is_left_and_all_is_read_again(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.files._lock", lambda handle, wait: None)
    _cut_short(files, tmp_path / "cache", 5, Reader())
    assert not list((tmp_path / "cache").iterdir())
    assert _greys(_rows(files, tmp_path / "cache")) == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize("cached", [True, False])
def test_a_long_reading_says_how_far_it_is_and_how_long_it_takes(
    files: Files,
    tmp_path: Path,
    cached: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "bench")
    ticks = count(step=5)  # each look at the clock is five seconds after the one before
    monkeypatch.setattr("bench.errors.time.monotonic", lambda: float(next(ticks)))
    read_rows(
        files,
        Reader(),
        "grey",
        (1, 6, 8),
        tmp_path / "cache" if cached else None,
        seen="known",
    )
    assert caplog.messages == [
        "reading 2 of 6 image files, 0:20 left",
        "reading 4 of 6 image files, 0:10 left",
    ]


def test_bad_files_are_named_and_the_others_kept(files: Files, tmp_path: Path) -> None:
    files[1].write_bytes(b"no image")
    files[3].unlink()
    files[4].write_bytes(files[4].read_bytes()[:50])
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        found = _rows(files, cache)
        assert (found.kept, _greys(found)) == ((0, 2, 5), [0, 20, 50])
        assert found.bad[1] == "cannot be read: cannot identify image file"
        assert found.bad[3] == "is missing"
        assert found.bad[4].startswith("cannot be read: ")
        assert str(tmp_path) not in "".join(found.bad.values())


def test_a_file_that_can_be_read_by_now_is_not_bad_for_ever(files: Files, tmp_path: Path) -> None:
    def locked(path: Path) -> Row:
        if path.name == "1.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read_image(path, (6, 8), "L")

    assert _rows(files, tmp_path / "cache", locked).bad == {1: "cannot be read: Permission denied"}
    assert _greys(_rows(files, tmp_path / "cache")) == [0, 10, 20, 30, 40, 50]


def test_memory_that_ends_is_no_fault_of_a_file(files: Files, tmp_path: Path) -> None:
    def greedy(path: Path) -> Row:
        raise MemoryError

    with pytest.raises(MemoryError):
        _rows(files, tmp_path / "cache", greedy)


def test_a_list_of_bad_files_alone_has_no_rows(files: Files, tmp_path: Path) -> None:
    missing = [tmp_path / "a.png", tmp_path / "b.png"]
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        found = _rows(missing, cache)
        assert (found.rows.shape, found.kept, len(found.bad)) == ((0, 1, 6, 8), (), 2)


def test_a_cache_that_cannot_be_written_is_said(files: Files, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="decoded images cannot be kept in"):
        _rows(files, tmp_path / "taken" / "cache")


# ------------------------------------------------------------------------------ single files


def test_an_image_is_stretched_to_the_side_it_is_asked_for(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (10, 20, 30)).save(tmp_path / "a.png")
    row = read_image(tmp_path / "a.png", (6, 8), "RGB")
    assert row.shape == (3, 6, 8)
    assert row.dtype == np.uint8
    assert row[:, 0, 0].tolist() == [10, 20, 30]
    assert read_image(tmp_path / "a.png", (6, 8), "L").shape == (1, 6, 8)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_photograph_is_turned_upright(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :8] = 255  # white at the left, which is the top once it is turned to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, exif=exif)
    assert read_header(path).tolist()[:3] == [32, 16, 3]
    row = read_image(path, (32, 16), "L")
    assert row[0, 2].min() > 200
    assert row[0, -2].max() < 50
    stored = read_image(path, (16, 32), "L", upright=False)
    assert stored[0, :, 2].min() > 200


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)]
)
def test_every_usual_mode_is_read(tmp_path: Path, mode: str, channels: int) -> None:
    Image.new("RGB", (20, 16), (255, 255, 255)).convert(mode).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png").tolist() == [16, 20, channels, 0, 0, 0]
    assert (read_image(tmp_path / "a.png", (16, 20), "RGB") == 255).all()


def test_sixteen_bits_keep_their_shades(tmp_path: Path) -> None:
    deep = np.repeat(np.arange(16, dtype=np.uint16)[:, None] * 4096, 16, axis=1)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png").tolist() == [16, 16, 1, 61440, 0, 0]
    assert read_image(tmp_path / "a.png", (16, 16), "L")[0, :, 0].tolist() == list(
        range(0, 256, 16)
    )


def test_what_has_no_white_or_is_no_picture_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((16, 16), np.float32)).save(tmp_path / "depth.tiff")
    with pytest.raises(ValueError, match="32 bits a pixel"):
        read_image(tmp_path / "depth.tiff", (16, 16), "L")
    # Pillow would start another program to read this one.
    Image.new("RGB", (16, 16)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(OSError, match="cannot identify"):
        read_header(tmp_path / "a.png")


def test_a_mask_keeps_its_classes_when_it_is_stretched(tmp_path: Path) -> None:
    classes = np.kron(np.array([[0, 7], [200, 255]], np.uint8), np.ones((9, 9), np.uint8))
    Image.fromarray(classes).save(tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png", (4, 4))
    assert mask.tolist() == np.kron([[0, 7], [200, 255]], np.ones((2, 2), int)).tolist()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="one class a pixel, this is RGB"):
        read_mask(tmp_path / "b.png", (4, 4))
    for mode in ("L", "RGB"):
        Image.new(mode, (8, 8)).save(tmp_path / "c.jpg")
        with pytest.raises(ValueError, match="JPEG blurs"):
            read_mask(tmp_path / "c.jpg", (4, 4))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_a_mask_in_grey_or_in_16_bits_is_read_as_in_8(tmp_path: Path, mode: str) -> None:
    classes = np.kron(np.array([[0, 7], [200, 255]], np.uint8), np.ones((2, 2), np.uint8))
    deep = Image.fromarray(classes.astype(np.uint16))
    image = deep if mode == "I;16" else Image.fromarray(classes).convert(mode)
    image.save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png", (4, 4)).tolist() == classes.tolist()


def test_a_mask_of_instances_or_with_holes_says_what_is_wrong(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 26_001, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"16 bits with values up to 26,001, where classes are 0"):
        read_mask(tmp_path / "a.png", (4, 4))
    Image.new("RGBA", (4, 4), (1, 1, 1, 0)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="this has transparent pixels"):
        read_mask(tmp_path / "b.png", (4, 4))


def test_a_blurred_mask_is_black_and_white_if_that_is_said(tmp_path: Path) -> None:
    pixels = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((16, 16), np.uint8))
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=60)
    assert read_mask(tmp_path / "a.jpg", (32, 32), binary=True).tolist() == pixels.tolist()


def test_of_sixteen_bits_those_that_are_used_are_kept(tmp_path: Path) -> None:
    deep = np.repeat(np.arange(16, dtype=np.uint16)[:, None] * 256, 16, axis=1)  # 12 bits
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png")[3] == 3840
    row = read_image(tmp_path / "a.png", (16, 16), "L", bits=12)
    assert row[0, :, 0].tolist() == list(range(0, 256, 16))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_the_background(tmp_path: Path, mode: str) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8, :, 3] = 255  # black above, and hidden black below
    image = Image.fromarray(pixels)
    (image.quantize(4) if mode == "P" else image.convert(mode)).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png")[4] == 1
    shown = read_image(tmp_path / "a.png", (16, 16), "L", background="white")
    assert (shown[0, 0, 0], shown[0, -1, 0]) == (0, 255)
    assert (read_image(tmp_path / "a.png", (16, 16), "L", background="black") == 0).all()


def test_frames_are_counted(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), grey) for grey in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_header(tmp_path / "a.gif")[5] == 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif", "bmp", "webp", "ppm"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::Warning")
def test_damaged_bytes_are_a_bad_file_and_never_a_crash(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(whole)
    content = np.frombuffer(whole.read_bytes(), np.uint8)
    paths = []
    for index in range(60):
        spoilt = content.copy()
        spoilt[rng.integers(0, min(len(spoilt), 200), 4)] = rng.integers(0, 256, 4)
        paths.append(tmp_path / f"{index}.{suffix}")
        paths[-1].write_bytes(spoilt[: rng.integers(1, len(spoilt))].tobytes())
    read = partial(read_image, side=(16, 16), mode="RGB")
    found = read_rows(paths, read, "fuzz", (3, 16, 16), None)
    assert len(found.kept) + len(found.bad) == len(paths)
    assert found.bad
