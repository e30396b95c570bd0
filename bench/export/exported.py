"""What is exported: the runs of an experiment and its report, as trackers take them.

Names are clean and distinct, numbers are whole and finite: what `gains.json` has as null is absent.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.clean import finite, printable
from bench.report import Report
from bench.stats.comparison import RowResult
from bench.stats.gains import Lookup
from bench.store.records import CurvePoint, Declaration, Record, Status

Value = str | int | float | bool

#: The numbers of a row against an anchor that are exported, by their names in `gains.json`.
_FIGURES = ("n", "mean", "sd", "p_t", "p_sign_flip", "p_holm", "minimum_detectable_gain")


@dataclass(frozen=True)
class Point:
    """What was logged after `step` training steps, by name."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrackerRun:
    """One run of a tracker: a training run, or the report of the experiment.

    `id` is made of letters and digits, and is the same at every export. Parameters are what was
    set, metrics what came out. Names have parts with slashes between them.
    """

    id: str
    name: str
    kind: Literal["run", "report"]
    status: Status
    parameters: Mapping[str, Value]
    metrics: Mapping[str, float]
    curve: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Exported:
    """An experiment as exporters get it.

    `files` are those of the report by name. `results` are the rows that the report shows.
    """

    experiment: str
    description: str
    runs: tuple[TrackerRun, ...]
    report: TrackerRun
    files: Mapping[str, Path]
    results: tuple[RowResult, ...]

    @property
    def everything(self) -> tuple[TrackerRun, ...]:
        """All runs of a tracker, the report first."""
        return (self.report, *self.runs)

    @property
    def plots(self) -> dict[str, Path]:
        """The plots as PNG, by name."""
        return {
            name.removesuffix(".png"): path
            for name, path in self.files.items()
            if name.endswith(".png")
        }


class Names:
    """Gives each name a form that a medium allows, and no two names the same."""

    def __init__(self, clean: Callable[[str], str]) -> None:
        self._clean = clean
        self._given: dict[tuple[str, ...], str] = {}
        self._taken = set[str]()

    def __call__(self, *parts: str) -> str:
        """Return the name of these parts, the same at every call."""
        if parts not in self._given:
            plain = shown = "/".join(map(self._clean, parts))
            number = 1
            while shown in self._taken:
                number += 1
                shown = f"{plain} {number}"
            self._taken.add(shown)
            self._given[parts] = shown
        return self._given[parts]


def gather(declaration: Declaration, find: Lookup, report: Report) -> Exported:
    """Return the runs that the rows of an experiment read, and its report, as it was written.

    `find` returns the records by key; runs without one are left out.
    """
    names = Names(printable)
    document = json.loads(report.files["gains.json"].read_text("utf-8"))
    runs = [
        _run(record, roles, names)
        for key, roles in _roles(declaration).items()
        if (record := find(key)) is not None
    ]
    experiment = declaration.experiment
    return Exported(
        experiment=experiment.name,
        description=experiment.description,
        runs=tuple(runs),
        report=_report(experiment.name, document, names),
        files=report.files,
        results=report.results,
    )


def _roles(declaration: Declaration) -> dict[str, list[str]]:
    """Return what each run is to the rows that read it, in their order, by key."""
    found: dict[str, list[str]] = {}
    for row in declaration.rows:
        for seed in row.seeds:
            read = [("strategy", seed.strategy)]
            read += [(name, key) for name, runs in seed.anchors.items() for key in runs.values()]
            for role, key in read:
                roles = found.setdefault(key, [])
                roles += [role] * (role not in roles)
    return found


