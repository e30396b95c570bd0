"""Runs the checks one after the other. Whatever fails costs its own check only."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.api.run import run
from bench.contracts import DataSource
from bench.errors import UserError, message_of
from bench.launch import largest_worker
from bench.launch.side_by_side import Processes, fewest_that_pay, rates
from bench.launch.worker import RequestError
from bench.plan.plan import make_plan
from bench.plan.survey import Ask
from bench.selftest.checks import OF_AN_ARM, Finding, equal, facts
from bench.spec.experiment import Experiment, RunSpec
from bench.spec.registry import parse_strategy
from bench.store.store import Store
from bench.train.device import reason_of
from bench.train.job import Job

#: Kinds of network that are compared with the CPU's at most, one of each strategy.
_MOST_ARMS = 8


def selftest(
    device: str,
    experiment: Experiment,
    source: DataSource,
    folder: Path,
    ask: Ask,
    workers: int | None,
    say: Callable[[str], None],
) -> Iterator[tuple[str, Finding]]:
    """Try a device with the networks of an experiment, then run the experiment on it.

    Yields the name of each check and what it finds. One that raises, or whose process dies, has
    failed. Checks run where `ask` calls them. `workers` is a number of processes, 0 for this one,
    and None for as many as suit the device. `folder` gets the experiment's results.

    Raises `UserError` where the experiment cannot be planned on the CPU.
    """
    say("planning on the CPU")
    jobs = _jobs(experiment, source, ask)
    arms = [job.spec.arm.model_copy(update={"device": device}) for job in jobs]
    shared = _shared(arms)
    checks: dict[str, Callable[[], Finding]] = {"device": partial(_asked, ask, facts, device)}
    for spec in arms:
        checks[f"equal to the CPU: {spec.label}"] = partial(_asked, ask, equal, spec, source)
    for name, check in OF_AN_ARM.items():
        checks[name] = partial(_asked, ask, check, shared, source)
    checks["throughput"] = partial(_throughput, shared, source, jobs, workers)
    checks["experiment"] = partial(_experiment, experiment, device, folder, workers)
    for number, (name, tried) in enumerate(checks.items(), 1):
        say(f"{number} of {len(checks)}: {name}")
        yield name, _tried(tried)


def _asked(ask: Ask, check: Callable[..., Finding], *arguments: object) -> Finding:
    found: Finding
    (found,) = ask(check, *arguments)
    return found


def _tried(check: Callable[[], Finding]) -> Finding:
    """Return what a check finds, or why it cannot be made."""
    try:
        return check()
    except KeyboardInterrupt:
        raise
    except (UserError, RequestError) as error:
        return Finding("failed", message_of(error), {})
    except Exception as error:
        return Finding("failed", reason_of(error), {})


def _jobs(experiment: Experiment, source: DataSource, ask: Ask) -> list[Job]:
    """Return runs of an experiment as it is planned for the CPU: one of each strategy."""
    brief = experiment.model_copy(
        update={
            "device": "cpu",
            "seeds": 1,
            "budget": "32steps",
            "smaller_budgets": (),
            "smaller_train_sizes": (),
            "at_most": None,
            "tune": 0,
        }
    )
    with tempfile.TemporaryDirectory() as scratch:  # its timings are nobody's prices
        plan = make_plan(brief, source, Store(Path(scratch)), lambda _: None, ask)
    kinds = {(job.spec.strategy, len(job.spec.tasks)): job for job in reversed(plan.jobs)}
    return list(reversed(kinds.values()))[:_MOST_ARMS]


def _shared(arms: Sequence[RunSpec]) -> RunSpec:
    """Return the first arm of several tasks in which a partner of weight 0 changes nothing.

    Raises `UserError` where there is none.
    """
    for spec in arms:
        strategy = parse_strategy(spec.strategy)
        exact = all(part.exact_null for part in strategy.components)
        if len(spec.tasks) > 1 and not strategy.auxiliaries and exact:
            return spec
    raise UserError("no row of this experiment trains two tasks in one network: name another one")


def _throughput(
    spec: RunSpec, source: DataSource, jobs: Sequence[Job], workers: int | None
) -> Finding:
    """Measure how many steps a second 1 to 8 processes take side by side."""
    if workers == 0:
        return Finding("skipped", "with --workers 0 there are no processes", {})
    with Processes(spec, source, largest_worker(jobs)) as measure:
        found = rates(measure)
    if not found:
        return Finding("failed", "not even one process could take steps", {})
    figures = {f"steps a second, {count} side by side": rate for count, rate in found.items()}
    return Finding("ok", f"{fewest_that_pay(found)} side by side suit it", figures)


def _experiment(experiment: Experiment, device: str, folder: Path, workers: int | None) -> Finding:
    """Run the experiment on the device, with all that belongs to it."""
    began = time.perf_counter()
    given = "auto" if workers is None else workers
    report = run(experiment, device=device, results=folder, workers=given, yes=True, fresh=True)
    counts = report.counts
    seconds = round(time.perf_counter() - began, 1)
    figures = {"runs": counts.planned, "of them well": counts.ok, "seconds": seconds}
    if counts.ok < counts.planned:
        return Finding("failed", f"{counts.failed} runs of {experiment.name} failed", figures)
    return Finding("ok", f"{experiment.name} has all its runs", figures)
