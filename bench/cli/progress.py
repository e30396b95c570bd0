"""Shows how a launch goes: a live bar on a terminal, plain lines elsewhere. On standard error."""

import contextlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from bench.clean import one_line, printable
from bench.cli.console import console
from bench.errors import LINE_EVERY_SECONDS, Verbosity, clock, told
from bench.store.records import Record

if TYPE_CHECKING:
    from bench.train.job import Job

#: Columns of the longest time that is usual, `12:34:56 left`.
_LEFT = 13


@contextlib.contextmanager
def working(on: str) -> Iterator[None]:
    """Show on a terminal that something takes a while."""
    out = console(stderr=True)
    if not (out.is_terminal and told(Verbosity.NORMAL)):
        yield
        return
    with out.status(printable(on)):
        yield


def _outcome(record: Record) -> str:
    """Return the primary scores of a run and what it took."""
    scores = [
        f"{task} {metric} {score.value:.4g}{f' {score.unit}' if score.unit else ''}"
        for task, metrics in record.scores.items()
        for metric, score in metrics.items()
        if score.primary and score.value is not None
    ]
    seconds = record.ledger.used.get("s") if record.ledger else None
    return ", ".join([*scores, *([] if seconds is None else [f"{seconds:.2f} s of steps"])])


class Display:
    """Progress over a number of jobs, called `what`.

    Time left follows the work done so far, not the run count.
    """

    def __init__(self, jobs: int, work: float, what: str) -> None:
        self._jobs, self._work, self._what = jobs, work, what
        self._done, self._worked = 0, 0.0
        self._began = self._last_line = time.monotonic()
        self._current: list[Job] = []
        self._console = console(stderr=True)
        self._bar: Progress | None = None
        if self._console.is_terminal and told(Verbosity.NORMAL):
            # What changes in length stands last and is cut, so that nothing moves.
            rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            self._bar = Progress(
                TextColumn(what),
                MofNCompleteColumn(table_column=Column(justify="right")),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}", table_column=Column(min_width=_LEFT)),
                TextColumn("{task.fields[now]}", style="dim", markup=False, table_column=rest),
                expand=True,
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=jobs, left="", now="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def started(self, job: "Job") -> None:
        """Note that a job has begun."""
        self._current.append(job)
        self._show()

    def finished(self, job: "Job", record: Record) -> None:
        """Note that a job has ended, and how if that is asked for or it went wrong."""
        self._current.remove(job)
        self._done += 1
        self._worked += job.expected_seconds
        of = f"{job.spec.label}, seed {job.spec.seed}"
        if record.status != "ok":
            self.say(f"{record.status}: {of}: {record.reason}")
        elif told(Verbosity.VERBOSE):
            self.say(f"{of}: {_outcome(record)}")
        self._show()

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self._console.print(one_line(message), soft_wrap=True)

    def _left(self) -> str:
        if not self._worked:
            return ""
        elapsed = time.monotonic() - self._began
        return f"{clock(elapsed * (self._work / self._worked - 1))} left"

    def _show(self) -> None:
        if not told(Verbosity.NORMAL):
            return
        now = ", ".join(f"{job.spec.label} seed {job.spec.seed}" for job in self._current)
        if self._bar:
            shown = printable(now)
            self._bar.update(self._task, completed=self._done, left=self._left(), now=shown)
            return
        quiet = time.monotonic() - self._last_line
        if self._done == self._jobs or (self._done and quiet >= LINE_EVERY_SECONDS):
            self._last_line = time.monotonic()
            left = f", {self._left()}" if self._done < self._jobs else ""
            going_on = f", now {now}" if now else ""
            self.say(f"{self._done} of {self._jobs} {self._what}{left}{going_on}")
