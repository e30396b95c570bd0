"""Statistics of paired gains: pure functions of numbers, no tables, no files.

A cell is a handful of paired differences, one a seed. Percentile bootstraps are wrong at such
sizes, so a cell gets a Student t interval and an exact sign-flip test, and a verdict needs both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special, stats

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class PairedResult:
    """What n paired differences say about their mean.

    `low` and `high` bound the Student t interval, of 95 % unless asked otherwise. `p_t` and
    `p_sign_flip` are two-sided, for a mean of zero. `p_equivalence` is that of two one-sided tests
    against ±margin. Fields are NaN where n is too small for them.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    p_t: float
    p_sign_flip: float
    p_equivalence: float

    @property
    def p(self) -> float:
        """The larger of the two p-values: rejecting needs both tests."""
        return max(self.p_t, self.p_sign_flip)


def paired(differences: Sequence[float], margin: float, level: float = ALPHA) -> PairedResult:
    """Summarise paired differences, one a seed. `margin` is the half width of equivalence.

    The interval leaves out `level`; of a level of 0 it is the whole line.
    """
    d = np.asarray(differences, dtype=float)
    n = len(d)
    if n == 0:
        return PairedResult(0, *[float("nan")] * 7)
    mean = float(d.mean())
    if n == 1:
        return PairedResult(1, mean, *[float("nan")] * 6)
    sd = float(d.std(ddof=1))
    # Differences that are all the same leave a t statistic of x/0. Rounding can leave an sd of
    # 1e-17 in their place, so "the same" is judged against their size.
    if sd <= 1e-12 * max(1.0, abs(mean)):
        same = 1.0 if mean == 0 else 0.0
        inside = 0.0 if abs(mean) < margin else 1.0
        return PairedResult(n, mean, 0.0, mean, mean, same, sign_flip_p(d), inside)
    interval = stats.ttest_1samp(d, 0.0).confidence_interval(1 - level)
    above = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(d, margin, alternative="less").pvalue
    return PairedResult(
        n,
        mean,
        sd,
        float(interval.low),
        float(interval.high),
        float(stats.ttest_1samp(d, 0.0).pvalue),
        sign_flip_p(d),
        float(max(above, below)),
    )


def sign_flip_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of the sign-flip test: exact up to 16 seeds, else sampled.

    Under the null each difference is as likely with the other sign (Fisher 1935).
    """
    result = stats.permutation_test(
        (differences,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**16,
        batch=2**12,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def smallest_sign_flip_p(n: int) -> float:
    """Return the smallest p-value that a two-sided sign-flip test over n seeds can give."""
    return 2.0 ** (1 - n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values (Holm 1979). NaN stays NaN and counts as a test all the same.

    A cell without a p-value was declared too; leaving it out would reward losing runs.
    """
    order = sorted(range(len(p_values)), key=lambda i: (np.isnan(p_values[i]), p_values[i]))
    adjusted = [float("nan")] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        if np.isnan(p_values[index]):
            continue
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _power(shift: float, n: int, level: float) -> float:
    """Return the power of a two-sided t test; `shift` is the true mean over its error.

    Rejecting on the wrong side detects nothing and is not counted.
    """
    return float(1 - special.nctdtr(n - 1, shift, stats.t.ppf(1 - level / 2, n - 1)))


@cache
def detectable_effect(n: int, level: float = ALPHA) -> float:
    """Return the effect, in standard deviations, that n seeds detect at `level` with 80 % power."""
    if n < 2 or level == 0:
        return float("nan")
    top = 3.0
    while _power(top, n, level) < POWER:
        top *= 1.5
    shift = optimize.brentq(lambda shift: _power(shift, n, level) - POWER, 0.1, top)
    return float(shift) / math.sqrt(n)


def minimum_detectable_gain(sd: float, n: int, level: float = ALPHA) -> float:
    """Return the gain that n seeds detect at `level` with 80 % power, in the unit of `sd`."""
    return sd * detectable_effect(n, level) if n >= 2 else float("nan")


def seeds_to_detect(gain: float, sd: float, limit: int = 1000, level: float = ALPHA) -> int | None:
    """Return the seeds that detect `gain` at `level` with 80 % power, or None above `limit`."""
    if gain == 0 or not np.isfinite(gain):
        return None
    low, high = 2, limit
    if minimum_detectable_gain(sd, high, level) > abs(gain):
        return None
    while low < high:
        middle = (low + high) // 2
        if minimum_detectable_gain(sd, middle, level) <= abs(gain):
            high = middle
        else:
            low = middle + 1
    return low


def non_inferiority_p(differences: Sequence[float], margin: float) -> float:
    """Return the one-sided p-value of a t test that the true mean lies above −margin.

    NaN for fewer than two differences. Differences that are all the same decide by their size.
    """
    d = np.asarray(differences, dtype=float)
    if len(d) < 2:
        return float("nan")
    mean = float(d.mean())
    if d.std(ddof=1) <= 1e-12 * max(1.0, abs(mean)):
        return 0.0 if mean > -margin else 1.0
    return float(stats.ttest_1samp(d, -margin, alternative="greater").pvalue)
