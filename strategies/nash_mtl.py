"""Nash-MTL (Navon et al. 2022): the tasks bargain over the direction.

The rule: d = Σ α_t g_t with α > 0 and G α = 1 / α, where G is the Gramian. In a ball, this is the
direction that maximises Σ log(d · g_t). It points the same way however long the gradients are, so
the tasks' weights do not count, and it improves every task. With z_t = α_t |g_t| and the cosines C,
z is the minimum of the convex ½ zᵀ C z − Σ log z_t. Damped Newton steps find it for any number of
tasks; with two it is z_1 = z_2.

The authors' code solves a sequence of convex approximations on the host, at most twenty. It starts
from the last step's answer, and some of its answers do not solve the equation. It can keep an
answer for several steps to save time; here every step has its own.

The length of d is not part of the bargain. α as it stands gives √T, however long the gradients are,
and the authors cap it at 1. Here α is divided by its sum, so that equal gradients give themselves.
With two tasks d equals that of IMTL-G, including its length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator
from bench.tasks import Task

from ._gramian import Geometry, combine, squared_norm

#: Newton steps: quadratic convergence has set in wherever a direction improves all tasks.
_STEPS = 20


def _bargain(cosines: Tensor) -> Tensor:
    """Return z > 0 `[T]` with `cosines @ z = 1 / z`, for a positive definite matrix `[T, T]`."""
    count = len(cosines)
    ones = torch.ones_like(cosines[0])
    z = (count / squared_norm(ones, cosines)).sqrt() * ones  # the answer for two tasks
    for _ in range(_STEPS if count > 2 else 0):
        slope = cosines @ z - 1 / z
        curvature = cosines + torch.diag(z**-2)
        step = torch.linalg.solve_ex(curvature, slope[:, None]).result[:, 0]
        # The function is self-concordant: damped this way, a step keeps z positive and never fails.
        z = z - step / (1 + (slope @ step).clamp_min(0).sqrt())
    return z


def _rule(g: Geometry) -> Tensor:
    alpha = _bargain(g.definite) * g.inverse
    return alpha / alpha.sum()


@dataclass(frozen=True)
class NashMTL(Aggregation):
    """Multi-task learning as a bargaining game."""

    name = "nash-mtl"
    summary = "the direction with the largest product of all tasks' improvements"
    paper = "Navon et al. 2022, Multi-Task Learning as a Bargaining Game"
    same_for_two = "imtl-g"

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the aggregator."""
        return combine(_rule)
