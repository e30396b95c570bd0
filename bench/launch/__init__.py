"""Where runs execute. Each launcher takes jobs and yields the same events.

Workers of this machine touch no files. Those of a cluster write their records themselves.

A launcher is a plugin: one module of this package, or of a `launch/` folder that `BENCH_PLUGINS`
names, with a subclass of `Launcher`. Planning asks here too. Its questions about an arm need plugin
code, which runs in a worker (`WorkerPool.ask`).
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

from bench import accelerator, plugin_folders
from bench.accelerator import HOST
from bench.errors import LauncherError, UserError
from bench.launch.events import (
    Event,
    Finished,
    Started,
    Stored,
    checked,
    checked_answers,
    guarded,
)
from bench.spec import handed
from bench.spec.budget import Budget
from bench.spec.registry import Plugins, discover, parse_plugin
from bench.train.job import Job
from bench.train.survey import MEASURED

__all__ = [
    "Event",
    "Finished",
    "Launcher",
    "Started",
    "Stored",
    "WorkerPool",
    "auto_workers",
    "largest_worker",
    "launchers",
]

__path__.extend(str(folder / "launch") for folder in plugin_folders)


@dataclass
class Launcher(ABC):
    """Executes runs somewhere. Its fields are knobs that users may set, like those of strategies.

    `bench.train.run.attempt` runs a job. It raises nothing: a job that fails gives a record too.
    Jobs, records and examples can be pickled.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    most_workers: ClassVar[int | None] = None
    """How many runs it has at once at most; None where nothing limits them."""
    answers: ClassVar[bool] = False
    """Whether it overrides `ask`; if not, a worker process on this machine answers."""
    takes_classes: ClassVar[bool] = False
    """Whether its runs know the classes that a program hands as objects. Those of
    `bench.launch.worker` do, and so does the command's own process."""
    remote: ClassVar[bool] = False
    """Whether its runs execute on other machines. `ask` then answers what depends on them, see
    `bench.train.survey.MEASURED`; a worker process on this machine answers the rest."""
    outlives: ClassVar[bool] = False
    """Whether its jobs go on when the command has ended, until `cancel` ends them."""

    @classmethod
    def suits(cls, workers: int) -> bool:
        """Return whether this launcher is chosen for this many workers where none is named.

        0 workers means the command's own process.
        """
        return False

    @property
    def usual_workers(self) -> int | None:
        """How many workers it has where nobody says; None where this machine's cores decide."""
        return None

    def use(self, results: Path) -> None:  # noqa: B027
        """Take the folder of records. Called before anything else."""

    def begin(self, workers: int) -> None:  # noqa: B027 (most have nothing to begin)
        """Start whatever takes time. Called before the jobs are known, if at all."""

    def ask(
        self, function: Callable[..., Any], *arguments: Any, limited: bool = True
    ) -> Iterator[Any]:
        """Call a function where its code may fail; yield what it returns, or what it yields.

        The function is found by its name in a module, and everything passed in or out can be
        pickled. If `limited`, the time of each item has a limit. Raises `UserError` as the function
        does, and `bench.launch.worker.RequestError` where there is no answer.
        """
        raise NotImplementedError

    @abstractmethod
    def run(self, jobs: Sequence[Job], workers: int) -> Iterator[Event]:
        """Run jobs, started in their order, at most `workers` at once.

        Yields `Started` and later `Finished` once for each. May be called again with other jobs.
        What it yields is checked, see `WorkerPool.run`.
        """

    def cancel(self) -> int:
        """End all jobs that it has for its folder of records; return how many batches they were."""
        return 0

    def close(self) -> None:  # noqa: B027
        """Stop all work, whether finished or not.

        Not called where the command is killed, or ends by Ctrl-C while nothing is trained.
        """


@cache
def launchers() -> Plugins:
    """Return the launchers by name."""
    return discover(__name__, Launcher)


