"""Carries out an experiment: plan, tune if asked, launch what is missing, store, report.

The one module that knows both the runs and the screen.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from rich import box
from rich.table import Table

from bench.budget import AXIS_NAMES, Budget, cost
from bench.calibration import only_row, price_ratios, quality, run_ratios, summary, timing
from bench.contracts import DataSource
from bench.errors import UserError, say
from bench.fidelity import fidelity
from bench.gains import results as results_of
from bench.launch import Started, auto_workers, launch, usable_cores
from bench.launch.processes import Pool
from bench.looks import extended, looked, opening
from bench.plan import Plan, make_plan, resolve_device
from bench.progress import Display, clock
from bench.records import Declaration, Record
from bench.report import (
    amount,
    fidelity_markdown,
    fidelity_table,
    fold,
    gains_json,
    look_lines,
    stall,
    terminal_table,
    tuning_note,
    write_calibration,
    write_report,
)
from bench.run import Job, prepare
from bench.screen import console
from bench.spec import Experiment
from bench.store import Store, write_atomically

#: FLOPs of one arm over all seeds that keep several processes busy for longer than they start.
_SURELY_WORTH_PROCESSES = 2e11


def conduct(
    experiment: Experiment,
    *,
    results: Path,
    source: DataSource,
    workers: int | None,
    dry_run: bool,
    fresh: bool,
    as_json: bool,
) -> bool:
    """Run an experiment and show its report; return whether any run failed or diverged."""
    store = Store(results, read_only=dry_run)
    if not dry_run:
        store.check_writable()
    if dry_run and source.cache is not None and not source.cache.exists():
        source = replace(source, cache=None)
    with _early_pool(experiment, 1 if dry_run else workers) as pool:
        plan = make_plan(experiment, source, store, say)
        for line in plan.declaration.data:
            say(f"data: {line}")
        for warning in plan.warnings:
            say(f"note: {warning}")
        trials = _Round.of(store, plan.trials, workers, fresh, "trials")
        if dry_run:
            if trials.jobs and not trials.missing:
                plan = plan.tuned(trials.done.get)
            _show_plan(plan, trials, _Round.of(store, plan.jobs, workers, fresh), as_json)
            return False
        tried = trials.carry_out(store, pool)
        if tried:
            plan = plan.tuned(tried.get)
        # Which runs are compared is known from here on, and none of them has been looked at.
        declaration = store.declare(opening(plan.declaration))
        if declaration.changes:
            say(
                f"note: '{experiment.name}' was declared on other terms before (rows, seeds, "
                "budget, margin, recipe or tuning); this replaces its report, the records stay. "
                "--name keeps both"
            )
        done: dict[str, Record] = {}
        while True:
            keys = declaration.keys - done.keys()
            asked = [job for job in plan.jobs if job.key in keys]
            done |= _Round.of(store, asked, workers, fresh).carry_out(store, pool)
            if not experiment.until_decided:
                break
            rows = results_of(declaration, done.get)
            declaration = store.declare(looked(declaration, rows))
            say(look_lines(declaration)[-1])
            further = extended(plan.declaration, declaration, rows)
            if further is None:
                break
            declaration = store.declare(further)
    return _report(store, declaration, tried | done, as_json)


@dataclass(frozen=True)
class _Round:
    """Runs that are trained together: what is finished of them, what is missing, and by how many.

    `what` are the runs in a word.
    """

    jobs: Sequence[Job]
    done: Mapping[str, Record]
    missing: Sequence[Job]
    workers: int
    what: str

    @classmethod
    def of(
        cls,
        store: Store,
        jobs: Sequence[Job],
        workers: int | None,
        fresh: bool,
        what: str = "runs",
    ) -> Self:
        """Look up what is finished, unless all is to be trained afresh."""
        done = {} if fresh else _finished(store, jobs)
        missing = [job for job in jobs if job.key not in done]
        # Seed by seed, so that an interrupted experiment has whole seeds; the longest first within
        # one, so that no worker ends long after the others.
        missing.sort(key=lambda job: (job.spec.seed, -job.expected_seconds))
        return cls(jobs, done, missing, workers or auto_workers(missing), what)

    @property
    def expected_wall(self) -> float:
        """Seconds that the missing runs will take."""
        total = sum(job.expected_seconds for job in self.missing)
        return total / max(1, min(self.workers, len(self.missing)))

    @property
    def prospect(self) -> str:
        """What is to be trained, in words."""
        kept = len(self.jobs) - len(self.missing)
        return (
            f"{len(self.missing)} {self.what} to train"
            f"{f' ({kept} are finished already)' if kept else ''} on {self.workers} "
            f"worker{'s' if self.workers > 1 else ''}, about {clock(self.expected_wall)} of "
            "training steps"
        )

    def carry_out(self, store: Store, pool: Pool) -> dict[str, Record]:
        """Train what is missing, and return all records by key."""
        if not self.missing:
            if self.jobs:
                say(f"all {len(self.jobs)} {self.what} are finished already; nothing to train")
            return dict(self.done)
        say(self.prospect)
        return {**self.done, **_launch(store, self, pool)}


def _early_pool(experiment: Experiment, workers: int | None) -> Pool:
    """Start the workers while the plan is made, where the work is sure to be worth them.

    Not where steps are bought by time, which is taken meanwhile. They end with this process.
    """
    budget = Budget.parse(experiment.budget)
    sure = budget.axis == "flop" and budget.amount * experiment.seeds >= _SURELY_WORTH_PROCESSES
    if not sure or resolve_device(experiment.device) != "cpu":
        return Pool()
    count = workers or usable_cores()
    return Pool(count if count > 1 else 0)


def calibrate(
    experiment: Experiment,
    *,
    group: int,
    results: Path,
    source: DataSource,
    workers: int | None,
    as_json: bool,
) -> None:
    """Run an A/A experiment and say how often, in groups of seeds, a difference was found."""
    store = Store(results)
    store.check_writable()
    plan = make_plan(experiment, source, store, say)
    cell = only_row(plan.declaration, group)
    with Pool() as pool:
        done = _Round.of(store, plan.jobs, workers, fresh=False).carry_out(store, pool)
    found = quality(plan.declaration, done.get, group)
    first = {cell.seeds[0].strategy, cell.seeds[0].anchors["full"][cell.target]}
    arms = [job for job in plan.jobs if job.key in first]
    prices = price_ratios(arms, prepare(arms[0].spec.device), source, say)
    clocks = timing(run_ratios(plan.declaration, done.get, group), prices)
    files = write_calibration(experiment, found, clocks, results / "reports" / experiment.name)
    if as_json:
        print(files["calibration.json"].read_text("utf-8"), end="")
        return
    print(summary(found, clocks))
    print(f"data and plot in {files['calibration.json'].parent}")


def _finished(store: Store, jobs: Sequence[Job]) -> dict[str, Record]:
    """Return the records that need no new run. A failed run is tried again."""
    told = len(store.damaged)
    found = {job.key: store.load(job.key) for job in jobs}
    for line in store.damaged[told:]:
        say(f"note: {line}; it runs again")
    return {key: record for key, record in found.items() if record and record.status != "failed"}


def _launch(store: Store, together: _Round, pool: Pool) -> dict[str, Record]:
    done: dict[str, Record] = {}
    jobs, work = together.missing, sum(job.expected_seconds for job in together.missing)
    try:
        with Display(len(jobs), work, together.what) as display:
            for event in launch(jobs, together.workers, pool):
                if isinstance(event, Started):
                    display.started(event.job)
                    continue
                done[event.job.key] = store.save(event.record, event.examples)
                display.finished(event.job)
                if event.record.status != "ok":
                    spec = event.job.spec
                    display.say(
                        f"{event.record.status}: {spec.label}, seed {spec.seed}: "
                        f"{event.record.reason}"
                    )
    except KeyboardInterrupt:
        say(
            f"\nstopped; {len(done)} of {len(jobs)} {together.what} are finished and kept. "
            "Run the same command again to go on."
        )
        raise
    return done


def _report(
    store: Store, declaration: Declaration, records: Mapping[str, Record], as_json: bool
) -> bool:
    folder = store.root / "reports" / declaration.experiment.name
    report = write_report(
        declaration, records.get, folder, lambda key: store.examples(records[key])
    )
    if as_json:
        document = gains_json(declaration, report.results, report.tuning)
        print(json.dumps(document, indent=1, allow_nan=False))
    else:
        console().print(terminal_table(report.results))
        print(f"table, data and plots (each .svg too) in {folder}:")
        for name in ("table.md", *(name for name in report.files if name.endswith(".png"))):
            print(f"  {report.files[name]}")
    if report.tuning:
        say(f"note: {tuning_note(report.tuning)}; table.md has them all")
    # A trial that diverges has found the end of its range; one that fails is a fault as any.
    failed = {k for k in declaration.tuning_keys if (r := records.get(k)) and r.status == "failed"}
    known = ((key, record) for key, record in records.items() if record.status != "ok")
    for record in [r for key, r in known if key in declaration.keys | failed]:
        say(f"{record.status}: {record.spec.label}, seed {record.spec.seed}: {record.reason}")
    worst = max(report.results, key=lambda row: row.stall, default=None)
    if worst is not None and (text := stall(worst)):
        say(f"note: {worst.strategy} on {worst.pair}: {text}")
    return bool(failed) or report.runs.ok < report.runs.planned


def check_fidelity(
    experiment: Experiment,
    *,
    results: Path,
    source: DataSource,
    workers: int | None,
) -> bool:
    """Run an experiment in both precisions and show what the reduced one changes.

    Returns whether any run failed or diverged. The budget buys both the same steps.
    Raises `UserError` for a budget in seconds, which does not.
    """
    if Budget.parse(experiment.budget).axis == "s":
        raise UserError(
            "fidelity compares equal steps, and seconds buy each precision others: give --budget "
            "in flop, steps or samples"
        )
    whole = experiment.model_copy(update={"precision": "fp32"})
    reduced = experiment.model_copy(update={"precision": "bf16", "name": f"{experiment.name}-bf16"})
    bad = False
    for asked in (whole, reduced):
        bad |= conduct(
            asked,
            results=results,
            source=source,
            workers=workers,
            dry_run=False,
            fresh=False,
            as_json=False,
        )
    store = Store(results, read_only=True)
    sides = [store.experiment(asked.name) for asked in (whole, reduced)]
    rows = fidelity(sides[0], sides[1], store.load)
    path = store.root / "reports" / reduced.name / "fidelity.md"
    write_atomically(path, fidelity_markdown(rows).encode())
    console().print(fidelity_table(rows))
    print(f"the table is {path}")
    return bad


def report_all(results: Path, as_json: bool) -> bool:
    """Report every declared experiment of a folder; return whether any run is bad or missing."""
    store = Store(results, read_only=True)
    bad = False
    for declaration in store.experiments():
        keys, name = declaration.keys, declaration.experiment.name
        every = keys | declaration.tuning_keys
        records = {key: record for key in every if (record := store.load(key)) is not None}
        for line in store.damaged:
            say(f"note: {line}")
        if missing := len(every) - len(records):
            say(f"note: {missing} of {len(every)} runs of {name} are missing; run it to add them")
        bad |= _report(store, declaration, records, as_json)
    return bad


def _show_plan(plan: Plan, trials: _Round, scored: _Round, as_json: bool) -> None:
    """Print what would run: each arm once, with its price, its steps and its number of seeds."""
    axis = Budget.parse(plan.experiment.budget).axis
    arms: dict[str, list[Job]] = {}
    for job in plan.jobs:
        spec = job.spec
        arms.setdefault(f"{spec.label}|{spec.budget}", []).append(job)
    rows = [
        {
            "arm": jobs[0].spec.label,
            "runs": len(jobs),
            "finished": sum(job.key in scored.done for job in jobs),
            "budget": jobs[0].spec.budget,
            "phases": [
                {
                    "steps": steps,
                    "flops_per_step": price.flops,
                    "seconds_per_step": price.seconds,
                    "peak_bytes": price.peak_bytes,
                }
                for steps, price in zip(jobs[0].spec.steps, jobs[0].prices, strict=True)
            ],
            "parameters": max((price.parameters for price in jobs[0].prices), default=0),
            "uncounted": sorted({name for price in jobs[0].prices for name in price.uncounted}),
        }
        for jobs in arms.values()
    ]
    if as_json:
        total = {**_totals(scored), "axis": AXIS_NAMES[axis]}
        print(json.dumps({"arms": rows, "total": total, "tuning": _totals(trials)}, indent=1))
        return
    whole = Budget.parse(plan.experiment.budget)
    header = ("arm", "runs", "budget", "steps", "MFLOP", "ms", "peak MB", "weights")
    lines = []
    for jobs in arms.values():
        prices, spec = jobs[0].prices, jobs[0].spec
        line = (  # a line a phase
            spec.label,
            str(len(jobs)),
            _share(whole, spec.budget),
            "\n".join(f"{steps:,}" for steps in spec.steps),
            "\n".join(f"{price.flops / 1e6:.4g}" for price in prices),
            "\n".join(f"{(price.seconds or 0) * 1e3:.3g}" for price in prices),
            "\n".join(f"{price.peak_bytes / 1e6:.3g}" for price in prices),
            f"{prices[0].parameters:,}" if prices else "",
        )
        lines.append(line)
    out = console()
    widths = [
        max(len(part) for cell in column for part in cell.split("\n"))
        for column in zip(header, *lines, strict=True)
    ]
    room = out.width - sum(widths[1:]) - len(widths) - 1  # one space around each column
    title = f"plan of {plan.experiment.name}, B = {amount(whole)}"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0)
    for column in header:
        table.add_column(column, justify="left" if column == "arm" else "right", overflow="fold")
    for label, *figures in lines:
        table.add_row(fold(label, lambda text: len(text) <= room), *figures)
    out.print(table)
    if trials.jobs:
        print(f"before them, {plan.experiment.tune} trials of every arm: {trials.prospect}")
    if plan.experiment.until_decided:
        print("at most, if no pair is done before the last look:")
    print(scored.prospect)
    uncounted = sorted({n for job in plan.jobs for price in job.prices for n in price.uncounted})
    print("MFLOP, ms and peak MB are those of one training step, with a line a phase.")
    print(f"counted as zero FLOPs: {', '.join(uncounted)}")


def _totals(together: _Round) -> dict[str, Any]:
    return {
        "runs": len(together.jobs),
        "to_train": len(together.missing),
        "workers": together.workers,
        "expected_seconds": together.expected_wall,
        "flops": sum(cost(job.prices, job.spec.steps, "flop") for job in together.jobs),
    }


def _share(whole: Budget, part: str) -> str:
    shares = round(whole.amount / Budget.parse(part).amount)
    return "B" if shares == 1 else f"B/{shares}"
