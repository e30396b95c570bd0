"""How many seeds a question needs, and what they cost: from the spread and the ledgers seen."""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from bench.comparison import CellResult, Comparison
from bench.gains import Lookup, results
from bench.records import SCREEN_BELOW, AnchorName, Cell, Declaration, SeedRuns
from bench.report.wording import NOTHING, fold, heading
from bench.screen import console
from bench.statistics import ALPHA, POWER, seeds_to_detect, smallest_sign_flip_p
from bench.store import Store

#: More seeds than this are not looked for.
_LIMIT = 1000
_WIDEST = 28


@dataclass(frozen=True)
class Need:
    """What it takes to detect a gain with 80 % power, at one level.

    `seeds` and `hours` of device time are None where a thousand seeds are too few; hours also where
    nothing is known of the cost.
    """

    level: float
    seeds: int | None
    hours: float | None


@dataclass(frozen=True)
class Requirement:
    """A row against one anchor: the gain to detect in its unit, and the spread it was planned from.

    `alone` is at 5 %; `family` at the level that Holm's correction asks for where no other row is
    significant. `seconds_per_seed` are device-seconds of all runs of the row, anchors included.
    """

    experiment: str
    pair: str
    strategy: str
    target: str
    anchor: AnchorName
    unit: str
    gain: float
    sd: float
    seeds_seen: int
    rows: int
    seconds_per_seed: float
    alone: Need
    family: Need


@dataclass(frozen=True)
class Total:
    """All rows of an experiment at once: the seeds of the row that needs most, each run once."""

    experiment: str
    rows: int
    seconds_per_seed: float
    alone: Need
    family: Need


def fewest_seeds(level: float) -> int:
    """Return the seeds below which no verdict at a level is possible, however large the gain.

    A sign-flip test over n seeds gives no p-value below 2^(1 − n); a table of few seeds screens.
    """
    n = SCREEN_BELOW
    while smallest_sign_flip_p(n) > level:
        n += 1
    return n


def need(gain: float, sd: float, level: float, seconds_per_seed: float = math.nan) -> Need:
    """Return the seeds that detect a gain with 80 % power, and what they cost."""
    found = seeds_to_detect(gain, sd, _LIMIT, level=level) if math.isfinite(sd) else None
    seeds = None if found is None else max(found, fewest_seeds(level))
    hours = None if seeds is None else seeds * seconds_per_seed / 3600
    return Need(level, seeds, None if hours is None or math.isnan(hours) else hours)


def requirements(
    declaration: Declaration, find: Lookup, detect: float
) -> tuple[list[Requirement], Total]:
    """Return what each row of an experiment needs against each anchor, and all rows together.

    `detect` is a gain in points, or where the metric is no percentage in hundredths of the
    anchor's score. Rows without a spread are left out.
    """
    experiment = declaration.experiment
    rows = results(declaration, find)
    sizes = {a: sum(a in row.against for row in rows) for row in rows for a in row.against}
    found = []
    for cell, row in zip(declaration.cells, rows, strict=True):
        seconds = _seconds_per_seed([cell], find)
        for anchor, comparison in row.against.items():
            if math.isfinite(comparison.result.sd):
                gain = detect * comparison.margin / experiment.margin
                found.append(
                    _requirement(experiment.name, row, comparison, gain, sizes[anchor], seconds)
                )
    seconds = _seconds_per_seed(declaration.cells, find)
    return found, Total(
        experiment.name,
        len(rows),
        seconds,
        _most([r.alone for r in found], seconds),
        _most([r.family for r in found], seconds),
    )


def _requirement(
    name: str, row: CellResult, comparison: Comparison, gain: float, rows: int, seconds: float
) -> Requirement:
    sd = comparison.result.sd
    return Requirement(
        experiment=name,
        pair=row.pair,
        strategy=row.strategy,
        target=row.target,
        anchor=comparison.anchor,
        unit=row.unit,
        gain=gain,
        sd=sd,
        seeds_seen=comparison.result.n,
        rows=rows,
        seconds_per_seed=seconds,
        alone=need(gain, sd, ALPHA, seconds),
        family=need(gain, sd, ALPHA / rows, seconds),
    )


