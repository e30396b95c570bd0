"""A launcher that does not do what it is asked for, for the tests of what is made of it."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.launch import Event, Finished, Launcher, Started
from bench.train.job import Job
from bench.train.run import attempt
from bench.train.survey import host


class PlantedError(BaseException):
    """An exception that `except Exception` does not catch, without a message that can be read."""

    def __str__(self) -> str:
        raise ValueError("planted")


@dataclass
class Odd(Launcher):
    """Does the first job as it should, and then goes wrong `how`.

    If it `answers`, the answers to questions of planning go wrong too.
    """

    name = "odd"
    summary = "goes wrong on purpose"

    how: str = "nothing"

    def begin(self, workers: int) -> None:
        """Begin, unless that is to go wrong."""
        if self.how == "begin":
            raise RuntimeError("planted")

    def close(self) -> None:
        """Close, unless that is to go wrong."""
        if self.how == "close":
            raise RuntimeError("planted")

    def run(self, jobs: Sequence[Job], workers: int) -> Iterator[Event]:
        """Return events, or what is none."""
        match self.how:
            case "none":
                return None  # type: ignore[return-value]
            case "number":
                return 3  # type: ignore[return-value]
            case "list":
                return [Started(jobs[0]), "planted"]  # type: ignore[return-value]
        return self._events(jobs)

    def _events(self, jobs: Sequence[Job]) -> Iterator[Any]:
        first, second = jobs[:2]
        done = attempt(first)
        yield Started(first)
        yield Finished(first, *done)
        match self.how:
            case "close":
                for job in jobs[1:]:
                    yield Started(job)
                    yield Finished(job, *attempt(job))
            case "junk":
                yield "planted"
            case "raise":
                raise RuntimeError("planted")
            case "exit":
                sys.exit(0)
            case "base":
                raise PlantedError
            case "stop":
                raise StopIteration
            case "twice":
                yield Finished(first, *done)
            case "begun-twice":
                yield Started(second)
                yield Started(second)
            case "unbegun":
                yield Finished(second, *attempt(second))
            case "foreign":
                yield Started(replace(second, key="f" * 40))
            case "no-job":
                yield Started("planted")  # type: ignore[arg-type]
            case "half":
                yield Started(second)
            case _:
                yield Started(second)
                yield Finished(second, *self._result(second, *done))

    def _result(self, job: Job, record: Any, examples: Any) -> tuple[Any, Any]:
        sound = attempt(job)
        match self.how:
            case "other":
                return record, examples
            case "no-record":
                return {"key": job.key}, examples
            case "path":
                return sound[0].model_copy(update={"key": "../../x"}), examples
            case "no-text":
                return sound[0].model_copy(update={"reason": "\ud800"}), examples
            case "partial":
                return type(record).model_construct(key=job.key, spec=job.spec), examples
            case "objects":
                return sound[0], {"row": np.array([object()])}
            case _:
                return sound[0], None


class Forgetful(Odd):
    """Answers questions of planning, and all but the first of them wrong."""

    name = "forgetful"
    answers = True

    def ask(self, function: Any, *arguments: Any, limited: bool = True) -> Iterator[Any]:
        """Return no answer, two of them, or another one."""
        if function is host:
            return iter([host(*arguments)])
        if function.__name__ == "prepare_network":
            return iter([[]])
        match self.how:
            case "nothing":
                return iter(())
            case "none":
                return None  # type: ignore[return-value]
            case "two":
                return iter([None, None])
            case "raise":
                raise RuntimeError("planted")
        return iter(["planted"])
