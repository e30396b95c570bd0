"""Shows how a launch goes: a live bar on a terminal, plain lines elsewhere. On standard error."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.errors import printable
from bench.train.job import Job

#: Without a terminal, a line at most this often.
_LINE_EVERY_SECONDS = 10.0


def clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display:
    """Progress over a number of jobs, called `what`.

    Time left follows the work done so far, not the run count.
    """

    def __init__(self, jobs: int, work: float, what: str) -> None:
        self._jobs, self._work, self._what = jobs, work, what
        self._done, self._worked = 0, 0.0
        self._began = self._last_line = time.monotonic()
        self._current: list[Job] = []
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn(what),
                MofNCompleteColumn(),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.fields[now]}", style="dim", markup=False),
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

    def started(self, job: Job) -> None:
        """Note that a job has begun."""
        self._current.append(job)
        self._show()

    def finished(self, job: Job) -> None:
        """Note that a job has ended."""
        self._current.remove(job)
        self._done += 1
        self._worked += job.expected_seconds
        self._show()

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        shown = printable(message, keep="\n")
        self._console.print(shown, highlight=False, soft_wrap=True, markup=False)

    def _left(self) -> str:
        if not self._worked:
            return ""
        elapsed = time.monotonic() - self._began
        return f"{clock(elapsed * (self._work / self._worked - 1))} left"

    def _show(self) -> None:
        now = ", ".join(f"{job.spec.label} seed {job.spec.seed}" for job in self._current)
        if self._bar:
            self._bar.update(self._task, completed=self._done, left=self._left(), now=now)
            return
        quiet = time.monotonic() - self._last_line
        if self._done == self._jobs or (self._done and quiet >= _LINE_EVERY_SECONDS):
            self._last_line = time.monotonic()
            left = f", {self._left()}" if self._done < self._jobs else ""
            going_on = f", now {now}" if now else ""
            self.say(f"{self._done} of {self._jobs} {self._what}{left}{going_on}")
