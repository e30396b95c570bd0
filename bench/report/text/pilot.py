"""How pilots found a converged budget, and what that cost: a table and JSON-able data."""

from collections.abc import Iterable
from typing import Any

from bench.report.text.wording import NOTHING, amount, gain, number
from bench.spec.budget import Budget, TuningCost
from bench.stats.gains import Lookup
from bench.store.records import Declaration, Pilot

#: What the section says.
PILOT = (
    "Pilots are single-task networks, trained at one budget after another, each twice the last, at "
    "seeds that no row is scored at. They are scored on held-out images of the training pool. The "
    "budget has converged where doubling it brings no network more than the margin, in the mean of "
    "two doublings. In brackets: what the doubling brought. The cost of pilots is in no budget and "
    "no audit."
)


def pilot_verdict(pilot: Pilot) -> str:
    """Return what pilots came to, in a sentence."""
    budget = amount(Budget.parse(pilot.budget))
    if pilot.converged:
        return f"The single-task networks have converged at {budget}"
    bound = f"--at-most {pilot.at_most}" if pilot.at_most else "the bound of the search"
    return f"Not converged at {budget}, where {bound} ends the pilots: the budget may be short"


def pilot_table(pilot: Pilot) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the columns of a table and its lines, one a budget."""
    names = list(pilot.levels[0].scores) if pilot.levels else []
    lines = []
    for before, level in zip([None, *pilot.levels], pilot.levels, strict=False):
        cells = []
        for name in names:
            score = number(level.scores[name])
            rise = gain(level.scores[name] - before.scores[name]) if before else NOTHING
            cells.append(f"{score} ({rise})")
        lines.append((amount(Budget.parse(level.budget)), *cells))
    return ("budget", *names), lines


def pilot_cost(declaration: Declaration, pilot: Pilot, find: Lookup) -> str:
    """Return how many pilots there were, and their compute beside that of the scored runs."""
    spent, scored = _cost(pilot.keys, find), _cost(declaration.keys, find)
    share = spent.used["flop"] / scored.used["flop"] if scored.used["flop"] else None
    beside = "" if share is None else f", {share:.0%} of that of the scored runs"
    return f"{spent.runs} pilots took {amount(Budget(spent.used['flop'], 'flop'))}{beside}"


def pilot_json(pilot: Pilot, find: Lookup) -> dict[str, Any]:
    """Return the pilots with what they cost on every axis that is counted."""
    spent = pilots_spent(pilot, find)
    counted = {axis: amount for axis, amount in spent.used.items() if axis != "s"}
    return {**pilot.model_dump(mode="json"), "cost": {"runs": spent.runs, "used": counted}}


def pilots_spent(pilot: Pilot, find: Lookup) -> TuningCost:
    """Return what pilots cost on every axis, device-seconds too."""
    return _cost(pilot.keys, find)


def _cost(keys: Iterable[str], find: Lookup) -> TuningCost:
    return TuningCost.of(run.ledger for key in keys if (run := find(key)))
