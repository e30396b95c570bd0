"""What launchers of clusters have in common: runs are packed, submitted, watched and tried again.

A cluster is a scheduler and workers that share the results folder. A subclass says how the
scheduler starts jobs, in what state they are, and how it ends them.
"""

import contextlib
import importlib.metadata
import math
import secrets
import shutil
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

import bench
from bench.digest import digest
from bench.errors import LauncherError, UserError, note, say
from bench.files import DocumentError, delete, read_document
from bench.launch import Event, Finished, Launcher, Started, Stored
from bench.launch.packs import (
    CANCELLED,
    Batch,
    Beat,
    Pack,
    beat_path,
    execute,
    question,
    read_answer,
    read_batch,
    read_beat,
    read_pack,
    reply,
    results,
    write_document,
)
from bench.launch.worker import WorkerLostError
from bench.spec.duration import seconds_of
from bench.store.leases import Leases, alive, fresh, server_time
from bench.store.records import Record
from bench.store.store import Store
from bench.train.job import Job
from bench.train.run import Examples, failure
from bench.train.survey import Host, host

Found = TypeVar("Found")

#: Seconds between two looks at what the jobs tell.
_TICK = 1.0
#: Seconds for which a scheduler may be down before the command ends. The jobs go on.
_OUTAGE = 900.0
#: The most bytes of what is known of the machines.
_MOST_HOST = 2**16


class SchedulerError(Exception):
    """The scheduler does not answer for now; the message says why."""


class Standing(NamedTuple):
    """Whether a job waits or runs, and its state or why it has ended, in words."""

    live: bool
    word: str


class _KnownHost(BaseModel):
    model_config = ConfigDict(extra="forbid")

    host: Host


@dataclass
class _Live:
    """A pack whose job waits or runs, as far as is known. `jobs` are those that are waited for."""

    path: Path
    jobs: dict[str, Job]
    together: int
    since: float

    @property
    def name(self) -> str:
        return name_of(self.path)


def name_of(pack: Path) -> str:
    """Return what a scheduler knows a pack by: `batch/n`."""
    return f"{pack.parent.name}/{pack.stem}"


