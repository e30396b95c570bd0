"""Joint training: all tasks in every step, from the first to the last."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.contracts import Phase, Schedule
from bench.tasks import Task


@dataclass(frozen=True)
class Joint(Schedule):
    """One phase with all tasks."""

    name = "joint"
    summary = "all tasks are trained together, in one phase"
    paper = "none: the baseline"
    default = True

    def phases(self, tasks: Sequence[Task]) -> Sequence[Phase]:
        """Return the one phase."""
        return [Phase(tuple(range(len(tasks))))]
