"""How many seeds a question needs, and what they cost: from the spread and the ledgers seen."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.stats.comparison import Comparison, distinct
from bench.stats.gains import Lookup, comparisons
from bench.stats.tests import ALPHA, seeds_to_detect, smallest_sign_flip_p
from bench.store.records import ANCHORS, SCREEN_BELOW, AnchorName, Declaration, Row, SeedRuns

#: More seeds than this are not looked for.
MOST_SEEDS = 1000


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

    `alone` is at 5 %; `family` at the level that Holm's correction asks for where no other of the
    `rows` of its family is significant. `seconds_per_seed` are device-seconds of all runs of the
    row, anchors included.
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
    """All rows of an experiment at once: the seeds of the row that needs most, each run once.

    `rows` are those of the largest family.
    """

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
    found = seeds_to_detect(gain, sd, MOST_SEEDS, level=level) if math.isfinite(sd) else None
    seeds = None if found is None else max(found, fewest_seeds(level))
    hours = None if seeds is None else seeds * seconds_per_seed / 3600
    return Need(level, seeds, None if hours is None or math.isnan(hours) else hours)


def requirements(
    declaration: Declaration, find: Lookup, detect: float
) -> tuple[list[Requirement], Total]:
    """Return what each row of an experiment needs against each anchor, and all rows together.

    `detect` is a gain in points, or where the metric is no percentage in hundredths of the
    anchor's score. Rows without a spread, or of a score of 0, are left out.
    """
    experiment = declaration.experiment
    rows = comparisons(declaration, find)
    found = []
    for own, rivals in zip(declaration.rows, rows, strict=True):
        seconds, unit = _seconds_per_seed([own], find), _unit(own, find)
        anchors = {name: rivals[name] for name in ANCHORS if name in rivals}
        for comparison in distinct(anchors).values():
            if math.isfinite(comparison.result.sd) and math.isfinite(comparison.margin):
                gain = detect * comparison.margin / experiment.margin
                found.append(_requirement(experiment.name, own, comparison, gain, unit, seconds))
    seconds = _seconds_per_seed(declaration.rows, find)
    return found, Total(
        experiment.name,
        max((r.rows for r in found), default=len(rows)),
        seconds,
        _most([r.alone for r in found], seconds),
        _most([r.family for r in found], seconds),
    )


def _requirement(
    name: str, row: Row, comparison: Comparison, gain: float, unit: str, seconds: float
) -> Requirement:
    sd, rows = comparison.result.sd, comparison.family
    return Requirement(
        experiment=name,
        pair=row.pair,
        strategy=row.strategy,
        target=row.target,
        anchor=comparison.anchor,
        unit=unit,
        gain=gain,
        sd=sd,
        seeds_seen=comparison.result.n,
        rows=rows,
        seconds_per_seed=seconds,
        alone=need(gain, sd, ALPHA, seconds),
        family=need(gain, sd, ALPHA / rows, seconds),
    )


def _unit(row: Row, find: Lookup) -> str:
    """Return the unit of a row's score; empty where no run has one."""
    runs = (find(seed.strategy) for seed in row.seeds)
    scores = (run.primary(row.target) for run in runs if run is not None and run.scores)
    return next((score.unit for score in scores), "")


def _most(needs: Sequence[Need], seconds: float) -> Need:
    """Return the largest need, at the cost of all rows; None if one is out of reach."""
    level = min((n.level for n in needs), default=ALPHA)
    if not needs or any(n.seeds is None for n in needs):
        return Need(level, None, None)
    seeds = max(n.seeds or 0 for n in needs)
    return Need(level, seeds, None if math.isnan(seconds) else seeds * seconds / 3600)


def _seconds_per_seed(declared: Iterable[Row], find: Lookup) -> float:
    """Return the mean device-seconds of a seed's runs, a run that several rows read once.

    Seeds that lack a run are left out; NaN where all do.
    """
    seeds: dict[int, set[str]] = {}
    for own in declared:
        for seed in own.seeds:
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
