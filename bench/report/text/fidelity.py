"""What a reduced precision changes, as a table for a terminal and as a page."""

import statistics
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from bench.clean import markdown as escape
from bench.clean import printable
from bench.report.text.table import grid
from bench.report.text.terminal import aligned, short, widths
from bench.report.text.wording import halved, heading, number, spread
from bench.stats.fidelity import FidelityRow

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = (
    "pair → target",
    "strategy",
    "score, fp32",
    "change of score",
    "change of gain",
    "verdict, fp32",
    "verdict, bf16",
)
_NOTE = (
    "Changes are bf16 minus fp32 at the same seeds, mean {} 95 % interval; positive where bf16 is "
    "better. The gain is that over `full`."
)


def _heading(row: FidelityRow) -> str:
    return heading(row.full.pair, row.full.target)


def _cells(row: FidelityRow) -> tuple[str, ...]:
    full = row.full
    return (
        _heading(row),
        full.strategy,
        number(full.score_mean, full.unit),
        spread(row.score, full.unit),
        spread(row.gain, full.unit),
        full.verdict.name,
        row.reduced.verdict.name,
    )


def fidelity_summary(rows: Sequence[FidelityRow]) -> str:
    """Return in a sentence how far both precisions agree."""
    agree = sum(row.agrees for row in rows)
    sizes = [abs(row.gain.mean) for row in rows if row.gain.n]
    largest = f"; gains change by {statistics.mean(sizes):.2g} on average, by {max(sizes):.2g} at "
    largest += "most, in the unit of each row"
    return f"{agree} of {len(rows)} verdicts are the same in bf16{largest if sizes else ''}."


def fidelity_table(rows: Sequence[FidelityRow]) -> "Table":
    """Return the table of all rows for a terminal."""
    from rich.table import Table
    from rich.text import Text

    header = (*_COLUMNS[1:-2], "verdict")
    lines = [_line(row) for row in rows]
    columns = widths([header, *lines])
    table = Table.grid(expand=True)
    table.add_column(overflow="fold")
    table.add_row(aligned([Text(column, style="bold") for column in header], columns))
    of_target = groupby(zip(rows, lines, strict=True), key=lambda each: _heading(each[0]))
    for name, group in of_target:
        table.add_row(Text(f"\n{printable(name)}", style="bold cyan"))
        for row, line in group:
            style = "" if row.agrees else "bold"
            table.add_row(
                aligned([Text(printable(cell, keep="\n"), style=style) for cell in line], columns)
            )
    table.add_row(Text(f"\n{_NOTE.format('± half of its')}", style="dim"))
    table.add_row(Text(fidelity_summary(rows)))
    return table


def _line(row: FidelityRow) -> tuple[str, ...]:
    """Return the cells of a row in a terminal, in few columns."""
    whole, rough = row.full.verdict.name, row.reduced.verdict.name
    return (
        short(row.full.strategy),
        number(row.full.score_mean, row.full.unit),
        halved(row.score, row.full.unit),
        halved(row.gain, row.full.unit),
        whole if row.agrees else f"{whole} → {rough} in bf16",
    )


def fidelity_markdown(rows: Sequence[FidelityRow]) -> str:
    """Return the table of all rows as a page."""
    lines = [
        "# What bf16 changes",
        fidelity_summary(rows) + " " + _NOTE.format("with its"),
        grid(_COLUMNS, ([escape(cell) for cell in _cells(row)] for row in rows)),
    ]
    return "\n\n".join(lines) + "\n"
