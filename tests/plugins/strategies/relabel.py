"""An auxiliary task that ruins the labels that all runs of a process share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.contracts import Auxiliary
from bench.tasks import TaskData


@dataclass(frozen=True)
class Relabel(Auxiliary):
    """Changes the target's labels in place, by torch or past it."""

    name = "relabel"
    summary = "wrong on purpose"
    paper = "none"

    how: str = "torch"

    def attach(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the target again, with its labels all 0."""
        assert target.train_labels is not None
        match self.how:
            case "torch":
                target.train_labels.zero_()
            case "numpy":
                target.train_labels.numpy()[:] = 0
            case "images":
                target.images.test.zero_()
        return [replace(target, task=replace(target.task, name="again", scored=False))]
