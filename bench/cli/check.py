"""Carries out `check`, `baseline` and `compare`: reads both sides, times, judges, shows."""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.clean import json_text, printable
from bench.cli.console import console, show_json
from bench.cli.messages import order
from bench.cli.session import Session
from bench.contracts import DataSource
from bench.errors import LauncherError, NotComparableError, UserError, note, say
from bench.files import write_atomically
from bench.gate.baseline import (
    Baseline,
    Snapshot,
    commits,
    differences,
    of_revision,
    read_baseline,
    snapshot,
    write_baseline,
)
from bench.gate.judge import check, exit_code, undecidable, unused_seeds
from bench.gate.reference_loop import step_ratios
from bench.launch import WorkerPool
from bench.launch.worker import RequestError
from bench.report import annotations, gate_json, gate_markdown, gate_table, junit
from bench.spec.budget import Budget
from bench.spec.registry import parse_strategy
from bench.store.provenance import code_fingerprint, provenance, revisions
from bench.store.records import Record
from bench.store.store import Store, brief, reading_many
from bench.train.device import resolve_device

Time = Literal["off", "advise", "gate"]


@dataclass(frozen=True)
class Options:
    """How a comparison is judged and told. `margin` is that of the baseline where it is None."""

    margin: float | None = None
    inconclusive_fails: bool = True
    time: Time = "advise"
    junit: Path | None = None
    as_json: bool = False

    def __post_init__(self) -> None:
        if self.margin is not None and not 0 < self.margin <= 1e6:
            raise UserError(f"--margin {self.margin}: give a number above zero, up to a million")


def baseline_path(name: str, results: Path) -> Path:
    """Return where a baseline is: a file, or a name under the results folder."""
    if name.endswith(".json"):
        return Path(name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"'{name}' names no baseline: use letters, digits and . _ -")
    return results / "baselines" / f"{name}.json"


def _from_results(results: Path, name: str) -> Snapshot:
    store = Store(results, read_only=True)
    try:
        declaration = store.experiment(name)
        with reading_many():
            return snapshot(declaration, cache(brief(store.reader(declaration))))
    finally:  # what cannot be read may be why nothing is found
        _say_damaged(store)


def _say_damaged(store: Store) -> None:
    for line in store.news():
        note(f"note: {line}")


def _timed(side: Snapshot, source: DataSource) -> Baseline:
    """Return a side with the timings of its networks. Raises `UserError` where one has none."""
    specs = {name: record.spec for name, record in side.records.items() if record.ledger}
    note(f"timing a step of {len(specs)} networks in turns with a plain loop")
    name, ratios = "", {}
    try:
        with WorkerPool() as pool:
            for item in pool.ask(step_ratios, specs, source):
                if isinstance(item, str):
                    name = item
                else:
                    ratios = item
    except RequestError as error:
        raise UserError(f"a step of {name} cannot be timed: {error}") from None
    arms = {
        name: arm.model_copy(update={"seconds": ratios.get(name, ())})
        for name, arm in side.baseline.arms.items()
    }
    return side.baseline.model_copy(update={"arms": arms})


def _stale(records: Iterable[Record]) -> bool:
    """Return whether a run was made by other code than this."""
    made = {
        (r.spec.strategy, r.spec.recipe.network, r.spec.dataset, r.code_fingerprint)
        for r in records
        if r.code_fingerprint
    }
    return any(
        code_fingerprint(parse_strategy(strategy), network, dataset) != known
        for strategy, network, dataset, known in made
    )


def _notes(before: Baseline, now: Baseline) -> list[str]:
    notes = []
    for what in ("torch", "torchvision", "python", "processor", "device"):
        old, new = (side.made.get(what, "unknown") for side in (before, now))
        if old != new:
            notes.append(f"{what}: {old} in the baseline, {new} now")
    if len(notes):
        notes.append("so the same code may give other bits; the seeds are paired all the same")
    if Budget.parse(before.experiment.budget).axis == "s":
        notes.append(
            "scores and gains are advisory: what a budget in device-seconds buys is not the same "
            "from one time to the next"
        )
    notes += filter(None, (unused_seeds(before, now), undecidable(before, now)))
    return notes


