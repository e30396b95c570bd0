"""From files to tensors, once: decoded images in a cache that is mapped into memory.

A cache holds the rows that were read, one after the other. Next to them lies a sealed page of JSON.
It has their SHA-256, the files they come from and what could not be read. A cache's name is the
hash of the files' contents and of how they were read. So a changed file is read again, and a moved
one is not. A cache is written under another name and moved into place; a damaged one is made again.
Rows are written block by block, with a journal, so that after a kill the next reader goes on. All
of this may be deleted at any time.
"""

import errno
import hashlib
import io
import json
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from bench.digest import digest
from bench.errors import Countdown, UserError
from bench.files import (
    DocumentError,
    UnfitFileError,
    open_regular,
    read_document,
    replacing,
    resuming,
)

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.ImageFile import ImageFile

_BLOCK_BYTES = 2**20  # of a file that are hashed at once
#: Files that are handed to the readers at once: so many, and of rows of no more bytes together.
_BLOCK = 256
_BLOCK_BYTES_OF_ROWS = 2**25
#: Changed whenever the same files would be read differently.
_VERSION = 6
#: The most pixels of an image and bytes of its file. A decoded pixel takes four bytes, and some
#: formats are read whole before they are decoded.
_MOST_PIXELS = 2**26
_MOST_BYTES = 2**28
#: Images of more pixels are decoded one at a time, so that memory does not grow with the cores.
_LARGE = 2**23
#: The most bytes of a cache's page for each file, of which it holds a number or a reason.
_PAGE_BYTES = 2**12
_LARGE_ONES = threading.Lock()
#: Formats that are read. Pillow knows more, but starts an external program for one of them.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
#: Endings of their files' names, in lower case.
SUFFIXES = (
    *(".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
#: The value of an unknown pixel, and the largest that a mask holds; see `bench.task_types.VOID`.
_VOID = 255
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION = 0x0112  # the EXIF tag; from 5 on, height and width are exchanged

Row = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Embedded:
    """An image whose bytes are a part of another file, of a table for example.

    `read` returns them. There are `size` of them, and `sha256` is their hash.
    """

    sha256: str
    size: int
    read: Callable[[], bytes]


#: Where the bytes of an image are: in a file of its own, or in another file.
ImageSource = Path | str | Embedded


@dataclass(frozen=True, eq=False)
class FileRows:
    """Rows read from a list of files: `rows` `[n, ...]` of the files in `kept`, in their order.

    `bad` says why each other file could not be read. Both count files from 0.
    """

    rows: Tensor
    kept: tuple[int, ...]
    bad: Mapping[int, str]


def tensor_version(tensor: Tensor) -> int:
    """Return how often a tensor has been changed in place, as far as torch counts it."""
    return 0 if tensor.is_inference() else tensor._version


def values_digest(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's values."""
    return hashlib.sha256(tensor.contiguous().numpy().reshape(-1).data).hexdigest()


@lru_cache(maxsize=64)
def _digest(tensor: Tensor, _version: int) -> str:
    return values_digest(tensor)


def content_digest(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's values, computed once for each of its versions."""
    return _digest(tensor, tensor_version(tensor))


def _bytes_of(source: ImageSource) -> BinaryIO:
    """Return the bytes of an image as a file."""
    if not isinstance(source, Embedded):
        return open_regular(source, _MOST_BYTES)
    if source.size > _MOST_BYTES:
        raise UnfitFileError(errno.EFBIG, f"it has over {_MOST_BYTES:,} bytes")
    return io.BytesIO(source.read())


@contextmanager
def _open(source: ImageSource) -> Iterator["ImageFile"]:
    """Open an image of one of the formats; its pixels are decoded on first use."""
    from PIL import Image, UnidentifiedImageError

    # Pillow's own limit is higher, and below twice that it only warns.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    with _bytes_of(source) as file:
        try:
            image = Image.open(file, formats=_FORMATS)
        except UnidentifiedImageError:
            raise OSError("cannot identify image file") from None
        with image:
            pixels = image.width * image.height
            if pixels > _MOST_PIXELS:
                raise ValueError(
                    f"it has {pixels:,} pixels, over {_MOST_PIXELS:,}: make it smaller"
                )
            if image.mode in ("I", "F"):
                raise ValueError(
                    "it has 32 bits a pixel, and none says what is white: save it with 8"
                )
            with _LARGE_ONES if pixels > _LARGE else nullcontext():
                yield image


def _upright(image: "ImageFile") -> "PillowImage":
    """Return an image turned according to its EXIF data; itself where that says nothing."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else image


def _deep(image: "PillowImage") -> bool:
    """Return whether the file has 16 bits a channel. Those of a colour image Pillow cuts to 8."""
    if image.mode.startswith("I;16"):
        return True
    tiles = getattr(image, "tile", None) or [()]
    return "16" in str(tiles[0][-1:]) and image.mode in ("RGB", "RGBA", "L", "LA")


def _has_alpha(image: "PillowImage") -> bool:
    return not image.mode.startswith("I;16") and image.has_transparency_data


def read_header(path: ImageSource) -> Row:
    """Return what is known of an image before it is stretched, float32 `[6]`.

    It is height, width, and channels (1 where it is grey, else 3); the largest value where it has
    16 bits, else 0; whether a pixel is transparent; and whether it has several frames. Pixels are
    decoded only where 16 bits or an alpha channel ask for it. It raises as `read_image` does, but
    misses some faults.
    """
    with _open(path) as image:
        height, width = image.height, image.width
        if "exif" in image.info and image.getexif().get(_ORIENTATION, 1) >= 5:
            height, width = width, height
        channels = 1 if image.mode in _GREY else 3
        frames, deep, largest, clear = (
            bool(getattr(image, "is_animated", False)),
            _deep(image),
            0,
            0,
        )
        if deep:
            values = np.asarray(image)
            largest = int(values.max()) * (1 if values.dtype == np.uint16 else 257)
        if _has_alpha(image):
            clear = int(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)
        return np.array([height, width, channels, largest, clear, frames], np.float32)


def _shown_on(image: "PillowImage", background: str) -> "PillowImage":
    """Return an image with a background behind its transparent pixels."""
    from PIL import Image

    ground = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


def read_image(
    path: ImageSource,
    side: tuple[int, int],
    mode: Literal["L", "RGB"],
    upright: bool = True,
    bits: int = 16,
    background: str = "",
) -> Row:
    """Return an image file as uint8 `[C, H, W]`, stretched to `side` (H, W).

    It is turned according to its EXIF data, unless `upright` is false: a map of its pixels lies on
    them as stored. Of 16 bits the lower `bits` are used, and the upper 8 of them kept. Transparent
    pixels show the colour `background`; without one their alpha channel is dropped. Raises where
    the file is not a whole image: `OSError`, `ValueError`, or whatever other error its decoder
    raises.
    """
    from PIL import Image

    height, width = side
    with _open(path) as image:
        image.draft(mode, (width, height))  # lets a large JPEG be decoded at a fraction of its size
        turned = _upright(image) if upright else image
        if turned.mode.startswith("I;16"):  # Pillow would clip these to white
            shades = np.asarray(turned) >> max(0, bits - 8)
            turned = Image.fromarray(shades.clip(0, 255).astype(np.uint8))
        elif background and _has_alpha(turned):
            turned = _shown_on(turned, background)
        if turned.mode != mode:
            turned = turned.convert(mode)
        if turned.size != (width, height):
            turned = turned.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(turned)
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


def read_mask(path: Path, side: tuple[int, int], binary: bool = False) -> Row:
    """Return a map of classes as uint8 `[H, W]`, stretched to `side` without mixing classes.

    A palette's indices and grey values are taken as they are, with 1-bit white as 255. If
    `binary`, what is brighter than half is 255, and the rest 0. Raises as `read_image` does, and
    where the values are no classes: those of a JPEG, colours, or numbers from 256 on.
    """
    from PIL import Image

    height, width = side
    with _open(path) as image:
        if image.format == "JPEG" and not binary:
            raise ValueError(
                "a JPEG blurs the classes of a mask: use PNG, or binary=COLUMN for black and white"
            )
        grey = image.convert("L") if binary or image.mode == "1" else _classes(image)
        small = np.asarray(grey.resize((width, height), Image.Resampling.NEAREST))
        return np.where(small >= 128, 255, 0).astype(np.uint8) if binary else small


def _classes(image: "PillowImage") -> "PillowImage":
    """Return an image of class numbers in 8 bits. Raises `ValueError` where there are none."""
    from PIL import Image

    if image.mode in ("L", "P"):
        return image
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        if (largest := int(values.max())) > _VOID:
            raise ValueError(
                f"it has 16 bits with values up to {largest:,}, where classes are 0 to "
                f"{_VOID - 1}: save class numbers, not instances, with 8 bits"
            )
        return Image.fromarray(values.astype(np.uint8))
    opaque = image.mode not in ("LA", "RGBA") or bool((values[..., -1] == 255).all())
    colours = values[..., : 1 if image.mode == "LA" else 3]
    if image.mode in ("LA", "RGB", "RGBA") and opaque and (colours == colours[..., :1]).all():
        return Image.fromarray(np.ascontiguousarray(colours[..., 0]))
    what = f"this is {image.mode}" if opaque else "this has transparent pixels"
    raise ValueError(f"a mask has one class a pixel, {what}: save the numbers of the classes")


def read_rows(
    files: Sequence[ImageSource],
    read: Callable[..., Row],
    how: object,
    shape: tuple[int, ...],
    cache: Path | None,
    dtype: type[np.uint8] | type[np.float32] = np.uint8,
    seen: str = "",
) -> FileRows:
    """Read files into rows of `shape` and `dtype`, or take them from the cache.

    `read` takes a path, or an `Embedded` where there are some. It returns one row, or raises where
    a file is bad. `how` is JSON-able and states everything that `read` depends on apart from the
    file. Without a cache the rows are held in memory. `seen` is the `identity` of the files, for a
    caller who reads them twice.
    """
    if cache is None:
        return _in_memory(files, read, shape, dtype)
    name = digest(_VERSION, how, shape, np.dtype(dtype).name, seen or identity(files))[:40]
    data, page = cache / f"{name}.rows", cache / f"{name}.json"
    found = _load(data, page, shape, dtype, len(files))
    # A file that failed for an outside reason may be readable by now.
    retried = [files[index] for index in found.bad] if found else []
    retried = [file for file in retried if not isinstance(file, Embedded)]
    if any(not isinstance(_attempt(file, read), str) for file in retried):
        found = None
    if found is None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            _write(files, read, shape, dtype, data, page)
        except OSError as error:
            raise UserError(
                f"decoded images cannot be kept in '{cache}': {error.strerror or error}"
            ) from error
        found = _load(data, page, shape, dtype, len(files))
        if found is None:
            raise UserError(f"'{data}' is not what was just written: is the disk in order?")
    return found


def identity(files: Sequence[ImageSource]) -> str:
    """Return the hash of the files' contents, in their order: neither names nor times count."""
    progress, contents = Countdown("hashing", "files", len(files)), []
    with ThreadPoolExecutor(os.cpu_count()) as readers:
        for content in readers.map(_content, files):
            contents.append(content)
            progress.reached(len(contents))
    return digest(*contents)


def _content(path: ImageSource) -> str:
    """Return the SHA-256 of a file, or why it cannot be read."""
    if isinstance(path, Embedded):
        return path.sha256
    try:
        with open_regular(path, _MOST_BYTES) as file:
            total = hashlib.sha256()
            while block := file.read(_BLOCK_BYTES):
                total.update(block)
            return total.hexdigest()
    except OSError as error:
        return type(error).__name__


def _attempt(path: ImageSource, read: Callable[..., Row]) -> Row | str:
    """Return a file's row, or why it has none."""
    try:
        return read(path if isinstance(path, Embedded) else Path(path))
    except FileNotFoundError:
        return "is missing"
    except (MemoryError, UserError):
        raise  # this is not the image's fault
    except Exception as error:  # decoders' errors on damaged bytes have no common base class
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return "cannot be read: " + " ".join(reason.replace(f"'{path}'", "").split())


def _row_bytes(shape: tuple[int, ...], dtype: Any) -> int:
    return int(np.dtype(dtype).itemsize * math.prod(shape))


@dataclass(frozen=True)
class _Block:
    """Rows of files that follow each other, those in `kept`, and why each of the others has none.

    Files count from the first of all.
    """

    rows: Sequence[Row]
    kept: Sequence[int]
    bad: dict[int, str]


def _blocks(
    files: Sequence[ImageSource],
    read: Callable[..., Row],
    shape: tuple[int, ...],
    dtype: Any,
    first: int = 0,
) -> Iterator[_Block]:
    """Yield the rows of all files from `first` on, block by block; several are read at once."""
    size = max(1, min(_BLOCK, _BLOCK_BYTES_OF_ROWS // _row_bytes(shape, dtype)))
    progress = Countdown("reading", "image files", len(files), first)

    def block(start: int, found: Iterable[Row | str]) -> _Block:
        rows: list[Row] = []
        kept: list[int] = []
        bad: dict[int, str] = {}
        for index, row in enumerate(found, start):
            if isinstance(row, str):
                bad[index] = row
            else:
                rows.append(np.ascontiguousarray(row, dtype).reshape(shape))
                kept.append(index)
            progress.reached(index + 1)
        return _Block(rows, kept, bad)

    with ThreadPoolExecutor(os.cpu_count()) as readers:
        begun: tuple[int, Iterable[Row | str]] | None = None
        for start in range(first, len(files), size):
            # The next block is read while the one before it is written.
            following = start, readers.map(_attempt, files[start : start + size], repeat(read))
            if begun:
                yield block(*begun)
            begun = following
        if begun:
            yield block(*begun)


def _in_memory(
    files: Sequence[ImageSource], read: Callable[..., Row], shape: tuple[int, ...], dtype: Any
) -> FileRows:
    rows = np.empty((len(files), *shape), dtype)
    kept: list[int] = []
    bad: dict[int, str] = {}
    for block in _blocks(files, read, shape, dtype):
        for row, index in zip(block.rows, block.kept, strict=True):
            rows[len(kept)] = row
            kept.append(index)
        bad.update(block.bad)
    return FileRows(torch.from_numpy(rows[: len(kept)]), tuple(kept), bad)


def _write(
    files: Sequence[ImageSource],
    read: Callable[..., Row],
    shape: tuple[int, ...],
    dtype: Any,
    data: Path,
    page: Path,
) -> None:
    """Write a cache, from where another process was killed on."""
    with resuming(data) as (file, journal):
        kept, bad, total = _taken_up(file, journal, _row_bytes(shape, dtype), len(files))
        for block in _blocks(files, read, shape, dtype, len(kept) + len(bad)):
            for row in block.rows:
                content = row.reshape(-1).data
                file.write(content)
                total.update(content)
            kept += block.kept
            bad |= block.bad
            if journal is not None:
                file.flush()
                done = _Page(kept=tuple(block.kept), bad=block.bad, sha256=total.hexdigest())
                journal.write(done.sealed)
                journal.flush()
        written = _Page(kept=tuple(kept), bad=bad, sha256=total.hexdigest())
        with replacing(page) as sealed:
            sealed.write(written.sealed)


def _taken_up(
    file: BinaryIO, journal: BinaryIO | None, row_bytes: int, count: int
) -> "tuple[list[int], dict[int, str], hashlib._Hash]":
    """Return what a journal says of the rows in a file, as far as they hold, and their hash.

    Both files are cut where that ends. Each line of a journal is the page of a block, with the hash
    of all rows up to its end.
    """
    kept: list[int] = []
    bad: dict[int, str] = {}
    total = hashlib.sha256()
    if journal is None:
        return kept, bad, total
    told, left = 0, os.fstat(file.fileno()).st_size
    for line in iter(partial(journal.readline, _PAGE_BYTES * (1 + _BLOCK)), b""):
        try:
            block = _Page.model_validate_json(line)
        except ValidationError:
            break
        done, size = len(kept) + len(bad), row_bytes * len(block.kept)
        files = list(range(done, done + len(block.kept) + len(block.bad)))
        whole = line.endswith(b"\n") and sorted((*block.kept, *block.bad)) == files
        if not whole or done + len(files) > count or size > left:
            break
        so_far = total.copy()
        so_far.update(file.read(size))
        if (so_far.hexdigest(), block.own_seal) != (block.sha256, block.seal):
            break
        total, left, told = so_far, left - size, told + len(line)
        kept += block.kept
        bad |= block.bad
    for each, end in ((file, row_bytes * len(kept)), (journal, told)):
        each.truncate(end)
        each.seek(end)
    return kept, bad, total


class _Page(BaseModel):
    """What a cache says of its rows: the files they are of, and why others have none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kept: tuple[Annotated[int, Field(ge=0, strict=True)], ...]
    bad: dict[Annotated[int, Field(ge=0)], str]
    sha256: str
    seal: str = ""

    @property
    def own_seal(self) -> str:
        """The hash of all but the seal."""
        return digest(self.model_dump(mode="json", exclude={"seal"}))

    @property
    def sealed(self) -> bytes:
        """The page with its seal, a line of JSON."""
        values = {**self.model_dump(mode="json"), "seal": self.own_seal}
        return json.dumps(values).encode() + b"\n"


def _load(
    data: Path, page: Path, shape: tuple[int, ...], dtype: Any, count: int
) -> FileRows | None:
    """Return the contents of a cache of `count` files, or None where it is missing or damaged."""
    try:
        written = read_document(page, _Page, _PAGE_BYTES * (1 + count))
        if written.seal != written.own_seal:
            return None
        kept, bad = written.kept, written.bad
        if sorted((*kept, *bad)) != list(range(count)) or list(kept) != sorted(kept):
            return None
        whole = (len(kept), *shape)
        size = _row_bytes(whole, dtype)
        with open_regular(data, size) as file:
            if os.fstat(file.fileno()).st_size != size:
                return None
            if not kept:
                return FileRows(torch.from_numpy(np.empty(whole, dtype)), kept, bad)
            # Copy on write: torch needs writable memory, and the file stays as it is.
            rows = torch.from_numpy(np.memmap(file, dtype, mode="c", shape=whole))
        if content_digest(rows) != written.sha256:
            return None
    except (OSError, DocumentError):
        return None
    return FileRows(rows, kept, bad)
