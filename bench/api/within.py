"""Carries out an experiment that has to end at a time: rehearse, plan, watch the clock."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.api.batch import RunBatch
from bench.api.session import Session
from bench.errors import UserError, clock, note
from bench.launch import WorkerPool, usable_cores
from bench.plan.plan import priced
from bench.plan.within import Planner
from bench.report import amount
from bench.spec.budget import Budget
from bench.spec.duration import seconds_of
from bench.spec.experiment import Experiment
from bench.store.records import SCREEN_BELOW
from bench.store.store import Store

#: Seconds that a report takes with what begins and ends a command, and more for each row.
_REPORT, _ROW = 18.0, 0.2
#: Seeds beyond the planned ones, which the clock may allow.
_SPARE = 4
#: Share of the planned seeds after which the clock is looked at.
FIRST = 0.6
#: Of what is planned to a time there is one level. Its budget follows; prices do not depend on it.
_ONE_LEVEL: Mapping[str, Any] = {
    "budget": "1flop",
    "smaller_budgets": (),
    "smaller_train_sizes": (),
    "at_most": None,
}


@dataclass
class Deadline:
    """When all has to be done, on the clock that `time.monotonic` reads."""

    end: float

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()


def check_within(experiment: Experiment, given: Mapping[str, Any], text: str) -> Deadline:
    """Return when all has to be done. `given` are the fields that a user gave.

    Raises `UserError` where the experiment cannot be planned to a time.
    """
    seconds = seconds_of(text)
    if given.get("budget"):
        raise UserError("give --within or --budget: the time decides the budget")
    if experiment.tune or experiment.until_decided:
        raise UserError("--within plans one budget and its seeds: leave out tuning and analyses")
    if not experiment.validation_size:
        raise UserError("--within rehearses on the validation split: raise --validation-size")
    return Deadline(time.monotonic() + seconds)


def plan_within(
    experiment: Experiment,
    asked_seeds: int | None,
    deadline: Deadline,
    session: Session,
    pool: WorkerPool,
    *,
    fresh: bool = False,
    dry_run: bool = False,
) -> tuple[Experiment, Deadline | None]:
    """Return an experiment with a budget and seeds that fit into the time, and its deadline.

    There is no deadline where the clock decides no more seeds: a user asked for so many, or the
    experiment was planned under its name before. Then it keeps its budget and its seeds, so that
    its runs are found again. A dry run rehearses nothing and goes by prices. What the plan could
    detect is told. Raises `UserError` where no seed fits.
    """
    store = Store(session.results, read_only=dry_run)
    experiment = experiment.model_copy(update=_ONE_LEVEL)
    if not fresh and (known := _planned_before(experiment, store)) is not None:
        note(
            f"planned before: {amount(Budget.parse(known.budget))} a run, {known.seeds} seeds; "
            "--fresh or another --name plans anew"
        )
        return known, None
    whole = deadline.left
    draft = priced(experiment, session.source, store, note, pool.ask)
    workers = pool.workers or usable_cores()
    planner = Planner(draft, workers)
    heard = planner.priced
    if not dry_run:
        rehearsals = planner.rehearsals(whole)
        jobs = [job for each in rehearsals.values() for job in each]
        batch = RunBatch.of(store, jobs, workers, fresh, "rehearsals")
        heard = planner.heard(rehearsals, batch.carry_out(store, pool, session.progress))
    left = deadline.left - _REPORT - _ROW * planner.rows
    schedule = planner.schedule(left, heard, asked_seeds)
    count = "1 seed" if schedule.seeds == 1 else f"{schedule.seeds} seeds"
    note(
        f"planned to the time: {amount(schedule.budget)} a run ({schedule.passes:.2g} passes of a "
        f"single-task network over its images), {count}, "
        f"about {clock(schedule.seconds)} on {workers} workers"
    )
    if dry_run and schedule.seeds >= SCREEN_BELOW:
        note("note: prices alone; `run` rehearses first, plans anew and says what it could detect")
    else:
        note(f"note: {planner.promise(schedule, heard)}")
    amounts = {"budget": schedule.budget.text, "seeds": schedule.seeds}
    return experiment.model_copy(update=amounts), None if asked_seeds else deadline


def _planned_before(experiment: Experiment, store: Store) -> Experiment | None:
    """Return the experiment that was declared under this name, if only amounts differ."""
    known = {found.experiment.name: found.experiment for found in store.declarations()}
    before = known.get(experiment.name)
    if before is None or Budget.parse(before.budget).axis != "flop":
        return None
    amounts = {"budget": before.budget, "seeds": before.seeds}
    return before if experiment.model_copy(update=amounts) == before else None


def spare_seeds(planned: int) -> int:
    """Return how many seeds beyond the planned ones the clock may allow."""
    return _SPARE if planned >= SCREEN_BELOW else 0


def seeds_left(done: int, planned: int, took: float, deadline: Deadline, rows: int) -> int:
    """Return how many more seeds the clock allows, when `done` of those planned `took` so long.

    At least as many as a verdict needs, if that many were planned; no result has a say in it.
    """
    left = deadline.left - _REPORT - _ROW * rows
    more = math.floor(left / (took / done) + 0.35) if took > 0 else planned - done
    least = max(0, min(planned, SCREEN_BELOW) - done)
    return max(least, min(more, planned + spare_seeds(planned) - done))
