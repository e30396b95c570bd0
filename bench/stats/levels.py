"""A gain as a function of the budget or of the images: where it crosses zero.

Pure functions of records.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.spec.budget import Budget
from bench.stats.comparison import RowResult
from bench.stats.tests import ALPHA
from bench.store.records import SCREEN_BELOW, AnchorName

_DRAWS = 2000


@dataclass(frozen=True)
class Images:
    """A number of training images, as a level of an experiment."""

    amount: float


#: What an experiment has several of.
Level = Budget | Images


@dataclass(frozen=True)
class Crossing:
    """The level at which a mean gain turns, in its unit, with its interval.

    An end of the interval is 0 or infinite where it lies outside the levels that were run.
    """

    at: float
    low: float
    high: float


@dataclass(frozen=True)
class OverLevels:
    """One row of the result table at several levels, from the smallest to the largest."""

    pair: str
    strategy: str
    target: str
    levels: tuple[Level, ...]
    rows: tuple[RowResult, ...]

    def crossing(self, anchor: AnchorName) -> Crossing | None:
        """Return where the gain over an anchor crosses zero; None where the means do not."""
        if any(anchor not in row.against for row in self.rows):
            return None
        gains = [row.against[anchor].gains for row in self.rows]
        seeds = sorted(set.intersection(*map(set, gains)))
        if not seeds:
            return None
        table = np.array([[by_seed[seed] for by_seed in gains] for seed in seeds])
        return zero_crossing([level.amount for level in self.levels], table)


def over_levels(
    levels: Sequence[tuple[Level, Sequence[RowResult]]],
) -> list[OverLevels]:
    """Return every row that all levels have, in the order of the last one's rows."""
    if not levels:
        return []
    known = [{(r.pair, r.strategy, r.target): r for r in rows} for _, rows in levels]
    return [
        OverLevels(*name, tuple(level for level, _ in levels), tuple(rows[name] for rows in known))
        for name in known[-1]
        if all(name in rows for rows in known)
    ]


def zero_crossing(amounts: Sequence[float], gains: np.ndarray) -> Crossing | None:
    """Return where the mean of gains `[seeds, levels]` first crosses zero; None if nowhere.

    Between two levels the mean is taken as linear in the logarithm of the amount. The interval is
    a percentile bootstrap over seeds, each drawn with its gains at all levels.
    """
    logs = np.log(np.asarray(amounts, dtype=float))
    at = _crossings(logs, gains.mean(0)[None])[0]
    if not math.isfinite(at):
        return None
    if len(gains) < SCREEN_BELOW:
        return Crossing(math.exp(at), math.nan, math.nan)
    drawn = np.random.default_rng(0).integers(0, len(gains), size=(_DRAWS, len(gains)))
    means = gains[drawn].mean(1)
    # A draw that never crosses turns before the smallest level or beyond the largest one.
    rising = gains.mean(0)[-1] > gains.mean(0)[0]
    ends = np.where((means[:, -1] > 0) == rising, -np.inf, np.inf)
    found = _crossings(logs, means)
    found = np.where(np.isfinite(found), found, ends)
    low, high = np.quantile(found, [ALPHA / 2, 1 - ALPHA / 2], method="closest_observation")
    return Crossing(math.exp(at), float(np.exp(low)), float(np.exp(high)))


def _crossings(logs: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the first place at which each line of means `[n, levels]` crosses zero, else NaN."""
    left, right = means[:, :-1], means[:, 1:]
    turns = (left * right < 0) | ((left != 0) & (right == 0))
    first = turns.argmax(1)
    line = np.arange(len(means))
    a, b = left[line, first], right[line, first]
    with np.errstate(divide="ignore", invalid="ignore"):
        places = logs[first] + (logs[first + 1] - logs[first]) * a / (a - b)
    return np.where(turns.any(1), places, np.nan)