@dataclass
class Cluster(Launcher):
    """Runs packs of runs as jobs of a cluster.

    A job takes about `pack` of training, `together` runs side by side. A run that is lost with its
    job is tried up to `tries` times. The scheduler is asked every `poll` seconds.
    Raises `ValueError` for values that make no sense.
    """

    remote: ClassVar[bool] = True

    pack: str = "10m"
    together: int = 1
    tries: int = 3
    at_once: int = 64
    poll: float = 10.0

    def __post_init__(self) -> None:
        if min(self.together, self.tries, self.at_once) < 1 or self.poll <= 0:
            raise ValueError("together, tries and at_once are 1 or more, and poll is above 0")
        self._pack_seconds = seconds_of(self.pack, "pack")
        self.root = Path("results").absolute()
        self.host: Host | None = None
        self._asked, self._standings = -math.inf, dict[str, Standing]()

    # ------------------------------------------------------- what a subclass says

    @abstractmethod
    def start(self, call: Callable[[str], None], paths: Sequence[Path], at_once: int) -> None:
        """Submit jobs that call a function with a path each; `at_once` of them run at most.

        All paths are in one folder, whose name is that of the batch. Raises `SchedulerError` where
        the scheduler does not answer, and `UserError` where it refuses.
        """

    @abstractmethod
    def standings(self, batches: Collection[str]) -> dict[str, Standing]:
        """Return the state of the jobs of batches, by `batch/n`, as far as the scheduler knows.

        Raises `SchedulerError` where it does not answer.
        """

    @abstractmethod
    def end(self, batches: Collection[str]) -> None:
        """End the jobs of batches. Raises `SchedulerError` where the scheduler does not answer."""

    def handed_back(self, pack: str) -> Sequence[tuple[Record, Examples]]:
        """Return the results of a pack whose worker did not see the results folder."""
        return ()

    def suited(self, jobs: Sequence[Job]) -> None:
        """Take what follows from the jobs and their prices before they are submitted."""

    # ------------------------------------------------------- planning

    @property
    def usual_workers(self) -> int:
        """How many jobs run at once where nobody says."""
        return self.at_once

    def use(self, results: Path) -> None:
        """Take the results folder, which workers see too."""
        self.root = results.absolute()

    @property
    def text(self) -> str:
        """This launcher as a user types it."""
        knobs = [f for f in fields(self) if getattr(self, f.name) != f.default]
        given = ",".join(f"{knob.name}={getattr(self, knob.name)}" for knob in knobs)
        return f"{self.name}@{given}" if given else self.name

    def ask(
        self, function: Callable[..., Any], *arguments: Any, limited: bool = True
    ) -> Iterator[Any]:
        """Call a function of `bench.train.survey.MEASURED` in a job; what runs run on is kept."""
        if function is not host:
            yield from self._ask(function, arguments)
            return
        path = self._host_path(*arguments)
        known = _read_host(path)
        if known is None:
            (known,) = self._ask(function, arguments)
            write_document(path, _KnownHost(host=known))
        self.host = known
        yield known

    def _host_path(self, asked: str) -> Path:
        made = [bench.__version__, importlib.metadata.version("torch")]
        return self.root / "launch" / "hosts" / f"{digest(self._kind, asked, made)[:40]}.json"

    @property
    def _kind(self) -> str:
        """What says which machines jobs get: this launcher, but how they are packed and watched."""
        usual = {f.name: f.default for f in fields(Cluster)}
        return replace(self, **usual).text

    def _ask(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Iterator[Any]:
        note(f"asking a worker of {self.name} for {function.__name__.replace('_', ' ')}")
        sent = question(function, arguments)
        folder = self._new_folder("ask")
        path = folder / "0.json"
        write_document(path, sent)
        try:
            self._patiently(lambda: self.start(reply, [path], 1))
            while (found := read_answer(path)) is None:
                time.sleep(_TICK)
                standing = self._look([folder.name]).get(name_of(path))
                if standing and not standing.live and (found := self._late(path)) is None:
                    raise WorkerLostError(f"its job ended without an answer ({standing.word})")
                if found is not None:
                    break
        finally:
            self._done_with([folder])
        yield from results(sent, found)

    def _late(self, path: Path) -> Any:
        """Return an answer that may show a moment after its job has ended, as on NFS."""
        for _ in range(3):
            if (found := read_answer(path)) is not None:
                return found
            time.sleep(_TICK)
        return None

    # ------------------------------------------------------- runs

    def run(self, jobs: Sequence[Job], workers: int) -> Iterator[Event]:
        """Run jobs in packs, the longest first, in at most `workers` jobs at once."""
        self.suited(jobs)
        waiting = {job.key: job for job in sorted(jobs, key=lambda job: -job.expected_seconds)}
        store, leases = Store(self.root), Leases(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        moment = server_time(self.root)
        live = self._attached(waiting)
        begun, tried = set[str](), Counter[str]()
        free = waiting.keys() - {key for pack in live for key in pack.jobs}
        submitted = set[Path]()
        while waiting:
            for key in [key for key in free if store.since(key, moment)]:
                free.remove(key)  # another command has done it meanwhile
                yield from _stored(waiting.pop(key), begun)
            # What another command has in progress is waited for.
            ready = [waiting[key] for key in free if not leases.held(key)]
            free.difference_update(job.key for job in ready)
            anew = [job for job in ready if not tried[job.key]]
            again = [job for job in ready if tried[job.key]]  # perhaps there was too little memory
            more = self._submitted(anew, self.together, workers)
            more += self._submitted(again, max(1, self.together // 2), workers)
            submitted.update(pack.path.parent for pack in more)
            live += more
            time.sleep(_TICK)
            standings = self._look({pack.path.parent.name for pack in live})
            for pack in list(live):
                if pack.path.with_name(CANCELLED).exists():
                    raise UserError("the jobs were cancelled; what is finished is kept")
                standing = standings.get(pack.name)
                over = (standing is not None and not standing.live) or (
                    standing is None and self._silent(pack)
                )
                beat = read_beat(pack.path) or Beat()
                yield from self._heard(pack, beat, waiting, begun, store)
                for record, examples in self.handed_back(pack.name):
                    if (job := waiting.pop(record.key, None)) is not None:
                        yield from _started(job, begun)
                        yield Finished(job, record, examples)
                if not over and not beat.ended:
                    continue
                live.remove(pack)
                yield from self._lost(pack, beat, standing, waiting, begun, tried, store)
                free.update(pack.jobs.keys() & waiting.keys())
        self._await_end(live)
        self._done_with(submitted)

    def _heard(
        self,
        pack: _Live,
        beat: Beat,
        waiting: dict[str, Job],
        begun: set[str],
        store: Store,
    ) -> Iterator[Event]:
        """Yield what a pack tells of its runs."""
        for key in beat.running:
            if key in waiting and key in pack.jobs:
                yield from _started(waiting[key], begun)
        for key in beat.done:
            # On NFS the record may be seen a moment later than what tells of it.
            if key in waiting and key in pack.jobs and store.has(key):
                yield from _stored(waiting.pop(key), begun)

    def _lost(
        self,
        pack: _Live,
        beat: Beat,
        standing: Standing | None,
        waiting: dict[str, Job],
        begun: set[str],
        tried: Counter[str],
        store: Store,
    ) -> Iterator[Event]:
        """Note what a pack has left when it has ended; yield what was tried often enough."""
        for key in beat.done:
            if key in waiting and key in pack.jobs:
                yield from self._awaited(waiting, key, begun, store)
        left = [key for key in pack.jobs if key in waiting]
        delete(beat_path(pack.path))  # its leases are void, and a job that is left behind ends
        if not left:
            return
        why = beat.refused or (standing.word if standing else "its job is gone")
        if beat.refused:
            self._forget_hosts()
        # Where none had begun, the job itself is at fault, and so are all.
        charged = [key for key in left if key in beat.running] or (
            left if not beat.ended or beat.refused else []
        )
        tried.update(charged)
        lost = [key for key in charged if tried[key] >= self.tries]
        if again := len(left) - len(lost):
            say(f"note: {again} runs of {pack.name} are to run again: {why}")
        for key in lost:
            job = waiting.pop(key)
            yield from _started(job, begun)
            yield Finished(job, failure(job, f"{why}; tried {tried[key]} times"), {})

    def _awaited(
        self, waiting: dict[str, Job], key: str, begun: set[str], store: Store
    ) -> Iterator[Event]:
        """Wait a little for a record that is said to be written."""
        for _ in range(10):
            if store.has(key):
                yield from _stored(waiting.pop(key), begun)
                return
            time.sleep(_TICK)

    def _await_end(self, live: Collection[_Live]) -> None:
        """Wait a little for jobs that have nothing left to do."""
        for _ in range(10):
            beats = (read_beat(pack.path) for pack in live)
            if all(beat is None or beat.ended for beat in beats):
                return
            time.sleep(_TICK)

    def _silent(self, pack: _Live) -> bool:
        """Return whether a pack that the scheduler does not know is over."""
        if alive(beat_path(pack.path)):
            return False
        # A job that was just submitted may not be known yet.
        return time.monotonic() - pack.since > 3 * self.poll

    # ------------------------------------------------------- batches

    @property
    def _own(self) -> set[Path]:
        """The folders of batches that this launcher has submitted, with any knobs."""
        folders = self.root.glob(f"launch/{self.name}-*/")
        return {folder for folder in folders if read_batch(folder) is not None}

    def _new_folder(self, what: str) -> Path:
        moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        folder = self.root / "launch" / f"{what}-{moment}-{secrets.token_hex(3)}"
        folder.mkdir(parents=True, mode=0o700)  # nobody else may write what jobs execute
        return folder

    def _attached(self, waiting: Mapping[str, Job]) -> list[_Live]:
        """Return the packs of earlier commands that wait or run, and have runs that are needed."""
        found: list[_Live] = []
        own = sorted(folder for folder in self._own if not (folder / CANCELLED).exists())
        standings = self._look({folder.name for folder in own}) if own else {}
        for folder in own:
            batch = read_batch(folder)
            paths = [folder / f"{n}.json" for n in range(batch.packs if batch else 0)]
            going = [
                path
                for path in paths
                if ((s := standings.get(name_of(path))) and s.live) or alive(beat_path(path))
            ]
            if not going and not fresh(folder):  # nobody is about to submit it
                self._done_with([folder])
            for path in going:
                pack = read_pack(path)
                needed = {job.key: job for job in pack.jobs if job.key in waiting}
                if needed:
                    found.append(_Live(path, needed, pack.together, time.monotonic()))
        if found:
            runs = sum(len(pack.jobs) for pack in found)
            note(f"{runs} runs wait or run in {len(found)} jobs of an earlier command")
        return found

    def _submitted(self, jobs: Sequence[Job], together: int, workers: int) -> list[_Live]:
        """Submit jobs in packs; return the packs."""
        if not jobs:
            return []
        folder, packs = self._new_folder(self.name), packed(jobs, self._pack_seconds * together)
        paths = [folder / f"{number}.json" for number in range(len(packs))]
        for path, pack in zip(paths, packs, strict=True):
            sent = tuple(_absolute(job) for job in pack)
            write_document(path, Pack(folder=str(Path.cwd()), together=together, jobs=sent))
        write_document(folder / "batch.json", Batch(launcher=self.text, packs=len(packs)))
        try:
            self._patiently(lambda: self.start(execute, paths, workers))
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._asked = -math.inf
        one = "1 job" if len(packs) == 1 else f"{len(packs)} jobs"
        note(f"submitted {len(jobs)} runs in {one} as {folder.name}")
        now = time.monotonic()
        return [
            _Live(path, {job.key: job for job in pack}, together, now)
            for path, pack in zip(paths, packs, strict=True)
        ]

    def _done_with(self, folders: Iterable[Path]) -> None:
        """Delete what nobody needs any more."""
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _forget_hosts(self) -> None:
        """Ask anew at the next plan what runs run on."""
        shutil.rmtree(self.root / "launch" / "hosts", ignore_errors=True)

    # ------------------------------------------------------- the scheduler

    def _look(self, batches: Collection[str]) -> dict[str, Standing]:
        """Return the states of jobs, asked for every `poll` seconds."""
        if batches and time.monotonic() - self._asked > self.poll:
            self._standings = self._patiently(lambda: self.standings(batches))
            self._asked = time.monotonic()
        return self._standings

    def _patiently(self, ask: Callable[[], Found]) -> Found:
        """Return what the scheduler says; wait while it is down. Raises `LauncherError` at last."""
        began, told = time.monotonic(), False
        while True:
            try:
                return ask()
            except SchedulerError as error:
                if time.monotonic() - began > _OUTAGE:
                    raise LauncherError(
                        f"the scheduler of launcher '{self.name}' does not answer: {error}"
                    ) from None
                if not told:
                    say(f"note: {self.name} does not answer, trying again: {error}")
                told = True
                time.sleep(min(self.poll, 5.0))

    def cancel(self) -> int:
        """End all jobs of this results folder, whatever its knobs; return how many batches."""
        folders = [folder for folder in self._own if not (folder / CANCELLED).exists()]
        for folder in folders:
            (folder / CANCELLED).touch()
        if folders:
            self._patiently(lambda: self.end({folder.name for folder in folders}))
        return len(folders)

    def seen(self) -> dict[str, Standing] | None:
        """Return the state of all jobs of this results folder; None if the scheduler is down."""
        try:
            return self.standings({folder.name for folder in self._own})
        except SchedulerError:
            return None


def packed(jobs: Sequence[Job], seconds: float) -> list[list[Job]]:
    """Return jobs in packs of about so many device-seconds, the longest jobs first."""
    packs: list[list[Job]] = []
    room = 0.0
    for job in sorted(jobs, key=lambda job: -job.expected_seconds):
        if not packs or job.expected_seconds > room:
            packs.append([])
            room = seconds
        packs[-1].append(job)
        room -= job.expected_seconds
    return packs


def _absolute(job: Job) -> Job:
    """Return a job whose source of data is found from any folder."""
    source = job.source
    root, cache = (path and path.absolute() for path in (source.root, source.cache))
    return replace(job, source=replace(source, root=root, cache=cache))


def _started(job: Job, begun: set[str]) -> Iterator[Event]:
    if job.key not in begun:
        begun.add(job.key)
        yield Started(job)


def _stored(job: Job, begun: set[str]) -> Iterator[Event]:
    yield from _started(job, begun)
    yield Stored(job)


def _read_host(path: Path) -> Host | None:
    with contextlib.suppress(DocumentError, OSError):
        return read_document(path, _KnownHost, _MOST_HOST).host
    return None
