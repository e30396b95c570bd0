"""The scale that all weightings keep: the network descends a weighted mean of the losses."""

import torch
from torch import Tensor


def shares(factors: Tensor, weights: Tensor) -> Tensor:
    """Return a method's factors `[T]` times the tasks' own weights `[T]`, divided by their sum.

    A task of weight 0 has a share of exactly 0. A task whose companions all weigh 0 has a share of
    exactly 1. Where all weigh 0, as when a silent partner is pretrained on alone, all shares are 0.
    """
    product = factors * weights
    return product / product.sum().clamp_min(torch.finfo(product.dtype).tiny)
