"""What plots and the terminal show of a large experiment: nobody reads a thousand rows there.

Tables and data files have every row. What leaves rows out, or draws them in grey, says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.stats.comparison import RowResult

#: Rows with a line each, and rows with a panel each: a fourth of those shown are the lowest.
MOST_ROWS, MOST_PANELS = 100, 48
#: Pairs with a panel each.
MOST_PAIRS = 12
#: Strategies that share a panel: more than these, and the best and the worst of them are shown.
MOST_STRATEGIES, BEST, WORST = 15, 10, 3

T = TypeVar("T")


@dataclass(frozen=True)
class Selection:
    """The places of the rows that are shown, and what the title says of them; empty if all are."""

    places: tuple[int, ...]
    remark: str = ""
    faint: tuple[int, ...] = ()
    """The places of the rows that are drawn in grey."""

    def of(self, items: Sequence[T]) -> list[T]:
        """Return the items that are shown, of one for each row."""
        return [items[place] for place in self.places]

    def others(self, items: Sequence[T]) -> list[T]:
        """Return the items that are drawn in grey, of one for each row."""
        return [items[place] for place in self.faint]

    def title(self, name: str) -> str:
        """Return the name of an experiment with the remark."""
        return f"{name} ({self.remark})" if self.remark else name


def extremes(results: Sequence[RowResult], most: int = MOST_ROWS) -> Selection:
    """Select the rows of the highest and the lowest gains; all where there are at most `most`."""
    if len(results) <= most:
        return Selection(tuple(range(len(results))))
    lowest = most // 4
    highest = most - lowest
    ranked = sorted(range(len(results)), key=lambda place: -_gain(results[place]))
    shown = {*ranked[:highest], *ranked[-lowest:]}
    remark = f"of {len(results):,} rows the {highest} highest and {lowest} lowest gains"
    return Selection(tuple(sorted(shown)), remark)


def first_pairs(results: Sequence[RowResult]) -> Selection:
    """Select the rows of the pairs that were declared first; all where there are few."""
    pairs = list(dict.fromkeys(row.pair for row in results))
    shown = set(pairs[:MOST_PAIRS])
    places = tuple(place for place, row in enumerate(results) if row.pair in shown)
    few = len(pairs) <= MOST_PAIRS
    return Selection(places, "" if few else f"the first {MOST_PAIRS} of {len(pairs)} pairs")


def best_and_worst(results: Sequence[RowResult]) -> Selection:
    """Select of the first pairs the strategies of the highest and the lowest mean gains.

    The others of these pairs are faint.
    """
    pairs = first_pairs(results)
    places: list[int] = []
    most = 0
    for pair in dict.fromkeys(row.pair for row in pairs.of(results)):
        own = [place for place in pairs.places if results[place].pair == pair]
        shown = _ends([results[place] for place in own])
        most = max(most, len({results[place].strategy for place in own}))
        places += [place for place in own if results[place].strategy in shown]
    remarks = [pairs.remark] if pairs.remark else []
    if most > MOST_STRATEGIES:
        remarks.append(f"of {most} strategies the {BEST} best and {WORST} worst, others grey")
    faint = sorted(set(pairs.places) - set(places))
    return Selection(tuple(sorted(places)), ", ".join(remarks), tuple(faint))


def _ends(rows: Sequence[RowResult]) -> set[str]:
    """Return the strategies of a pair that are shown."""
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    if len(strategies) <= MOST_STRATEGIES:
        return set(strategies)
    gains = dict.fromkeys(strategies, 0.0)  # every strategy has the same targets
    for row in rows:
        gains[row.strategy] += _gain(row)
    ranked = sorted(strategies, key=lambda strategy: -gains[strategy])
    return {*ranked[:BEST], *ranked[-WORST:]}


def _gain(row: RowResult) -> float:
    """Return what rows are ranked by: the gain at equal compute, the lowest where there is none."""
    mean = row.against["full"].result.mean
    return mean if math.isfinite(mean) else -math.inf
