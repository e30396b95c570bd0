"""A plugin that forks while it is imported."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Weighting
from bench.tasks import Task


class _Mean(nn.Module):
    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * weights).sum()


os.fork()


@dataclass(frozen=True)
class Forks(Weighting):
    """Is listed, if it can be."""

    name = "forks"
    summary = "wrong on purpose"
    paper = "none"

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the mean loss."""
        return _Mean()
