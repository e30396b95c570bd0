"""Baselines: what an experiment gave, seed by seed, in one file that is committed and compared.

A baseline holds raw values, never summaries, so that the seeds of two versions can be paired. It
knows no run keys: those follow from the code, and other code is what it is there to judge.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import NotComparableError, UserError
from bench.files import DocumentError, read_document, write_atomically
from bench.spec.experiment import Experiment, RunSpec
from bench.stats.gains import Lookup
from bench.store.records import Amount, AnchorName, Count, Declaration, Number, Record, Seed


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Scores(_Document):
    """The primary test scores of one task, by seed, as measured."""

    metric: str
    unit: str
    higher_is_better: bool
    by_seed: dict[Seed, Number]


class BaselineArm(_Document):
    """One network as it is trained: its scores by task, and what a mean step of it costs.

    A run of several phases has its steps counted together, and the largest of their peaks.
    `trouble` has the seeds whose run diverged, failed or is missing, each with its reason; they
    have no scores. `seconds` are device-seconds of a step over those of a plain loop, one ratio a
    block of steps; empty where nothing was timed.
    """

    data: str
    """SHA-256 of what a run reads of its data."""
    flops: Amount
    parameters: Count
    peak_bytes: Count
    scores: dict[str, Scores] = {}
    trouble: dict[Seed, str] = {}
    seconds: tuple[Annotated[Amount, Field(gt=0)], ...] = ()


class BaselineRow(_Document):
    """A row of the experiment. `arm` and `alone` name the strategy's arm and its `full` anchor.

    `same_steps` names the anchor of that name; empty where `alone` takes as many steps.
    """

    pair: str
    strategy: str
    target: str
    arm: str
    alone: str
    same_steps: str = ""

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of its arms."""
        return tuple(filter(None, (self.arm, self.alone, self.same_steps)))


class Baseline(_Document):
    """All that a later version is compared with."""

    schema_version: Literal[1] = 1
    experiment: Experiment
    made: dict[str, str]
    """Versions, processor and device that made it."""
    rows: tuple[BaselineRow, ...]
    arms: dict[str, BaselineArm]


@dataclass(frozen=True)
class Snapshot:
    """A baseline with what it was made from: one record of each arm whose step costs its own."""

    baseline: Baseline
    records: Mapping[str, Record]

    @property
    def unfinished(self) -> list[str]:
        """Runs that failed or are missing, in words."""
        return [
            f"{name}, seed {seed}: {reason}"
            for name, arm in self.baseline.arms.items()
            for seed, reason in arm.trouble.items()
            if not reason.startswith("diverged")
        ]


#: The anchors that a verdict rests on: at equal compute, and at equal steps.
_ANCHORS: tuple[AnchorName, ...] = ("full", "same-steps")
#: More is no baseline: it has a number per seed and task.
_MOST_BYTES = 2**26
#: What two sides of a comparison need not have in common: names, rows, seeds, how results are read.
_MAY_DIFFER = {
    "name",
    "description",
    "pair",
    "strategy",
    "also",
    "also_against",
    "seeds",
    "margin",
    "device",
    "reference",
}


def snapshot(declaration: Declaration, find: Lookup) -> Snapshot:
    """Return what an experiment gave, from the records that `find` returns by key.

    Raises `UserError` where there are no rows, or an arm has no finished run at all.
    """
    if not declaration.rows:
        raise UserError(f"{declaration.experiment.name} has no rows: run it again")
    rows: list[BaselineRow] = []
    keys: dict[str, dict[int, str]] = {}
    records: dict[str, Record] = {}
    for row in declaration.rows:
        names = []
        own = {seed.seed: seed.strategy for seed in row.seeds}
        full, same = (
            {s.seed: s.anchors[a][row.target] for s in row.seeds if a in s.anchors}
            for a in _ANCHORS
        )
        sides = [own, full, *[same] * (same != full and bool(same))]
        for place, by_seed in enumerate(sides):
            found = [find(key) for key in by_seed.values()]
            finished = [r for r in found if r is not None and r.status != "failed"]
            known = (finished or [r for r in found if r is not None])[:1]
            if not known:
                raise UserError(
                    f"no run of {row.strategy} on {row.pair} is there: run "
                    f"`python -m bench run {declaration.experiment.name}` first"
                )
            name = known[0].spec.label
            if place > 1:
                name += f", {sum(known[0].spec.steps):,} steps"
            names.append(name)
            # An anchor of two rows has the seeds of both: interim analyses may end pairs apart.
            keys.setdefault(name, {}).update(by_seed)
            if place < 2:
                records[name] = known[0]
        rows.append(
            BaselineRow(
                pair=row.pair,
                strategy=row.strategy,
                target=row.target,
                arm=names[0],
                alone=names[1],
                same_steps="".join(names[2:]),
            )
        )
    made = next(iter(records.values())).provenance
    arms = {name: _arm({s: find(key) for s, key in k.items()}) for name, k in keys.items()}
    return Snapshot(
        Baseline(experiment=declaration.experiment, made=made, rows=tuple(rows), arms=arms), records
    )