def _run(record: Record, roles: Sequence[str], names: Names) -> TrackerRun:
    spec = record.spec
    role = ", ".join(roles)
    parameters: dict[str, Any] = {
        "key": record.key,
        "role": role,
        "pair": f"{spec.dataset}:{'+'.join(spec.tasks)}",
        "dataset": spec.dataset,
        "tasks": "+".join(spec.tasks),
        "scored": "+".join(spec.scored),
        "strategy": spec.strategy,
        "seed": spec.seed,
        "budget": spec.budget,
        "width": spec.width,
        "device": spec.device,
        "split": spec.split,
        "trials": spec.trials,
        **{f"recipe/{name}": value for name, value in spec.recipe.model_dump().items()},
        "status": record.status,
        "reason": record.reason,
    }
    made = {names("made", name): printable(text) for name, text in record.provenance.items()}
    return TrackerRun(
        id=record.key,
        name=printable(f"{spec.label}, seed {spec.seed} ({role})"),
        kind="run",
        status=record.status,
        parameters={**_settings(parameters), **made},
        metrics=_numbers(_outcome(record), names),
        curve=tuple(_point(record, point, names) for point in record.curve),
    )


def _settings(values: Mapping[str, Any]) -> dict[str, Value]:
    """Return settings as single values; what is not set is absent."""
    return {
        name: _single(value)
        for name, value in finite(dict(values)).items()
        if value is not None and value != ""
    }


def _single(value: Any) -> Value:
    """Return numbers and texts as they are, and all else as JSON."""
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text)


Figures = Iterator[tuple[tuple[str, ...], float | None]]


def _numbers(figures: Figures, names: Names) -> dict[str, float]:
    """Return the figures that are finite numbers, by name."""
    return {
        names(*parts): value
        for parts, value in figures
        if value is not None and math.isfinite(value)
    }


def _outcome(record: Record) -> Figures:
    """Yield what a run came to and what it used, by the parts of a name."""
    split = record.spec.split
    for task, scores in record.scores.items():
        for metric, score in scores.items():
            yield (split, task, metric), score.value
    for task, classes in record.classes.items():
        for name, value in classes.values.items():
            yield (split, task, classes.what, name), value
    yield ("seconds",), record.seconds
    if (ledger := record.ledger) is not None:
        for axis, amount in ledger.used.items():
            yield ("used", axis), amount
        yield ("parameters",), ledger.parameters
        yield ("evaluation_seconds",), ledger.evaluation_seconds
    if record.use is not None:
        for name, value in record.use.model_dump().items():
            yield ("use", name), value


def _point(record: Record, point: CurvePoint, names: Names) -> Point:
    """Return a point of a learning curve, with the FLOPs that its steps had cost."""

    def figures() -> Figures:
        for what, values in (
            ("validation", point.scores),
            ("loss", point.losses),
            ("weight", point.weights),
            ("norm", point.norms),
        ):
            for task, value in values.items():
                yield (what, task), value
        for task, others in point.cosines.items():
            for other, value in others.items():
                yield ("cosine", task, other), value
        if record.ledger is not None:
            yield ("cost", "flop"), record.ledger.allotted("flop", point.step)

    return Point(point.step, _numbers(figures(), names))


def _report(experiment: str, document: Mapping[str, Any], names: Names) -> TrackerRun:
    """Return the report: each row's numbers and verdict as `gains.json` has them."""
    parameters = {
        f"experiment/{name}": value for name, value in _settings(document["experiment"]).items()
    }
    for decision in document["decisions"]["sets"]:
        for part in ("choice", "sentence"):
            parameters[names("decision", decision["pair"], part)] = printable(decision[part])
    for row in document["rows"]:
        asked = (row["pair"], row["target"], row["strategy"])
        parameters[names("verdict", *asked)] = printable(row["verdict"]["name"])
    return TrackerRun(
        id="report",
        name=f"report of {experiment}",
        kind="report",
        status="ok",
        parameters=parameters,
        metrics=_numbers(_gains(document["rows"]), names),
    )


def _gains(rows: Sequence[Mapping[str, Any]]) -> Figures:
    """Yield the numbers of each row against each anchor and each reference."""
    for row in rows:
        asked = (row["pair"], row["target"], row["strategy"])
        yield ("gain", *asked, "score_mean"), row["score_mean"]
        yield ("gain", *asked, "score_sd"), row["score_sd"]
        for anchor, found in {**row["against"], **row["references"]}.items():
            for name in _FIGURES:
                yield ("gain", *asked, anchor, name), found[name]
            low, high = found["interval_95"]
            yield ("gain", *asked, anchor, "low_95"), low
            yield ("gain", *asked, anchor, "high_95"), high
