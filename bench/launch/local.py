"""Runs jobs one after the other in this process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.launch import Event, Finished, Launcher, Started
from bench.train.job import Job
from bench.train.run import attempt


@dataclass
class Local(Launcher):
    """One process for all: the command's own."""

    name = "local"
    summary = "one run after the other in the process of the command"
    most_workers = 1

    @classmethod
    def suits(cls, workers: int) -> bool:
        """Suit one worker."""
        return workers == 1

    def run(self, jobs: Sequence[Job], workers: int) -> Iterator[Event]:
        """Run the jobs in their order."""
        for job in jobs:
            yield Started(job)
            yield Finished(job, *attempt(job))
