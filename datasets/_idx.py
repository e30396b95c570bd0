"""Labelled images in MNIST's file format, for all data sets that use it. Not a data set itself.

Read through torchvision. This file adds the checks that torchvision leaves out, so that a missing
or broken file gives a one-line error.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bench.contracts import DataSource, UserError

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
    from torchvision.datasets.mnist import read_image_file, read_label_file

    loader = getattr(datasets, collection)

    def fetch(root: Path) -> None:
        loader(root, download=True)

    get = f"put the four files into '{collection}/raw' there"
    folder = locate(source, collection, f"{collection}/raw", [*_FILES], get, fetch, megabytes)
    for name, magic in _FILES.items():
        _check(folder / name, magic, collection)
    # Not through the loader itself: instead of these files it would prefer an unchecked tensor
    # saved by an older torchvision.
    train, test = (
        Labelled(
            read_image_file(folder / f"{part}-images-idx3-ubyte"),
            read_label_file(folder / f"{part}-labels-idx1-ubyte"),
        )
        for part in ("train", "t10k")
    )
    for part, name in zip((train, test), [n for n in _FILES if "labels" in n], strict=True):
        if len(part.classes) and part.classes.max() >= _CLASSES:
            raise UserError(f"'{folder / name}' is broken: it has classes above {_CLASSES - 1}")
    return train, test


def _check(path: Path, magic: int, collection: str) -> None:
    """Raise `UserError` unless the file is an idx file of the size that its header states."""
    fix = "delete it and run again with --download"
    dimensions = magic & 0xFF
    with path.open("rb") as file:
        header = file.read(4 * (1 + dimensions))
    if len(header) < 4 * (1 + dimensions) or int.from_bytes(header[:4], "big") != magic:
        raise UserError(f"'{path}' is no {collection} file (it starts with other bytes): {fix}")
    sizes = [int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4)]
    expected, found = len(header) + math.prod(sizes), path.stat().st_size
    if expected != found:
        raise UserError(f"'{path}' is broken: expected {expected:,} bytes, found {found:,}; {fix}")
