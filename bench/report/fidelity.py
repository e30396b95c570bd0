"""What a reduced precision changes, as a table for a terminal and as a page."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.fidelity import FidelityRow
from bench.report.table import escape, grid
from bench.report.wording import heading, number, spread

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
    "Changes are bf16 minus fp32 at the same seeds, mean with its 95 % interval; positive where "
    "bf16 is better. The gain is that over `full`."
)


def _cells(row: FidelityRow) -> tuple[str, ...]:
    full = row.full
    return (
        heading(full.pair, full.target),
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
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, caption=f"{_NOTE}\n{fidelity_summary(rows)}")
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        style = "" if row.agrees else "bold"
        table.add_row(*(Text(cell) for cell in _cells(row)), style=style)
    return table


def fidelity_markdown(rows: Sequence[FidelityRow]) -> str:
    """Return the table of all rows as a page."""
    lines = [
        "# What bf16 changes",
        fidelity_summary(rows) + " " + _NOTE,
        grid(_COLUMNS, ([escape(cell) for cell in _cells(row)] for row in rows)),
    ]
    return "\n\n".join(lines) + "\n"
