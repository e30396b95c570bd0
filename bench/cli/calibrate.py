"""Carries out `calibrate`: trains A/A runs and shows how often a difference was found."""

from collections.abc import Callable, Sequence

from bench.api.batch import RunBatch, early_pool
from bench.cli.session import Session
from bench.contracts import DataSource
from bench.errors import UserError, note
from bench.launch.worker import RequestError
from bench.plan.plan import make_plan
from bench.plan.survey import Ask
from bench.report import write_calibration
from bench.spec.budget import Audit
from bench.spec.experiment import Experiment
from bench.stats.calibration import only_row, quality, run_ratios, summary, timing
from bench.store.store import Store
from bench.train.job import Job
from bench.train.survey import time_arms


def calibrate(experiment: Experiment, session: Session, *, group: int, as_json: bool) -> None:
    """Run an A/A experiment and say how often, in groups of seeds, a difference was found."""
    store, source = Store(session.results), session.source
    store.check_writable()
    with early_pool(experiment, session) as pool:
        plan = make_plan(experiment, source, store, note, pool.ask)
        row = only_row(plan.declaration, group)
        batch = RunBatch.of(store, plan.jobs, pool.workers, fresh=False)
        done = batch.carry_out(store, pool, session.progress)
        found = quality(plan.declaration, done.get, group)
        first = {row.seeds[0].strategy, row.seeds[0].anchors["full"][row.target]}
        arms = [job for job in plan.jobs if job.key in first]
        prices = price_ratios(arms, source, note, pool.ask)
    clocks = timing(run_ratios(plan.declaration, done.get, group), prices)
    files = write_calibration(
        experiment, found, clocks, session.results / "reports" / experiment.name
    )
    if as_json:
        print(files["calibration.json"].read_text("utf-8"), end="")
        return
    print(summary(found, clocks))
    print(f"data and plot in {files['calibration.json'].parent}")


#: Pairs of prices that are timed.
_TIMED = 20


def price_ratios(
    jobs: Sequence[Job], source: DataSource, say: Callable[[str], None], ask: Ask
) -> list[Audit]:
    """Time a step of two arms in turns, again and again on new networks, and audit the prices.

    Raises `UserError` where a step fails.
    """
    say(f"timing the same step {_TIMED} times, in turns")
    arms = [(job.spec, 0) for job in jobs]
    found = []
    for _ in range(_TIMED):
        try:
            *_, timed = ask(time_arms, arms, source)
        except RequestError as error:
            raise UserError(f"a step cannot be timed: {error}") from None
        for result in timed:
            if isinstance(result, str):
                raise UserError(f"a step cannot be timed: {result}")
        ours, theirs = timed
        found.append(Audit("s", ours, theirs))
    return found
