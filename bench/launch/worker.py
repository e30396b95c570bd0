"""Worker processes. Each answers one request at a time, and may die while doing so.

Plugin code runs in them, so whatever it does (raise, exit, crash, hang, fork) costs one request.
Each leads a group of processes, which holds what plugin code starts, and ends with the command.
"""

import contextlib
import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from multiprocessing.connection import Connection, wait
from time import monotonic
from types import GeneratorType
from typing import Any

from bench import accelerator, fork_server
from bench.clean import CleanStream, one_line, progress
from bench.errors import UserError, described, log, readable
from bench.spec.guarded import how_it_ended, kill_group, unforked
from bench.spec.handed import to_send
from bench.spec.registry import avoid, deadly_plugins, receive
from bench.train.device import reason_of

#: Signals that somebody else has sent; a crash sends others.
_FROM_OUTSIDE = {getattr(signal, name, 0) for name in ("SIGKILL", "SIGTERM", "SIGHUP")} - {0}

#: The exit code that multiprocessing makes up for a process whose fork server has died.
_UNKNOWN = 255

#: Seconds between two checks that a worker is alive and on time.
_TICK = 1.0


class RequestError(Exception):
    """A request has no answer; the message is the reason."""


class WorkerLostError(RequestError):
    """A request has no answer, and its worker is gone."""


class WorkerKilledError(WorkerLostError):
    """A worker was killed from outside, as happens when memory runs out."""


class WorkerOverdueError(WorkerLostError):
    """A worker was stopped because its answer took too long."""


def answer(function: Callable[..., Any], *arguments: Any, limited: bool = True) -> Iterator[Any]:
    """Call a function in this process; yield what it returns, or each item of a generator.

    A process that is forked off meanwhile yields nothing. Nothing ends a call that hangs, even if
    `limited`.
    """
    with unforked():
        found = function(*arguments)
    if not isinstance(found, GeneratorType):
        yield found
        return
    while True:
        with unforked():
            try:
                item = next(found)
            except StopIteration:
                return
        yield item


def _lead_a_group() -> None:
    """Make this process and all that it starts a group, which is killed when the command ends.

    On Linux the system does that itself, whatever this process is doing: it is asked to send
    SIGKILL as soon as the command's end of a pipe is closed. Elsewhere a thread waits for it.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if sys.platform == "linux":
        import fcntl

        pipe = parent.sentinel
        fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
        if not wait([pipe], 0):
            return
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()


def _end_with(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    kill_group(os.getpid())
    os._exit(1)


class _Told(logging.Handler):
    """Hands on what is logged in a worker, so that the command shows it, or whoever asks it to."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe, self._alone = pipe, threading.RLock()

    def emit(self, record: logging.LogRecord) -> None:
        self.send("told", (record.levelno, record.getMessage()))

    def send(self, kind: str, value: object) -> None:
        """Send a message. Another thread may log meanwhile."""
        with self._alone:
            self._pipe.send((kind, value))


def _serve(pipe: Connection, number: int, environment: Mapping[str, str]) -> None:
    """Answer requests from the pipe until it closes."""
    _lead_a_group()
    os.dup2(2, 1)  # what a plugin prints is no result of the command
    sys.stdout, sys.stderr = (CleanStream(s, progress) for s in (sys.stdout, sys.stderr))
    os.environ.update(environment)
    answers = _Told(pipe)
    log.addHandler(answers)
    log.setLevel(logging.INFO)
    import_module("bench.train.preload")  # there already if this process was forked
    accelerator.choose(number)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            deadly, sent, function, arguments = pipe.recv()
            avoid(deadly)
            end: tuple[str, object] = ("end", None)
            try:
                receive(sent)
                for item in answer(function, *arguments):
                    answers.send("item", item)
            except UserError as error:
                end = ("user error", _lines(error))
            except BaseException as error:  # an exit too, so that the worker can go on answering
                end = ("error", reason_of(error))
            answers.send(*end)


def _lines(error: UserError) -> list[str]:
    """Return the lines of an error that plugin code may have made of anything."""
    try:
        return [readable(line) for line in error.lines]
    except KeyboardInterrupt:
        raise
    except BaseException:
        return [described(error)]


