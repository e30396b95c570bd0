"""MNIST with three label columns: the digit, its parity, and how far it slants.

Real data. All images are MNIST's own.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bench.contracts import Dataset, DataSource
from bench.tasks import ImageSet, TaskData, classification_tasks

from ._bins import QUARTERS, quarters
from ._idx import Labelled, load_idx

_BLOCK = 4096  # images whose moments are computed at once: 26 MB of float64


def load_digits(source: DataSource) -> tuple[Labelled, Labelled]:
    """Return the training and the test part of MNIST, checked.

    Files lie in `MNIST/raw` under the root. Raises `UserError` as `load_idx` does.
    """
    return load_idx(source, "MNIST", megabytes=12)


def slant(images: Tensor) -> Tensor:
    """Return the slant of each image `[N, H, W]`: columns moved per row downwards, float64 `[N]`.

    It is the ratio of the second central moments μ11 / μ02, the shear that deskewing would undo.
    Negative values lean to the right. An image without ink, or with ink on one row, has slant 0.
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


class MNIST(Dataset):
    """Handwritten digits (LeCun et al. 1998): 28 × 28 grey images, 60,000 and 10,000."""

    name = "mnist"
    summary = "handwritten digits: which digit, odd or even, how slanted"
    needs = "--root DIR, --download to fetch it (12 MB)"
    images = "60,000 + 10,000, 28 × 28 grey"
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
        slants = quarters(slant(train.images), slant(test.images))
        return classification_tasks(
            images,
            {
                "digit": (10, train.classes, test.classes),
                "parity": (2, train.classes % 2, test.classes % 2),
                "slant": (QUARTERS, *slants),
            },
        )
