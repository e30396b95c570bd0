"""What holds at which budget, as a table, in the terminal and as JSON-able data."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from bench.clean import printable
from bench.report.text.wording import NOTHING, amount, fold, gain, heading
from bench.spec.budget import Budget
from bench.stats.budgets import Crossing, OverBudgets
from bench.store.records import AnchorName

if TYPE_CHECKING:
    from rich.table import Table

OVER_BUDGETS = (
    "The same rows at several budgets, with the same seeds: the verdict, and in brackets the mean "
    "gain at equal steps and at equal compute. Each budget has its own Holm correction. A gain "
    "turns where its mean crosses zero, interpolated in the logarithm of the budget, with a 95 % "
    "bootstrap interval over seeds. Nothing is said of budgets beyond those that were run."
)
_HALVES: tuple[AnchorName, ...] = ("same-steps", "full")
_NOTE = (
    "In brackets the mean gain at equal steps and at equal compute; once where both are one run."
)
_NAME = 20


def columns(over: Sequence[OverBudgets]) -> tuple[str, ...]:
    """Return the names of the columns of the table."""
    return (
        "question",
        "strategy",
        *(amount(budget) for budget in over[0].budgets),
        "transfer turns at",
        "pay-off turns at",
    )


def cells(row: OverBudgets) -> tuple[str, ...]:
    """Return the cells of one row of the table."""
    return (
        heading(row.pair, row.target),
        row.strategy,
        *(f"{each.verdict.name} ({_gains(row, n)})" for n, each in enumerate(row.rows)),
        *(crossing(row.crossing(anchor), row.budgets) for anchor in _HALVES),
    )


def _gains(row: OverBudgets, level: int) -> str:
    each = row.rows[level]
    found = [each.against[a].result.mean for a in _HALVES if a in each.distinct]
    return ", ".join(gain(mean, each.unit) for mean in found)


def crossing(found: Crossing | None, budgets: Sequence[Budget]) -> str:
    """Return where a gain turns, with its interval."""
    if found is None:
        return NOTHING
    axis = budgets[0].axis
    at = amount(Budget(_rounded(found.at), axis))
    if math.isnan(found.low):
        return at
    smallest, largest = (amount(budget) for budget in (budgets[0], budgets[-1]))
    low = f"under {smallest}" if found.low == 0 else amount(Budget(_rounded(found.low), axis))
    high = f"over {largest}" if math.isinf(found.high) else _amount(found.high, axis)
    return f"{at} [{low}, {high}]"


def _amount(value: float, axis: Any) -> str:
    return amount(Budget(_rounded(value), axis))


def _rounded(value: float) -> float:
    """Return a budget to two digits: more would claim what no interval shows."""
    return float(f"{value:.2g}")


def budget_table(over: Sequence[OverBudgets]) -> "Table":
    """Return the verdicts at each budget for a terminal."""
    from rich.table import Table
    from rich.text import Text

    def line(cells: Sequence[Text]) -> Table:
        grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
        grid.add_column(width=_NAME, overflow="fold")
        for _ in cells[1:]:
            grid.add_column(ratio=1, overflow="fold")
        grid.add_row(*cells)
        return grid

    outer = Table.grid(expand=True)
    names = ("at the budget", *(amount(budget) for budget in over[0].budgets))
    outer.add_row(line([Text(name, style="bold") for name in names]))
    for question, rows in groupby(over, key=lambda row: heading(row.pair, row.target)):
        outer.add_row(Text(f"\n{printable(question)}", style="bold cyan", end=""))
        for row in rows:
            words = [f"{r.verdict.name} ({_gains(row, n)})" for n, r in enumerate(row.rows)]
            name = fold(printable(row.strategy), lambda text: len(text) <= _NAME)
            outer.add_row(line([Text(name), *(Text(printable(text)) for text in words)]))
    outer.add_row(Text(f"\n{_NOTE}\n", style="dim"))
    return outer


def budgets_json(over: Sequence[OverBudgets]) -> list[dict[str, Any]]:
    """Return the rows over all budgets."""
    return [
        {
            "pair": row.pair,
            "strategy": row.strategy,
            "target": row.target,
            "budgets": [
                {
                    "budget": str(budget),
                    "verdict": each.verdict.name,
                    "gains": {
                        name: {
                            "mean": c.result.mean,
                            "interval_95": [c.result.low, c.result.high],
                            "steps": list(c.steps),
                        }
                        for name, c in each.against.items()
                        if name in _HALVES
                    },
                }
                for budget, each in zip(row.budgets, row.rows, strict=True)
            ],
            "turns_at": {
                name: found and {"at": found.at, "interval_95": [found.low, found.high]}
                for name in _HALVES
                for found in [row.crossing(name)]
            },
        }
        for row in over
    ]
