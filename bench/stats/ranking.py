"""Which strategy is best, and how sure that is: over the paired seeds of one question."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from bench.stats.comparison import RowResult
from bench.stats.tests import ALPHA, holm, paired_p
from bench.store.records import SCREEN_BELOW

_DRAWS = 4000
#: Fewer strategies are compared by their rows.
FEWEST = 3


@dataclass(frozen=True)
class Ranked:
    """A strategy's place: its mean score, and how often it is the best of redrawn seeds.

    `beaten_by` are the strategies that are significantly better, after Holm's correction over all
    pairs of strategies of the question.
    """

    strategy: str
    mean: float
    probability_best: float
    beaten_by: tuple[str, ...]


@dataclass(frozen=True)
class Ranking:
    """The strategies of one question, the best mean first. `groups` are their places, from 0.

    A group is a longest run of neighbours of which no two differ significantly (Demšar 2006).
    """

    pair: str
    target: str
    metric: str
    unit: str
    higher_is_better: bool
    seeds: int
    ranked: tuple[Ranked, ...]
    groups: tuple[tuple[int, int], ...]


def rankings(rows: Sequence[RowResult]) -> list[Ranking]:
    """Return the ranking of each question that has three strategies and enough seeds in common.

    Strategies that are one finding count once. A row without a score at all seeds is left out. In a
    race those are ranked that have the most seeds, at least two; the others count as compared.
    """
    questions: dict[tuple[str, str], dict[str, RowResult]] = {}
    for row in rows:
        if len(row.scores) == row.planned:
            asked = questions.setdefault((row.pair, row.target), {})
            if row.finding not in {other.finding for other in asked.values()}:
                asked[row.strategy] = row
    found = []
    for (pair, target), members in questions.items():
        most = max(row.planned for row in members.values())
        finalists = {name: row for name, row in members.items() if row.planned == most}
        seeds = sorted(set.intersection(*(set(row.scores) for row in finalists.values())))
        enough = len(members) >= FEWEST and len(finalists) > 1
        if enough and len(seeds) >= SCREEN_BELOW:
            first = next(iter(finalists.values()))
            sign = 1 if first.higher_is_better else -1
            names = list(finalists)
            scores = np.array([[sign * finalists[n].scores[s] for n in names] for s in seeds])
            repeated = first.against["full"].stage.repeated_p
            ranked, groups = ranked_by(names, scores, len(members), repeated)
            if sign < 0:
                ranked = tuple(
                    Ranked(r.strategy, -r.mean, r.probability_best, r.beaten_by) for r in ranked
                )
            found.append(
                Ranking(
                    pair,
                    target,
                    first.metric,
                    first.unit,
                    first.higher_is_better,
                    len(seeds),
                    ranked,
                    groups,
                )
            )
    return found


def ranked_by(
    names: Sequence[str],
    scores: np.ndarray,
    compared: int = 0,
    repeated: Callable[[float], float] = lambda p: p,
) -> tuple[tuple[Ranked, ...], tuple[tuple[int, int], ...]]:
    """Return the order and the groups of strategies with scores `[seeds, strategies]`.

    The probability of being best is that of the largest mean over a paired bootstrap of seeds;
    equal means share it. `compared` is how many strategies were compared at first, if some are no
    longer among them, and `repeated` makes a p-value one of all interim analyses together.
    """
    count, seeds = len(names), len(scores)
    drawn = np.random.default_rng(0).integers(0, seeds, size=(_DRAWS, seeds))
    means = scores[drawn].mean(1)
    best = means == means.max(1, keepdims=True)
    probabilities = (best / best.sum(1, keepdims=True)).mean(0)
    pairs = list(combinations(range(count), 2))
    first, second = np.array(pairs).T
    alone = paired_p(scores[:, first] - scores[:, second])
    # A repeated p-value is no smaller than the one it is made of, and takes long.
    family = [repeated(p) if p <= ALPHA else p for p in map(float, alone)]
    family += [1.0] * (comb(compared, 2) - len(pairs))
    p = holm(family)
    apart = np.zeros((count, count), dtype=bool)
    for (a, b), adjusted in zip(pairs, p, strict=False):
        apart[a, b] = apart[b, a] = adjusted <= ALPHA
    whole = scores.mean(0)
    order = sorted(range(count), key=lambda i: -whole[i])
    ranked = tuple(
        Ranked(
            names[i],
            float(whole[i]),
            float(probabilities[i]),
            tuple(names[j] for j in order if apart[i, j] and whole[j] > whole[i]),
        )
        for i in order
    )
    return ranked, _groups(apart[np.ix_(order, order)])


def _groups(apart: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the longest runs of places of which no two lie apart, single places left out."""
    found: list[tuple[int, int]] = []
    count, reached = len(apart), -1
    for first in range(count):
        last = first
        while last + 1 < count and not apart[first : last + 1, last + 1].any():
            last += 1
        if last > max(first, reached):
            found.append((first, last))
            reached = last
    return tuple(found)
