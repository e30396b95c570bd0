"""What tuning chose for each arm, what it saw in it, and what it cost: numbers and words."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.plan.tuning import choose
from bench.report.text.wording import NOTHING, amount, number, percent
from bench.spec.budget import Budget, TuningCost
from bench.stats.gains import Lookup
from bench.store.records import Declaration, Record, TunedArm

#: What the section says, and what it does not.
TUNING = (
    "Every arm, single-task networks included, had equally many trials of equal compute, at the "
    "same learning rates and weight decays; the first trial is the recipe. They were trained at "
    "seeds that no row is scored at, and scored on the validation split alone. The gain is that of "
    "the chosen trial over the first there: the mean over tasks of the difference as a share of "
    "the larger score. The best of several looks better than it is, so this forecasts no test "
    "score. Compute is that of all trials of the arm, beside that of its scored runs; it is in no "
    "budget and no audit. Where a chosen value lies in the outer tenth of its range, a better one "
    "may lie beyond."
)

#: What `cells` has of an arm.
COLUMNS = (
    "arm",
    "budget",
    "trials (lost)",
    "chosen (recipe)",
    "validation: recipe → chosen",
    "gain",
    "compute of trials (of scored runs)",
    "at an end of its range",
)


@dataclass(frozen=True)
class Tuned:
    """An arm after its tuning.

    `gains` are by trial, None for one that failed or diverged. `before` and `after` are the scores
    of the first trial and of the chosen one by task: a mean over tuning seeds with its unit, as
    measured. `share` is the FLOPs of all trials over those of the arm's scored runs; None where
    none has been scored.
    """

    arm: TunedArm
    gains: tuple[float | None, ...]
    before: Mapping[str, str]
    after: Mapping[str, str]
    cost: TuningCost
    share: float | None


def tuned(declaration: Declaration, find: Lookup) -> tuple[Tuned, ...]:
    """Return how every arm was tuned, from the records that `find` returns by key."""
    return tuple(_tuned(arm, find) for arm in declaration.tuning)


def _tuned(arm: TunedArm, find: Lookup) -> Tuned:
    runs = [[find(key) for key in trial.runs] for trial in arm.trials]
    cost = TuningCost.of(run.ledger if run else None for trial in runs for run in trial)
    scored = TuningCost.of(run.ledger for key in arm.scored if (run := find(key)))
    return Tuned(
        arm,
        choose(runs).gains,
        _scores(runs[0]),
        _scores(runs[arm.chosen]),
        cost,
        cost.used["flop"] / scored.used["flop"] if scored.used["flop"] else None,
    )


def _scores(runs: Sequence[Record | None]) -> dict[str, str]:
    """Return the mean primary score of each task over the runs that have one."""
    found: dict[str, tuple[str, list[float]]] = {}
    for run in runs:
        for task in run.scores if run else ():
            score = run.primary(task) if run else None
            if score and score.value is not None:
                found.setdefault(task, (score.unit, []))[1].append(score.value)
    return {
        task: f"{number(statistics.mean(values), unit)} {unit}".strip()
        for task, (unit, values) in found.items()
    }


def tuning_note(tuning: Sequence[Tuned]) -> str:
    """Return in a sentence what tuning has cost, and where it may have stopped short."""
    runs = sum(arm.cost.runs for arm in tuning)
    flops = sum(arm.cost.used["flop"] for arm in tuning)
    scored = sum(arm.cost.used["flop"] / arm.share for arm in tuning if arm.share)
    share = f", {flops / scored:.0%} of what the scored runs took" if scored else ""
    told = (
        f"{len(tuning)} arms were tuned with {len(tuning[0].arm.trials)} trials each: {runs} runs, "
        f"{amount(Budget(flops, 'flop'))}{share}"
    )
    if ends := sum(bool(arm.arm.borders) for arm in tuning):
        told += f"; {ends} of them chose a value at an end of its range"
    return told


def cells(tuned: Tuned) -> tuple[str, ...]:
    """Return the line of an arm, in plain text."""
    arm, cost = tuned.arm, tuned.cost
    first, chosen = arm.trials[0].values, arm.trials[arm.chosen].values
    values = "; ".join(f"{knob} {_value(chosen[knob])} ({_value(first[knob])})" for knob in chosen)
    moves = (
        f"{task} {tuned.before.get(task, NOTHING)} → {after}" for task, after in tuned.after.items()
    )
    gain = tuned.gains[arm.chosen]
    share = "" if tuned.share is None else f" ({tuned.share:.0%})"
    return (
        arm.label,
        amount(Budget.parse(arm.budget)),
        f"{len(arm.trials)} ({sum(gain is None for gain in tuned.gains)})",
        values if arm.chosen else "the recipe",
        "; ".join(moves) if arm.chosen else "; ".join(f"{t} {s}" for t, s in tuned.before.items()),
        NOTHING if gain is None else percent(gain),
        f"{amount(Budget(cost.used['flop'], 'flop'))}, {cost.used['s']:.0f} s{share}",
        ", ".join(arm.borders) or NOTHING,
    )


def _value(value: float | tuple[float, ...]) -> str:
    return "/".join(f"{v:g}" for v in value) if isinstance(value, tuple) else f"{value:g}"


def tuning_json(tuned: Tuned) -> dict[str, Any]:
    """Return an arm's trials, choice and cost as JSON-able data."""
    arm = tuned.arm
    return {
        "arm": arm.label,
        "budget": arm.budget,
        "ranges": {knob: list(ends) for knob, ends in arm.ranges.items()},
        "trials": [
            {"values": trial.values, "runs": list(trial.runs), "gain": gain}
            for trial, gain in zip(arm.trials, tuned.gains, strict=True)
        ],
        "chosen": arm.chosen,
        "chosen_at_an_end_of_its_range": list(arm.borders),
        "validation_of_recipe": dict(tuned.before),
        "validation_of_chosen": dict(tuned.after),
        "cost": {
            "runs": tuned.cost.runs,
            "flops": tuned.cost.used["flop"],
            "steps": tuned.cost.used["steps"],
            "share_of_scored_flops": tuned.share,
        },
    }
