"""Base class of auxiliary tasks: a weight in the loss, and its decay. Not a component itself."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import cast, get_args

from bench.contracts import Auxiliary, Range, tuned
from bench.tasks import Decay, TaskData


@dataclass(frozen=True)
class WeightedAuxiliary(Auxiliary):
    """An auxiliary task whose weight is a knob."""

    weight: float = tuned(1.0, Range(0.05, 2, log=True))
    """Weight of the auxiliary loss; the target's is 1."""

    decay: str = "none"
    """How the weight falls to 0 over the steps: none, linear or cosine."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < inf:
            raise ValueError(f"weight is a number of at least 0, not {self.weight}")
        if self.decay not in get_args(Decay):
            raise ValueError(f"decay is none, linear or cosine, not {self.decay}")

    @abstractmethod
    def tasks(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the auxiliary tasks for `target`, whatever their weights."""

    def attach(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the auxiliary tasks with this weight. Raises what `tasks` raises."""
        decay = cast(Decay, self.decay)
        return [
            replace(
                d,
                task=replace(d.task, weight=self.weight * d.task.weight, decay=decay, scored=False),
            )
            for d in self.tasks(target, partners)
        ]
