"""A race of strategies: which of them can still be the best once all planned seeds are in.

The rule is stochastic curtailment (Lan, Simon & Halperin 1982). A strategy leaves when the seeds
to come are too unlikely to bring its mean score up to the leader's. It claims nothing of those that
leave, so it makes no test err more often.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from bench.stats.comparison import RowResult
from bench.store.records import Leaver

#: Of the questions of a race, at most so many may end with another best strategy than all planned
#: seeds of all strategies would name.
ERROR = 0.05
#: A spread that is borrowed counts as an estimate with at least and at most so many degrees of
#: freedom. Below three strategies there is nothing to estimate them from.
_LEAST, _MOST = 4.0, 30.0
_UNKNOWN = 8.0


@dataclass(frozen=True)
class Standing:
    """Where a strategy stands for one target: how far behind its leader, and its chance to win."""

    leader: str
    behind: float
    chance: float


#: Scores by target and strategy, each `[seeds]` at the same seeds, higher being better.
Scores = Mapping[str, Mapping[str, np.ndarray]]


def leavers(
    rows: Sequence[RowResult], planned: int, strategies: int, analyses: int
) -> list[Leaver]:
    """Return who leaves the race of a pair, of the strategies whose `rows` are in it.

    All rows have the same seeds, of the `planned` ones. A strategy with a run that left no score
    for a target is not judged on it, and stays.
    """
    scores: dict[str, dict[str, np.ndarray]] = {}
    lost = {row.strategy for row in rows if len(row.scores) < row.planned}
    for row in rows:
        if row.strategy not in lost:
            sign = 1 if row.higher_is_better else -1
            values = [sign * row.scores[seed] for seed in sorted(row.scores)]
            scores.setdefault(row.target, {})[row.strategy] = np.array(values)
    return [
        Leaver(
            pair=rows[0].pair,
            strategy=strategy,
            seeds=rows[0].planned,
            chance=max(standing.chance for standing in own.values()),
            leader={target: standing.leader for target, standing in own.items()},
            behind={target: standing.behind for target, standing in own.items()},
        )
        for strategy, own in leaving(scores, planned, strategies, analyses).items()
    ]


def leaving(
    scores: Scores, planned: int, strategies: int, analyses: int
) -> dict[str, dict[str, Standing]]:
    """Return the strategies that are too unlikely to end best for any target, and how they stand.

    `strategies` and `analyses` are how many began and how often some may leave: the error is shared
    by all of these.
    """
    level = ERROR / (max(1, strategies - 1) * max(1, analyses))
    found: dict[str, dict[str, Standing]] = {}
    for target, own in scores.items():
        for strategy, standing in _standings(own, planned).items():
            found.setdefault(strategy, {})[target] = standing
    return {
        strategy: own
        for strategy, own in found.items()
        if all(standing.chance <= level for standing in own.values())
    }


def _standings(scores: Mapping[str, np.ndarray], planned: int) -> dict[str, Standing]:
    """Return how each strategy stands for one target; the leader's chance is 1."""
    names, table = list(scores), np.stack(list(scores.values()), axis=1)
    first = int(table.mean(0).argmax())
    if min(table.shape) < 2:  # no spread to judge by, or nobody to judge
        return {name: Standing(names[first], 0.0, 1.0) for name in names}
    behind = table[:, [first]] - table
    others = [place for place in range(len(names)) if place != first]
    chances = dict(zip(others, overtaking(behind[:, others], planned), strict=True))
    return {
        name: Standing(names[first], float(behind[:, place].mean()), float(chances.get(place, 1.0)))
        for place, name in enumerate(names)
    }


def overtaking(behind: np.ndarray, planned: int) -> np.ndarray:
    """Return how likely each strategy's mean over all `planned` seeds will be the leader's or more.

    `behind` `[seeds, strategies]` is how far each lies behind the leader at the seeds so far. A
    t predictive distribution of the mean difference over all seeds, whose variance leans on that of
    the other strategies as far as these agree (Smyth 2004).
    """
    seen, own = len(behind), behind.var(0, ddof=1)
    if seen >= planned:
        return np.asarray((behind.mean(0) <= 0).astype(float))
    borrowed, freedom = _borrowed(own, seen - 1), seen - 1
    variance = (borrowed * own.mean() + freedom * own) / (borrowed + freedom)
    spread = np.sqrt(variance * (planned - seen) / (seen * planned))
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = scipy.stats.t.sf(behind.mean(0) / spread, borrowed + freedom)
    return np.asarray(np.where(spread > 0, chance, (behind.mean(0) <= 0).astype(float)))


def _borrowed(variances: np.ndarray, freedom: int) -> float:
    """Return how many degrees of freedom the strategies' common variance is worth to each.

    By the spread of the logarithms of the variances beyond what `freedom` alone explains.
    """
    usable = variances[variances > 0]
    if len(usable) < 3:
        return _UNKNOWN
    excess = float(np.log(usable).var(ddof=1)) - float(scipy.special.polygamma(1, freedom / 2))
    if excess <= scipy.special.polygamma(1, _MOST / 2):
        return _MOST
    if excess >= scipy.special.polygamma(1, _LEAST / 2):
        return _LEAST
    half = scipy.optimize.brentq(
        lambda x: float(scipy.special.polygamma(1, x)) - excess, _LEAST / 2, _MOST / 2
    )
    return 2 * float(half)
