"""PCGrad (Yu et al. 2020): project conflicting gradients off each other, then add them.

The rule: for each task i, start from g ← g_i. Then take every other task j in a random order. Where
g · g_j < 0, set g ← g − (g · g_j / |g_j|²) g_j, with g_j as it was before any projection. The
direction is the sum of the results.

The rows come weighted with weights that sum to 1, so equal gradients give the encoder what
single-task training gives it. The paper's sum is larger by the number of tasks. The projections do
not depend on the rows' lengths. With two tasks the order does not matter and the direction equals
that of UPGrad, including its length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator
from bench.tasks import Task


@dataclass(frozen=True)
class PCGrad(Aggregation):
    """Gradient surgery."""

    name = "pcgrad"
    summary = "conflicting task gradients are projected off each other"
    paper = "Yu et al. 2020, Gradient Surgery for Multi-Task Learning"

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the aggregator, which draws the projections' order from `generator` each step."""

        def merge(gradients: Tensor, losses: Tensor, weights: Tensor) -> Tensor:
            # A projected row is a combination of all rows. So the projections act on its
            # coefficients [T] with the Gramian [T, T], and the long rows are read only once.
            gram = gradients @ gradients.T
            lengths = gram.diagonal().clamp_min(torch.finfo(gram.dtype).tiny)
            count = len(gradients)
            coefficients = torch.eye(count, dtype=gram.dtype, device=gram.device)
            rows = list(coefficients)
            for i in range(count):
                for j in torch.randperm(count, generator=generator).tolist():
                    if j != i:
                        conflict = (rows[i] @ gram[j]).clamp_max(0)
                        rows[i] = rows[i] - conflict / lengths[j] * coefficients[j]
            return torch.stack(rows).sum(0) @ gradients

        return merge
