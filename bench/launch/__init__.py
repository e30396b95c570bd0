"""Where runs execute. Each launcher takes jobs and yields the same events; none touches files."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.records import Record
from bench.run import Examples, Job

if TYPE_CHECKING:
    from bench.launch.processes import Pool


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

#: Seconds of work below which one process does it all.
_WORTH_A_PROCESS = 8
#: What a worker takes beside the tensors of a step: torch, and images of the usual sets.
_PROCESS_BYTES = 2**30


def launch(jobs: Sequence[Job], workers: int, pool: "Pool | None" = None) -> Iterator[Event]:
    """Run jobs in this process (one worker) or in worker processes, and yield what happens.

    `pool` holds processes that have started already.
    """
    from bench.launch import local, processes

    if workers == 1:
        return local.run(jobs)
    return pool.run(jobs, workers) if pool else processes.run(jobs, workers)


def auto_workers(jobs: Sequence[Job]) -> int:
    """Return how many workers suit the jobs: one a physical core on a CPU, one a GPU.

    Never more than have room in memory together. A handful of seconds of work is not worth the
    start of a second process.
    """
    if not jobs:
        return 1
    if jobs[0].spec.device == "cuda":
        import torch

        return min(torch.cuda.device_count(), len(jobs))
    if sum(job.expected_seconds for job in jobs) < _WORTH_A_PROCESS:
        return 1
    import psutil

    largest = max(price.peak_bytes for job in jobs for price in job.prices) + _PROCESS_BYTES
    room = int(psutil.virtual_memory().available // largest)
    return max(1, min(usable_cores(), len(jobs), room))


def usable_cores() -> int:
    """Return how many physical cores this process may use."""
    import psutil

    cores = psutil.cpu_count(logical=False) or 1
    with contextlib.suppress(AttributeError, psutil.Error):  # not every platform tells
        cores = min(cores, len(psutil.Process().cpu_affinity()))
    return max(1, cores)
