"""Packs: runs that one job of a cluster executes, and how they go, told in the results folder.

    DIR/launch/<batch>/batch.json   which launcher has submitted them
    DIR/launch/<batch>/<n>.json     a pack, or a question of planning, there before its job is
    DIR/launch/<batch>/<n>.beat     how it goes: its job rewrites it every few seconds
    DIR/launch/<batch>/cancelled    there once somebody has cancelled the batch

Workers write records themselves, so a command that dies loses nothing. A job that was replaced, as
after a requeue, finds another's beat in the place of its own and ends.
"""

import contextlib
import os
import platform
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter

from bench.errors import UserError, described
from bench.files import DocumentError, read_document, write_atomically
from bench.launch import Event, Finished, Started, WorkerPool
from bench.launch.worker import RequestError
from bench.store.leases import BEAT, Leases
from bench.store.provenance import machine
from bench.store.store import Store
from bench.train.job import Job
from bench.train.survey import MEASURED

#: The most bytes of a document of a batch.
MOST = 2**27
CANCELLED = "cancelled"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Batch(_Document):
    """Packs that were submitted together: by which launcher, as a user types it."""

    schema_version: Literal[1] = 1
    launcher: str
    packs: int


class Pack(_Document):
    """Runs of one job, in order, `together` side by side, from the `folder` of the command."""

    schema_version: Literal[1] = 1
    folder: str
    together: int
    jobs: tuple[Job, ...]


class Beat(_Document):
    """How a pack goes. `token` is that of the process `pid` on `node`, which executes it.

    `running` and `done` are keys of runs. `refused` says why the whole pack is not executed.
    """

    token: str = ""
    node: str = ""
    pid: int = 0
    running: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    refused: str = ""
    ended: bool = False


def beat_path(pack: Path) -> Path:
    """Return where a pack tells how it goes."""
    return pack.with_suffix(".beat")


def read_beat(pack: Path) -> Beat | None:
    """Return how a pack goes; None where it has not begun, or cannot be read for now."""
    try:
        return read_document(beat_path(pack), Beat, MOST, follow=False)
    except (DocumentError, OSError):
        return None


def read_batch(folder: Path) -> Batch | None:
    """Return what a folder of packs belongs to; None where it is none."""
    try:
        return read_document(folder / "batch.json", Batch, MOST, follow=False)
    except (DocumentError, OSError):
        return None


def read_pack(path: Path) -> Pack:
    """Return a pack. Raises `UserError` where it cannot be read."""
    try:
        return read_document(path, Pack, MOST, follow=False)
    except (DocumentError, OSError) as error:
        raise UserError(f"cannot read {path}: {error}; `bench cancel`, then run again") from None


def write_document(path: Path, document: BaseModel) -> None:
    """Write a document of a batch."""
    write_atomically(path, document.model_dump_json().encode())


class _Beating:
    """Tells how a pack goes, and that it does, until its block ends."""

    def __init__(self, pack: Path) -> None:
        self._path, self._cancelled = beat_path(pack), pack.with_name(CANCELLED)
        self._beat = Beat(token=secrets.token_hex(8), node=platform.node(), pid=os.getpid())
        self._pack, self._over, self._alone = pack, threading.Event(), threading.Lock()

    def __enter__(self) -> Self:
        self.tell()
        threading.Thread(target=self._go_on, daemon=True).start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self._over.set()
        why = self._beat.refused or (described(error) if error else "")
        self.tell(ended=True, running=(), refused=why)

    def tell(self, **changes: Any) -> None:
        """Note a change, and write all of it."""
        with self._alone:
            self._beat = self._beat.model_copy(update=changes)
            write_document(self._path, self._beat)

    def began(self, key: str) -> None:
        """Note that a run has begun."""
        self.tell(running=(*self._beat.running, key))

    def finished(self, key: str) -> None:
        """Note that the record of a run is written."""
        running = tuple(other for other in self._beat.running if other != key)
        self.tell(running=running, done=(*self._beat.done, key))

    def _go_on(self) -> None:
        while not self._over.wait(BEAT):
            found = read_beat(self._pack)
            replaced = found is None or found.token != self._beat.token
            if (replaced and not self._over.is_set()) or self._cancelled.exists():
                os._exit(1)  # workers end with this process; nobody waits for their results
            with contextlib.suppress(UserError):  # the next one may be written again
                self.tell()


