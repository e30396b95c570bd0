"""Runs jobs in worker processes, each with one thread. A worker that dies costs only its run.

Where memory runs out, the run is tried again with one worker fewer. A failure with a single worker
is final, but for a process that is killed: its run is tried once more.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench import fork_server
from bench.accelerator import HOST
from bench.launch import Event, Finished, Launcher, Started
from bench.launch.events import ResultError, sound
from bench.launch.worker import (
    RequestError,
    Worker,
    WorkerKilledError,
    WorkerOverdueError,
    ready,
)
from bench.store.records import Record
from bench.train.device import OUT_OF_MEMORY
from bench.train.job import Job
from bench.train.run import Examples, attempt, failure


@dataclass
class Processes(Launcher):
    """Worker processes that live until all is done.

    A run that takes `patience` times its expected device-seconds is stopped, but not before `floor`
    seconds, because loading data and evaluation count too. One step of pricing is stopped after
    `pricing` seconds. Raises `ValueError` for values below 0.
    """

    name = "processes"
    summary = "worker processes of one thread each, on this machine"
    answers = True
    takes_classes = True

    patience: float = 50.0
    floor: float = 600.0
    pricing: float = 300.0

    def __post_init__(self) -> None:
        if not min(self.patience, self.floor, self.pricing) >= 0:
            raise ValueError("patience, floor and pricing are 0 or more")
        self._workers: list[Worker] = []

    @classmethod
    def suits(cls, workers: int) -> bool:
        """Suit any number of workers."""
        return workers > 0

    def begin(self, workers: int) -> None:
        """Start what the processes are forked from; they themselves start in a moment."""
        fork_server.start()

    def _start(self) -> Worker:
        taken = {worker.number for worker in self._workers}
        self._workers.append(Worker(min(set(range(len(taken) + 1)) - taken)))
        return self._workers[-1]

    def close(self) -> None:
        """Stop all processes."""
        self._shrink(0)

    def _shrink(self, size: int) -> None:
        for worker in self._workers[size:]:
            worker.stop()
        del self._workers[size:]

    def _forget_stopped(self) -> None:
        self._workers = [worker for worker in self._workers if not worker.stopped]

    def ask(
        self, function: Callable[..., Any], *arguments: Any, limited: bool = True
    ) -> Iterator[Any]:
        """Answer in the first process, which later runs use too; in a new one if that has died."""
        worker = self._workers[0] if self._workers else self._start()
        worker.send(function, *arguments, limit=self.pricing if limited else math.inf)
        try:
            yield from worker.answers()
        finally:
            self._forget_stopped()

    def run(self, jobs: Sequence[Job], workers: int) -> Iterator[Event]:
        """Run the jobs on at most `workers` processes, assigned in order."""
        self._shrink(workers)
        waiting, again = deque(jobs), set[str]()
        busy: dict[Worker, tuple[Job, bool]] = {}  # the job, and whether it is alone
        try:
            while waiting or busy:
                idle = [worker for worker in self._workers if worker not in busy]
                while len(self._workers) < workers and len(idle) < len(waiting):
                    idle.append(self._start())
                for worker in idle[: len(waiting)]:
                    job = waiting.popleft()
                    limit = max(self.floor, self.patience * job.expected_seconds)
                    worker.send(attempt, job, limit=limit)
                    busy[worker] = job, len(self._workers) == 1
                    if job.key not in again:
                        yield Started(job)
                for worker in ready(busy):
                    job, alone = busy.pop(worker)
                    record, examples, crowded = _result(worker, job, alone)
                    killed = worker.stopped  # perhaps for no fault of the run
                    if crowded and (not alone or (killed and job.key not in again)):
                        workers = workers if alone else max(1, workers - 1)
                        worker.stop()
                        waiting.appendleft(job)
                        again.add(job.key)
                    else:
                        if record.status == "failed" and job.spec.device != HOST:
                            worker.stop()  # what fails on a device may leave it unusable
                        yield Finished(job, record, examples)
                    self._forget_stopped()
        finally:
            for worker in busy:  # their results are no longer needed
                worker.stop()
            self._forget_stopped()


def _result(worker: Worker, job: Job, alone: bool) -> tuple[Record, Examples, bool]:
    """Return the result of a job, and whether more memory might have helped."""
    try:
        (found,) = worker.answers()
        record, examples = sound(job, *found)
    except WorkerKilledError:
        advice = "lower --batch-size" if alone else "run fewer --workers"
        reason = f"its process was killed, as happens when memory runs out: {advice}"
        return failure(job, reason), {}, True
    except WorkerOverdueError as error:
        reason = (
            f"{error}, where {job.expected_seconds:.3g} s of training were expected: if it does "
            "not hang, give it more, --launcher processes@floor=SECONDS"
        )
        return failure(job, reason), {}, False
    except RequestError as error:
        return failure(job, str(error)), {}, False
    except ResultError as error:
        return failure(job, f"it has no sound result: {error}"), {}, False
    return record, examples, record.reason == OUT_OF_MEMORY