def check_results(name: str, session: Session, options: Options) -> int:
    """Hold the runs of a results folder against a baseline; return the exit code."""
    results = session.results
    path = baseline_path(name, results)
    before = read_baseline(path)
    side = _from_results(results, before.experiment.name)
    now, notes = side.baseline, _notes(before, side.baseline)
    if reasons := list(differences(before, now)):
        raise NotComparableError(
            f"{path} is of something else: {'; '.join(reasons)}. If that is meant, "
            f"`python -m bench baseline set {path.stem}` takes what is there now"
        )
    if _stale(side.records.values()):
        notes.append(
            "these runs were made by other code than is here now: "
            f"`python -m bench run {before.experiment.name}` makes them again"
        )
    if options.time != "off":
        now, why = _with_time(before, side, session.source, options.time == "gate")
        notes += [why] if why else []
    return _tell(before, now, notes, options, results / "reports" / before.experiment.name)


def _with_time(
    before: Baseline, side: Snapshot, source: DataSource, binding: bool
) -> tuple[Baseline, str]:
    """Return the side with its timings, or why there is nothing to hold them against."""
    here = provenance(resolve_device(side.baseline.experiment.device))
    was = [before.made.get(what, "unknown") for what in ("processor", "device")]
    if not any(arm.seconds for arm in before.arms.values()):
        why = "device-seconds are not compared: the baseline has none"
    elif was != (machine := [here["processor"], here["device"]]):
        why = (
            f"device-seconds are not compared: the baseline was timed on {' and '.join(was)}, "
            f"and this is {' and '.join(machine)}"
        )
    else:
        try:
            return _timed(side, source), ""
        except LauncherError:
            raise
        except UserError as error:
            why = f"device-seconds are not compared: {error}"
    if binding:
        raise NotComparableError(why)
    return side.baseline, why


def _tell(
    before: Baseline, now: Baseline, notes: Sequence[str], options: Options, folder: Path | None
) -> int:
    """Judge, show and write what was found; return the exit code."""
    findings = check(before, now, options.margin, options.time == "gate")
    code = exit_code(findings, options.inconclusive_fails)
    name = before.experiment.name
    document = gate_json(before, now, findings, notes, code)
    text = json_text(document)
    if options.as_json:
        print(text, end="")
    else:
        console().print(gate_table(findings))
    for line in notes:
        note(f"note: {line}")
    if folder is not None:
        write_atomically(folder / "check.json", text.encode())
    if options.junit is not None:
        write_atomically(options.junit, junit(name, findings, options.inconclusive_fails))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in annotations(findings, options.inconclusive_fails):
            order(line)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _append(Path(summary), gate_markdown(name, findings, notes))
    return code


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        say(f"note: cannot add to the summary {path}: {error.strerror}")


def set_baseline(name: str, experiment: str, session: Session, time: bool) -> Path:
    """Write the runs of an experiment as a baseline; return where.

    Raises `UserError` where runs failed or are missing.
    """
    path = baseline_path(name, session.results)
    side = _from_results(session.results, experiment)
    if lost := side.unfinished:
        raise UserError(
            f"{len(lost)} runs of {experiment} failed or are missing ({lost[0]}): a baseline "
            f"needs them all; `python -m bench run {experiment}` tries them again"
        )
    if _stale(side.records.values()):
        raise UserError(
            f"the runs of {experiment} were made by other code than is here now: "
            f"`python -m bench run {experiment}` makes them again"
        )
    try:
        made = _timed(side, session.source) if time else side.baseline
    except LauncherError:
        raise
    except UserError as error:
        raise UserError(f"{error}; --no-time leaves it out") from None
    write_baseline(made, path)
    return path


