"""Carries out the commands that train: plan, tune if asked, train what is missing, report."""

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from bench.cli.batch import RunBatch
from bench.cli.console import show_json
from bench.cli.dry_run import plan_json, show_plan
from bench.cli.report import report_experiment
from bench.cli.session import Session
from bench.cli.settle import settle
from bench.cli.weights import weights_of
from bench.cli.within import FIRST, Deadline, seeds_left, spare_seeds
from bench.contracts import DataSource
from bench.errors import EXIT_OK, EXIT_RUNS_FAILED, note, say
from bench.launch import WorkerPool
from bench.plan.plan import Plan, make_plan
from bench.report import amount, interim_lines
from bench.spec.budget import Budget
from bench.spec.experiment import Experiment
from bench.stats.gains import results as results_of
from bench.stats.interim import analysed, extended, narrowed, opening
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
    deadline: Deadline | None = None,
    save_weights: bool = False,
) -> int:
    """Run an experiment at each of its levels and show the report of the largest.

    With a `deadline` the clock decides how many seeds there are in the end. With `save_weights` the
    networks that it recommends are kept. Returns the exit code of the command.
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
        if deadline is not None:
            declaration, done, lost = _carry_out_until(deadline, one, session, store, pool, fresh)
        else:
            declaration, done, lost = _carry_out(one, pilot, session, store, pool, fresh, records)
        records |= done
        code = max(code, lost)
        shown = number == len(levels)
        code = max(code, report_experiment(store, declaration, records, as_json, shown=shown))
        if save_weights and shown:
            saved = weights_of(store, declaration, records, session.source, pool, fresh, as_json)
            code = max(code, saved)
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


def _carry_out_until(
    deadline: Deadline,
    experiment: Experiment,
    session: Session,
    store: Store,
    pool: WorkerPool,
    fresh: bool,
) -> tuple[Declaration, dict[str, Record], int]:
    """Train the planned seeds; after most of them the clock decides how many more there are.

    Returns what `_carry_out` does. No result has a say in the number of seeds.
    """
    planned = experiment.seeds
    more = experiment.model_copy(update={"seeds": planned + spare_seeds(planned)})
    plan = _planned(more, session.source, store, pool)
    declaration = store.declare(narrowed(plan.declaration, planned))

    def train(seeds: range) -> dict[str, Record]:
        jobs = [job for job in plan.jobs if job.spec.seed in seeds]
        return RunBatch.of(store, jobs, pool.workers, fresh).carry_out(store, pool)

    first, began = max(1, math.ceil(FIRST * planned)), time.monotonic()
    done = train(range(first))
    took = time.monotonic() - began
    count = first + seeds_left(first, planned, took, deadline, len(declaration.rows))
    if count != planned:
        note(f"the clock allows {count} seeds where {planned} were planned")
        declaration = store.declare(narrowed(plan.declaration, count), by_clock=True)
    done |= train(range(first, count))
    return declaration, done, _lost(declaration.keys, store)


def _lost(planned: Collection[str], store: Store) -> int:
    """Return the exit code that runs without a record deserve, and tell of them."""
    lost = [key for key in planned if not store.has(key)]
    if lost:
        say(f"error: {len(lost)} planned runs have no record; run the same command again")
    return EXIT_RUNS_FAILED if lost else EXIT_OK


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
    lost = _lost(declaration.keys | {job.key for job in plan.trials}, store)
    return declaration, tried | done, lost
