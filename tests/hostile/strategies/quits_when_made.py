"""A plugin that ends whoever makes it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Weighting
from bench.tasks import Task


class _Mean(nn.Module):
    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * weights).sum()


@dataclass(frozen=True)
class QuitsWhenMade(Weighting):
    """Is listed, if it can be."""

    name = "quits-when-made"
    summary = "wrong on purpose"
    paper = "none"

    def __post_init__(self) -> None:
        os._exit(0)

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the mean loss."""
        return _Mean()
