"""A plugin whose name is no UTF-8."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Weighting
from bench.tasks import Task


class _Mean(nn.Module):
    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * weights).sum()


@dataclass(frozen=True)
class Bytes(Weighting):
    """Is listed, if it can be."""

    name = "planted \ud800"
    summary = "wrong on purpose"
    paper = "none"

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the mean loss."""
        return _Mean()
