"""Two phases: the auxiliary tasks first, then the target alone."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from bench.contracts import Phase, Range, Schedule, tuned
from bench.tasks import Task


@dataclass(frozen=True)
class Sequential(Schedule):
    """Pretrain on the auxiliary tasks, then train on the target."""

    needs_auxiliary = True
    # Weight decay moves the encoder in pretraining even without a gradient.
    exact_null = False

    share: float = tuned(0.5, Range(0.1, 0.9))
    """Share of the budget spent on pretraining."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"share is a fraction of at least 0 and below 1, not {self.share}")

    @property
    @abstractmethod
    def frozen(self) -> bool:
        """Whether the shared parameters stay fixed in the second phase."""

    def phases(self, tasks: Sequence[Task]) -> Sequence[Phase]:
        """Return both phases, or only the second where pretraining has no share."""
        first, second = (
            tuple(place for place, task in enumerate(tasks) if task.scored is scored)
            for scored in (False, True)
        )
        both = Phase(first, self.share), Phase(second, 1 - self.share, self.frozen)
        return [phase for phase in both if phase.share > 0]
