"""IMTL-G (Liu et al. 2021): the direction with equal projections on all gradients.

The rule: α with Σ α = 1 such that d = Σ α_t g_t has d · g_t / |g_t| equal for all tasks, in closed
form. The lengths of the gradients decide how long d is and not where it points, so the tasks'
weights do not count. With more than two tasks α may be negative, and d may then go against all of
them. As in the paper, the equal projection is not kept positive. The paper's formula fails for
linearly dependent gradients. TorchJD takes the pseudo-inverse; here the Gramian is made definite by
adding what rounding may have changed. IMTL-L, which scales the losses, is a weighting method and
not implemented here.

With two tasks the direction is that of Nash-MTL, ConFIG and FairGrad with α = 1. ConFIG and
FairGrad, which are not implemented here, give it other lengths, which differ from step to step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator
from bench.tasks import Task

from ._gramian import Geometry, combine

#: Below this, relative to their absolute sum, the sum of the coefficients has no reliable sign.
_NO_SUM = 1e-9


def _rule(g: Geometry) -> Tensor:
    equal = torch.linalg.solve_ex(g.definite, g.active[:, None]).result[:, 0] * g.inverse
    total = equal.sum()
    defined = total.abs() > _NO_SUM * equal.abs().sum()
    return torch.where(defined, equal / total, 0.0)


@dataclass(frozen=True)
class IMTLG(Aggregation):
    """The gradient half of impartial multi-task learning."""

    name = "imtl-g"
    summary = "the direction with equal projections on all task gradients"
    paper = "Liu et al. 2021, Towards Impartial Multi-task Learning"

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the aggregator."""
        return combine(_rule)
