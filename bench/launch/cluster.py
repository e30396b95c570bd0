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
from dataclasses import dataclass, field, fields, replace
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
#: Seconds that a run takes besides training, so that a pack of short ones does not grow endless.
_SET_UP = 1.0
#: The most jobs of a batch: Slurm's usual MaxArraySize allows one more.
_MOST_JOBS = 1000
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
    since: float = field(default_factory=time.monotonic)

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
        usual: dict[str, Any] = {f.name: f.default for f in fields(Cluster)}
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
        self.root.mkdir(parents=True, exist_ok=True)
        self.suited(jobs)
        runs = _Runs(self.root, jobs)
        live, submitted = self._attached(runs.waiting), set[Path]()
        runs.free -= {key for pack in live for key in pack.jobs}
        while runs.waiting:
            yield from runs.done_by_others()
            anew, again = runs.ready()
            more = self._submitted(anew, self.together, workers)
            # Where there was too little memory, fewer side by side may have enough.
            more += self._submitted(again, max(1, self.together // 2), workers)
            submitted.update(pack.path.parent for pack in more)
            live += more
            time.sleep(_TICK)
            standings = self._look({pack.path.parent.name for pack in live})
            if any((folder / CANCELLED).exists() for folder in {p.path.parent for p in live}):
                raise UserError("the jobs were cancelled; what is finished is kept")
            for pack in list(live):
                beat = read_beat(pack.path) or Beat()
                standing = standings.get(pack.name) or self._unknown(pack)
                yield from runs.told(pack, beat)
                yield from runs.returned(self.handed_back(pack.name))
                if beat.ended or not standing.live:
                    live.remove(pack)
                    if beat.refused:
                        self._forget_hosts()
                    yield from runs.lost(pack, beat, beat.refused or standing.word, self.tries)
        self._await_end(live)
        self._done_with(submitted)

    def _await_end(self, live: Collection[_Live]) -> None:
        """Wait a little for jobs that have nothing left to do."""
        for _ in range(10):
            beats = (read_beat(pack.path) for pack in live)
            if all(beat is None or beat.ended for beat in beats):
                return
            time.sleep(_TICK)

    def _unknown(self, pack: _Live) -> Standing:
        """Return how a pack stands that the scheduler does not know."""
        # A job that was just submitted may not be known yet.
        new = time.monotonic() - pack.since <= 3 * self.poll
        return Standing(new or alive(beat_path(pack.path)), "its job is gone")

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
                    found.append(_Live(path, needed))
        if found:
            runs = sum(len(pack.jobs) for pack in found)
            note(f"{runs} runs wait or run in {len(found)} jobs of an earlier command")
        return found

    def _submitted(self, jobs: Sequence[Job], together: int, workers: int) -> list[_Live]:
        """Submit jobs in packs, in as many batches as it takes; return the packs."""
        packs = packed(jobs, self._pack_seconds * together)
        parts = [packs[n : n + _MOST_JOBS] for n in range(0, len(packs), _MOST_JOBS)]
        at_once = max(1, workers // max(1, len(parts)))
        return [pack for part in parts for pack in self._batch(part, together, at_once)]

    def _batch(self, packs: Sequence[Sequence[Job]], together: int, at_once: int) -> list[_Live]:
        """Submit packs together."""
        folder, cwd = self._new_folder(self.name), str(Path.cwd())
        live = []
        for number, pack in enumerate(packs):
            path = folder / f"{number}.json"
            sent = tuple(_absolute(job) for job in pack)
            write_document(path, Pack(folder=cwd, together=together, jobs=sent))
            live.append(_Live(path, {job.key: job for job in pack}))
        write_document(folder / "batch.json", Batch(launcher=self.text, packs=len(packs)))
        try:
            self._patiently(lambda: self.start(execute, [pack.path for pack in live], at_once))
        except Exception:
            self._done_with([folder])
            raise
        self._asked = -math.inf
        runs, one = sum(map(len, packs)), len(packs) == 1
        count = "1 job" if one else f"{len(packs)} jobs"
        note(f"submitted {runs} runs in {count} as {folder.name}")
        return live

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


class _Runs:
    """The runs that a command waits for, and what becomes of them.

    `waiting` has no event of their end yet; of them, `free` are in no job that is known.
    """

    def __init__(self, root: Path, jobs: Sequence[Job]) -> None:
        self.waiting = {job.key: job for job in jobs}
        self.free = set(self.waiting)
        self._store, self._leases = Store(root), Leases(root)
        self._moment = server_time(root)
        self._begun, self._tried = set[str](), Counter[str]()

    def _begin(self, key: str) -> Iterator[Event]:
        if key not in self._begun:
            self._begun.add(key)
            yield Started(self.waiting[key])

    def _end(self, key: str) -> Iterator[Event]:
        yield from self._begin(key)
        yield Stored(self.waiting.pop(key))

    def done_by_others(self) -> Iterator[Event]:
        """Yield the end of runs that another command has done meanwhile."""
        for key in [key for key in self.free if self._store.since(key, self._moment)]:
            self.free.remove(key)
            yield from self._end(key)

    def ready(self) -> tuple[list[Job], list[Job]]:
        """Return what is to be submitted: what never was, and what was lost.

        What another command has in progress is waited for.
        """
        keys = [key for key in self.free if not self._leases.held(key)]
        self.free.difference_update(keys)
        parts: tuple[list[Job], list[Job]] = [], []
        for key in keys:
            parts[bool(self._tried[key])].append(self.waiting[key])
        return parts

    def told(self, pack: _Live, beat: Beat) -> Iterator[Event]:
        """Yield what a pack tells of its runs."""
        for key in beat.running:
            if key in pack.jobs and key in self.waiting:
                yield from self._begin(key)
        for key in beat.done:
            # On NFS the record may be seen a moment later than what tells of it.
            if key in pack.jobs and key in self.waiting and self._store.has(key):
                yield from self._end(key)

    def returned(self, results: Iterable[tuple[Record, Examples]]) -> Iterator[Event]:
        """Yield results that workers have handed back."""
        for record, examples in results:
            if record.key in self.waiting:
                yield from self._begin(record.key)
                yield Finished(self.waiting.pop(record.key), record, examples)

    def lost(self, pack: _Live, beat: Beat, why: str, tries: int) -> Iterator[Event]:
        """Free what a pack has not done that has ended; yield what was tried often enough."""
        for key in beat.done:
            yield from self._awaited(key)
        delete(beat_path(pack.path))  # its leases are void, and a job that is left behind ends
        left = [key for key in pack.jobs if key in self.waiting]
        # Where a job has ended well, another command had the rest. Where none had begun, the job
        # itself is at fault, and so are all.
        well = beat.ended and not beat.refused
        charged = [] if well else [key for key in left if key in beat.running] or left
        self._tried.update(charged)
        for key in charged:
            if self._tried[key] >= tries:
                left.remove(key)
                yield from self._begin(key)
                job = self.waiting.pop(key)
                yield Finished(job, failure(job, f"{why}; tried {tries} times"), {})
        self.free.update(left)
        if left and not well:
            say(f"note: {len(left)} runs of {pack.name} are to run again: {why}")

    def _awaited(self, key: str) -> Iterator[Event]:
        """Wait a little for a record that is said to be written."""
        for _ in range(10):
            if key not in self.waiting:
                return
            if self._store.has(key):
                yield from self._end(key)
            else:
                time.sleep(_TICK)


def packed(jobs: Sequence[Job], seconds: float) -> list[list[Job]]:
    """Return jobs in packs of about so many seconds, the longest jobs first."""
    packs: list[list[Job]] = []
    room = 0.0
    for job in sorted(jobs, key=lambda job: -job.expected_seconds):
        takes = job.expected_seconds + _SET_UP
        if not packs or takes > room:
            packs.append([])
            room = seconds
        packs[-1].append(job)
        room -= takes
    return packs


def _absolute(job: Job) -> Job:
    """Return a job whose source of data is found from any folder."""
    source = job.source
    root, cache = (path and path.absolute() for path in (source.root, source.cache))
    return replace(job, source=replace(source, root=root, cache=cache))


def _read_host(path: Path) -> Host | None:
    with contextlib.suppress(DocumentError, OSError):
        return read_document(path, _KnownHost, _MOST_HOST).host
    return None
