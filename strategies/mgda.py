"""MGDA (Désidéri 2012; Sener and Koltun 2018): the shortest vector among the weighted means.

The rule: α ≥ 0 with Σ α = 1 such that |Σ α_t g_t| is least; the direction is Σ α_t g_t. It improves
every task at one rate, or is zero where no direction improves all. α follows from the gradients
alone, so the tasks' weights do not count, and the task with the shortest gradient weighs most.

Sener and Koltun's code can divide the gradients by a number each before α is sought, and then
combines the undivided ones: `none`, `l2` (their lengths), `loss`, and `loss+` (both). The last two
need the losses, which a merging part is not given, so they are left out. With `l2` two tasks always
have α = (½, ½): equal weights.

The solver is exact here, where theirs and TorchJD's is Frank-Wolfe's iteration, which stops early.
MGDA-UB takes the gradients on the shared features for an upper bound. That is another number to
ask for in a step, and one that a network whose tasks are mixed inside (cross-stitch) does not have.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Merge, Merging
from bench.tasks import Task

from ._gramian import Geometry, combine, minimum_norm, refuse_many

_NORMALIZERS = ("none", "l2")


@dataclass(frozen=True)
class MGDA(Merging):
    """Multiple-gradient descent."""

    name = "mgda"
    summary = "the shortest convex combination of the task gradients"
    paper = "Sener and Koltun 2018, Multi-Task Learning as Multi-Objective Optimization"

    normalization: str = "none"
    """What gradients are divided by while their weights are sought: none, or l2, their length."""

    def __post_init__(self) -> None:
        if self.normalization in ("loss", "loss+"):
            raise ValueError(
                f"normalization '{self.normalization}' needs the losses, which a merging part is "
                "not given; use none or l2"
            )
        if self.normalization not in _NORMALIZERS:
            raise ValueError(f"normalization is none or l2, not {self.normalization}")

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Merge:
        """Return the merge."""
        refuse_many(self.name, tasks)

        def rule(g: Geometry) -> Tensor:
            lengths = g.inverse if self.normalization == "none" else g.active
            return minimum_norm(g.definite, lengths)

        return combine(rule)
