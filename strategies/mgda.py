"""MGDA (Désidéri 2012; Sener and Koltun 2018): the shortest vector among the weighted means.

The rule: α ≥ 0 with Σ α = 1 such that |Σ α_t g_t| is least; the direction is Σ α_t g_t. It improves
every task at one rate, or is zero where no direction improves all. α follows from the gradients
alone, so the tasks' weights do not count, and the task with the shortest gradient weighs most.

Sener and Koltun's code can divide each gradient by a number before it solves for α, and then
combines the undivided ones. The options are `none`, `l2` (their lengths), `loss` (the losses), and
the product, `loss-l2` here and `loss+` there. With `l2` two tasks always have α = (½, ½): equal
weights.

The solver is exact here. Theirs and TorchJD's is Frank-Wolfe's iteration, which stops early. The
heads learn from their tasks' own gradients, as in the paper's Algorithm 1; the authors' code
multiplies those by α too. MGDA-UB, which takes the gradients on the shared features, is `mgda-ub`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator
from bench.tasks import Task

from ._gramian import Geometry, combine, minimum_norm, refuse_many

_TINY = 1e-12
_NORMALIZERS = ("none", "l2", "loss", "loss-l2")


@dataclass(frozen=True)
class MGDA(Aggregation):
    """Multiple-gradient descent."""

    name = "mgda"
    summary = "the shortest convex combination of the task gradients"
    paper = "Sener and Koltun 2018, Multi-Task Learning as Multi-Objective Optimization"

    normalization: str = "none"
    """What gradients are divided by when solving for their weights: none, l2, loss or loss-l2."""

    def __post_init__(self) -> None:
        if self.normalization not in _NORMALIZERS:
            raise ValueError(
                f"normalization is one of {', '.join(_NORMALIZERS)}, not {self.normalization}"
            )

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the aggregator."""
        refuse_many(self.name, tasks)

        def rule(g: Geometry) -> Tensor:
            inverse = g.active if self.normalization in ("l2", "loss-l2") else g.inverse
            if self.normalization in ("loss", "loss-l2"):
                inverse = inverse * g.losses.clamp_min(_TINY)
            return minimum_norm(g.definite, inverse)

        return combine(rule)
