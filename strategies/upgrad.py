"""UPGrad (Quinton and Rey 2024): project each gradient onto the cone that harms no task, then add.

The rule: the dual cone of the gradients is {x : x · g_j ≥ 0 for all j}. The direction is Σ_t w_t
π(g_t), with π the projection onto that cone and w the tasks' weights. Where the weights are equal,
that is the paper's mean. It harms no task, and grows in proportion with each gradient.

π(g_t) is the shortest Σ_j v_j g_j with v ≥ e_t (the paper's Proposition 1), solved exactly here.
TorchJD adds 1e-4 to the diagonal of the Gramian for its solver; here the addition is the size of
possible rounding errors. With two tasks the direction equals that of PCGrad, including its length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator
from bench.tasks import Task

from ._gramian import Geometry, combine, on_faces, refuse_many, squared_norm


def _projections(cosines: Tensor) -> Tensor:
    """Return `[T, T]`: row t has the coefficients of the projection of unit gradient t."""
    own = torch.eye(len(cosines), dtype=cosines.dtype, device=cosines.device)
    # Each set's answer adds its gradients to gradient t until the sum conflicts with none of them.
    # Clamped, every set's answer is feasible (v ≥ e_t), so the shortest one is the projection.
    rows = (own + on_faces(cosines, -cosines).clamp_min(0)).transpose(1, 2)  # [2^T, t, T]
    best = squared_norm(rows, cosines).nan_to_num(nan=torch.inf).argmin(0)
    return rows.take_along_dim(best[None, :, None], 0)[0]


def _rule(g: Geometry) -> Tensor:
    return (g.weights * g.lengths) @ _projections(g.definite) * g.inverse


@dataclass(frozen=True)
class UPGrad(Aggregation):
    """Unconflicting projection of gradients."""

    name = "upgrad"
    summary = "task gradients are projected onto the cone of directions that harm no task"
    paper = "Quinton and Rey 2024, Jacobian Descent for Multi-Objective Optimization"
    same_for_two = "pcgrad"

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the aggregator."""
        refuse_many(self.name, tasks)
        return combine(_rule)
