"""Carries out an experiment: plan, tune if asked, train what is missing."""

import math
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from bench.api.batch import RunBatch
from bench.api.session import Session
from bench.api.settle import settle
from bench.api.within import FIRST, Deadline, seeds_left, spare_seeds
from bench.contracts import DataSource
from bench.errors import note, say
from bench.launch import WorkerPool
from bench.plan.plan import Draft, Plan, priced
from bench.report import amount, interim_lines
from bench.spec.budget import Budget
from bench.spec.experiment import Experiment
from bench.stats.gains import results as results_of
from bench.stats.interim import analysed, extended, narrowed, opening
from bench.store.records import Declaration, Pilot, Record
from bench.store.store import Store


@dataclass(frozen=True)
class Level:
    """An experiment at one of its budgets or training sizes, when its runs are done.

    `records` are all of the call so far, by key. `lost` is the number of planned runs without one,
    and `last` says whether it is the largest level.
    """

    declaration: Declaration
    records: Mapping[str, Record]
    lost: int
    last: bool


def carried_out(
    experiment: Experiment,
    session: Session,
    pool: WorkerPool,
    *,
    fresh: bool = False,
    deadline: Deadline | None = None,
) -> Iterator[Level]:
    """Run an experiment at each of its levels, and yield each when its runs are done.

    With a `deadline` the clock decides how many seeds there are in the end.
    """
    store = Store(session.results)
    store.check_writable()
    records = dict[str, Record]()
    levels = _levels(experiment, session, session.source, store, pool, fresh=fresh)
    planner = _Planner(session.source, store, pool)
    for number, (one, pilot) in enumerate(levels, 1):
        if len(levels) > 1:
            images = f"{one.train_size:,} training images"
            what = images if experiment.smaller_train_sizes else amount(Budget.parse(one.budget))
            note(f"level {number} of {len(levels)}: {what}")
        if deadline is not None:
            declaration, done, lost = _carry_out_until(deadline, one, session, planner, fresh)
        else:
            declaration, done, lost = _carry_out(one, pilot, session, planner, fresh, records)
        records |= done
        yield Level(declaration, dict(records), lost, number == len(levels))


def _levels(
    experiment: Experiment,
    session: Session,
    source: DataSource,
    store: Store,
    pool: WorkerPool,
    *,
    fresh: bool = False,
    dry_run: bool = False,
) -> list[tuple[Experiment, Pilot | None]]:
    """Return the experiment at each of its budgets or training sizes, with amounts for budgets."""

    def amounts(one: Experiment) -> tuple[Experiment, Pilot | None]:
        return settle(one, source, store, pool, session.progress, fresh=fresh, dry_run=dry_run)

    if experiment.smaller_train_sizes:  # of each, a pass is another number of steps
        return [amounts(one) for one in experiment.levels]
    settled, pilot = amounts(experiment)
    return [(one, pilot) for one in settled.levels]


@dataclass
class _Planner:
    """Plans an experiment at its levels. Those that differ by their budget alone share prices."""

    source: DataSource
    store: Store
    pool: WorkerPool
    _draft: Draft | None = None

    def plan(self, experiment: Experiment) -> Plan:
        """Return the plan at one level, and tell what a user must know of it."""
        draft = self._draft
        if draft is None or _at_any_budget(draft.experiment) != _at_any_budget(experiment):
            draft = priced(experiment, self.source, self.store, note, self.pool.ask)
        self._draft = replace(draft, experiment=experiment)
        plan = self._draft.plan()
        for line in self.store.news():
            note(f"note: {line}")
        for line in plan.declaration.data:
            note(f"data: {line}")
        for warning in plan.warnings:
            note(f"note: {warning}")
        return plan


def _at_any_budget(experiment: Experiment) -> Experiment:
    """Return an experiment without its budgets, and without its name, which tells of them."""
    return experiment.model_copy(update={"name": "", "budget": "", "smaller_budgets": ()})


@dataclass(frozen=True)
class PlannedLevel:
    """The plan of an experiment at one of its levels: its runs, and those of tuning before them."""

    plan: Plan
    trials: RunBatch
    scored: RunBatch


def planned(
    experiment: Experiment, session: Session, pool: WorkerPool, *, fresh: bool = False
) -> list[PlannedLevel]:
    """Return the plan of an experiment at each level. Nothing is trained, and nothing is left."""
    store, source = Store(session.results, read_only=True), session.source
    if source.cache is not None and not source.cache.exists():
        source = replace(source, cache=None)
    found, planner = [], _Planner(source, store, pool)
    for one, _ in _levels(experiment, session, source, store, pool, fresh=fresh, dry_run=True):
        plan = planner.plan(one)
        trials = RunBatch.of(store, plan.trials, pool.workers, fresh, "trials")
        if trials.jobs and not trials.missing:
            plan = plan.tuned(trials.done.get)
        scored = RunBatch.of(store, plan.jobs, pool.workers, fresh)
        found.append(PlannedLevel(plan, trials, scored))
    return found


def _carry_out_until(
    deadline: Deadline,
    experiment: Experiment,
    session: Session,
    planner: _Planner,
    fresh: bool,
) -> tuple[Declaration, dict[str, Record], int]:
    """Train the planned seeds; after most of them the clock decides how many more there are.

    Returns what `_carry_out` does. No result has a say in the number of seeds.
    """
    planned = experiment.seeds
    more = experiment.model_copy(update={"seeds": planned + spare_seeds(planned)})
    plan, store, pool = planner.plan(more), planner.store, planner.pool
    declaration = store.declare(narrowed(plan.declaration, planned))

    def train(seeds: range) -> dict[str, Record]:
        jobs = [job for job in plan.jobs if job.spec.seed in seeds]
        batch = RunBatch.of(store, jobs, pool.workers, fresh)
        return batch.carry_out(store, pool, session.progress)

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
    """Return how many planned runs have no record, and tell of them."""
    lost = sum(not store.has(key) for key in planned)
    if lost:
        say(f"error: {lost} planned runs have no record; run the same command again")
    return lost


def _carry_out(
    experiment: Experiment,
    pilot: Pilot | None,
    session: Session,
    planner: _Planner,
    fresh: bool,
    known: Mapping[str, Record],
) -> tuple[Declaration, dict[str, Record], int]:
    """Train what is missing of an experiment at one budget.

    `known` are the records of this command so far, which are not trained again even if all is to
    be `fresh`. Returns what is declared, the records by key, and the number of runs without one.
    """
    plan, store, pool = planner.plan(experiment).found_by(pilot), planner.store, planner.pool
    trials = RunBatch.of(store, plan.trials, pool.workers, fresh, "trials")
    tried = trials.carry_out(store, pool, session.progress)
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
        batch = RunBatch.of(store, asked, pool.workers, fresh)
        done |= batch.carry_out(store, pool, session.progress)
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
