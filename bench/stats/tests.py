"""Statistics of paired gains: pure functions of numbers, no tables, no files.

A cell is a handful of paired differences, one a seed. Percentile bootstraps are wrong at such
sizes, so a cell gets a Student t interval and an exact sign-flip test, and a verdict needs both.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import scipy

ALPHA = 0.05
POWER = 0.8
#: Up to so many seeds the sign-flip test looks at every pattern of signs.
_EXACT = 16
#: Sums of differences that differ by so small a part of their absolute sum are equal.
_TIE = 1e-9
#: Differences whose patterns of signs are tabulated together.
_PART = 8
#: Patterns of signs that stand behind a simulated power, over all draws.
_PATTERNS = 2**24


@dataclass(frozen=True)
class PairedResult:
    """What n paired differences say about their mean.

    `low` and `high` bound the Student t interval, of 95 % unless asked otherwise. `p_t` and
    `p_sign_flip` are two-sided, for a mean of zero. `p_equivalence` is that of two one-sided tests
    against ±margin. Fields are NaN where n is too small for them, or where there is no margin.
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


def paired(
    differences: Sequence[float], margin: float = math.nan, level: float = ALPHA
) -> PairedResult:
    """Summarise paired differences, one a seed. `margin` is the half width of equivalence.

    The interval leaves out `level`; of a level of 0 it is the whole line.
    """
    d = np.asarray(differences, dtype=float)
    n = len(d)
    if n == 0:
        return PairedResult(0, *[math.nan] * 7)
    mean = float(d.mean())
    if n == 1:
        return PairedResult(1, mean, *[math.nan] * 6)
    p_equivalence = max(non_inferiority_p(d, margin), non_inferiority_p(-d, margin))
    if _same(d):
        p_t = 1.0 if mean == 0 else 0.0
        return PairedResult(n, mean, 0.0, mean, mean, p_t, sign_flip_p(d), p_equivalence)
    sd = float(d.std(ddof=1))
    error = sd / math.sqrt(n)
    half = float(scipy.special.stdtrit(n - 1, 1 - level / 2)) * error
    p_t = 2 * float(scipy.special.stdtr(n - 1, -abs(mean / error)))
    return PairedResult(n, mean, sd, mean - half, mean + half, p_t, sign_flip_p(d), p_equivalence)


def paired_p(differences: np.ndarray, block: int = 64) -> np.ndarray:
    """Return `paired(...).p` of each column of differences `[seeds, many]`, many at once."""
    n, count = differences.shape
    found = np.empty(count)
    for start in range(0, count, block):
        d = differences[:, start : start + block]
        mean, spread = d.mean(0), d.std(0, ddof=1) / math.sqrt(n)
        same = np.ptp(d, axis=0) <= 1e-12 * np.abs(d).max(0)
        t = mean / np.where(same, 1.0, spread)
        p_t = np.where(same, mean == 0, 2 * scipy.stats.t.sf(np.abs(t), n - 1))
        found[start : start + block] = np.maximum(p_t, _sign_flips(d))
    return found


def _same(d: np.ndarray) -> bool:
    """Return whether differences are one number but for rounding, which leaves a t of x/0."""
    return bool(np.ptp(d) <= 1e-12 * np.abs(d).max())


def non_inferiority_p(differences: Sequence[float] | np.ndarray, margin: float) -> float:
    """Return the p-value of a one-sided t test that the true mean lies above −margin.

    NaN where there are fewer than two differences, or no margin.
    """
    d = np.asarray(differences, dtype=float)
    if len(d) < 2 or math.isnan(margin):
        return math.nan
    if _same(d):
        return 0.0 if d.mean() > -margin else 1.0
    error = float(d.std(ddof=1)) / math.sqrt(len(d))
    return float(scipy.special.stdtr(len(d) - 1, -(d.mean() + margin) / error))


