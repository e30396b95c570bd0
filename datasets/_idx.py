"""Labelled images in MNIST's file format, for all data sets that use it. Not a data set itself.

torchvision downloads it. The files are read here: its own readers check neither their size nor that
there is a label for each image, and prefer an unchecked tensor that an older version has saved.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.contracts import DataSource, UserError
from bench.files import read_bytes

from ._files import locate

#: Files of each part, and the magic number each starts with (idx format: unsigned bytes in three
#: dimensions or in one).
_FILES = {
    "train-images-idx3-ubyte": 0x0803,
    "train-labels-idx1-ubyte": 0x0801,
    "t10k-images-idx3-ubyte": 0x0803,
    "t10k-labels-idx1-ubyte": 0x0801,
}
#: Every collection in this format has ten classes.
_CLASSES = 10
_IMAGE = (28, 28)
#: The most bytes of a file: 100,000 images; the largest part has 60,000.
_MOST_BYTES = 100_000 * 28 * 28
_FIX = "delete it and run again with --download"


@dataclass(frozen=True)
class Labelled:
    """One part of a collection: images uint8 `[N, 28, 28]` and classes int64 `[N]`."""

    images: Tensor
    classes: Tensor


def load_idx(source: DataSource, collection: str, megabytes: int) -> tuple[Labelled, Labelled]:
    """Return the training and the test part of a collection, checked.

    `collection` is the name of torchvision's loader and of its folder. The files lie where
    torchvision puts them, in `<collection>/raw` under the root. `megabytes` is the size of a
    download. Raises `UserError` where there is no root, a file is missing or broken, or a download
    fails.
    """
    from torchvision import datasets  # here, because importing it takes seconds

    loader = getattr(datasets, collection)

    def fetch(root: Path) -> None:
        loader(root, download=True)

    get = f"put the four files into '{collection}/raw' there"
    folder = locate(source, collection, f"{collection}/raw", [*_FILES], get, fetch, megabytes)
    train, test = (_part(folder, part, collection) for part in ("train", "t10k"))
    return train, test


def _part(folder: Path, part: str, collection: str) -> Labelled:
    pixels, labels = (folder / name for name in _FILES if name.startswith(part))
    images, classes = (_read(path, _FILES[path.name], collection) for path in (pixels, labels))
    if not len(images) or images.shape[1:] != _IMAGE:
        raise UserError(f"'{pixels}' is broken: it has images of {tuple(images.shape)}; {_FIX}")
    if len(images) != len(classes):
        raise UserError(
            f"'{labels}' is broken: it has {len(classes):,} labels of {len(images):,} images; "
            f"{_FIX}"
        )
    if classes.max() >= _CLASSES:
        raise UserError(f"'{labels}' is broken: it has classes above {_CLASSES - 1}")
    return Labelled(images, classes.long())


def _read(path: Path, magic: int, collection: str) -> Tensor:
    """Return the bytes of an idx file, in the shape that its header states.

    Raises `UserError` unless it is one, and has that size.
    """
    try:
        content = read_bytes(path, _MOST_BYTES)
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}): {_FIX}") from None
    start = 4 * (1 + (magic & 0xFF))
    header = content[:start]
    if len(header) < start or int.from_bytes(header[:4], "big") != magic:
        raise UserError(f"'{path}' is no {collection} file (it starts with other bytes): {_FIX}")
    sizes = [int.from_bytes(header[i : i + 4], "big") for i in range(4, start, 4)]
    expected, found = start + math.prod(sizes), len(content)
    if expected != found:
        raise UserError(f"'{path}' is broken: expected {expected:,} bytes, found {found:,}; {_FIX}")
    values = np.frombuffer(content, np.uint8, offset=start)
    return torch.from_numpy(values.reshape(sizes).copy())  # torch may write to a copy