@contextlib.contextmanager
def _ending_at_once() -> Iterator[None]:
    """End this process as soon as a scheduler asks it to.

    It asks all processes of a job, so the workers are dying too. That is no fault of their runs,
    and must not be recorded as one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None was not set in Python


@_ending_at_once()
def execute(path: str) -> None:
    """Execute the pack at a path: what a job of a cluster calls. Records are written here.

    A run is left out that another job has in progress, or that has a record since the pack was
    written. A run for another kind of machine refuses the pack.
    """
    place = Path(path)
    pack, root = read_pack(place), place.parents[2]
    store, leases = Store(root), Leases(root, beat_path(place))
    with _Beating(place) as beating:
        if why := unfit(pack.jobs):
            beating.tell(refused=why)
            return
        asked = place.stat().st_mtime
        mine = [
            job for job in pack.jobs if not store.since(job.key, asked) and leases.claim(job.key)
        ]
        try:
            for event in carried_out(pack, mine):
                if isinstance(event, Started):
                    beating.began(event.job.key)
                elif isinstance(event, Finished):
                    store.save(event.record, event.examples)
                    leases.release(event.job.key)
                    beating.finished(event.job.key)
        finally:
            for job in mine:
                leases.release(job.key)


def carried_out(pack: Pack, jobs: Sequence[Job]) -> Iterator[Event]:
    """Run jobs of a pack in worker processes here, and yield their events."""
    with contextlib.suppress(OSError):  # it is there where folders are shared
        os.chdir(pack.folder)  # paths of a user's data are relative to it
    with WorkerPool("processes", pack.together) as pool:
        yield from pool.run(jobs, pack.together)


def unfit(jobs: Sequence[Job]) -> str:
    """Return why jobs are not for this kind of machine; empty if they are."""
    for job in jobs:
        here = tuple(machine(job.spec.device))
        if job.machine and job.machine != here:
            differing = [
                f"{b} here, {a} planned" for a, b in zip(job.machine, here, strict=True) if a != b
            ]
            return (
                f"node {platform.node()} is another kind of machine than was planned for "
                f"({'; '.join(differing)}): choose nodes of one kind, with a partition or a "
                "constraint of the launcher"
            )
    return ""


# ------------------------------------------------------------------------------- questions


class Question(_Document):
    """A function that depends on the machine, by name, and its arguments, each as JSON."""

    schema_version: Literal[1] = 1
    folder: str
    function: str
    arguments: tuple[str, ...]


class Answer(_Document):
    """What a question yields, each item as JSON, and how it ended: `user_error` has its lines."""

    items: tuple[str, ...] = ()
    user_error: tuple[str, ...] = ()
    error: str = ""


_FUNCTIONS = {function.__name__: function for function in MEASURED}


@cache
def _adapters(name: str) -> tuple[list[TypeAdapter[Any]], TypeAdapter[Any]]:
    """Return what reads and writes the arguments of a function, and what it returns or yields."""
    hints = get_type_hints(_FUNCTIONS[name])
    result = hints.pop("return")
    one = get_args(result)[0] if get_origin(result) is Iterator else result
    return [TypeAdapter(hint) for hint in hints.values()], TypeAdapter(one)


def question(function: Callable[..., Any], arguments: Sequence[Any]) -> Question:
    """Return a question as it is sent."""
    adapters, _ = _adapters(function.__name__)
    sent = (a.dump_json(each).decode() for a, each in zip(adapters, arguments, strict=True))
    return Question(folder=str(Path.cwd()), function=function.__name__, arguments=tuple(sent))


def answered(asked: Question) -> Answer:
    """Answer a question in a worker process here."""
    adapters, result = _adapters(asked.function)
    given = [a.validate_json(each) for a, each in zip(adapters, asked.arguments, strict=True)]
    with contextlib.suppress(OSError):
        os.chdir(asked.folder)
    items: list[str] = []
    try:
        with WorkerPool("processes", 1) as pool:
            for item in pool.ask(_FUNCTIONS[asked.function], *given):
                items.append(result.dump_json(item).decode())
    except RequestError as error:
        return Answer(items=tuple(items), error=str(error))
    except UserError as error:
        return Answer(items=tuple(items), user_error=tuple(error.lines))
    return Answer(items=tuple(items))


def results(asked: Question, found: Answer) -> Iterator[Any]:
    """Yield what a question yields. Raises what it raised: `UserError`, or `RequestError`."""
    _, result = _adapters(asked.function)
    for item in found.items:
        yield result.validate_json(item)
    if found.user_error:
        raise UserError(*found.user_error)
    if found.error:
        raise RequestError(found.error)


def answer_path(asked: Path) -> Path:
    """Return where a question is answered."""
    return asked.with_suffix(".answer")


def read_answer(asked: Path) -> Answer | None:
    """Return the answer to a question; None where there is none yet."""
    try:
        return read_document(answer_path(asked), Answer, MOST, follow=False)
    except (DocumentError, OSError):
        return None


def reply(path: str) -> None:
    """Answer the question at a path: what a job of a cluster calls."""
    asked = read_document(Path(path), Question, MOST, follow=False)
    write_document(answer_path(Path(path)), answered(asked))
