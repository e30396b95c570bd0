"""How a batch of runs goes, for whoever shows it. By itself nothing is shown."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from bench.errors import LINE_EVERY_SECONDS, clock, note, say

if TYPE_CHECKING:
    from bench.store.records import Record
    from bench.train.job import Job


class Tally:
    """Counts what is done of a number of jobs, called `what`. A block holds it while they run.

    `work` are the device-seconds that all are expected to take. Time left follows the work done so
    far, not the run count. A subclass shows it.
    """

    def __init__(self, jobs: int, work: float, what: str) -> None:
        self.jobs, self.what, self.done = jobs, what, 0
        self._work, self._worked = work, 0.0
        self._began = self._last_line = time.monotonic()
        self._current: list[Job] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what is shown, however the jobs have ended."""

    def started(self, job: "Job") -> None:
        """Note that a job has begun."""
        self._current.append(job)
        self.show()

    def finished(self, job: "Job", record: "Record") -> None:
        """Note that a job has ended, and tell it if it went wrong."""
        self._current.remove(job)
        self.done += 1
        self._worked += job.expected_seconds
        if record.status != "ok":
            self.say(f"{record.status}: {job.spec.label}, seed {job.spec.seed}: {record.reason}")
        self.show()

    def say(self, line: str) -> None:
        """Tell what went wrong."""
        say(line)

    def show(self) -> None:
        """Show how it goes."""

    @property
    def left(self) -> str:
        """The time that is left, in words; empty while nothing is finished."""
        if not self._worked:
            return ""
        elapsed = time.monotonic() - self._began
        return f"{clock(elapsed * (self._work / self._worked - 1))} left"

    @property
    def now(self) -> str:
        """The jobs that run now."""
        return ", ".join(f"{job.spec.label} seed {job.spec.seed}" for job in self._current)

    @property
    def line(self) -> str:
        """How it goes, in a line."""
        left = f", {self.left}" if self.left and self.done < self.jobs else ""
        going_on = f", now {self.now}" if self.now else ""
        return f"{self.done} of {self.jobs} {self.what}{left}{going_on}"

    def line_is_due(self) -> bool:
        """Return whether a line is to be shown now: from time to time, and one at the end."""
        now = time.monotonic()
        quiet = now - self._last_line
        due = self.done == self.jobs or (self.done > 0 and quiet >= LINE_EVERY_SECONDS)
        if due:
            self._last_line = now
        return due


class Logged(Tally):
    """Logs how it goes, in lines of the logger `bench`."""

    def show(self) -> None:
        """Log a line if it is time."""
        if self.line_is_due():
            note(self.line)


class Progress(Protocol):
    """Shows what goes on. The command line has one, notebooks have one, and so may you."""

    def bar(self, jobs: int, work: float, what: str) -> AbstractContextManager[Tally]:
        """Return what shows how some jobs go, as `Tally` describes them."""

    def working(self, on: str) -> AbstractContextManager[Any]:
        """Return what shows, while a block runs, that something takes a while."""


class Quiet:
    """Shows nothing. What goes wrong is logged."""

    def bar(self, jobs: int, work: float, what: str) -> AbstractContextManager[Tally]:
        """Return a tally alone."""
        return Tally(jobs, work, what)

    @contextmanager
    def working(self, on: str) -> Iterator[None]:
        """Show nothing."""
        yield


class Lines(Quiet):
    """Logs a line now and then: what a program has that is no notebook."""

    def bar(self, jobs: int, work: float, what: str) -> AbstractContextManager[Tally]:
        """Return a tally that logs."""
        return Logged(jobs, work, what)
