"""Carries out the commands that train: plan, tune if asked, train what is missing, report."""

import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench.clean import printable
from bench.cli.batch import RunBatch
from bench.cli.console import console, show_json
from bench.cli.dry_run import plan_json, show_plan
from bench.cli.progress import working
from bench.cli.session import Session
from bench.cli.settle import settle
from bench.contracts import DataSource
from bench.errors import EXIT_DEFECT, EXIT_OK, EXIT_RUNS_FAILED, EXIT_USAGE, UserError, note, say
from bench.launch import WorkerPool
from bench.plan.plan import Plan, make_plan
from bench.report import (
    amount,
    interim_lines,
    level_table,
    stall,
    terminal_table,
    tuning_note,
    write_report,
)
from bench.spec.budget import Budget
from bench.spec.experiment import Experiment
from bench.stats.gains import results as results_of
from bench.stats.interim import analysed, extended, opening
from bench.store.records import Declaration, Pilot, Record
from bench.store.store import Store


def run_experiment(
    experiment: Experiment,
    session: Session,
    pool: WorkerPool,
    *,
    dry_run: bool = False,
    fresh: bool = False,
    as_json: bool = False,
) -> int:
    """Run an experiment at each of its levels and show the report of the largest.

    Returns the exit code of the command.
    """
    if dry_run:
        return _show_plans(experiment, session, pool, fresh, as_json)
    store = Store(session.results)
    store.check_writable()
    code, records = EXIT_OK, dict[str, Record]()
    levels = _levels(experiment, session.source, store, pool, fresh=fresh)
    for number, (one, pilot) in enumerate(levels, 1):
        if len(levels) > 1:
            images = f"{one.train_size:,} training images"
            what = images if experiment.smaller_train_sizes else amount(Budget.parse(one.budget))
            note(f"level {number} of {len(levels)}: {what}")
        declaration, done, lost = _carry_out(one, pilot, session, store, pool, fresh, records)
        records |= done
        code = max(code, lost)
        shown = number == len(levels)
        code = max(code, _report(store, declaration, records, as_json, shown=shown))
    return code


def _levels(
    experiment: Experiment,
    source: DataSource,
    store: Store,
    pool: WorkerPool,
    *,
    fresh: bool = False,
    dry_run: bool = False,
) -> list[tuple[Experiment, Pilot | None]]:
    """Return the experiment at each of its budgets or training sizes, with amounts for budgets."""

    def amounts(one: Experiment) -> tuple[Experiment, Pilot | None]:
        return settle(one, source, store, pool, fresh=fresh, dry_run=dry_run)

    if experiment.smaller_train_sizes:  # of each, a pass is another number of steps
        return [amounts(one) for one in experiment.levels]
    settled, pilot = amounts(experiment)
    return [(one, pilot) for one in settled.levels]


def _planned(experiment: Experiment, source: DataSource, store: Store, pool: WorkerPool) -> Plan:
    """Return the plan of an experiment at one budget, and tell what a user must know of it."""
    plan = make_plan(experiment, source, store, note, pool.ask)
    for line in store.news():
        note(f"note: {line}")
    for line in plan.declaration.data:
        note(f"data: {line}")
    for warning in plan.warnings:
        note(f"note: {warning}")
    return plan


def _show_plans(
    experiment: Experiment, session: Session, pool: WorkerPool, fresh: bool, as_json: bool
) -> int:
    """Show the plan at each level, and leave nothing behind."""
    store, source = Store(session.results, read_only=True), session.source
    if source.cache is not None and not source.cache.exists():
        source = replace(source, cache=None)
    plans = []
    for one, _ in _levels(experiment, source, store, pool, fresh=fresh, dry_run=True):
        plan = _planned(one, source, store, pool)
        trials = RunBatch.of(store, plan.trials, pool.workers, fresh, "trials")
        if trials.jobs and not trials.missing:
            plan = plan.tuned(trials.done.get)
        plans.append((plan, trials, RunBatch.of(store, plan.jobs, pool.workers, fresh)))
    if as_json:
        documents = [plan_json(*each) for each in plans]
        shown = documents[0] if len(documents) == 1 else {"budgets": documents}
        show_json(shown)
    else:
        for each in plans:
            show_plan(*each)
    return EXIT_OK


