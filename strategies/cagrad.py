"""CAGrad (Liu et al. 2021): near the mean gradient, the direction best for the worst-off task.

The rule: max over d of min_t g_t · d with |d − g₀| ≤ c |g₀|, where g₀ is the mean of the gradients,
weighted with the tasks' weights. By duality d = g₀ + c |g₀| g_w / |g_w|, with w ≥ 0, Σ w = 1
minimising g_w · g₀ + c |g₀| |g_w|, where g_w = Σ w_t g_t; solved here exactly. With c = 0 it is g₀;
as c grows it turns to MGDA's direction.

The authors' code divides d by 1 + c² (its `rescale=1`), by nothing (the paper, TorchJD) or by 1 + c
(`rescale=2`). Here it is 1 + c: equal gradients then give what their mean gives.
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

    On a face the gradient of the cost is a multiple of a: with z = radius β / |Σ β_t u_t|, cosines
    z = ν a − b, and |Σ z_t u_t| = radius gives a quadratic equation for ν.
    """
    x, y = on_faces(cosines, torch.stack([a, b], dim=1)).unbind(2)
    ax, ay, by = x @ a, y @ a, y @ b
    root = (ay**2 - ax * (by - radius**2)).clamp_min(0).sqrt()
    beta = (((ay + root) / ax)[:, None] * x - y).clamp_min(0)
    # Clamped and scaled every face's answer is allowed, so the cheapest one is the minimum.
    beta = beta / (beta @ a)[:, None]
    return least(beta, beta @ b + radius * squared_norm(beta, cosines).sqrt())


@dataclass(frozen=True)
class CAGrad(Aggregation):
    """Conflict-averse gradient descent."""

    name = "cagrad"
    summary = "near the mean gradient, the direction that is best for the worst-off task"
    paper = "Liu et al. 2021, Conflict-Averse Gradient Descent for Multi-task Learning"

    c: float = tuned(0.5, Range(0.1, 0.9))
    """How far from the mean gradient the direction may be, as a part of its length."""

    def __post_init__(self) -> None:
        if not 0 <= self.c < inf:
            raise ValueError(f"c is a number of at least 0, not {self.c}")

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the merge."""
        refuse_many(self.name, tasks)

        def rule(g: Geometry) -> Tensor:
            cosines = g.definite
            mean = g.weights * g.lengths
            b = cosines @ mean
            radius = self.c * (mean @ b).sqrt()
            # In units of length: w_t = a_t β_t, so that a short gradient is no small number.
            a = g.inverse / g.inverse.max()
            beta = _worst_case(cosines, a, b, radius)
            towards = radius / squared_norm(beta, cosines).sqrt() * beta * g.inverse
            # With c = 0, or where the mean is zero, there is nowhere to turn to.
            return (g.weights + towards.nan_to_num(nan=0.0)) / (1 + self.c)

        return combine(rule)
