"""The process that workers are forked from. Needs no torch, so that it starts beside this one's.

Both load torch, which takes seconds.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from functools import cache
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.util import Finalize
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType

from bench.files import process_folder

#: On Linux, workers are forked from a process that has torch loaded and does nothing else, so each
#: starts at once. It has no threads, which would not survive a fork, and never touches an
#: accelerator, which would refuse one. Elsewhere each worker loads torch itself.
CONTEXT: ForkServerContext | SpawnContext
if sys.platform == "linux":
    CONTEXT = multiprocessing.get_context("forkserver")
else:
    CONTEXT = multiprocessing.get_context("spawn")

#: A setting that glibc reads when a process starts: ask the system for large pages.
LARGE_PAGES = "glibc.malloc.hugetlb=1"
#: Seconds in which a process that was killed has ended for certain.
_MOMENT = 1.0


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Make processes that start now ignore Ctrl-C from the outset: the parent stops them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only it gets the interrupt
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep processes that start now from importing the main module, which workers do not need.

    A script without `if __name__ == "__main__"` would run again in each of them.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def workers_environment() -> Iterator[None]:
    """Make processes that start now workers: set the environment that they read at start.

    They have one thread, which torch reads, and ask the system for large pages, which glibc reads.
    Activations of some megabytes then cause fewer misses in the processor's page-table cache. A
    glibc tunable that the user has set stays, and comes last, so that it takes precedence.
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


@contextlib.contextmanager
def as_workers() -> Iterator[None]:
    """Make processes that start now workers in every respect."""
    with _interrupts_ignored(), _main_hidden(), workers_environment():
        yield


@cache
def _socket_folder() -> Path:
    """Return the folder of the socket that workers are asked for at, which a kill leaves behind.

    multiprocessing would make one of its own, which nobody finds again.
    """
    folder = process_folder("bench-workers")
    multiprocessing.current_process()._config["tempdir"] = str(folder)  # type: ignore[attr-defined]
    Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=-100)  # in this process alone
    return folder


def start() -> None:
    """Start what the first worker would wait for, without waiting for it."""
    if CONTEXT.get_start_method() == "forkserver":
        from multiprocessing import forkserver  # not every platform has it

        CONTEXT.set_forkserver_preload(["bench.train.preload"])
        _socket_folder()
        with as_workers():
            forkserver.ensure_running()


def lives() -> bool:
    """Return whether the process that workers are forked from still runs after a moment.

    One that is killed closes its pipes a while before it has ended, and longer under load.
    """
    if CONTEXT.get_start_method() != "forkserver":
        return True
    from multiprocessing import forkserver

    import psutil

    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    limit = monotonic() + _MOMENT
    with contextlib.suppress(psutil.Error):
        while psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            if monotonic() > limit:
                return True
            sleep(0.05)
    return False


def end_all() -> None:
    """End every process that this one has started, those too that workers are forked from.

    They hold its standard streams open, so whoever reads these would wait for them.
    """
    import psutil

    left = psutil.Process().children(recursive=True)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    if _socket_folder.cache_info().currsize:
        shutil.rmtree(_socket_folder(), ignore_errors=True)