def sign_flip_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of the sign-flip test: exact up to 16 seeds, else sampled.

    Under the null each difference is as likely with the other sign (Fisher 1935). Accuracies are
    multiples of one image, so many patterns of signs tie with the observed one. They are found
    within rounding of the differences themselves: a mean near zero is much smaller than its errors
    of rounding. NaN where there is no difference.
    """
    return _sign_flip_p(tuple(map(float, differences)))


@lru_cache(maxsize=4096)
def _sign_flip_p(differences: tuple[float, ...]) -> float:
    """Return the same; a table asks for some differences more than once."""
    if not differences:
        return math.nan
    return float(_sign_flips(np.array(differences)[:, None])[0])


def _sign_flips(d: np.ndarray) -> np.ndarray:
    """Return the p-value of each column of differences `[n, many]`."""
    sums = _flipped_sums(d)
    hits = (np.abs(sums) >= np.abs(d.sum(0)) - _TIE * np.abs(d).sum(0)).sum(0)
    if len(d) <= _EXACT:
        return np.asarray(hits / len(sums))
    # The observed pattern is one of those that might have been drawn.
    return np.asarray((hits + 1) / (len(sums) + 1))


def _flipped_sums(d: np.ndarray) -> np.ndarray:
    """Return the sum of each column of differences `[n, many]` by pattern of signs, `[P, many]`.

    A few differences have few patterns, so their sums are computed once each and looked up.
    """
    sums = np.zeros((1, d.shape[1]))
    for part, patterns in enumerate(_patterns(len(d))):
        some = d[_PART * part : _PART * (part + 1)]
        flips = np.arange(2 ** len(some))[:, None] >> np.arange(len(some)) & 1
        sums = sums + ((1.0 - 2.0 * flips) @ some)[patterns]
    return sums


@lru_cache(maxsize=4)
def _patterns(n: int) -> list[np.ndarray]:
    """Return patterns of signs: for each part of the differences a number `[P]`, a bit a flip.

    They are all up to 16 seeds, else 2**16 drawn ones. A pattern and its opposite have the same
    absolute sum, so of all patterns one half is enough.
    """
    starts = range(0, n, _PART)
    if n <= _EXACT:
        every = np.arange(2 ** (n - 1))
        return [(every >> start & 2**_PART - 1).astype(np.uint8) for start in starts]
    draw = np.random.default_rng(0).integers
    found = np.empty((2**_EXACT, len(starts)), np.uint8)
    for some in _blocks(found):  # all bits at once are eight bytes each
        some[:] = np.packbits(draw(0, 2, size=(len(some), n)), axis=1, bitorder="little")
    return list(found.T)


def smallest_sign_flip_p(n: int) -> float:
    """Return the smallest p-value that a two-sided sign-flip test over n seeds can give."""
    return 2.0 ** max(1 - n, -1000)  # more seeds give no smaller one that can be divided by


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values (Holm 1979). NaN stays NaN and counts as a test all the same.

    A cell without a p-value was declared too; leaving it out would reward losing runs.
    """
    order = sorted(range(len(p_values)), key=lambda i: (np.isnan(p_values[i]), p_values[i]))
    adjusted = [math.nan] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        if np.isnan(p_values[index]):
            continue
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the false discovery rate (Benjamini & Hochberg 1995).

    Of the lines that are called by `q <= 0.05`, 5 % are false on average. NaN stays NaN and counts
    as a test all the same.
    """
    if not p_values:
        return []
    p = np.asarray(p_values, dtype=float)
    adjusted = scipy.stats.false_discovery_control(np.nan_to_num(p, nan=1.0))
    return [float(q) for q in np.where(np.isnan(p), np.nan, adjusted)]


def _t_power(shift: float, n: int, level: float) -> float:
    """Return the power of a two-sided t test; `shift` is the true mean over its error.

    Rejecting on the wrong side detects nothing and is not counted.
    """
    return float(1 - scipy.special.nctdtr(n - 1, shift, scipy.stats.t.ppf(1 - level / 2, n - 1)))


def t_detectable_effect(n: int, level: float = ALPHA) -> float:
    """Return the effect, in standard deviations, that a t test over n seeds finds at 80 % power."""
    top = 3.0
    while _t_power(top, n, level) < POWER:
        top *= 1.5
    shift = scipy.optimize.brentq(lambda shift: _t_power(shift, n, level) - POWER, 0.1, top)
    return float(shift) / math.sqrt(n)


@cache
def detectable_effect(n: int, level: float = ALPHA) -> float:
    """Return the effect, in standard deviations, that both tests find together with 80 % power.

    A level below 5 % is that of a family: Holm holds no test of m rows to less than 5 % / m.
    Infinite where the sign-flip test has too few patterns of signs to reach the level. Over more
    than 16 seeds it finds about what the t test finds, whose exact power is taken.

    For up to 16 seeds normal draws z are shifted by the effect δ. A pattern that flips the set N of
    seeds is as extreme as the one seen if the mean of z + δ over N is not above zero. So for each
    draw both tests turn at a δ that can be written down. The answer is a quantile of these.
    """
    patterns = math.floor(level / smallest_sign_flip_p(n) + 1e-9) if n > 1 else 0
    if patterns == 0:
        return math.inf
    if n > _EXACT:
        return t_detectable_effect(n, level)
    flipped = ((np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1).astype(float)
    flipped /= flipped.sum(1, keepdims=True)
    z = np.random.default_rng(0).standard_normal((_PATTERNS >> n, n))
    turns = np.concatenate([_largest(-part @ flipped.T, patterns) for part in _blocks(z)])
    t = scipy.stats.t.ppf(1 - level / 2, n - 1) * z.std(1, ddof=1) / math.sqrt(n) - z.mean(1)
    both, alone = np.quantile(np.maximum(turns, t), POWER), np.quantile(t, POWER)
    # The t test's own quantile is known, so only what the other test adds is simulated.
    return float(t_detectable_effect(n, level) * both / alone)


def _largest(rows: np.ndarray, place: int) -> np.ndarray:
    """Return the value of each row that is `place` down from its largest; rows lose their order."""
    rows.partition(-place)
    return rows[:, -place].copy()


def _blocks(rows: np.ndarray, size: int = 64) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // size))


def minimum_detectable_gain(sd: float, n: int, level: float = ALPHA) -> float:
    """Return the gain that n seeds detect with 80 % power, in the unit of `sd`.

    NaN where there are fewer than two seeds; infinite where no gain could be found.
    """
    if n < 2 or math.isnan(sd):
        return math.nan
    effect = detectable_effect(n, level)
    return sd * effect if math.isfinite(effect) else math.inf


def seeds_to_detect(gain: float, sd: float, limit: int = 1000, level: float = ALPHA) -> int | None:
    """Return the seeds that detect `gain` with 80 % power, or None where `limit` are too few.

    None too where the spread is not known.
    """
    if gain == 0 or not np.isfinite(gain):
        return None
    return fewest(lambda n: minimum_detectable_gain(sd, n, level) <= abs(gain), limit)


def fewest(enough: Callable[[int], bool], limit: int) -> int | None:
    """Return the fewest seeds, two at least, that are enough; None where `limit` are not.

    More than enough are enough too.
    """
    return 2 + bisect_left(range(2, limit), True, key=enough) if enough(limit) else None
