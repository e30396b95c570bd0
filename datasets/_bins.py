"""Classes derived from a measure of the images. Not a data set itself."""

import torch
from torch import Tensor

#: How many classes `quarters` makes.
QUARTERS = 4
_BLOCK = 1024  # images whose levels are summed at once: 25 MB of int64 at 3 × 32 × 32


def quarters(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Return the quarter, 0 to 3 in int64 `[N]`, that each value falls into.

    Both arguments hold one float64 value per image. The edges are the quartiles of `train` alone,
    so that no test image moves a label.
    """
    edges = train.quantile(torch.arange(1, QUARTERS, dtype=torch.float64) / QUARTERS)
    return torch.bucketize(train, edges), torch.bucketize(test, edges)


def mean_level(images: Tensor) -> Tensor:
    """Return the mean over all pixels and channels of each image, float64 `[N]`, 0 to 255.

    `images` is uint8 `[N, C, H, W]`.
    """
    flat = images.flatten(1)
    # Summed in integers, so that the labels are the same on every machine.
    sums = [block.sum(1) for block in torch.split(flat, _BLOCK)]
    return torch.cat(sums).double() / flat.shape[1]
