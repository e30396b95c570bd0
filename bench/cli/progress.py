"""Shows how a launch goes: a live bar on a terminal, plain lines elsewhere. On standard error."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column

from bench.api.progress import Tally
from bench.clean import one_line, printable
from bench.cli.console import console
from bench.cli.messages import Verbosity, told
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


class Display(Tally):
    """Progress over a number of jobs, called `what`: a bar on a terminal, lines elsewhere."""

    def __init__(self, jobs: int, work: float, what: str) -> None:
        super().__init__(jobs, work, what)
        self._console = console(stderr=True)
        self._bar: Bar | None = None
        if self._console.is_terminal and told(Verbosity.NORMAL):
            # What changes in length stands last and is cut, so that nothing moves.
            rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            self._bar = Bar(
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

    def close(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()

    def finished(self, job: "Job", record: Record) -> None:
        """Note that a job has ended, and how if that is asked for or it went wrong."""
        super().finished(job, record)
        if record.status == "ok" and told(Verbosity.VERBOSE):
            self.say(f"{job.spec.label}, seed {job.spec.seed}: {_outcome(record)}")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(one_line(line), soft_wrap=True)

    def show(self) -> None:
        """Move the bar, or print a line if it is time."""
        if not told(Verbosity.NORMAL):
            return
        if self._bar:
            shown = printable(self.now)
            self._bar.update(self._task, completed=self.done, left=self.left, now=shown)
            return
        if self.line_is_due():
            self.say(self.line)
