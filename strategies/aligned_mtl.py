"""Aligned-MTL (Senushkin et al. 2023): make gradients orthogonal and equally long, then average.

The rule: with the eigenvalues λ and eigenvectors V of the Gramian and the tasks' weights w, the
direction is Σ α_t g_t with α = √λ_min V λ^(−½) Vᵀ w. That is the weighted mean of the nearest
orthogonal gradients, over the rank of the Gramian. Each of those is as long as the smallest
singular value. The paper takes λ_min; the authors' code can take the mean or the median instead.

The rank is that of the cosines, where lengths play no part: a task whose gradient is much shorter
is what this method is for, and stays. Only gradients that lie in one line are dropped. The authors'
code drops eigenvalues of that balanced matrix under T times the rounding error of the network's
dtype. Here the threshold is 100 times, because the cosines are no more exact in float32. So two
gradients with nearly the same direction give a short step, and two with exactly the same direction
give their mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator
from bench.tasks import Task

from ._gramian import Geometry, combine, eigen


def _rule(g: Geometry) -> Tensor:
    balanced, _ = eigen(g.cosines * g.active * g.active[:, None])
    rank = (balanced > g.tolerance * balanced.max()).sum()
    values, vectors = eigen(g.cosines * g.lengths * g.lengths[:, None])
    place = values.argsort(descending=True).argsort()
    kept = place < rank
    smallest = torch.where(kept, values, torch.inf).min()
    scale = torch.where(kept, smallest / values, 0.0).sqrt()
    return vectors @ (scale * (g.weights @ vectors))


@dataclass(frozen=True)
class AlignedMTL(Aggregation):
    """Independent component alignment."""

    name = "aligned-mtl"
    summary = "the mean of the task gradients made orthogonal and equally long"
    paper = "Senushkin et al. 2023, Independent Component Alignment for Multi-Task Learning"

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the aggregator."""
        return combine(_rule)
