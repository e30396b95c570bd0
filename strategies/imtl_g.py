"""IMTL-G (Liu et al. 2021): the direction with equal projections on all gradients.

The rule: α with Σ α = 1 such that d = Σ α_t g_t has d · g_t / |g_t| equal for all tasks, in closed
form. The lengths of the gradients decide how long d is and not where it points, so the tasks'
weights do not count. α may be negative with more than two tasks, and d may then go against all of
them: the equal projection is not kept positive, here as in the paper. The paper's formula fails for
linearly dependent gradients; TorchJD takes the pseudo-inverse, here the Gramian is made definite by
what rounding may have done to it. IMTL-L, which scales the losses, weighs losses and is not here.

With two tasks the direction is that of Nash-MTL, ConFIG and FairGrad with α = 1; those that are not
here give it other lengths, which differ from step to step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator
from bench.tasks import Task

from ._gramian import Geometry, combine

#: Below it the sum of the coefficients, relative to their absolute sum, has no sign.
_NO_SUM = 1e-9


def _rule(g: Geometry) -> Tensor:
    equal = torch.linalg.solve_ex(g.definite, g.active[:, None]).result[:, 0] * g.inverse
    total = equal.sum()
    defined = total.abs() > _NO_SUM * equal.abs().sum()
    return torch.where(defined, equal / total, 0.0)


@dataclass(frozen=True)
class IMTLG(Aggregation):
    """Impartial multi-task learning, its gradient part."""

    name = "imtl-g"
    summary = "the direction with equal projections on all task gradients"
    paper = "Liu et al. 2021, Towards Impartial Multi-task Learning"

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the merge."""
        return combine(_rule)
