"""The functions of the package: `bench.run`, `bench.plan` and `bench.load`.

They print nothing. What there is to tell is logged by the logger `bench`; what was found is
returned, and what a user can fix is a `UserError`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from bench.api.found import Found, read_records
from bench.api.notebook import progress_of
from bench.api.objects import named
from bench.api.prepare import prepared
from bench.api.progress import Progress
from bench.api.report import Report
from bench.api.session import Session
from bench.errors import UserError, note, say, unknown
from bench.spec.experiment import Asked, Experiment
from bench.store.store import Store

if TYPE_CHECKING:
    from bench.api.preview import Preview
    from bench.api.within import Deadline
    from bench.contracts import Component, Dataset, Network
    from bench.launch import WorkerPool

    StrategyLike = str | Component | type[Component] | tuple[str | Component | type[Component], ...]
    PairLike = str | Dataset | type[Dataset] | tuple[str | Dataset | type[Dataset], str]


class Fields(TypedDict, total=False):
    """The fields of an experiment, which are the flags of `python -m bench run`.

    A strategy, a network or a data set is a name or an object.
    """

    pair: "PairLike | Sequence[PairLike]"
    strategy: "StrategyLike | Sequence[StrategyLike]"
    network: "str | Network | type[Network]"
    reference: "StrategyLike | None"
    name: str
    seeds: int
    until_decided: bool
    race: bool
    budget: str | Sequence[str]
    at_most: str | None
    margin: float
    device: str
    also_against: str | Sequence[str]
    tune: int
    tune_seeds: int
    dense_head: str
    batch_size: int
    learning_rate: float
    encoder_rate: float | None
    weight_decay: float
    warmup: float
    augment: Literal["none", "crop", "crop+flip"]
    train_size: int | Sequence[int] | None
    validation_size: int
    curve_points: int
    precision: Literal["fp32", "bf16"]
    metric: str | Sequence[str]


class Flags(Fields, total=False):
    """What `run` and `plan` take beside the experiment.

    `results` is the folder of records and reports, `root` that of real data. `workers` is a number
    of processes, 0 for this one, or `auto`. `within` plans seeds and budget to a time such as
    `30m`, and `yes` goes on with a plan of many runs. `progress` shows a live bar in a notebook and
    logs lines elsewhere; it may be an object that shows it in another way.
    """

    results: str | Path
    root: str | Path | None
    download: bool
    skip_bad_images: bool
    resident: Literal["auto", "always", "never"]
    workers: int | str
    launcher: str | None
    yes: bool
    within: str | None
    fresh: bool
    progress: bool | Progress


#: Flags that are no fields of an experiment.
_SESSION = frozenset(Flags.__annotations__) - frozenset(Fields.__annotations__)


def run(
    experiment: Asked = "default", *, save_weights: bool = False, **flags: Unpack[Flags]
) -> Report:
    """Train what is missing of an experiment, write its report and return it.

    `experiment` is the name of a shipped one, a file, a table of labels, a dictionary of its fields
    or an `Experiment`; flags are laid over it. Call it again to go on after an interruption:
    finished runs are kept. `fresh` trains them again, and `save_weights` keeps the networks that
    are recommended. Of several budgets or training sizes the report is that of the largest.

    Raises `UserError` for whatever a user can fix. A run that fails raises nothing: the report
    counts it.
    """
    from bench.api.carry_out import carried_out

    with _prepared(experiment, flags, weights=save_weights) as (session, asked, deadline, pool):
        store, fresh = Store(session.results), flags.get("fresh", False)
        for level in carried_out(asked, session, pool, fresh=fresh, deadline=deadline):
            found = Found.of(store, level.declaration, level.records)
            with session.progress.working(f"drawing the report of {found.folder.name}"):
                written = found.written()
            for plot, why in written.faults.items():
                say(f"error: the plot '{plot}' could not be drawn, a defect of bench: {why}")
        if save_weights:
            from bench.api.weights import save_weights as save

            save(store, level.declaration, level.records, session, pool, note, fresh=fresh)
    return Report(found)


def plan(experiment: Asked = "default", **flags: Unpack[Flags]) -> "Preview":
    """Return what `run` would do with the same arguments: arms, prices, steps and time.

    Nothing is trained. Raises `UserError` as `run` does.
    """
    from bench.api.carry_out import planned
    from bench.api.preview import Preview

    with _prepared(experiment, flags, dry_run=True) as (session, asked, _, pool):
        levels = planned(asked, session, pool, fresh=flags.get("fresh", False))
    return Preview.of(asked, levels)


def load(results: str | Path = "results", name: str | None = None) -> Report:
    """Return the report of a finished experiment from its records. It needs no torch.

    `name` may be left out where the folder has one experiment. Raises `UserError` where there is
    none, or none of that name. Runs that are missing are told by the logger and counted.
    """
    store = Store(Path(results), read_only=True)
    if name is None:
        known = [found.experiment.name for found in store.experiments()]
        if len(known) > 1:
            raise UserError(f"name one of the experiments of '{results}': {', '.join(known)}")
        (name,) = known
    declaration = store.experiment(name)
    records = read_records(store, declaration)
    for line in store.news():
        note(f"note: {line}")
    if missing := len(declaration.keys - records.keys()):
        note(f"note: {missing} of {len(declaration.keys)} runs of {name} are missing")
    return Report(Found.of(store, declaration, records))


@contextmanager
def _prepared(
    experiment: Asked, flags: Flags, *, weights: bool = False, dry_run: bool = False
) -> Iterator[tuple[Session, Experiment, "Deadline | None", "WorkerPool"]]:
    """Take flags apart; yield the session, and what `prepared` yields."""
    session, asked, fields = flags_apart(experiment, flags)
    with prepared(
        asked,
        fields,
        session,
        flags.get("within"),
        fresh=flags.get("fresh", False),
        dry_run=dry_run,
        weights=weights,
    ) as (whole, deadline, pool):
        yield session, whole, deadline, pool


def flags_apart(
    experiment: Asked, flags: Flags, kind: type[Flags] = Flags
) -> tuple[Session, Asked, Mapping[str, Any]]:
    """Take flags of a kind apart: the session, what is asked, and the fields laid over it.

    Objects have names by then. Raises `UserError` for a flag that there is not.
    """
    given: Mapping[str, Any] = {key: value for key, value in flags.items() if value is not None}
    known = kind.__annotations__.keys() | Flags.__annotations__.keys()
    if strange := given.keys() - known:
        raise unknown("flag", min(strange), [*known, "save_weights"])
    asked = named(experiment) if isinstance(experiment, Mapping) else experiment
    fields = named({key: value for key, value in given.items() if key not in _SESSION})
    return _session(given), asked, fields


def _session(given: Mapping[str, Any]) -> Session:
    chosen = {key: value for key, value in given.items() if key in Session.__dataclass_fields__}
    for folder in ("results", "root"):
        if folder in chosen:
            chosen[folder] = Path(chosen[folder])
    chosen["workers"] = str(chosen.get("workers", "auto"))
    return Session(**{**chosen, "progress": progress_of(given.get("progress", True))})
