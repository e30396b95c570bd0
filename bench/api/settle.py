"""Makes an amount of compute of a budget in epochs, or of one at which networks have converged."""

from collections.abc import Mapping, Sequence

from bench.api.batch import RunBatch
from bench.api.progress import Progress
from bench.contracts import DataSource
from bench.errors import note
from bench.launch import WorkerPool
from bench.plan.pilot import Pilots
from bench.report import amount, pilot_verdict
from bench.spec.budget import AskedBudget, Budget
from bench.spec.experiment import Experiment
from bench.store.records import Pilot, Record
from bench.store.store import Store
from bench.train.job import Job


def settle(
    experiment: Experiment,
    source: DataSource,
    store: Store,
    pool: WorkerPool,
    progress: Progress,
    *,
    fresh: bool = False,
    dry_run: bool = False,
) -> tuple[Experiment, Pilot | None]:
    """Return an experiment whose budgets are amounts, and the pilots that found them.

    Pilots are kept and found again. A dry run trains none: where some are missing, it goes on with
    the first budget that they would have.
    """
    unit = AskedBudget.parse(experiment.budget).unit
    if unit not in ("epochs", "converged"):
        return experiment, None
    pilots = Pilots.of(experiment, source, store, note, pool.ask)
    if unit == "epochs":
        settled = pilots.in_steps()
        note(f"{experiment.budget} are {amount(Budget.parse(settled.budget))}")
        return settled, None

    def train(jobs: Sequence[Job], budget: Budget) -> Mapping[str, Record]:
        batch = RunBatch.of(store, jobs, pool.workers, fresh, f"pilots at {amount(budget)}")
        return batch.done if dry_run else batch.carry_out(store, pool, progress)

    pilot = pilots.search(train)
    if pilot is None:
        first = pilots.first("flop")
        note(
            "note: a dry run trains no pilots, so the converged budget is not known yet; the plan "
            f"is that of the first budget they would try, {amount(first)}"
        )
        found = Pilot(levels=(), budget=first.text, converged=False, at_most=experiment.at_most)
        return pilots.settled(found), None
    note(pilot_verdict(pilot))
    return pilots.settled(pilot), pilot
