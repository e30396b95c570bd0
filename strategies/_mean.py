"""The scale that all weightings keep: what reaches the network is a weighted mean of the losses."""

import torch
from torch import Tensor


def shares(factors: Tensor, weights: Tensor) -> Tensor:
    """Return a method's factors `[T]` times the tasks' own weights `[T]`, divided by their sum.

    A task of weight 0 has a share of exactly 0, and a task beside such ones a share of exactly 1.
    Where all weigh 0, as a silent partner does that is pretrained on alone, all shares are 0.
    """
    product = factors * weights
    return product / product.sum().clamp_min(torch.finfo(product.dtype).tiny)