def show_baselines(name: str | None, results: Path, as_json: bool) -> None:
    """Print one baseline's means, or which baselines there are."""
    if name is not None:
        _show(read_baseline(baseline_path(name, results)), as_json)
        return
    paths = sorted((results / "baselines").glob("*.json"))
    if not paths:
        raise NotComparableError(
            f"no baseline in {results / 'baselines'}: `python -m bench baseline set NAME` makes one"
        )
    found = {path.stem: read_baseline(path) for path in paths}
    rows = [
        {
            "baseline": stem,
            "experiment": b.experiment.name,
            "rows": len(b.rows),
            "seeds": b.experiment.seeds,
            "commit": next(iter(commits(b.made)), "unknown"),
            "torch": b.made.get("torch", "unknown"),
        }
        for stem, b in found.items()
    ]
    if as_json:
        show_json(rows)
        return
    table = Table(box=SIMPLE_HEAD)
    for column, value in rows[0].items():
        table.add_column(column, overflow="fold", no_wrap=isinstance(value, int))
    for row in rows:
        table.add_row(*(printable(str(value)) for value in row.values()))
    console().print(table)


def _show(baseline: Baseline, as_json: bool) -> None:
    if as_json:
        show_json(baseline.model_dump(mode="json"))
        return
    print(f"{baseline.experiment.name}, {baseline.experiment.budget}, made by")
    for what, value in baseline.made.items():
        print(printable(f"  {what}: {value}"))
    # Compared with itself, a baseline shows its own means.
    shown = [replace(f, change=None, remark="") for f in check(baseline, baseline)]
    quality = [f for f in shown if f.quantity in ("score", "gain")]
    console().print(gate_table(quality))


def compare(a: str, b: str, experiment: str | None, results: Path, options: Options) -> int:
    """Hold `b` against `a`, each a results folder, a baseline or a git revision."""
    before = _side(a, experiment, results)
    now = _side(b, experiment or before.experiment.name, results)
    if reasons := list(differences(before, now)):
        raise NotComparableError(f"{a} and {b} are no versions of one: {'; '.join(reasons)}")
    return _tell(before, now, _notes(before, now), options, None)


def _side(text: str, experiment: str | None, results: Path) -> Baseline:
    """Return one side of a comparison."""
    path = Path(text)
    if text.endswith(".json"):
        return read_baseline(path)
    if path.is_dir():
        return _from_results(path, experiment or _only(Store(path, read_only=True))).baseline
    commit = _commit(text)
    store = Store(results, read_only=True)
    declaration = store.experiment(experiment or _only(store))
    found = cache(store.reader(declaration))
    # What a commit does not change keeps the commit that trained it. Whether it would change a run
    # can be said of the commit that is here, without changes.
    known = [record for key in declaration.keys if (record := found(key)) is not None]
    here = commit in revisions().values() and not _stale(known)
    find = of_revision(declaration, found, list(store.records()), commit, here=here)
    _say_damaged(store)
    if all(find(key) is None for key in declaration.keys):
        raise UserError(
            f"no run of {declaration.experiment.name} in '{results}' was made at {text} "
            f"({commit[:12]}): check it out, without changes, and run the experiment"
        )
    return snapshot(declaration, find).baseline


def _only(store: Store) -> str:
    names = [d.experiment.name for d in store.experiments()]
    if len(names) != 1:
        raise UserError(
            f"'{store.root}' has {len(names)} experiments ({', '.join(names)}): name one with "
            "--experiment"
        )
    return names[0]


def _commit(revision: str) -> str:
    asked = f"{revision}^{{commit}}"
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, ValueError, subprocess.CalledProcessError):  # there may be no git at all
        raise UserError(
            f"'{revision}' is no results folder, no baseline (.json) and no git revision"
        ) from None
    return done.stdout.strip()
