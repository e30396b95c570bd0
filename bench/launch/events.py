"""What a launcher tells of its jobs, and whether that is what it was asked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from bench.errors import LauncherError, UserError, described, message_of
from bench.launch.worker import RequestError
from bench.spec.guarded import unforked
from bench.store.records import Record
from bench.train.job import Job
from bench.train.run import Examples


@dataclass(frozen=True)
class Started:
    """A worker has begun a job."""

    job: Job


@dataclass(frozen=True)
class Finished:
    """A job has ended, successfully or not."""

    job: Job
    record: Record
    examples: Examples


@dataclass(frozen=True)
class Stored:
    """A job has ended, and its worker has written the record to the results folder itself."""

    job: Job


Event = Started | Finished | Stored

#: Errors of a launcher that are answers too.
Passed = tuple[type[BaseException], ...]

_END = object()


def guarded(
    name: str, what: str, call: Callable[..., Any], *arguments: Any, passed: Passed = ()
) -> Any:
    """Return what a method of a launcher returns. Raises `LauncherError` for what it raises.

    A `UserError` is the launcher's own word to the user and stays, as does what is `passed`.
    """
    try:
        with unforked():
            return call(*arguments)
    except BaseException as error:
        if isinstance(error, (UserError, KeyboardInterrupt, *passed)):
            raise
        raise LauncherError(f"launcher '{name}' {what}: {described(error)}") from error


def checked(name: str, jobs: Sequence[Job], run: Callable[[], Iterable[Event]]) -> Iterator[Event]:
    """Yield the events of a launcher, each checked against the jobs that it was asked for.

    Raises `LauncherError` for the first that does not fit, and where some are missing at the end.
    """
    waiting = {job.key: job for job in jobs}
    running: dict[str, Job] = {}

    def fault(what: str) -> LauncherError:
        return LauncherError(f"launcher '{name}' {what}")

    events = guarded(name, "yields no events", lambda: iter(run()))
    while (event := guarded(name, "failed", next, events, _END)) is not _END:
        if not isinstance(event, Event):
            raise fault(f"yields a {type(event).__name__}, which is no event")
        key = event.job.key if isinstance(event.job, Job) else None
        if isinstance(event, Started):
            if key not in waiting:
                raise fault(f"began {_called(event.job)}, which is not or no longer to be begun")
            running[key] = waiting.pop(key)
            yield Started(running[key])
            continue
        if key not in running:
            raise fault(f"finished {_called(event.job)}, which was not running")
        job = running.pop(key)
        if isinstance(event, Stored):
            yield Stored(job)
            continue
        try:
            yield Finished(job, *sound(job, event.record, event.examples))
        except ResultError as error:
            raise fault(f"has no sound result of {_called(job)}: {error}") from None
    if left := [*running.values(), *waiting.values()]:
        raise fault(f"ended without {len(left)} of {len(jobs)} runs, such as {_called(left[0])}")


def _called(job: object) -> str:
    if not isinstance(job, Job):
        return f"a {type(job).__name__}"
    return f"{job.spec.label}, seed {job.spec.seed}"


class ResultError(Exception):
    """What is said to be the result of a job is none; the message says why."""


def sound(job: Job, record: object, examples: object) -> tuple[Record, Examples]:
    """Return the result of a job as it will be read back from its file.

    Raises `ResultError` where it is that of another job, or cannot be written and read.
    """
    if not isinstance(record, Record):
        raise ResultError(f"its record is a {type(record).__name__}")
    try:
        read = Record.model_validate_json(record.model_dump_json())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ResultError(f"in its record {where}: {first['msg']}") from None
    except Exception as error:  # a part of it is no text, no number, or not there at all
        raise ResultError(f"its record cannot be written: {message_of(error)}") from None
    if read.key != job.key or read.spec != job.spec:
        raise ResultError(f"its record is that of {read.spec.label}, seed {read.spec.seed}")
    if read.examples is not None:
        raise ResultError("its record names a file, and files are the command's to write")
    if not isinstance(examples, Mapping) or not all(map(_plain, examples, examples.values())):
        raise ResultError("its scores of examples are no arrays of numbers by task")
    return read, examples


def _plain(task: object, values: object) -> bool:
    return isinstance(task, str) and isinstance(values, np.ndarray) and values.dtype.kind in "buif"


@cache
def _answers(function: Callable[..., Any]) -> tuple[TypeAdapter[Any] | None, bool]:
    """Return what checks an answer of a function, if its type is known, and whether it has many."""
    hint = get_type_hints(function).get("return", Any) if hasattr(function, "__code__") else Any
    many = get_origin(hint) is Iterator
    (one,) = get_args(hint) if many else (hint,)
    return (None if one is Any else TypeAdapter(one)), many


def checked_answers(
    name: str, function: Callable[..., Any], ask: Callable[[], Iterable[Any]]
) -> Iterator[Any]:
    """Yield the answers of a launcher, each checked against what the function is said to return.

    Raises `RequestError` where the function fails, and `LauncherError` for any other fault.
    """
    adapter, many = _answers(function)
    called = getattr(function, "__name__", "a function")
    what, passed = f"does not answer {called}", (RequestError,)
    answers = guarded(name, what, lambda: iter(ask()), passed=passed)
    count, only = 0, None
    while (item := guarded(name, what, next, answers, _END, passed=passed)) is not _END:
        if adapter is not None:
            try:
                adapter.validate_python(item, strict=True)
            except ValidationError:
                raise LauncherError(
                    f"launcher '{name}' answers {called} with a {type(item).__name__}"
                ) from None
        count, only = count + 1, item
        if many:
            yield item
    if not count or (count > 1 and not many):
        raise LauncherError(f"launcher '{name}' answers {called} {count} times")
    if not many:
        yield only
