"""Carries out `calibrate`: trains A/A runs and shows how often a difference was found."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bench.cli.batch import RunBatch
from bench.contracts import DataSource
from bench.errors import say
from bench.launch import WorkerPool
from bench.plan.plan import make_plan
from bench.report import write_calibration
from bench.spec.budget import Audit
from bench.spec.experiment import Experiment
from bench.spec.registry import parse_strategy
from bench.stats.calibration import only_row, quality, run_ratios, summary, timing
from bench.store.store import Store
from bench.train.device import prepare
from bench.train.job import Job, arm_data
from bench.train.pricing import time_steps


def calibrate(
    experiment: Experiment,
    *,
    group: int,
    results: Path,
    source: DataSource,
    workers: int | None,
    launcher: str | None,
    as_json: bool,
) -> None:
    """Run an A/A experiment and say how often, in groups of seeds, a difference was found."""
    store = Store(results)
    store.check_writable()
    plan = make_plan(experiment, source, store, say)
    row = only_row(plan.declaration, group)
    with WorkerPool(launcher, workers) as pool:
        done = RunBatch.of(store, plan.jobs, pool.workers, fresh=False).carry_out(store, pool)
    found = quality(plan.declaration, done.get, group)
    first = {row.seeds[0].strategy, row.seeds[0].anchors["full"][row.target]}
    arms = [job for job in plan.jobs if job.key in first]
    prices = price_ratios(arms, prepare(arms[0].spec.device), source, say)
    clocks = timing(run_ratios(plan.declaration, done.get, group), prices)
    files = write_calibration(experiment, found, clocks, results / "reports" / experiment.name)
    if as_json:
        print(files["calibration.json"].read_text("utf-8"), end="")
        return
    print(summary(found, clocks))
    print(f"data and plot in {files['calibration.json'].parent}")


#: Pairs of prices that are timed.
_TIMED = 20


def price_ratios(
    jobs: Sequence[Job], device: torch.device, source: DataSource, say: Callable[[str], None]
) -> list[Audit]:
    """Time a step of two arms in turns, again and again on new networks, and audit the prices.

    Raises what a step raises.
    """
    arms = [
        (
            parse_strategy(job.spec.strategy),
            arm_data(job.spec, source),
            job.spec.recipe,
            job.spec.width,
            0,
        )
        for job in jobs
    ]
    say(f"timing the same step {_TIMED} times, in turns")
    found = []
    for _ in range(_TIMED):
        ours, theirs = time_steps(arms, device, source)
        if isinstance(ours, Exception):
            raise ours
        if isinstance(theirs, Exception):
            raise theirs
        found.append(Audit("s", ours, theirs))
    return found
