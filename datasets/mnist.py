"""MNIST with three label columns: the digit, its parity, and how far it slants.

Real data, read through torchvision; this file adds the checks that torchvision leaves out, so that
a missing or broken file is told in one line. It makes no image that MNIST does not hold.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from bench.contracts import Dataset, DataSource, UserError
from bench.tasks import Classification, ImageSet, Task, TaskData

#: Files by their part, and the magic number each starts with (idx format: unsigned bytes in three
#: or in one dimension).
_FILES = {
    "train-images-idx3-ubyte": 0x0803,
    "train-labels-idx1-ubyte": 0x0801,
    "t10k-images-idx3-ubyte": 0x0803,
    "t10k-labels-idx1-ubyte": 0x0801,
}
_SLANTS = 4
_BLOCK = 4096  # images whose moments are taken at once: 26 MB of float64


@dataclass(frozen=True)
class Digits:
    """One part of MNIST: images uint8 `[N, 28, 28]` and digits int64 `[N]`."""

    images: Tensor
    digits: Tensor


def load_digits(source: DataSource) -> tuple[Digits, Digits]:
    """Return the training and the test part, checked.

    Files lie where torchvision puts them, in `MNIST/raw` under the root. Raises `UserError` where
    there is no root, a file is missing or broken, or a download fails.
    """
    from torchvision import datasets  # here, because importing it takes seconds

    if source.root is None:
        raise UserError(
            "MNIST is real data and needs a folder: pass --root DIR (and --download to fetch it)"
        )
    folder = source.root / "MNIST" / "raw"
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing and not source.download:
        raise UserError(
            f"MNIST is not in '{folder}' ({missing[0]} is missing): "
            "pass the right --root DIR, or --download to fetch it (about 12 MB)"
        )
    if missing:
        try:
            datasets.MNIST(source.root, download=True)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"MNIST could not be downloaded into '{source.root}' ({reason}): check the network "
                f"and that the folder can be written, or put the four files into '{folder}'"
            ) from error
    for name, magic in _FILES.items():
        _check(folder / name, magic)
    parts = (datasets.MNIST(source.root, train=train) for train in (True, False))
    train, test = (Digits(part.data, part.targets) for part in parts)
    return train, test


def _check(path: Path, magic: int) -> None:
    """Raise `UserError` unless the file is an idx file of as many bytes as its header says."""
    mend = "delete it and run again with --download"
    dimensions = magic & 0xFF
    with path.open("rb") as file:
        header = file.read(4 * (1 + dimensions))
    if len(header) < 4 * (1 + dimensions) or int.from_bytes(header[:4], "big") != magic:
        raise UserError(f"'{path}' is no MNIST file (it starts with other bytes): {mend}")
    sizes = [int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4)]
    expected, found = len(header) + math.prod(sizes), path.stat().st_size
    if expected != found:
        raise UserError(f"'{path}' is broken: expected {expected:,} bytes, found {found:,}; {mend}")


def slant(images: Tensor) -> Tensor:
    """Return the slant of each image `[N, H, W]`: columns moved per row downwards, float64 `[N]`.

    It is the ratio of the second central moments μ11 / μ02, the shear that deskewing would undo;
    negative leans to the right. An image without ink, or with ink on one row, has slant 0.
    """
    return torch.cat([_slant(block.double()) for block in torch.split(images, _BLOCK)])


def _slant(ink: Tensor) -> Tensor:
    mass = ink.sum((1, 2)).clamp(min=1)
    rows = torch.arange(ink.shape[1], dtype=torch.float64)
    columns = torch.arange(ink.shape[2], dtype=torch.float64)
    by_row, by_column = ink.sum(2), ink.sum(1)
    row, column = by_row @ rows / mass, by_column @ columns / mass
    vertical = by_row @ rows.square() / mass - row.square()
    mixed = (ink @ columns * rows).sum(1) / mass - row * column
    return torch.where(vertical > 1e-9, mixed / vertical.clamp(min=1e-9), 0.0)


def _slant_bins(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Return the quarter that each image's slant falls into, by the quartiles of `train`."""
    slants = slant(train)
    edges = slants.quantile(torch.arange(1, _SLANTS, dtype=torch.float64) / _SLANTS)
    return torch.bucketize(slants, edges), torch.bucketize(slant(test), edges)


class MNIST(Dataset):
    """Handwritten digits (LeCun et al. 1998): 28 × 28 grey images, 60,000 and 10,000."""

    name = "mnist"
    summary = "handwritten digits: which digit, odd or even, how slanted"
    needs = "--root DIR, --download to fetch it (12 MB)"
    tasks: ClassVar = {
        "digit": "which digit, 10 classes",
        "parity": "odd or even, 2 classes",
        "slant": "quarter of the training set's slants, 4 classes",
    }
    pairs: ClassVar = (
        (
            ("digit", "slant"),
            "none",
            "slant is writing style, which telling digits apart has to see past",
        ),
        (
            ("digit", "parity"),
            "none",
            "parity is a function of the digit, so its labels add nothing that digit's lack",
        ),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return the three tasks on the same images `[N, 1, 28, 28]`."""
        train, test = load_digits(source)
        images = ImageSet(self.name, train.images[:, None], test.images[:, None])
        labels = {
            "digit": (train.digits, test.digits),
            "parity": (train.digits % 2, test.digits % 2),
            "slant": _slant_bins(train.images, test.images),
        }
        classes = {"digit": 10, "parity": 2, "slant": _SLANTS}
        return {
            task: TaskData(Task(task, Classification(), classes[task]), images, *columns)
            for task, columns in labels.items()
        }
