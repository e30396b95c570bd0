"""The partner as an auxiliary task: the pair's other tasks serve the target and are not scored.

The network is that of the sharing part; what differs from training all tasks as equals is the
partners' lower weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from bench.contracts import Auxiliary
from bench.tasks import TaskData


@dataclass(frozen=True)
class Partner(Auxiliary):
    """Learn the pair's other tasks beside the target, at a lower weight."""

    name = "partner"
    summary = "auxiliary task: the pair's other tasks, at a lower weight"
    paper = "Caruana 1997, Multitask Learning"
    uses_partners = True

    weight: float = 0.3
    """Weight of each partner's loss; the target's is 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < inf:
            raise ValueError(f"weight is a number of at least 0, not {self.weight}")

    def attach(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the partners at this weight."""
        return [
            replace(
                partner,
                task=replace(partner.task, weight=self.weight * partner.task.weight, scored=False),
            )
            for partner in partners
        ]
