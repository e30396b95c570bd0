"""The partner as an auxiliary task: the pair's other tasks serve the target and are not scored.

The network is that of the sharing component. The only difference from training all tasks as equals
is the partners' lower weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.contracts import Range, tuned
from bench.tasks import TaskData

from ._weighted import WeightedAuxiliary


@dataclass(frozen=True)
class Partner(WeightedAuxiliary):
    """Learn the pair's other tasks along with the target, at a lower weight."""

    name = "partner"
    summary = "auxiliary task: the pair's other tasks, at a lower weight"
    paper = "Caruana 1997, Multitask Learning"
    uses_partners = True

    weight: float = tuned(0.3, Range(0.05, 2, log=True))
    """Weight of each partner's loss; the target's is 1."""

    def tasks(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the partners."""
        return partners
