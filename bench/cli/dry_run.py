"""What a dry run shows: each arm with its price, its steps and its number of seeds."""

from typing import Any

from bench.clean import printable
from bench.cli.batch import RunBatch
from bench.cli.console import console, table_of_figures
from bench.plan.plan import Plan
from bench.report import amount, fold
from bench.spec.budget import AXIS_NAMES, Budget, cost
from bench.train.job import Job


def _arms(plan: Plan) -> list[list[Job]]:
    """Return the runs of each arm at one budget."""
    arms: dict[str, list[Job]] = {}
    for job in plan.jobs:
        spec = job.spec
        arms.setdefault(f"{spec.label}|{spec.budget}", []).append(job)
    return list(arms.values())


def plan_json(plan: Plan, trials: RunBatch, scored: RunBatch) -> dict[str, Any]:
    """Return what would run: each arm once, with its price, its steps and its number of seeds."""
    axis = Budget.parse(plan.experiment.budget).axis
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
        for jobs in _arms(plan)
    ]
    total = {**_totals(scored), "axis": AXIS_NAMES[axis]}
    return {"arms": rows, "total": total, "tuning": _totals(trials)}


def show_plan(plan: Plan, trials: RunBatch, scored: RunBatch) -> None:
    """Print the same as a table."""
    whole = Budget.parse(plan.experiment.budget)
    header = ("arm", "runs", "budget", "steps", "MFLOP", "ms", "peak MB", "weights")
    lines = []
    for jobs in _arms(plan):
        prices, spec = jobs[0].prices, jobs[0].spec
        line = (  # a line a phase
            printable(spec.label),
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
    title = f"plan of {plan.experiment.name}, B = {amount(whole)}"
    table, room = table_of_figures(title, header, lines, out.width)
    for label, *figures in lines:
        table.add_row(fold(label, lambda text: len(text) <= room), *figures)
    out.print(table)
    if trials.jobs:
        print(f"before them, {plan.experiment.tune} trials of every arm: {trials.prospect}")
    if plan.experiment.until_decided:
        print("at most, if no pair is done before the last analysis:")
    print(scored.prospect)
    uncounted = sorted({n for job in plan.jobs for price in job.prices for n in price.uncounted})
    print("MFLOP, ms and peak MB are those of one training step, with a line a phase.")
    print(f"counted as zero FLOPs: {', '.join(uncounted)}")


def _totals(together: RunBatch) -> dict[str, Any]:
    return {
        "runs": len(together.jobs),
        "to_train": len(together.missing),
        "workers": together.workers,
        "expected_seconds": together.expected_wall,
        "flops": sum(cost(job.prices, job.spec.steps, "flop") for job in together.jobs),
    }


def _share(whole: Budget, part: str) -> str:
    own = Budget.parse(part)
    if own.axis != whole.axis:
        return amount(own)  # the steps of another arm
    shares = round(whole.amount / own.amount)
    return "B" if shares == 1 else f"B/{shares}"
