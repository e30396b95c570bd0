"""The result table for a terminal: numbers in aligned columns, the verdict in words under each row.

Colour repeats what words and signs say; it never says it alone.
"""

import io
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from bench.clean import log, printable
from bench.report.text.wording import (
    context,
    finding_marks,
    fold,
    halved_gain,
    heading,
    same_finding,
    skew,
    spread,
    steps,
    trouble,
    versus,
    what_budget,
)
from bench.stats.across import Contrast, contrasts
from bench.stats.comparison import RowResult
from bench.store.records import Outcome

if TYPE_CHECKING:
    from rich.table import Table

_HEADER = ("strategy", "equal steps", "equal {budget}", "steps", "verdict")
_COLOURS = {
    Outcome.BETTER: "green",
    Outcome.WORSE: "red",
    Outcome.UNEQUAL: "yellow",
    Outcome.UNLEARNED: "yellow",
}
_NOTE = (
    "Gain over a single-task network in points of the metric, mean ± half of the 95 % interval, at "
    "equal steps and at equal {budget}; steps of both at equal {budget}. table.md has every anchor."
)
_WIDEST_NAME = 20
_OTHERS = {"unrelated": "an unrelated one", "shuffled": "shuffled labels", "noise": "noise images"}


def terminal_table(results: Sequence[RowResult]) -> "Table":
    """Return the table as one renderable. It reads from 80 columns on and uses all it gets."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    outer = Table.grid(expand=True)
    outer.add_column(overflow="fold")
    budget = what_budget(results)
    header = [text.format(budget=budget) for text in _HEADER]
    columns = widths([header, *map(_cells, results, finding_marks(results))])
    outer.add_row(aligned([Text(text, style="bold") for text in header], columns))
    for (pair, target), group in groupby(results, key=lambda row: (row.pair, row.target)):
        rows = list(group)
        outer.add_row(Text(f"\n{printable(heading(pair, target))}", style="bold cyan", end=""))
        outer.add_row(Padding(Text(printable(context(rows)), style="dim"), (0, 0, 0, 2)))
        for row, mark in zip(rows, finding_marks(rows), strict=True):
            style = _COLOURS.get(row.verdict.halves[-1], "")
            cells = [Text(printable(text, keep="\n")) for text in _cells(row, mark)]
            cells[-1].stylize(f"bold {style}".strip())
            outer.add_row(aligned(cells, columns))
            words = ". ".join(
                part.rstrip(".")
                for part in (row.verdict.sentence, skew(row), versus(row), trouble(row))
                if part
            )
            outer.add_row(Padding(Text(printable(f"{words}.")), (0, 0, 0, 4)))
    for contrast in contrasts(results):
        outer.add_row(Text(f"\n{printable(_contrast(contrast))}"))
    note = (
        f"{_NOTE.format(budget=budget)} {same_finding(results)}"
        if results
        else "No rows were declared."
    )
    outer.add_row(Text(f"\n{printable(note.strip())}", style="dim"))
    return outer


def summary(results: Sequence[RowResult], width: int = 100) -> str:
    """Return the table as plain text, for logs and for pages that show what a terminal shows."""
    from rich.console import Console

    # Within a notebook it would show itself there too.
    console = Console(file=io.StringIO(), width=width, color_system=None, force_jupyter=False)
    with console.capture() as captured:
        console.print(terminal_table(results))
    return log("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")


def _contrast(contrast: Contrast) -> str:
    """Return what a related partner brings beyond another one."""
    others = _OTHERS.get(contrast.others, contrast.others)
    return (
        f"A related partner instead of {others}, {contrast.strategy} → "
        f"{', '.join(contrast.targets)}: {spread(contrast.result, '%')}, {contrast.finding}."
    )


def _cells(row: RowResult, mark: str) -> tuple[str, ...]:
    return (
        short(mark + row.strategy),
        halved_gain(row.against.get("same-steps"), row.unit),
        halved_gain(row.against["full"], row.unit),
        steps(row).replace(" ", ""),
        row.verdict.name,
    )


def short(name: str) -> str:
    """Return a strategy's name in lines that a narrow column holds."""
    return fold(name, lambda line: len(line) <= _WIDEST_NAME)


def widths(table: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of every column but the last, so that all lines of a table align."""
    found = [
        max(len(part) for line in table for part in line[column].split("\n"))
        for column in range(len(table[0]) - 1)
    ]
    return [min(found[0], _WIDEST_NAME), *found[1:]]  # a name without joints is broken anywhere


def aligned(cells: Sequence[object], widths: Sequence[int]) -> "Table":
    """Return a line of a table: columns of these widths, and a last one that gets the rest."""
    from rich.table import Table

    line = Table.grid(expand=True, padding=(0, 1, 0, 0))
    line.add_column(width=widths[0], overflow="fold")
    for width in widths[1:]:
        line.add_column(width=width, overflow="fold", justify="right")
    line.add_column(ratio=1, overflow="fold")
    line.add_row(*cells)  # type: ignore[arg-type]
    return line
