"""A companion of the mean that few seeds cannot move, and the seeds that lie apart.

Both tests of a gain take gains to be symmetric about their mean. Where one seed collapses, the mean
and its interval follow that seed; the companion shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from bench.stats.tests import ALPHA

#: Robust standard deviations from which on a seed lies apart: 1 in 250 normal gains does.
FAR = 5.0
#: Median absolute deviation of a standard normal law.
_NORMAL_MAD = 0.6745
#: Standard deviation of a normal law over its mean absolute deviation.
_NORMAL_MEAN = 1.2533


@dataclass(frozen=True)
class HodgesLehmann:
    """The median of all means of two gains, a gain with itself included, with its interval.

    Hodges and Lehmann (1963). The interval inverts Wilcoxon's signed-rank test, exactly; it is
    infinite where so few seeds cannot have one.
    """

    estimate: float
    low: float
    high: float


def hodges_lehmann(gains: np.ndarray, level: float = ALPHA) -> HodgesLehmann:
    """Return the estimate and its interval for gains `[n]`, n at least 1."""
    n = len(gains)
    first, second = np.triu_indices(n)
    means = np.sort((gains[first] + gains[second]) / 2)
    # So many of the means may be left out at each end.
    left_out = int(np.searchsorted(_signed_rank_law(n), level / 2, side="right"))
    if left_out == 0:
        return HodgesLehmann(float(np.median(means)), -np.inf, np.inf)
    low, high = means[left_out - 1], means[len(means) - left_out]
    return HodgesLehmann(float(np.median(means)), float(low), float(high))


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
