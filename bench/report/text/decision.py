"""The decision for each set of tasks, in a sentence and as JSON-able data."""

import math
from collections.abc import Sequence
from typing import Any

from bench.decide.pairs import Candidate, Choice, TaskSet
from bench.report.text.wording import amount, gain, points, rounded_up, spread
from bench.spec.budget import Budget
from bench.spec.experiment import Experiment
from bench.store.records import SCREEN_BELOW, Use

DECISION = (
    "One model, or one for each task? share: with one strategy, no task loses more than the margin "
    "(a one-sided t test of each task; strategies by Holm). separate: with every strategy, some "
    "task loses more than the margin. trade: so it is, and another task gains more than it. "
    "undecided: none of these is shown. It holds at this budget, against single-task networks that "
    "each have the whole of it."
)

#: The share that a clock measures, and the fields of `Use` that it does.
_TIME = "time per image"
_CLOCKED = {"seconds_alone", "seconds_in_batch"}


def sentence(tasks: TaskSet, experiment: Experiment, timed: bool = True) -> str:
    """Return what is decided for a set of tasks, and what sharing saves; time only if `timed`."""
    names, decision = listed(tasks.targets), tasks.decision
    where = f"at {amount(Budget.parse(experiment.budget))}"
    margin = points(experiment.margin)
    none = "neither" if len(tasks.targets) == 2 else "none"
    p = f"p = {rounded_up(decision.p)}" if not math.isnan(decision.p) else ""
    match decision.choice:
        case Choice.SHARE:
            chosen = decision.chosen
            assert chosen is not None
            return (
                f"One model for {names}, by {decision.strategy}: {none} loses more than {margin} "
                f"{where} ({p}). {_saving(chosen, timed)}"
            )
        case Choice.SEPARATE:
            return (
                f"A model each for {names}: with every strategy tried, some task loses more than "
                f"{margin} {where} ({p})."
            )
        case Choice.TRADE:
            return (
                f"A trade between {names}: with {decision.strategy}, one gains and one loses more "
                f"than {margin} {where} ({p}). With every strategy tried, some task loses as much."
            )
        case _:
            why = undecided(decision.candidates, decision.seeds)
            return f"Undecided for {names} {where}: {why}."


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def shares(candidate: Candidate) -> dict[str, float]:
    """Return what a shared network needs as shares of what the single-task networks need together.

    What was not measured is NaN.
    """
    use, apart = candidate.use, candidate.use_apart
    return {
        "parameters": candidate.parameters / (candidate.parameters_apart or math.nan),
        "FLOPs": use.flops_per_image / apart.flops_per_image if use and apart else math.nan,
        _TIME: use.seconds_in_batch / apart.seconds_in_batch if use and apart else math.nan,
        "training compute": candidate.flops,
    }


def _saving(candidate: Candidate, timed: bool) -> str:
    """Return what the shared network needs, compared with the single-task networks together."""
    known = {
        name: share
        for name, share in shares(candidate).items()
        if math.isfinite(share) and (timed or name != _TIME)
    }
    parts = [f"{share:.0%} of the {name}" for name, share in known.items()]
    return f"It needs {listed(parts)} of {len(candidate.targets)} separate models."


def undecided(candidates: Sequence[Candidate], seeds: int | None) -> str:
    """Return why nothing is decided, or what would decide it: `seeds`, None where none would."""
    excluded = {t.excluded for c in candidates for t in c.targets if t.excluded}
    if excluded and all(any(t.excluded for t in c.targets) for c in candidates):
        return f"{listed(sorted(excluded))}"
    most = max(candidate.seen for candidate in candidates)
    if most < SCREEN_BELOW:
        few = "one seed is" if most == 1 else f"{most} seeds are"
        return f"{few} too few, a decision needs {SCREEN_BELOW} or more"
    if seeds is not None:
        return f"about {seeds} seeds would decide, if means and spreads stay as they are"
    return "no number of seeds within reach would decide, if means and spreads stay as they are"


