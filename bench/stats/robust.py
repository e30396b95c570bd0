"""A companion of the mean that few seeds cannot move, and the seeds that lie apart.

Both tests of a gain take gains to be symmetric about their mean. Where one seed collapses, the mean
and its interval follow that seed; the companion shows it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy

from bench.stats.tests import ALPHA

#: Gains up to which all means are listed, and the law of the signed-rank statistic is exact.
_LISTED = 500

#: Robust standard deviations from which on a seed lies apart: 1 in 250 normal gains does.
FAR = 5.0
#: Median absolute deviation of a standard normal law.
_NORMAL_MAD = 0.6745
#: Standard deviation of a normal law over its mean absolute deviation.
_NORMAL_MEAN = 1.2533


@dataclass(frozen=True)
class HodgesLehmann:
    """The median of all means of two gains, a gain with itself included, with its interval.

    Hodges and Lehmann (1963). The interval inverts Wilcoxon's signed-rank test, exactly for up to
    500 seeds, then by the normal law; it is infinite where so few seeds cannot have one.
    """

    estimate: float
    low: float
    high: float


def hodges_lehmann(gains: np.ndarray, level: float = ALPHA) -> HodgesLehmann:
    """Return the estimate and its interval for gains `[n]`, n at least 1."""
    n, many = len(gains), len(gains) * (len(gains) + 1) // 2
    of_rank = _listed(gains) if n <= _LISTED else _Unlisted(gains).of_rank
    estimate = (of_rank((many + 1) // 2) + of_rank(many // 2 + 1)) / 2
    left_out = _left_out(n, level)
    if left_out == 0:
        return HodgesLehmann(estimate, -math.inf, math.inf)
    return HodgesLehmann(estimate, of_rank(left_out), of_rank(many - left_out + 1))


def _listed(gains: np.ndarray) -> Callable[[int], float]:
    """Return what finds the mean of two gains `[n]` that has a rank, from 1, among all of them."""
    first, second = np.triu_indices(len(gains))
    means = np.sort((gains[first] + gains[second]) / 2)
    return lambda rank: float(means[rank - 1])


class _Unlisted:
    """Finds the mean of two gains that has a rank, to rounding, in memory that grows as n does."""

    def __init__(self, gains: np.ndarray) -> None:
        self._gains, self._own = np.sort(gains), np.arange(len(gains))

    def of_rank(self, rank: int) -> float:
        """Return the smallest number that so many means do not exceed, by bisection."""
        low, high = float(np.nextafter(self._gains[0], -math.inf)), float(self._gains[-1])
        while low < (middle := (low + high) / 2) < high:
            low, high = (low, middle) if self._up_to(middle) >= rank else (middle, high)
        return high

    def _up_to(self, mean: float) -> int:
        """Return how many means are at most a number."""
        ends = np.searchsorted(self._gains, 2 * mean - self._gains, side="right")
        return int(np.maximum(ends - self._own, 0).sum())


def _left_out(n: int, level: float) -> int:
    """Return how many means the interval leaves out at each end, smallest or largest."""
    if n <= _LISTED:
        return int(np.searchsorted(_signed_rank_law(n), level / 2, side="right"))
    spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    away = float(scipy.special.ndtri(level / 2)) * spread
    return max(0, math.floor(n * (n + 1) / 4 + away + 0.5))


@cache
def _signed_rank_law(n: int) -> np.ndarray:
    """Return P(W ≤ w) of the signed-rank statistic of n differences, for w = 0, 1, …"""
    counts = np.zeros(n * (n + 1) // 2 + 1)
    counts[0] = 1
    for rank in range(1, n + 1):
        counts[rank:] += counts[:-rank].copy()
    return np.cumsum(counts) / 2.0**n


def outlying(gains: Mapping[int, float]) -> tuple[int, ...]:
    """Return the seeds whose gain lies far from the median of all, in robust deviations.

    The deviation is the median absolute one, or the mean one where most gains are equal (Iglewicz
    and Hoaglin 1993).
    """
    if len(gains) < 3:
        return ()
    values = np.array(list(gains.values()))
    away = np.abs(values - np.median(values))
    spread = float(np.median(away)) / _NORMAL_MAD or float(away.mean()) * _NORMAL_MEAN
    return tuple(seed for seed, far in zip(gains, away > FAR * spread, strict=True) if far)
