"""Runs jobs in worker processes, each with one thread. A worker that dies costs only its run.

Where memory runs out the run is tried again with one worker less; the last one's failure counts.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.launch import Event, Finished, Launcher, Started
from bench.train.device import LARGE_PAGES
from bench.train.job import Job
from bench.train.run import OUT_OF_MEMORY, attempt, failure

_KILLED = "its process was killed, as happens when memory runs out: run fewer --workers"


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(pipe: Connection, number: int) -> None:
    """Take jobs from the pipe until it closes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    with FlopCounterMode(display=False):
        torch.zeros(1).add(1)  # the first count of a process imports for two seconds
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(attempt(pipe.recv()))


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that start now ignore Ctrl-C from their first moment: the parent stops them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only it gets the interrupt
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def workers_environment() -> Iterator[None]:
    """Let processes that start now be workers: what is read when they start is set meanwhile.

    They have one thread, which torch reads, and ask the system for large pages, which glibc does:
    activations of some megabytes then miss the processor's table of pages less often. A tunable of
    glibc that the user has set stays, and comes last, which counts.
    """
    tunables = [LARGE_PAGES, *filter(None, [os.environ.get("GLIBC_TUNABLES")])]
    wanted = {"OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": ":".join(tunables)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Worker:
    """A process, the pipe to it and the job it has."""

    def __init__(self, number: int) -> None:
        # Not fork: torch's threads do not survive it, and CUDA refuses it.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, number), daemon=True)
        with _interrupts_ignored(), workers_environment():
            self.process.start()
        theirs.close()
        self.number = number
        self.job: Job | None = None
        self.alone = False
        self.dead = False

    def give(self, job: Job, alone: bool) -> Started:
        self.job, self.alone = job, alone
        with contextlib.suppress(OSError):  # a dead worker is found out when its result is read
            self.pipe.send(job)
        return Started(job)

    def result(self) -> Finished:
        """Return what came through the pipe; a closed one means that the process died."""
        assert self.job is not None
        job, self.job = self.job, None
        try:
            return Finished(job, *self.pipe.recv())
        except (EOFError, OSError):
            self.dead = True
            self.stop()
            return Finished(job, failure(job, _cause(self.process.exitcode)), {})

    def stop(self) -> None:
        if not self.dead:
            self.process.kill()
        self.dead = True
        self.process.join()
        self.pipe.close()


def _cause(exitcode: int | None) -> str:
    if exitcode == -signal.SIGKILL:
        return _KILLED
    if exitcode is not None and exitcode < 0:
        return f"its process died of {signal.Signals(-exitcode).name}"
    return f"its process ended with exit code {exitcode}"


@dataclass
class Processes(Launcher):
    """Worker processes that live until all is done."""

    name = "processes"
    summary = "worker processes of one thread each, on this machine"

    def __post_init__(self) -> None:
        self._workers: list[_Worker] = []

    @classmethod
    def suits(cls, workers: int) -> bool:
        """Suit several workers."""
        return workers > 1

    def begin(self, workers: int) -> None:
        """Start the processes."""
        self._workers += [_Worker(number) for number in range(len(self._workers), workers)]

    def close(self) -> None:
        """Stop all processes."""
        self._shrink(0)

    def _shrink(self, size: int) -> None:
        for worker in self._workers[size:]:
            worker.stop()
        del self._workers[size:]

    def run(self, jobs: Sequence[Job], workers: int) -> Iterator[Event]:
        """Run the jobs on at most `workers` processes, handing them out in their order."""
        self._shrink(workers)
        waiting, again = deque(jobs), set[str]()
        while waiting or any(worker.job for worker in self._workers):
            idle = [worker for worker in self._workers if worker.job is None]
            while len(self._workers) < workers and len(idle) < len(waiting):
                taken = {worker.number for worker in self._workers}
                self._workers.append(_Worker(min(set(range(workers)) - taken)))
                idle.append(self._workers[-1])
            for worker in idle:
                if waiting:
                    started = worker.give(waiting.popleft(), len(self._workers) == 1)
                    if started.job.key not in again:
                        yield started
            busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                finished = worker.result()
                if finished.record.reason in (OUT_OF_MEMORY, _KILLED) and not worker.alone:
                    workers = max(1, workers - 1)
                    worker.stop()
                    waiting.appendleft(finished.job)
                    again.add(finished.job.key)
                else:
                    yield finished
                if worker.dead:
                    self._workers.remove(worker)
