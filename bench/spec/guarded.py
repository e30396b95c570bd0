"""Keeps the command alive where code of plugins is imported, and alone where it forks.

Most plugin code runs in worker processes. An import has to happen in the command itself, so it is
tried in a process of its own before.
"""

import contextlib
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from time import monotonic

from bench.errors import UserError

#: Seconds that the import of one plugin may take, unless the environment says otherwise.
_IMPORT_SECONDS = 30.0
_VARIABLE = "BENCH_IMPORT_SECONDS"
#: Seconds between two looks at whether a process has ended.
_TICK = 0.1


@contextlib.contextmanager
def unforked() -> Iterator[None]:
    """End, where the block ends, every process that was forked off inside of it.

    It is a copy of this one and would go on with its work: answer a request, or write a record.
    """
    own = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != own:
            os._exit(0)


def how_it_ended(code: int) -> str:
    """Return in words how a process ended: with its exit code, or of a signal if it is negative."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"


def kill_group(leader: int) -> None:
    """End all processes of a group, whether its leader still lives or not."""
    with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):
        os.killpg(leader, signal.SIGKILL)


def deadly(loads: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    """Return which calls would end this process or hold it for long, each with the reason.

    They are tried one after the other in a forked process. One that raises is harmless. Where
    processes cannot be forked safely, none is tried.
    """
    found: dict[str, str] = {}
    waiting = list(loads)
    while waiting and sys.platform == "linux":
        survived, reason = _tried([loads[name] for name in waiting])
        if not reason:
            break
        found[waiting[survived]] = reason
        del waiting[: survived + 1]
    return found


def _import_seconds() -> float:
    given = os.environ.get(_VARIABLE, "")
    try:
        return float(given or _IMPORT_SECONDS)
    except ValueError:
        raise UserError(f"{_VARIABLE}={given}: give a number of seconds") from None


def _tried(loads: list[Callable[[], object]]) -> tuple[int, str]:
    """Make calls in a forked process; return how many it survived, and what the next one did."""
    limit = _import_seconds()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Threads of the libraries are idle here, and the child uses none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            _try(loads, writer)
        os._exit(0)
    os.close(writer)
    survived, since, status = 0, monotonic(), None
    try:
        while survived < len(loads) and status is None and monotonic() - since < limit:
            # A process that the child has forked may hold the pipe open, so both are looked at.
            ended, code = os.waitpid(child, os.WNOHANG)
            status = code if ended else None
            while survived < len(loads) and select.select([reader], [], [], _TICK * (not ended))[0]:
                if not (done := os.read(reader, len(loads))):
                    break
                survived, since = survived + len(done), monotonic()
    finally:
        os.close(reader)
        kill_group(child)
        if status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if survived == len(loads):
        return survived, ""
    if status is None:
        return survived, (
            f"its import takes longer than {limit:g} s: if it does not hang, give it more with "
            f"{_VARIABLE}"
        )
    return survived, f"its import {how_it_ended(os.waitstatus_to_exitcode(status))}"


def _try(loads: list[Callable[[], object]], writer: int) -> None:
    """Make calls, and write a byte after each."""
    os.setpgid(0, 0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)  # those of the parent are not here
    for load in loads:
        with unforked(), contextlib.suppress(BaseException):
            load()
        os.write(writer, b".")
