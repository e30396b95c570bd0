"""What a dry run shows: each arm with its price, its steps and its number of seeds."""

from bench.api.carry_out import PlannedLevel
from bench.api.preview import arms
from bench.clean import printable
from bench.cli.console import console, table_of_figures
from bench.report import amount, fold
from bench.spec.budget import Budget


def show_plan(level: PlannedLevel) -> None:
    """Print the plan of a level as a table."""
    plan, trials, scored = level.plan, level.trials, level.scored
    whole = Budget.parse(plan.experiment.budget)
    header = ("arm", "runs", "budget", "steps", "MFLOP", "ms", "peak MB", "weights")
    lines = []
    for jobs in arms(plan):
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
        ends = "no strategy leaves" if plan.experiment.race else "no pair is done"
        print(f"at most, if {ends} before the last analysis:")
    print(scored.prospect)
    uncounted = sorted({n for job in plan.jobs for price in job.prices for n in price.uncounted})
    print("MFLOP, ms and peak MB are those of one training step, with a line a phase.")
    print(f"counted as zero FLOPs: {', '.join(uncounted)}")


def _share(whole: Budget, part: str) -> str:
    own = Budget.parse(part)
    if own.axis != whole.axis:
        return amount(own)  # the steps of another arm
    shares = round(whole.amount / own.amount)
    return "B" if shares == 1 else f"B/{shares}"