class Worker:
    """A process and the pipe to it. It has at most one request."""

    def __init__(self, number: int) -> None:
        fork_server.start()
        self.pipe, theirs = fork_server.CONTEXT.Pipe()
        with fork_server.as_workers():
            # The process that workers are forked from may have started under other variables.
            given = theirs, number, dict(os.environ)
            self._process = fork_server.CONTEXT.Process(target=_serve, args=given, daemon=True)
            self._process.start()
        theirs.close()
        self.number = number
        #: Whether its process has been stopped.
        self.stopped = False
        self._limit = math.inf
        self._answer: tuple[str, Any] | None = None
        self._waited = self._looked = 0.0

    def send(self, function: Callable[..., Any], *arguments: Any, limit: float = math.inf) -> None:
        """Request a call of a function, which is found by its name in a module.

        Each item of its answer may take `limit` seconds. Raises `UserError` where a class that was
        handed cannot be sent.
        """
        sent = to_send()
        self._limit, self._waited, self._looked = limit, 0.0, monotonic()
        with contextlib.suppress(OSError):  # a dead worker is detected when its answer is read
            self.pipe.send((deadly_plugins(), sent, function, arguments))

    def answers(self) -> Iterator[Any]:
        """Yield what the request yields or returns, as it arrives.

        Raises `UserError` as the function does, `RequestError` for whatever else it raises, and
        `WorkerLostError` where the process ends or takes too long. The worker is then stopped, as
        it is where some answers are not consumed.
        """
        ended = False
        try:
            while True:
                kind, value = self._answer or self._receive()
                self._answer = None
                ended = kind not in ("item", "lost")
                if kind == "item":
                    yield value
                elif kind == "end":
                    return
                elif kind == "user error":
                    raise UserError(*value)
                elif kind == "lost":
                    raise value
                else:
                    raise RequestError(value)
        finally:
            if not ended:
                self.stop()

    def _receive(self) -> tuple[str, Any]:
        """Wait for an answer."""
        while True:
            if self.pipe.poll(_TICK) and (message := self._message()) is not None:
                return message
            if self.overdue():
                raise WorkerOverdueError(f"took longer than {self._limit:g} s")
            if not self._process.is_alive() and not self.pipe.poll():
                raise self._lost()  # a child process of it may hold the pipe open

    def _message(self) -> tuple[str, Any] | None:
        """Read a message; log it and return None if it is no answer."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # it is made again here, and may raise anything
            raise WorkerLostError(f"its answer cannot be read: {reason_of(error)}") from None
        match message:
            case "told", (int(level), str(line)):
                log.log(level, "%s", one_line(line))
                return None
            case str(kind), value:
                self._waited, self._looked = 0.0, monotonic()
                return kind, value
        raise WorkerLostError(f"it answered with a {type(message).__name__}")

    def heard(self) -> bool:
        """Read what has come; return whether it is an answer, or says that none will come."""
        try:
            self._answer = self._answer or self._message()
        except WorkerLostError as error:
            self._answer = "lost", error
        return self._answer is not None

    def _lost(self) -> WorkerLostError:
        self._process.join(_TICK)  # the pipe may close a moment before the process has ended
        code = self._process.exitcode
        if code is None:
            return WorkerLostError("its process closed the connection to the command")
        if code == _UNKNOWN and not fork_server.lives():
            return WorkerKilledError("what its process was forked from was killed")
        kind = WorkerKilledError if -code in _FROM_OUTSIDE else WorkerLostError
        return kind(f"its process {how_it_ended(code)}")

    def overdue(self) -> bool:
        """Return whether the request takes longer than its limit.

        Time between two calls counts as at most two ticks: meanwhile the command was stopped
        (Ctrl-Z) or the machine slept, and no answer could be read.
        """
        now = monotonic()
        self._waited += min(now - self._looked, 2 * _TICK)
        self._looked = now
        return self._waited > self._limit

    def gone(self) -> bool:
        """Return whether the process has ended."""
        return not self._process.is_alive()

    def stop(self) -> None:
        """End the process and its group."""
        if self.stopped:
            return
        self.stopped = True
        if self._process.pid is not None:
            kill_group(self._process.pid)
        self._process.kill()
        self._process.join()
        self.pipe.close()


def ready(workers: Collection[Worker]) -> list[Worker]:
    """Wait a moment; return the workers that have an answer, have ended or are overdue."""
    said = wait([worker.pipe for worker in workers], _TICK)
    return [w for w in workers if (w.pipe in said and w.heard()) or w.overdue() or w.gone()]
