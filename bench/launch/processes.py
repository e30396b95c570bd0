"""Runs jobs in worker processes, each with one thread. A worker that dies costs only its run."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait

from bench.launch import Event, Finished, Started
from bench.run import Job, attempt, failure


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(pipe: Connection) -> None:
    """Take jobs from the pipe until it closes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
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


class _Worker:
    """A process, the pipe to it and the job it has."""

    def __init__(self) -> None:
        # Not fork: torch's threads do not survive it, and CUDA refuses it.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _interrupts_ignored():
            self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.dead = False

    def give(self, job: Job) -> Started:
        self.job = job
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
        self.process.join()
        self.pipe.close()


def _cause(exitcode: int | None) -> str:
    if exitcode == -signal.SIGKILL:
        return "its process was killed, as happens when memory runs out: run fewer --workers"
    if exitcode is not None and exitcode < 0:
        return f"its process died of {signal.Signals(-exitcode).name}"
    return f"its process ended with exit code {exitcode}"


def run(jobs: Sequence[Job], workers: int) -> Iterator[Event]:
    """Run the jobs on `workers` processes, handing them out in their order."""
    waiting = deque(jobs)
    # One thread a process: torch reads this when it is imported there.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    pool: list[_Worker] = []
    try:
        while waiting or any(worker.job for worker in pool):
            idle = [worker for worker in pool if worker.job is None]
            while len(pool) < workers and len(idle) < len(waiting):
                pool.append(_Worker())
                idle.append(pool[-1])
            for worker in idle:
                if waiting:
                    yield worker.give(waiting.popleft())
            busy = {worker.pipe: worker for worker in pool if worker.job is not None}
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                yield worker.result()
                if worker.dead:
                    pool.remove(worker)
    finally:
        for worker in pool:
            worker.stop()
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