#: The columns of `use_lines`.
USE_COLUMNS = (
    "set of tasks",
    "networks",
    "parameters",
    "MFLOP an image",
    "ms, one image",
    "ms an image, in 64",
    "peak MB, 64 images",
)
USE = (
    "What the networks of these decisions cost to use: forward passes for all tasks of the set, at "
    "the first seed. Time is that of one thread on this machine, or of the device. Peak memory is "
    "counted, weights included."
)


def use_lines(found: Sequence[TaskSet]) -> list[tuple[str, ...]]:
    """Return what one network costs to use, and what several do, a line each."""
    lines = []
    for tasks in found:
        name = listed(tasks.targets)
        candidates = [c for c in tasks.decision.candidates if c.use and c.use_apart]
        uses = [(candidate.strategy, candidate.use) for candidate in candidates]
        uses += [(f"{len(tasks.targets)} separate", c.use_apart) for c in candidates[:1]]
        lines += [(name, label, *use_figures(use)) for label, use in uses if use is not None]
    return lines


def use_figures(use: Use) -> tuple[str, ...]:
    """Return what networks cost to use, a cell for each of `USE_COLUMNS` from the third on."""
    return (
        f"{use.parameters:,}",
        f"{use.flops_per_image / 1e6:.4g}",
        f"{use.seconds_alone * 1e3:.3g}",
        f"{use.seconds_in_batch * 1e3:.3g}",
        f"{use.peak_bytes / 1e6:.3g}",
    )


#: The columns of `relative_lines`.
RELATIVE_COLUMNS = ("set of tasks", "strategy", "relative gain of each task", "Δm (%) [95 % CI]")


def relative_lines(found: Sequence[TaskSet]) -> list[tuple[str, ...]]:
    """Return Δm of each strategy, or why there is none, and the gains that it is the mean of."""
    lines: list[tuple[str, ...]] = []
    for tasks in found:
        for candidate in tasks.decision.candidates:
            gains = [
                f"{target.target} {gain(100 * target.relative)} %" for target in candidate.targets
            ]
            none = [target.excluded for target in candidate.targets if target.excluded]
            mean = none[0] if none else spread(candidate.delta_m, "%")
            lines.append((listed(tasks.targets), candidate.strategy, ", ".join(gains), mean))
    return lines


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    """Return what is shown for all targets of a candidate together, and what it costs."""
    return {
        "strategy": candidate.strategy,
        "p_keeps_all": candidate.keeps_all,
        "p_loses_some": candidate.loses_some,
        "p_gains_some": candidate.wins_some,
        "parameters": candidate.parameters,
        "parameters_apart": candidate.parameters_apart,
        "training_flops_share": candidate.flops,
        "use": candidate.use and candidate.use.model_dump(exclude=_CLOCKED),
        "use_apart": candidate.use_apart and candidate.use_apart.model_dump(exclude=_CLOCKED),
    }


def measured_use(candidate: Candidate) -> dict[str, Any]:
    """Return what a clock measured of a candidate's networks in use."""
    return {
        "strategy": candidate.strategy,
        "use": candidate.use and candidate.use.model_dump(include=_CLOCKED),
        "use_apart": candidate.use_apart and candidate.use_apart.model_dump(include=_CLOCKED),
    }


def decision_json(tasks: TaskSet, experiment: Experiment) -> dict[str, Any]:
    """Return a decision with all that it rests on, but for what a clock measured."""
    decision = tasks.decision
    return {
        "pair": tasks.pair,
        "targets": list(tasks.targets),
        "choice": str(decision.choice),
        "strategy": decision.strategy,
        "p": decision.p,
        "seeds_needed": decision.seeds,
        "sentence": sentence(tasks, experiment, timed=False),
        "candidates": [
            {
                **candidate_json(candidate),
                "delta_m": {
                    "n": candidate.delta_m.n,
                    "mean": candidate.delta_m.mean,
                    "interval_95": [candidate.delta_m.low, candidate.delta_m.high],
                },
                "targets": [
                    {
                        "target": target.target,
                        "margin": target.margin,
                        "p_keeps": target.keeps,
                        "p_loses": target.loses,
                        "p_gains": target.wins,
                        "excluded": target.excluded,
                    }
                    for target in candidate.targets
                ],
            }
            for candidate in decision.candidates
        ],
    }
