"""Uniform weighting: the mean of the losses, with the tasks' own weights (1 by default)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Weighting
from bench.tasks import Task


class _WeightedSum(nn.Module):
    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * weights).sum()


@dataclass(frozen=True)
class Uniform(Weighting):
    """The weighted sum of the losses, with fixed weights."""

    name = "uniform"
    summary = "all tasks weigh the same"
    paper = "none: the baseline"
    default = True

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the weighted sum."""
        return _WeightedSum()
