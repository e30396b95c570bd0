"""Runs jobs one after the other in the command's own process, for debugging."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.launch import Event, Finished, Launcher, Started
from bench.launch.worker import answer
from bench.train.job import Job
from bench.train.run import attempt


@dataclass
class Local(Launcher):
    """Only the command's own process. Plugin code that exits or hangs takes it down too."""

    name = "local"
    summary = "one run after the other in the process of the command, for debugging"
    most_workers = 1
    answers = True
    takes_classes = True

    @classmethod
    def suits(cls, workers: int) -> bool:
        """Suit only 0 workers."""
        return workers == 0

    def ask(
        self, function: Callable[..., Any], *arguments: Any, limited: bool = True
    ) -> Iterator[Any]:
        """Answer in this process, however long it takes."""
        return answer(function, *arguments, limited=limited)

    def run(self, jobs: Sequence[Job], workers: int) -> Iterator[Event]:
        """Run the jobs in order."""
        for job in jobs:
            yield Started(job)
            yield Finished(job, *attempt(job))
