"""Runs jobs in worker processes, each with one thread. A worker that dies costs only its run."""

import contextlib
import multiprocessing
import os
import signal
import threading
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(attempt(pipe.recv()))


class _Worker:
    """A process, the pipe to it and the job it has."""

    def __init__(self) -> None:
        # Not fork: torch's threads do not survive it, and CUDA refuses it.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None

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
            self.process.join()
            return Finished(job, failure(job, _cause(self.process.exitcode)), {})

    def stop(self) -> None:
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
    waiting = list(reversed(jobs))
    # One thread a process: torch reads this when it is imported there.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    pool: list[_Worker] = []
    try:
        pool += [_Worker() for _ in range(min(workers, len(jobs)))]
        for worker in pool:
            yield worker.give(waiting.pop())
        while busy := [worker for worker in pool if worker.job is not None]:
            for ready in wait([worker.pipe for worker in busy]):
                worker = next(w for w in busy if w.pipe is ready)
                yield worker.result()
                if not worker.process.is_alive():
                    worker.stop()
                    pool.remove(worker)
                    if waiting:
                        pool.append(worker := _Worker())
                if waiting and worker.process.is_alive():
                    yield worker.give(waiting.pop())
    finally:
        for worker in pool:
            worker.stop()
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