def _arm(runs: Mapping[int, Record | None]) -> BaselineArm:
    trouble = {seed: text for seed, run in runs.items() if (text := _trouble(run))}
    whole = {seed: run for seed, run in runs.items() if run is not None and seed not in trouble}
    tasks = dict.fromkeys(task for run in whole.values() for task in run.spec.scored)
    ledgers = [run.ledger for run in runs.values() if run is not None and run.ledger is not None]
    ledger = ledgers[0] if ledgers else None
    return BaselineArm(
        data=next((run.data_fingerprint for run in whole.values()), ""),
        flops=ledger.allotted("flop") / sum(ledger.steps) if ledger else 0.0,
        parameters=ledger.parameters if ledger else 0,
        peak_bytes=max(price.peak_bytes for price in ledger.prices) if ledger else 0,
        scores={task: _scores(task, whole) for task in tasks},
        trouble=trouble,
    )


def _scores(task: str, runs: Mapping[int, Record]) -> Scores:
    known = next(iter(runs.values())).scores[task]
    metric, score = next((name, score) for name, score in known.items() if score.primary)
    values = {seed: run.primary(task).value for seed, run in runs.items()}
    return Scores(
        metric=metric,
        unit=score.unit,
        higher_is_better=score.higher_is_better,
        by_seed={seed: value for seed, value in values.items() if value is not None},
    )


def _trouble(run: Record | None) -> str:
    if run is None:
        return "the run is missing"
    if run.status != "ok":
        return f"{run.status}: {run.reason}"
    # A record that did not diverge may still have a score that is no number.
    lost = [task for task in run.spec.scored if run.primary(task).value is None]
    return f"diverged: no score of {', '.join(lost)}" if lost else ""


def commits(made: Mapping[str, str]) -> list[str]:
    """Return the commits that a run was made at: that of the user's repository first."""
    return [made[name] for name in ("repository", "commit") if name in made]


def of_revision(
    declaration: Declaration,
    find: Lookup,
    records: Sequence[Record],
    commit: str,
    *,
    here: bool = False,
) -> Lookup:
    """Return a lookup that finds, for a declared key, the run of the same arm and seed at a commit.

    The commit is one of the harness or of the user's repository. Where it is the code that is
    `here`, what it has not trained anew is what was declared, whichever commit trained that.
    """

    def asked(spec: RunSpec) -> RunSpec:
        return spec.model_copy(update={"steps": ()})  # the price decides them, so the code does

    made = {asked(r.spec): r for r in records if commit in commits(r.provenance)}
    declared = {key: record for key in declaration.keys if (record := find(key)) is not None}
    # Of several such runs, as other code has made them since, the declared one counts.
    made |= {asked(r.spec): r for r in declared.values() if commit in commits(r.provenance)}

    def look_up(key: str) -> Record | None:
        record = declared.get(key)
        if record is None:
            return None
        return made.get(asked(record.spec), record if here else None)

    return look_up


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline, a line a value, so that a change reads well in a diff."""
    write_atomically(path, (baseline.model_dump_json(indent=1) + "\n").encode())


def read_baseline(path: Path) -> Baseline:
    """Read a baseline. Raises `NotComparableError` with the fix where that cannot be done."""
    fix = "`python -m bench baseline set NAME` makes one from the runs of an experiment"
    try:
        baseline = read_document(path, Baseline, _MOST_BYTES)
    except OSError as error:
        raise NotComparableError(f"no baseline at {path} ({error.strerror}): {fix}") from None
    except DocumentError as error:
        raise NotComparableError(
            f"{path} is no baseline that this version reads ({error}): {fix}"
        ) from None
    if not baseline.rows:
        raise NotComparableError(f"{path} is damaged: it has no rows; {fix}")
    if lost := [arm for row in baseline.rows for arm in _lost(row, baseline.arms)]:
        raise NotComparableError(f"{path} is damaged: it has no values of '{lost[0]}'; {fix}")
    return baseline


def _lost(row: BaselineRow, arms: Mapping[str, BaselineArm]) -> list[str]:
    """Return the arms of a row that have no values of its target, and no trouble to explain it."""
    return [
        name
        for name in row.arms
        if name not in arms or (row.target not in arms[name].scores and not arms[name].trouble)
    ]


def differences(before: Baseline, now: Baseline) -> Iterator[str]:
    """Yield why two sides are no versions of one measurement; nothing where they are.

    Rows and seeds may differ: those that both have are compared, the others are named. Code and
    versions of packages may differ too, since that is what is to be judged.
    """
    for field in sorted(Experiment.model_fields.keys() - _MAY_DIFFER):
        old, new = (getattr(side.experiment, field) for side in (before, now))
        if old != new:
            yield f"{field.replace('_', '-')} is {old} in the baseline and {new} now"
    old, new = (
        "a CPU" if side.made.get("device", "cpu") == "cpu" else "an accelerator"
        for side in (before, now)
    )
    if old != new:
        yield f"the baseline was made on {old}, and this on {new}"
    for name in dict.fromkeys(row.alone for row in before.rows):
        arm, known = before.arms[name], now.arms.get(name)
        if known and known.data and arm.data != known.data:
            yield f"the data of {name.partition(' on ')[2]} are not those of the baseline"
        for task, scores in arm.scores.items():
            same = known.scores.get(task) if known else None
            if same and (was := _measure(scores)) != (now_by := _measure(same)):
                yield f"{task} is scored by {was} in the baseline and by {now_by} now"


def _measure(scores: Scores) -> str:
    better = "higher" if scores.higher_is_better else "lower"
    return f"{scores.metric} [{scores.unit}], {better} is better"