class WorkerPool:
    """The launchers of one command, made when they are needed and closed with it.

    The named launcher does all the work. Where none is named, the one that suits the number of
    workers does. `workers` is the requested number, lowered where the named launcher allows fewer.
    None means any number, and 0 the command's own process. `results` is the folder of records.
    `leaves` says, where the command is interrupted, whether jobs that go on are left. Raises
    `UserError` for an unknown name, and `LauncherError` wherever a launcher fails or yields
    something else than it was asked for.
    """

    def __init__(
        self,
        named: str | None = None,
        workers: int | None = None,
        results: Path = Path("results"),
        leaves: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leaves = leaves
        self._named: Launcher | None = (
            None if named is None else parse_plugin(launchers(), "launcher", named)
        )
        if self._named is not None:
            guarded(self._named.name, "cannot use a folder", self._named.use, results)
            workers = self._named.usual_workers if workers is None else workers
        self._made: dict[type[Launcher], Launcher] = {}
        if workers == 0:
            if self._named is not None and not _suits(type(self._named), 0):
                raise UserError(
                    f"--workers 0 runs in the process of the command, and --launcher {named} does "
                    "not: leave one of them out"
                )
            self._named = self._named or self._launcher(0)
        most = self._named.most_workers if self._named else None
        if most is not None and not (isinstance(most, int) and most > 0):
            raise LauncherError(f"launcher '{named}' has {most!r} workers at most")
        self.workers = min(workers or most, most) if most else workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        faults = []
        for launcher in [*self._made.values(), *filter(None, [self._named])]:
            try:
                guarded(launcher.name, "cannot be closed", launcher.close)
            except UserError as error:
                faults.append(error)
        if faults and kind is None:  # what ends the command already is told first
            raise faults[0]

    @property
    def in_process(self) -> bool:
        """Whether runs execute in the command's own process."""
        return self._named is not None and _suits(type(self._named), 0)

    @property
    def remote(self) -> bool:
        """Whether runs execute on other machines."""
        return self._named is not None and self._named.remote

    def interrupted(self) -> str:
        """Leave or cancel the jobs that would go on; return what becomes of them, in words."""
        named = self._named
        if named is None or not named.outlives:
            return ""
        if self._leaves():
            return "The jobs go on: `bench status` shows them, `bench cancel` ends them. "
        guarded(named.name, "cannot cancel its jobs", named.cancel)
        return "The jobs are cancelled. "

    def _launcher(self, workers: int) -> Launcher:
        launcher = self._named or self._suited(workers)
        if handed.anything() and not launcher.takes_classes:
            raise UserError(
                f"launcher '{launcher.name}' knows no classes that are handed as objects: put them "
                "in a folder that BENCH_PLUGINS names, and give their names"
            )
        return launcher

    def _suited(self, workers: int) -> Launcher:
        for plugin in launchers().found.values():
            if _suits(plugin, workers):
                if plugin not in self._made:
                    self._made[plugin] = guarded(plugin.name, "cannot be made", plugin)
                return self._made[plugin]
        raise UserError(f"no launcher suits {workers} workers: name one with --launcher")

    def begin(self, workers: int) -> None:
        """Start what takes time before the jobs are known."""
        _begin(self._launcher(workers), workers)

    def _answering(self) -> Launcher:
        named = self._named
        return named if named is not None and named.answers else self._suited(1)

    def begin_answering(self) -> None:
        """Start the launcher that answers `ask`, which takes seconds."""
        _begin(self._answering(), 1)

    def ask(
        self, function: Callable[..., Any], *arguments: Any, limited: bool = True
    ) -> Iterator[Any]:
        """Call a function where its code may fail, as `Launcher.ask` says."""
        named = self._named
        elsewhere = named is not None and named.remote and function in MEASURED
        launcher = named if elsewhere and named is not None else self._answering()
        return checked_answers(
            launcher.name, function, lambda: launcher.ask(function, *arguments, limited=limited)
        )

    def run(self, jobs: Sequence[Job], workers: int) -> Iterator[Event]:
        """Run jobs and yield the events: each job begins and ends once, with a sound result."""
        launcher = self._launcher(workers)
        return checked(launcher.name, jobs, lambda: launcher.run(jobs, workers))


def _suits(plugin: type[Launcher], workers: int) -> bool:
    """Return whether a launcher suits so many workers; one that cannot say does not."""
    try:
        return plugin.suits(workers) is True
    except Exception:
        return False


def _begin(launcher: Launcher, workers: int) -> None:
    guarded(launcher.name, "cannot begin", launcher.begin, workers)


#: Seconds of work below which one worker does it all.
_WORTH_A_SECOND_WORKER = 8
#: Seconds of work on an accelerator that repay measuring how many workers share a device.
_WORTH_MEASURING = 60
#: A worker's memory besides the tensors of a step: torch, and images of the usual sets.
_PROCESS_BYTES = 2**30
#: What a worker keeps for each byte of a step that is counted: scratch space of the kernels, the
#: larger batches of evaluation, and what the allocator does not give back.
_KEPT = 4


def auto_workers(jobs: Sequence[Job]) -> int:
    """Return how many workers suit the jobs: one per physical core on a CPU.

    On an accelerator it is measured how many share one device. Never more than fit into memory
    together. A handful of seconds of work is not worth the start of a second worker. A single
    worker is a process of its own too.
    """
    if not jobs:
        return 1
    if jobs[0].spec.device != HOST:
        return _workers_on_devices(jobs)
    if sum(job.expected_seconds for job in jobs) < _WORTH_A_SECOND_WORKER:
        return 1
    import psutil

    room = int(psutil.virtual_memory().available // largest_worker(jobs))
    return max(1, min(usable_cores(), len(jobs), room))


def largest_worker(jobs: Sequence[Job]) -> int:
    """Return the bytes that a worker needs at most."""
    peak = max(price.peak_bytes for job in jobs for price in job.prices)
    return _KEPT * peak + _PROCESS_BYTES


def _workers_on_devices(jobs: Sequence[Job]) -> int:
    """Return how many workers suit the accelerator's devices, by a run that is most of the work.

    One each where seconds are the budget: by its clock a device works for others too.
    """
    each = 1
    timed = any(Budget.parse(job.spec.budget).axis == "s" for job in jobs)
    if not timed and sum(job.expected_seconds for job in jobs) >= _WORTH_MEASURING:
        from bench.launch.side_by_side import processes_that_pay

        longest = max(jobs, key=lambda job: job.expected_seconds)
        each = processes_that_pay(longest.spec.arm, longest.source, largest_worker(jobs))
    return max(1, min(each * accelerator.count(), len(jobs)))


def usable_cores() -> int:
    """Return how many physical cores this process may use."""
    import psutil

    cores = psutil.cpu_count(logical=False) or 1
    with contextlib.suppress(AttributeError, psutil.Error):  # not available on every platform
        cores = min(cores, len(psutil.Process().cpu_affinity()))
    return max(1, cores)