def _most(needs: Sequence[Need], seconds: float) -> Need:
    """Return the largest need, at the cost of all rows; None if one is out of reach."""
    level = min((n.level for n in needs), default=ALPHA)
    if not needs or any(n.seeds is None for n in needs):
        return Need(level, None, None)
    seeds = max(n.seeds or 0 for n in needs)
    return Need(level, seeds, None if math.isnan(seconds) else seeds * seconds / 3600)


def _seconds_per_seed(cells: Iterable[Cell], find: Lookup) -> float:
    """Return the mean device-seconds of a seed's runs, a run that several cells read once.

    Seeds that lack a run are left out; NaN where all do.
    """
    seeds: dict[int, set[str]] = {}
    for cell in cells:
        for seed in cell.seeds:
            seeds.setdefault(seed.seed, set()).update(_keys(seed))
    costs = []
    for keys in seeds.values():
        ledgers = [record.ledger if (record := find(key)) else None for key in keys]
        whole = [ledger.used["s"] for ledger in ledgers if ledger and "s" in ledger.used]
        if len(whole) == len(keys):
            costs.append(sum(whole))
    return statistics.mean(costs) if costs else math.nan


def _keys(seed: SeedRuns) -> set[str]:
    return {seed.strategy, *(key for part in seed.anchors.values() for key in part.values())}


def power(folder: Path, name: str | None, detect: float, as_json: bool) -> None:
    """Show what the experiments of a results folder need.

    Raises `UserError` where there is none, or none of that name.
    """
    store = Store(folder, read_only=True)
    tables = []
    for declaration in store.experiments() if name is None else [store.experiment(name)]:
        known = {key: store.load(key) for key in declaration.keys}
        tables.append(requirements(declaration, known.get, detect))
    if as_json:
        found = [
            {"rows": [_finite(asdict(row)) for row in rows], "total": _finite(asdict(total))}
            for rows, total in tables
        ]
        print(json.dumps({"power": POWER, "detect": detect, "experiments": found}, indent=1))
        return
    for rows, total in tables:
        _show(rows, total, detect)


def power_of(sd: float, rows: int, detect: float, as_json: bool) -> None:
    """Show what a row of a given spread needs, alone and in a family of so many rows."""
    needs = {"alone": need(detect, sd, ALPHA), "family": need(detect, sd, ALPHA / rows)}
    if as_json:
        document = {k: _finite(asdict(n)) for k, n in needs.items()}
        given = {"power": POWER, "detect": detect, "sd": sd, "rows": rows}
        print(json.dumps({**given, **document}, indent=1))
        return
    for name, one in needs.items():
        terms = "alone" if name == "alone" else f"as one of {rows} rows, by Holm at worst"
        print(
            f"{_seeds(one)} seeds find a true gain of {detect:g} in 80 % of experiments, spread "
            f"{sd:g}, {terms} (p ≤ {one.level:.2g}; under {fewest_seeds(one.level)} seeds "
            "no gain is large enough)"
        )


def _finite(values: dict[str, object]) -> dict[str, object]:
    bad = (k for k, v in values.items() if isinstance(v, float) and not math.isfinite(v))
    return {**values, **dict.fromkeys(bad)}


def _seeds(one: Need) -> str:
    return f"over {_LIMIT:,}" if one.seeds is None else str(one.seeds)


def _cells(row: Requirement | Total) -> list[str]:
    hours = [NOTHING if n.hours is None else f"{n.hours:.2g}" for n in (row.alone, row.family)]
    return [_seeds(row.alone), hours[0], _seeds(row.family), hours[1]]


def _show(rows: Sequence[Requirement], total: Total, detect: float) -> None:
    out = console()
    title = f"{total.experiment}: seeds that find a true gain of {detect:g} in 80 % of experiments"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("row", overflow="fold", min_width=_WIDEST)
    for column in ("vs", "sd", "alone", "hours", "family", "hours"):
        table.add_column(column, justify="right")
    question = ""
    for row in rows:
        if (asked := heading(row.pair, row.target)) != question:
            table.add_row(Text(fold(asked, lambda line: len(line) <= _WIDEST), style="bold"))
            question = asked
        table.add_row(f"  {row.strategy}", row.anchor, f"{row.sd:.3g}", *_cells(row))
    table.add_section()
    table.add_row("all rows", "", "", *_cells(total))
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
