"""Where runs execute. Each launcher takes jobs and yields the same events; none touches files."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.records import Record
from bench.run import Examples, Job


@dataclass(frozen=True)
class Started:
    """A worker has begun a job."""

    job: Job


@dataclass(frozen=True)
class Finished:
    """A job has ended, well or not."""

    job: Job
    record: Record
    examples: Examples


Event = Started | Finished


def launch(jobs: Sequence[Job], workers: int) -> Iterator[Event]:
    """Run jobs in this process (one worker) or in worker processes, and yield what happens."""
    from bench.launch import local, processes

    return local.run(jobs) if workers == 1 else processes.run(jobs, workers)


def auto_workers(jobs: Sequence[Job]) -> int:
    """Return how many workers suit the jobs: one a physical core on a CPU, one on a GPU.

    A handful of seconds of work is not worth the start of a second process.
    """
    import psutil

    if not jobs or jobs[0].spec.device != "cpu":
        return 1
    if sum(job.expected_seconds for job in jobs) < 8:
        return 1
    cores = psutil.cpu_count(logical=False) or 1
    with contextlib.suppress(AttributeError, psutil.Error):  # not every platform tells
        cores = min(cores, len(psutil.Process().cpu_affinity()))
    return max(1, min(cores, len(jobs)))
