"""What holds at which budget or number of images: a table, in the terminal, JSON-able data."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from bench.clean import printable
from bench.report.text.wording import NOTHING, amount, fold, gain, heading
from bench.spec.budget import Budget
from bench.stats.levels import Crossing, Level, OverLevels
from bench.store.records import AnchorName

if TYPE_CHECKING:
    from rich.table import Table

_OVER = (
    "The same rows at several {levels}, with the same seeds: the verdict, and in brackets the mean "
    "gain at equal steps and at equal compute. Each has its own Holm correction. A gain turns "
    "where its mean crosses zero, interpolated in the logarithm, with a 95 % bootstrap interval "
    "over seeds. Nothing is said of {levels} beyond those that were run."
)
OVER_BUDGETS = _OVER.format(levels="budgets")
OVER_SIZES = _OVER.format(levels="training sizes")
_HALVES: tuple[AnchorName, ...] = ("same-steps", "full")
_NOTE = (
    "In brackets the mean gain at equal steps and at equal compute; once where both are one run."
)
_NAME = 20
#: Columns of a terminal that a table has to read in, and between two columns of it.
_WIDTH, _GAP = 80, 2


def columns(over: Sequence[OverLevels]) -> tuple[str, ...]:
    """Return the names of the columns of the table."""
    return (
        "question",
        "strategy",
        *(level_text(level) for level in over[0].levels),
        "transfer turns at",
        "pay-off turns at",
    )


def cells(row: OverLevels) -> tuple[str, ...]:
    """Return the cells of one row of the table."""
    return (
        heading(row.pair, row.target),
        row.strategy,
        *_all_found(row),
        *(crossing(row.crossing(anchor), row.levels) for anchor in _HALVES),
    )


def _gains(row: OverLevels, level: int) -> str:
    each = row.rows[level]
    found = [each.against[a].result.mean for a in _HALVES if a in each.distinct]
    return ", ".join(gain(mean, each.unit) for mean in found)


def crossing(found: Crossing | None, levels: Sequence[Level]) -> str:
    """Return where a gain turns, with its interval."""
    if found is None:
        return NOTHING
    smallest, largest = levels[0], levels[-1]

    def rounded(value: float) -> str:
        """Return an amount to two digits: more would claim what no interval shows."""
        return level_text(replace(smallest, amount=float(f"{value:.2g}")))

    at = rounded(found.at)
    if math.isnan(found.low):
        return at
    low = f"under {level_text(smallest)}" if found.low == 0 else rounded(found.low)
    high = f"over {level_text(largest)}" if math.isinf(found.high) else rounded(found.high)
    return f"{at} [{low}, {high}]"


def level_text(level: Level) -> str:
    """Return a level as a person writes it."""
    return amount(level) if isinstance(level, Budget) else f"{level.amount:,.0f} images"


def level_table(over: Sequence[OverLevels]) -> "Table":
    """Return the verdicts at each level for a terminal, of 80 columns or more.

    Levels have a column each. Where those would break a figure they have a line each.
    """
    from rich.table import Table
    from rich.text import Text

    levels = [level_text(level) for level in over[0].levels]
    texts = [text for row in over for text in (*levels, *_all_found(row))]
    least = max(len(word) for text in texts for word in text.split())
    wide = _NAME + _GAP + len(levels) * (least + _GAP) <= _WIDTH

    def line(cells: Sequence[Text]) -> Table:
        grid = Table.grid(expand=True, padding=(0, _GAP, 0, 0))
        grid.add_column(width=_NAME, overflow="fold")
        for _ in cells[1:]:
            grid.add_column(ratio=1, overflow="fold")
        grid.add_row(*cells)
        return grid

    outer = Table.grid(expand=True)
    if wide:
        outer.add_row(line([Text(name, style="bold") for name in ("at", *levels)]))
    for question, rows in groupby(over, key=lambda row: heading(row.pair, row.target)):
        outer.add_row(Text(f"\n{printable(question)}", style="bold cyan", end=""))
        for row in rows:
            name = fold(printable(row.strategy), lambda text: len(text) <= _NAME)
            if wide:
                outer.add_row(line([Text(name), *map(Text, _all_found(row))]))
                continue
            outer.add_row(Text(printable(row.strategy), style="bold"))
            for level, found in zip(levels, _all_found(row), strict=True):
                outer.add_row(line([Text(f"  {level}"), Text(found)]))
    outer.add_row(Text(f"\n{_NOTE}\n", style="dim"))
    return outer


def _all_found(row: OverLevels) -> list[str]:
    """Return the verdict at each level, with the gains."""
    return [
        printable(f"{each.verdict.name} ({_gains(row, level)})")
        for level, each in enumerate(row.rows)
    ]


def _level(level: Level) -> dict[str, Any]:
    if isinstance(level, Budget):
        return {"budget": str(level)}
    return {"train_size": int(level.amount)}


def levels_json(over: Iterable[OverLevels]) -> list[dict[str, Any]]:
    """Return the rows over all levels."""
    return [
        {
            "pair": row.pair,
            "strategy": row.strategy,
            "target": row.target,
            "budgets" if isinstance(row.levels[0], Budget) else "train_sizes": [
                {
                    **_level(level),
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
                for level, each in zip(row.levels, row.rows, strict=True)
            ],
            "turns_at": {
                name: found and {"at": found.at, "interval_95": [found.low, found.high]}
                for name in _HALVES
                for found in [row.crossing(name)]
            },
        }
        for row in over
    ]