def _carry_out(
    experiment: Experiment,
    pilot: Pilot | None,
    session: Session,
    store: Store,
    pool: WorkerPool,
    fresh: bool,
    known: Mapping[str, Record],
) -> tuple[Declaration, dict[str, Record], int]:
    """Train what is missing of an experiment at one budget.

    `known` are the records of this command so far, which are not trained again even if all is to
    be `fresh`. Returns what is declared, the records by key, and the exit code that lost runs
    deserve.
    """
    plan = _planned(experiment, session.source, store, pool).found_by(pilot)
    trials = RunBatch.of(store, plan.trials, pool.workers, fresh, "trials")
    tried = trials.carry_out(store, pool)
    if tried:
        plan = plan.tuned(tried.get)
    # Which runs are compared is known from here on, and none of them has a result yet.
    declaration = store.declare(opening(plan.declaration))
    if declaration.changes:
        note(
            f"note: '{experiment.name}' was declared on other terms before (rows, seeds, "
            "budget, margin, recipe or tuning); this replaces its report, the records stay. "
            "--name keeps both"
        )
    done = {key: known[key] for key in declaration.keys & known.keys()}
    while True:
        keys = declaration.keys - done.keys()
        asked = [job for job in plan.jobs if job.key in keys]
        done |= RunBatch.of(store, asked, pool.workers, fresh).carry_out(store, pool)
        if not experiment.until_decided:
            break
        rows = results_of(declaration, done.get)
        declaration = store.declare(analysed(declaration, rows))
        note(interim_lines(declaration)[-1])
        further = extended(plan.declaration, declaration, rows)
        if further is None:
            break
        declaration = store.declare(further)
    # Whatever has happened before: success means that every run has a record.
    planned = declaration.keys | {job.key for job in plan.trials}
    if lost := [key for key in planned if not store.has(key)]:
        say(f"error: {len(lost)} planned runs have no record; run the same command again")
    return declaration, tried | done, EXIT_RUNS_FAILED if lost else EXIT_OK


def _smaller(store: Store, declaration: Declaration) -> list[Declaration]:
    """Return the declarations of an experiment at its smaller levels, as far as there are any."""
    *smaller, _ = declaration.experiment.levels
    known = {found.experiment.name: found for found in store.experiments()} if smaller else {}
    return [known[one.name] for one in smaller if one.name in known]


def _report(
    store: Store,
    declaration: Declaration,
    records: Mapping[str, Record],
    as_json: bool,
    shown: bool = True,
) -> int:
    """Write the report of an experiment, show it if so; return the exit code that it deserves."""
    smaller = _smaller(store, declaration)

    others = [store.reader(each) for each in smaller]
    others += [store.load] if declaration.pilot else []

    def find(key: str) -> Record | None:
        return records.get(key) or next((r for other in others if (r := other(key))), None)

    folder = store.root / "reports" / declaration.experiment.name
    with working(f"drawing the report of {declaration.experiment.name}"):
        report = write_report(
            declaration, find, folder, lambda key: store.examples(records[key]), smaller
        )
    if not shown:
        note(f"its report is {report.files['table.md']}")
    elif as_json:
        print(report.files["gains.json"].read_text("utf-8"), end="")
    else:
        for line in report.decisions:
            console().print(printable(line), soft_wrap=False, style="bold")
        console().print(terminal_table(report.results))
        if report.over_levels:
            console().print(level_table(report.over_levels))
        print(f"table, data and plots (each .svg too) in {folder}:")
        for name in ("table.md", *(name for name in report.files if name.endswith(".png"))):
            print(f"  {report.files[name]}")
    if report.tuning:
        note(f"note: {tuning_note(report.tuning)}; table.md has them all")
    # A trial that diverges has found the end of its range; one that fails is a fault as any.
    failed = {k for k in declaration.tuning_keys if (r := records.get(k)) and r.status == "failed"}
    known = ((key, record) for key, record in records.items() if record.status != "ok")
    for record in [r for key, r in known if key in declaration.keys | failed]:
        say(f"{record.status}: {record.spec.label}, seed {record.spec.seed}: {record.reason}")
    worst = max(report.results, key=lambda row: row.stall, default=None)
    if worst is not None and (text := stall(worst)):
        note(f"note: {worst.strategy} on {worst.pair}: {text}")
    if lost := [name for name, path in report.files.items() if not path.is_file()]:
        say(f"error: of the report in {folder} is missing: {', '.join(lost)}")
    for plot, why in report.faults.items():
        say(f"error: the plot '{plot}' could not be drawn, which is a defect of bench: {why}")
    if report.faults or lost:
        return EXIT_DEFECT
    return EXIT_RUNS_FAILED if failed or report.runs.ok < report.runs.planned else EXIT_OK


def report_all(results: Path, name: str | None, as_json: bool) -> int:
    """Report the experiments of a folder, or the one that is named; return the exit code.

    An experiment that cannot be reported costs no other its report.
    """
    store = Store(results, read_only=True)
    store.sweep()
    declarations = store.experiments() if name is None else [store.experiment(name)]
    broken = store.news()
    for line in broken:
        say(f"error: {line}")
    code = EXIT_USAGE if broken else EXIT_OK
    for declaration in declarations:
        keys, title = declaration.keys, declaration.experiment.name
        every, find = keys | declaration.tuning_keys, store.reader(declaration)
        records = {key: record for key in every if (record := find(key)) is not None}
        for line in store.news():
            note(f"note: {line}")
        if missing := len(every) - len(records):
            note(f"note: {missing} of {len(every)} runs of {title} are missing; run it to add them")
        try:
            code = max(code, _report(store, declaration, records, as_json))
        except UserError:
            raise
        except Exception:
            traceback.print_exc()
            say(f"error: '{title}' could not be reported, which is a defect of bench")
            code = EXIT_DEFECT
    return code
