"""The geometric mean of the losses (Chennupati et al. 2019).

The paper's rule: descend Π_t L_t^(1/T). Its gradient is the mean of ∇L_t / L_t times the geometric
mean, so a loss counts by its relative change and not by its unit. Here the tasks' own weights are
the exponents. The gradient keeps its direction but has the length of a weighted mean: task t weighs
w_t / L_t, divided by the sum. With equal losses the two agree. With unequal losses the paper's
gradient is longer, by the ratio of the geometric mean to the harmonic mean. Some implementations
descend the sum of the logarithms instead, which has the same direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Weighting
from bench.tasks import Task

from ._mean import shares

#: A loss of 0 has no logarithm, and there is nothing to learn from it.
_TINY = 1e-8


class _Geometric(nn.Module):
    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        factors = 1 / losses.detach().clamp_min(_TINY)
        return (losses * shares(factors, weights)).sum()


@dataclass(frozen=True)
class Geometric(Weighting):
    """Descend the geometric mean of the losses."""

    name = "geometric"
    summary = "the geometric mean of the losses"
    paper = "Chennupati et al. 2019, MultiNet++"

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the mean, at the scale of an arithmetic mean."""
        return _Geometric()
