"""What the rows of an experiment say together: over pairs, related against unrelated, as declared.

Pure functions of rows. Over several pairs gains are summarised as Agarwal et al. (2021) propose:
by their interquartile mean, their performance profile and the probability of an improvement. Where
that paper draws runs anew for each task by itself, a seed is drawn here with its gains in all
pairs: they have draws in common, and are no independent runs.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy

from bench.spec.budget import TOLERANCE
from bench.stats.comparison import RowResult
from bench.stats.tests import ALPHA, PairedResult, holm, paired
from bench.store.records import SCREEN_BELOW, Outcome

_NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where there are too few seeds for one."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AcrossPairs:
    """The gains of a strategy over `full` in two pairs or more.

    `gains` are `[seeds, questions]`, in points of a percentage and else in hundredths of the score
    of `full`; a run that diverged without a score has −inf. `left_out` questions have no gains at
    equal budgets.
    """

    strategy: str
    questions: tuple[tuple[str, str], ...]
    left_out: int
    gains: np.ndarray

    @property
    def interquartile_mean(self) -> Estimate:
        """The mean gain of the middle half of all runs, with a bootstrap interval over seeds."""
        return interquartile_mean(self.gains)

    @property
    def improvement(self) -> Estimate:
        """The probability that a run gains, ties counting half, as the mean over questions."""
        (found,) = shares_above(self.gains, [0.0], ties=0.5)
        return found


def interquartile_mean(gains: np.ndarray, resamples: int = 5000) -> Estimate:
    """Return the mean of the middle half of `gains` `[seeds, questions]` with its interval.

    The bootstrap draws seeds. Its percentiles are those that make the interval of a plain mean as
    wide as Student's: as they stand they are too narrow for so few seeds (Hesterberg 2015, "What
    teachers should know about the bootstrap", the expanded percentile interval).
    """
    return _interquartile_mean(gains.astype(float).tobytes(), gains.shape, resamples)


@lru_cache(maxsize=1024)
def _interquartile_mean(content: bytes, shape: tuple[int, ...], resamples: int) -> Estimate:
    """Return the same; plot, table and data file each ask for it."""
    gains = np.frombuffer(content).reshape(shape)

    def middle(seeds: np.ndarray, axis: int = -1) -> np.ndarray:
        drawn = gains[seeds]
        return np.asarray(
            scipy.stats.trim_mean(drawn.reshape(*drawn.shape[:-2], -1), 0.25, axis=-1)
        )

    n = len(gains)
    value = float(middle(np.arange(n)))
    if n < SCREEN_BELOW or not np.isfinite(gains).all():
        return Estimate(value, _NAN, _NAN)
    reach = math.sqrt(n / (n - 1)) * scipy.stats.t.ppf(1 - ALPHA / 2, n - 1)
    interval = scipy.stats.bootstrap(
        (np.arange(n),),
        middle,
        confidence_level=float(1 - 2 * scipy.stats.norm.sf(reach)),
        method="percentile",
        n_resamples=resamples,
        batch=500,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def shares_above(
    gains: np.ndarray, thresholds: Sequence[float], ties: float = 0.0
) -> list[Estimate]:
    """Return the share of `gains` `[seeds, questions]` above each threshold, with its interval.

    A gain at the threshold counts `ties`. The interval is that of Korn & Graubard (1998) for shares
    of runs in clusters, the seeds: Clopper and Pearson's, of as many independent runs as would vary
    as much. It holds near 0 and 1, where a bootstrap does not, and is never too narrow.
    """
    n, questions = gains.shape
    runs = n * questions
    found = []
    for threshold in thresholds:
        above = (gains > threshold) + ties * (gains == threshold)
        share = float(above.mean())
        if n < SCREEN_BELOW:
            found.append(Estimate(share, _NAN, _NAN))
            continue
        variance = float(above.mean(1).var(ddof=1)) / n
        if share in (0.0, 1.0):
            size = float(n)
        elif variance == 0:
            size = float(runs)
        else:
            few, many = scipy.stats.t.ppf(1 - ALPHA / 2, [n - 1, runs - 1])
            size = min(runs, share * (1 - share) / variance * (many / few) ** 2)
        hits = share * size
        low = scipy.stats.beta.ppf(ALPHA / 2, hits, size - hits + 1) if hits > 0 else 0.0
        high = scipy.stats.beta.ppf(1 - ALPHA / 2, hits + 1, size - hits) if hits < size else 1.0
        found.append(Estimate(share, float(low), float(high)))
    return found


def _real(row: RowResult) -> bool:
    return not row.placebo


def _normalised(row: RowResult) -> dict[int, float]:
    """Return the gains of a row by seed, in points or hundredths; empty where it has no verdict."""
    full = row.against["full"]
    if not full.audited or math.isnan(full.margin):
        return {}
    unit = 1.0 if row.unit == "%" else abs(full.anchor_mean) / 100
    return {seed: gain / unit for seed, gain in full.gains.items()}


def _asked(rows: Sequence[RowResult]) -> dict[str, list[RowResult]]:
    """Return the rows of each strategy that was asked of two pairs or more, placebos aside."""
    asked: dict[str, list[RowResult]] = {}
    for row in rows:
        if _real(row):
            asked.setdefault(row.strategy, []).append(row)
    return {s: own for s, own in asked.items() if len({row.pair for row in own}) > 1}


def without_gains(rows: Sequence[RowResult]) -> list[str]:
    """Return the strategies that were asked of two pairs and have no summary."""
    known = {across.strategy for across in across_pairs(rows)}
    return [strategy for strategy in _asked(rows) if strategy not in known]


def across_pairs(rows: Sequence[RowResult]) -> list[AcrossPairs]:
    """Return the summary of each strategy that has gains in two pairs or more, placebos aside."""
    found = []
    for strategy, members in _asked(rows).items():
        known = {(row.pair, row.target): (row, g) for row in members if (g := _normalised(row))}
        if len({pair for pair, _ in known}) < 2:
            continue
        everyone = sorted({seed for _, gains in known.values() for seed in gains})
        seeds = [
            seed
            for seed in everyone
            if all(seed in gains or _collapsed(row) for row, gains in known.values())
        ]
        if not seeds:
            continue
        table = [[gains.get(s, -math.inf) for _, gains in known.values()] for s in seeds]
        left_out = len(members) - len(known)
        found.append(AcrossPairs(strategy, tuple(known), left_out, np.array(table)))
    return found


def _collapsed(row: RowResult) -> bool:
    return Outcome.COLLAPSED in row.verdict.halves


@dataclass(frozen=True)
class Contrast:
    """What a related partner brings beyond another one, at the same number of steps.

    For each of the `targets` the mean gain beside the partners that were declared to help, minus
    that beside the `others`: `unrelated`, or a placebo by its name. Then the mean over targets at
    each seed. The single-task networks are the same runs, so the difference is that of the
    partners. `p_holm` is corrected over all contrasts
    of the experiment, and over interim analyses as a row's is.
    """

    strategy: str
    others: str
    targets: tuple[str, ...]
    result: PairedResult
    p_holm: float

    @property
    def finding(self) -> str:
        """What it says, in a word or two."""
        if self.result.n < SCREEN_BELOW:
            return "screen"
        if not self.p_holm <= ALPHA:
            return "inconclusive"
        return "related gains more" if self.result.mean > 0 else "related gains less"


def contrasts(rows: Sequence[RowResult]) -> list[Contrast]:
    """Return, for each strategy, related partners against unrelated ones and against placebos.

    Related is what was declared `positive`; unrelated a real partner that was declared `none` or
    `negative`. Each way to make a placebo is a contrast of its own; a partner of weight zero is no
    placebo, but single-task training. Only targets that met both kinds of partner count, and only
    partners beside which a run takes as many steps. A row without a verdict, where budgets were
    unequal or a run left no score, is left out.
    """
    found = []
    for strategy in dict.fromkeys(row.strategy for row in rows):
        own = [row for row in rows if row.strategy == strategy]
        related = [row for row in own if _real(row) and row.expect == "positive"]
        unrelated = [row for row in own if _real(row) and row.expect in ("none", "negative")]
        makes = dict.fromkeys(row.placebo for row in own if row.placebo not in ("", "none"))
        placebos = {make: [row for row in own if row.placebo == make] for make in makes}
        for others, members in {"unrelated": unrelated, **placebos}.items():
            here, there = _alike(_by_target(related), _by_target(members))
            targets = list(here)
            if targets:
                each = [_difference(here[target], there[target]) for target in targets]
                seeds = sorted(set.intersection(*map(set, each)))
                gains = [sum(gain[seed] for gain in each) / len(each) for seed in seeds]
                # Its seeds are those that all pairs have, so it stands where the first pair ended.
                met = (row for t in targets for row in (*here[t], *there[t]))
                at = min((row.against["full"].stage for row in met), key=lambda at: at.seen)
                result = paired(gains, level=at.bound())
                names = tuple(name for _, name in targets)
                found.append((Contrast(strategy, others, names, result, _NAN), at))
    corrected = holm([at.repeated_p(contrast.result.p) for contrast, at in found])
    return [replace(c, p_holm=p) for (c, _), p in zip(found, corrected, strict=True)]


def _by_target(rows: Sequence[RowResult]) -> dict[tuple[str, str], list[RowResult]]:
    """Return the rows that have a verdict, by data set and target."""
    found: dict[tuple[str, str], list[RowResult]] = {}
    for row in rows:
        if _normalised(row) and not _collapsed(row):
            found.setdefault((row.pair.rpartition(":")[0], row.target), []).append(row)
    return found


_ByTarget = dict[tuple[str, str], list[RowResult]]


def _alike(here: _ByTarget, there: _ByTarget) -> tuple[_ByTarget, _ByTarget]:
    """Return the targets that both have, with the rows that take one number of steps."""
    ours: _ByTarget = {}
    theirs: _ByTarget = {}
    for target in here:
        for row in here[target]:
            same = [o for o in there.get(target, []) if _same_steps(row, o)]
            if same:
                ours[target] = [o for o in here[target] if _same_steps(o, same[0])]
                theirs[target] = same
                break
    return ours, theirs


def _same_steps(one: RowResult, other: RowResult) -> bool:
    ours, theirs = (row.against["full"].steps[0] for row in (one, other))
    return abs(ours - theirs) <= TOLERANCE["steps"] * theirs


def _difference(here: Sequence[RowResult], there: Sequence[RowResult]) -> dict[int, float]:
    """Return the mean gain of some rows minus that of others, at each seed that all have."""
    ours, theirs = ([_normalised(row) for row in rows] for rows in (here, there))
    seeds = set.intersection(*(set(gains) for gains in (*ours, *theirs)))
    return {
        seed: statistics.fmean(g[seed] for g in ours) - statistics.fmean(g[seed] for g in theirs)
        for seed in seeds
    }


#: The outcome at equal steps at which a declared expectation came true.
COMES_TRUE: Mapping[str, tuple[Outcome, ...]] = {
    "positive": (Outcome.BETTER,),
    "none": (Outcome.EQUIVALENT, Outcome.SLIGHTLY_BETTER, Outcome.SLIGHTLY_WORSE),
    "negative": (Outcome.WORSE,),
}


@dataclass(frozen=True)
class Expectation:
    """How rows of a strategy that were declared alike came out; `open` rows were not decided."""

    strategy: str
    expect: str
    came_true: int
    came_false: int
    open: int

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.came_true + self.came_false + self.open


def expectations(rows: Sequence[RowResult]) -> list[Expectation]:
    """Return how the declared expectations of each strategy came out."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for row in rows:
        if row.expect is not None:
            outcome, *_ = row.verdict.halves  # transfer, where it is known
            groups.setdefault((row.strategy, row.expect), []).append(outcome)
    known = {outcome for outcomes in COMES_TRUE.values() for outcome in outcomes}
    found = []
    for (strategy, expect), outcomes in groups.items():
        decided = [outcome for outcome in outcomes if outcome in known]
        true = sum(outcome in COMES_TRUE[expect] for outcome in decided)
        found.append(
            Expectation(strategy, expect, true, len(decided) - true, len(outcomes) - len(decided))
        )
    return found
