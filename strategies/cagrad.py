"""CAGrad (Liu et al. 2021): near the mean gradient, the direction best for the worst-off task.

The rule: max over d of min_t g_t · d with |d − g₀| ≤ c |g₀|. Here g₀ is the mean of the gradients,
weighted with the tasks' weights. By duality d = g₀ + c |g₀| g_w / |g_w| with g_w = Σ w_t g_t. The
weights w ≥ 0 with Σ w = 1 minimise g_w · g₀ + c |g₀| |g_w|; that problem is solved exactly here.
With c = 0, d is g₀; as c grows, it turns towards MGDA's direction.

The authors' code divides d by 1 + c² (its `rescale=1`), by nothing (the paper, TorchJD) or by 1 + c
(`rescale=2`). Here the divisor is 1 + c, so that equal gradients give their mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator, Range, tuned
from bench.tasks import Task

from ._gramian import Geometry, combine, least, on_faces, refuse_many, squared_norm


def _worst_case(cosines: Tensor, a: Tensor, b: Tensor, radius: Tensor) -> Tensor:
    """Minimise b · β + radius |Σ β_t u_t| over β ≥ 0 with a · β = 1, for unit gradients u.

    On a face the gradient of the cost is a multiple of a. With z = radius β / |Σ β_t u_t| this
    reads cosines z = ν a − b. The condition |Σ z_t u_t| = radius then gives a quadratic equation
    for ν.
    """
    x, y = on_faces(cosines, torch.stack([a, b], dim=1)).unbind(2)
    ax, ay, by = x @ a, y @ a, y @ b
    root = (ay**2 - ax * (by - radius**2)).clamp_min(0).sqrt()
    beta = (((ay + root) / ax)[:, None] * x - y).clamp_min(0)
    # Clamped and scaled, every face's solution is feasible, so the cheapest one is the minimum.
    beta = beta / (beta @ a)[:, None]
    return least(beta, beta @ b + radius * squared_norm(beta, cosines).sqrt())


@dataclass(frozen=True)
class CAGrad(Aggregation):
    """Conflict-averse gradient descent."""

    name = "cagrad"
    summary = "near the mean gradient, the direction that is best for the worst-off task"
    paper = "Liu et al. 2021, Conflict-Averse Gradient Descent for Multi-task Learning"

    c: float = tuned(0.5, Range(0.1, 0.9))
    """How far the direction may be from the mean gradient, as a fraction of its length."""

    def __post_init__(self) -> None:
        if not 0 <= self.c < inf:
            raise ValueError(f"c is a number of at least 0, not {self.c}")

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the aggregator."""
        refuse_many(self.name, tasks)

        def rule(g: Geometry) -> Tensor:
            cosines = g.definite
            mean = g.weights * g.lengths
            b = cosines @ mean
            radius = self.c * (mean @ b).sqrt()
            # In units of length: w_t = a_t β_t, so that a short gradient gives no tiny numbers.
            a = g.inverse / g.inverse.max()
            beta = _worst_case(cosines, a, b, radius)
            towards = radius / squared_norm(beta, cosines).sqrt() * beta * g.inverse
            # With c = 0, or where the mean is zero, there is nowhere to turn to.
            return (g.weights + towards.nan_to_num(nan=0.0)) / (1 + self.c)

        return combine(rule)
