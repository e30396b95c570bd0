"""Runs jobs one after the other in this process."""

from collections.abc import Iterator, Sequence

from bench.launch import Event, Finished, Started
from bench.run import Job, attempt


def run(jobs: Sequence[Job]) -> Iterator[Event]:
    """Run the jobs in their order."""
    for job in jobs:
        yield Started(job)
        yield Finished(job, *attempt(job))
