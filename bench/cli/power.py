"""Carries out `power`: reads what the experiments of a folder need, and shows it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from bench.clean import printable
from bench.cli.console import console, show_json, table_of_figures
from bench.errors import note
from bench.report.text.wording import NOTHING, fold, heading
from bench.stats.power import MOST_SEEDS, Need, Requirement, Total, fewest_seeds, need, requirements
from bench.stats.tests import ALPHA, POWER
from bench.store.store import Store, brief, reading_many

_COLUMNS = ("row", "vs", "sd", "alone", "hours", "family", "hours")
#: Lines of a table that are shown; `--json` has all.
_MOST_LINES = 200


def power(folder: Path, name: str | None, detect: float, as_json: bool) -> None:
    """Show what the experiments of a results folder need.

    Raises `UserError` where there is none, or none of that name.
    """
    store = Store(folder, read_only=True)
    tables = []
    for declaration in store.experiments() if name is None else [store.experiment(name)]:
        find = brief(store.reader(declaration))
        with reading_many():
            known = {key: find(key) for key in declaration.keys}
        tables.append(requirements(declaration, known.get, detect))
    for line in store.news():
        note(f"note: {line}")
    for rows, total in tables:
        if not rows:
            note(f"note: no row of {total.experiment} has two seeds with a gain, so no spread yet")
    if as_json:
        found = [
            {"rows": [asdict(row) for row in rows], "total": asdict(total)}
            for rows, total in tables
        ]
        show_json({"power": POWER, "detect": detect, "experiments": found})
        return
    for rows, total in tables:
        if rows:
            _show(rows, total, detect)


def power_of(sd: float, rows: int, detect: float, as_json: bool) -> None:
    """Show what a row of a given spread needs, alone and in a family of so many rows."""
    needs = {"alone": need(detect, sd, ALPHA), "family": need(detect, sd, ALPHA / rows)}
    if as_json:
        given = {"power": POWER, "detect": detect, "sd": sd, "rows": rows}
        show_json({**given, **{name: asdict(one) for name, one in needs.items()}})
        return
    for name, one in needs.items():
        terms = "alone" if name == "alone" else f"as one of {rows} rows, by Holm at worst"
        print(
            f"{_seeds(one)} seeds find a true gain of {detect:g} in 80 % of experiments, spread "
            f"{sd:g}, {terms} (p ≤ {one.level:.2g}; under {fewest_seeds(one.level)} seeds "
            "no gain is large enough)"
        )


def _seeds(one: Need) -> str:
    return f"over {MOST_SEEDS:,}" if one.seeds is None else str(one.seeds)


def _hours(one: Need) -> str:
    if one.hours is None:
        return NOTHING
    return f"{one.hours:,.0f}" if one.hours >= 10 else f"{one.hours:.2g}"


def _cells(row: Requirement | Total) -> list[str]:
    return [text for one in (row.alone, row.family) for text in (_seeds(one), _hours(one))]


def _show(rows: Sequence[Requirement], total: Total, detect: float) -> None:
    out = console()
    title = f"{total.experiment}: seeds that find a true gain of {detect:g} in 80 % of experiments"
    shown = rows[:_MOST_LINES]
    lines = [
        [printable(f"  {row.strategy}"), row.anchor, f"{row.sd:.3g}", *_cells(row)] for row in shown
    ]
    last = ["all rows", "", "", *_cells(total)]
    table, room = table_of_figures(title, _COLUMNS, [*lines, last], out.width)
    question = ""
    for row, line in zip(shown, lines, strict=True):
        if (asked := printable(heading(row.pair, row.target))) != question:
            table.add_row(Text(fold(asked, lambda text: len(text) <= room), style="bold"))
            question = asked
        table.add_row(*line)
    table.add_section()
    if (more := len(rows) - _MOST_LINES) > 0:
        table.add_row(f"{more:,} more lines: --json")
    table.add_row(*last)
    out.print(table)
    smallest = " and ".join(
        f"{fewest_seeds(n.level)} {name}"
        for name, n in (("alone", total.alone), ("in the family", total.family))
    )
    held = f"{total.rows} row{'s' * (total.rows > 1)}"
    out.print(
        f"alone: p ≤ {ALPHA:g}; family: p ≤ {total.family.level:.2g}, what Holm asks of {held} "
        f"at worst. No gain is large enough under {smallest}: the sign-flip "
        "test has too few patterns of signs. Gains in points, or hundredths of the score where "
        "the metric is no percentage. Hours of one device, anchors included; in the last line a "
        "run that several rows read counts once. The spreads are those of the seeds seen, and as "
        "uncertain as so few seeds are.",
        soft_wrap=False,
        style="dim",
    )
