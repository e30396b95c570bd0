"""Starts commands of `bench` in sessions of their own, and looks after every process of them.

A command is mostly forked from this process, which has loaded everything already. The process that
workers come from is forked too, where the command would start Python for it. All else is as usual.
"""

import contextlib
import ctypes
import multiprocessing.util
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.campaign.shim import open_plan

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of what its commands leave behind, so that it can be reaped."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def warm_up(arguments: Sequence[Sequence[str]]) -> None:
    """Run commands in this process, so that what they import and look up is there already."""
    import torch

    import bench.__main__
    import bench.api.batch
    import bench.cli.run
    import bench.train.preload  # noqa: F401
    from bench.cli.app import main

    torch.set_num_threads(1)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        for each in arguments:
            with contextlib.suppress(SystemExit):
                main([*each])


@dataclass
class Running:
    """A command: its process, which leads a session, and where its words go."""

    pid: int
    folder: Path
    began: float
    code: int | None = None

    @property
    def said(self) -> str:
        """What is on standard error so far."""
        return (self.folder / "stderr").read_text("utf-8", "replace")

    def ended(self) -> bool:
        """Return whether it has ended, and note how."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait for its end, at most so long, or until something happens; return if it ended."""
        limit = time.monotonic() + seconds
        while not self.ended() and time.monotonic() < limit and not until():
            time.sleep(0.003)
        return self.ended()

    def processes(self) -> dict[int, int]:
        """Return all living processes of its session, each with its group."""
        found = {}
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal() and (status := _status(entry.name)):
                state, group, session = status
                if session == self.pid and state not in "ZX":
                    found[int(entry.name)] = group
        return found

    def workers(self) -> list[int]:
        """Return its workers, each of which leads a group."""
        return [pid for pid, group in self.processes().items() if pid == group != self.pid]

    def send(self, number: int, target: str) -> None:
        """Send a signal to the command alone, to its group, or to a worker."""
        workers = self.workers() if target == "worker" else []
        with contextlib.suppress(ProcessLookupError):
            if target == "group":
                os.killpg(self.pid, number)
            elif target == "command":
                os.kill(self.pid, number)
            elif workers:
                os.kill(workers[0], number)

    def orphans(self, seconds: float) -> list[str]:
        """Return what still lives of it after a while, in words, and end that."""
        limit = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < limit:
            _reap()
            time.sleep(0.02)
        words = [f"{pid} {_words(pid)}" for pid in left]
        self.end()
        return words

    def end(self) -> None:
        """End all its processes."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait(10)
        _reap()


def _status(pid: str) -> tuple[str, int, int] | None:
    try:
        fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[2]), int(fields[3])


def _words(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "cmdline").read_text().replace("\0", " ")[:200]
    return ""


def _reap() -> None:
    """Reap what was adopted and has ended. The command itself is waited for first."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def start(
    arguments: Sequence[str], folder: Path, plan: Path, *, plain: bool = False, drawn: bool = True
) -> Running:
    """Start a command in a folder: forked from this process, or if `plain` with Python anew.

    Plots are drawn only if so. They take most of the time of a small report.
    """
    (folder / "tmp").mkdir(exist_ok=True)
    for name in ("stdout", "stderr"):
        (folder / name).write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            _become(arguments, folder, plan, plain, drawn)
        os._exit(99)
    return Running(pid, folder, time.monotonic())


def _become(
    arguments: Sequence[str], folder: Path, plan: Path, plain: bool, drawn: bool
) -> NoReturn:
    os.setsid()
    os.chdir(folder)
    for handle, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), handle)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ["TMPDIR"] = str(folder / "tmp")
    if plain:
        os.environ["CAMPAIGN_PLAN"] = str(plan)
        os.execv(sys.executable, [sys.executable, "-m", "bench", *arguments])
    import bench.__main__
    from bench.report import write

    if not drawn:
        write.drawings = lambda *_: {}
    tempfile.tempdir = None
    multiprocessing.util.spawnv_passfds = _forked  # type: ignore[assignment]
    sys.argv = ["bench", *arguments]
    open_plan(plan)
    bench.__main__.main()
    os._exit(98)


def _forked(path: str, args: Sequence[str], passfds: Sequence[int]) -> int:
    """Fork where multiprocessing would start Python with a program."""
    pid = os.fork()
    if pid:
        return pid
    with contextlib.suppress(BaseException):
        kept = sorted({0, 1, 2, *passfds})
        for low, high in zip(kept, [*kept[1:], 65536], strict=True):
            os.closerange(low + 1, high)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        exec(args[-1], {"__name__": "__main__"})
    os._exit(0)
