"""Keeps the recommended networks as files, each with its card."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.api.progress import Progress
from bench.api.session import Session
from bench.contracts import DataSource
from bench.decide.pairs import TaskSet, decisions
from bench.errors import UserError, note, say
from bench.files import write_atomically
from bench.launch import WorkerPool
from bench.launch.worker import RequestError
from bench.report.text.decision import sentence
from bench.spec.registry import parse_pairs
from bench.stats.gains import results as results_of
from bench.store.records import Declaration, Record
from bench.store.store import Store
from bench.train.job import Job
from bench.weights.card import card
from bench.weights.file import Saved, read_saved
from bench.weights.keep import train_again
from bench.weights.recommended import Recommended, recommended

#: Signs of a file's name without its ending.
_LONGEST = 100


def save_weights(
    store: Store,
    declaration: Declaration,
    records: Mapping[str, Record],
    session: Session,
    pool: WorkerPool,
    tell: Callable[[str], None],
    *,
    fresh: bool = False,
) -> bool:
    """Write the networks that an experiment's decisions recommend, and tell where they are.

    Each is trained once more, which gives the same numbers on the same machine. One that is there
    already is not, unless all is to be `fresh`. Returns whether none was lost.
    """
    folder = store.root / "reports" / declaration.experiment.name / "weights"
    decided = decisions(declaration.rows, results_of(declaration, records.get))
    for line in _without(decided):
        tell(line)
    whole, written = True, dict[Path, str]()
    for wanted in recommended(declaration, decided):
        record = wanted.kept(records.get)
        if record is None:
            say(f"error: no run of {'+'.join(wanted.tasks)} ended well, so no network is saved")
            whole = False
            continue
        path = _path(folder, wanted.tasks, record.key, written)
        if path in written:
            continue  # two sets of tasks recommend it
        written[path] = record.key
        job = _job(declaration, wanted, record, session.source)
        saved = None if fresh else _there(path, record.key)
        if saved is None:
            try:
                saved = _train(path, job, record, pool, session.progress)
            except (UserError, RequestError) as error:
                say(f"error: the network of {job.spec.label} is not saved: {error}")
                whole = False
                continue
        runs = [run for key in wanted.keys if (run := records.get(key)) is not None]
        why = sentence(wanted.decided, declaration.experiment)
        page = path.with_suffix(".md")
        write_atomically(page, card(saved, path.name, why, runs).encode())
        tell(f"the network for {' and '.join(wanted.tasks)}, seed {saved.run.seed}: {path}")
        tell(f"  what it is and how to load it: {page}")
    if former := sorted(set(folder.glob("*.safetensors")) - written.keys()):
        names = ", ".join(path.name for path in former)
        note(f"note: in {folder} is left of an earlier decision: {names}")
    return whole


def _without(decided: Sequence[TaskSet]) -> Iterator[str]:
    """Yield a line for each set of tasks that no network is recommended for."""
    if not decided:
        yield (
            "no weights are saved: no strategy here trains one network for several tasks, so there "
            "is nothing to decide"
        )
    for tasks in decided:
        choice = tasks.decision.choice
        if choice in ("trade", "undecided"):
            names = " and ".join(tasks.targets)
            yield f"no weights are saved for {names}: nothing is recommended ({choice})"


def _path(folder: Path, tasks: Sequence[str], key: str, taken: Mapping[Path, str]) -> Path:
    """Return the file of a network, called after its tasks; with its key where the name is taken.

    Tasks of two data sets may have one name, also to a file system that knows no capitals.
    """
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", "+".join(tasks)).lstrip(".-")[:_LONGEST] or "network"
    path = folder / f"{name}.safetensors"
    others = {other.name.lower() for other, run in taken.items() if run != key}
    return path.with_name(f"{name}-{key[:8]}.safetensors") if path.name.lower() in others else path


def _there(path: Path, key: str) -> Saved | None:
    """Return what a file says of its network, if it is that of a run."""
    try:
        saved = read_saved(path)
    except UserError:
        return None
    return saved if saved.run.key == key else None


def _job(declaration: Declaration, wanted: Recommended, record: Record, source: DataSource) -> Job:
    """Return the run of a record, with its files where they lie now: the record's may be older."""
    assert record.ledger is not None
    pair = parse_pairs(wanted.decided.pair)[0]
    recipe = record.spec.recipe.model_copy(update={"network": declaration.experiment.network})
    spec = record.spec.model_copy(update={"dataset": pair.dataset, "recipe": recipe})
    ledger = record.ledger
    return Job(spec, ledger.prices, record.key, source, tuning=ledger.tuning)


def _train(path: Path, job: Job, record: Record, pool: WorkerPool, progress: Progress) -> Saved:
    """Train a run again and write its network; return what the file says of it.

    Raises `UserError`, and `RequestError` where the worker is lost.
    """
    note(f"training {job.spec.label}, seed {job.spec.seed}, once more to save its network")
    with progress.working(f"training {job.spec.label}"):
        ((again, content),) = pool.ask(train_again, job, limited=False)
    write_atomically(path, content)
    if again.scores != record.scores:
        note(
            f"note: {path.name} scores otherwise than its run did, as on a GPU or after an update; "
            "its card has its own scores"
        )
    return read_saved(path)
