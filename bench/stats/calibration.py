"""The harness put to itself: how often it finds what is not there, and what is.

An A/A experiment has one row, a strategy that is its anchor under another name. Its seeds are cut
into groups, and every group is judged as a row of a table is, by the same functions.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from bench.errors import UserError
from bench.spec.budget import TOLERANCE, Audit
from bench.stats.comparison import Comparison
from bench.stats.gains import Lookup, results
from bench.stats.tests import ALPHA, detectable_effect
from bench.store.records import SCREEN_BELOW, Declaration, Record, Row

#: Times that all seeds are regrouped at random.
_REGROUPED = 25


@dataclass(frozen=True)
class Rate:
    """How many of some independent comparisons had an outcome; the interval is exact, of 95 %."""

    count: int
    of: int

    @classmethod
    def among(cls, outcomes: Sequence[bool]) -> "Rate":
        """Count what came out."""
        return cls(sum(outcomes), len(outcomes))

    @property
    def share(self) -> float:
        """The share that had it."""
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson (1934)."""
        found = scipy.stats.binomtest(self.count, self.of).proportion_ci(1 - ALPHA, method="exact")
        return float(found.low), float(found.high)


@dataclass(frozen=True)
class Quality:
    """What A/A comparisons of `seeds` seeds each came to, no run being in two of them.

    `verdicts` counts those that were called a gain or a loss, which takes both tests; `by_t` and
    `by_sign_flip` those that one test alone would have called. `regrouped` is the share of false
    verdicts when the same runs are grouped anew at random, `regroupings` comparisons in all: nearer
    to the truth, but no longer independent, so that it has no interval. `found` counts the gains
    that were seen once `planted` points had been added to one side, the gain that so many seeds
    should find with 80 % power.
    """

    seeds: int
    verdicts: Rate
    by_t: Rate
    by_sign_flip: Rate
    p_t: tuple[float, ...]
    p_sign_flip: tuple[float, ...]
    regrouped: float
    regroupings: int
    sd: float
    planted: float
    found: Rate


@dataclass(frozen=True)
class Timing:
    """What clocks said of two sides that do the same work, as ratios of the one to the other.

    `runs` are by group, of the device-seconds of all its runs, as the audit of a budget in seconds
    has them; `prices` are of steps that were timed in turns, as a price is. `unequal` and
    `mispriced` count those outside the audit's tolerance.
    """

    runs: tuple[float, ...]
    unequal: Rate
    prices: tuple[float, ...]
    mispriced: Rate


def only_row(declaration: Declaration, group: int) -> Row:
    """Return the one row of an A/A experiment.

    Raises `UserError` where there are several, where there are interim analyses, or where
    they are too few for two groups.
    """
    if len(declaration.rows) != 1:
        raise UserError(
            "an A/A experiment has one row: one pair of one task (-p DATASET:TASK) and one strategy"
        )
    if declaration.experiment.until_decided:
        raise UserError("an A/A experiment judges every group once: take until-decided out of it")
    row = declaration.rows[0]
    if group < SCREEN_BELOW:
        raise UserError(f"--group {group}: verdicts need {SCREEN_BELOW} seeds or more")
    if len(row.seeds) < 2 * group:
        raise UserError(
            f"{len(row.seeds)} seeds make no two groups of {group}: give --seeds {2 * group} or "
            "more, 400 for a rate that says something"
        )
    return row


def quality(declaration: Declaration, find: Lookup, group: int) -> Quality:
    """Judge groups of `group` seeds of an A/A experiment.

    Raises `UserError` where a run has no score, or where all gains are the same.
    """
    row = only_row(declaration, group)

    def judged(seeds: Sequence[int], find: Lookup) -> Comparison:
        part = row.model_copy(update={"seeds": tuple(row.seeds[i] for i in seeds)})
        alone = declaration.model_copy(update={"rows": (part,)})
        return results(alone, find)[0].against["full"]

    every = range(len(row.seeds))
    disjoint = [judged(part, find) for part in _groups(every, group)]
    gains = [gain for comparison in disjoint for gain in comparison.gains.values()]
    if lost := len(disjoint) * group - len(gains):
        raise UserError(
            f"{lost} seeds lack a run with a score: run the same command again, or where runs "
            "diverged, with a smaller learning rate"
        )
    sd = statistics.stdev(gains)
    if sd == 0:
        raise UserError(
            f"all runs differ by {gains[0]:g} points, so there is nothing to tell: take another "
            "budget, or an easier or harder task"
        )
    planted = detectable_effect(group) * sd
    helped = _shifted(find, {seed.strategy for seed in row.seeds}, row.target, planted)
    rng = np.random.default_rng(0)
    again = [
        judged(part, find).sign != 0
        for _ in range(_REGROUPED)
        for part in _groups(rng.permutation(len(row.seeds)).tolist(), group)
    ]
    return Quality(
        seeds=group,
        verdicts=Rate.among([c.sign != 0 for c in disjoint]),
        by_t=Rate.among([c.result.p_t <= ALPHA for c in disjoint]),
        by_sign_flip=Rate.among([c.result.p_sign_flip <= ALPHA for c in disjoint]),
        p_t=tuple(c.result.p_t for c in disjoint),
        p_sign_flip=tuple(c.result.p_sign_flip for c in disjoint),
        regrouped=statistics.mean(again),
        regroupings=len(again),
        sd=sd,
        planted=planted,
        found=Rate.among([judged(part, helped).sign > 0 for part in _groups(every, group)]),
    )


def _groups(seeds: Sequence[int], size: int) -> list[Sequence[int]]:
    """Cut seeds into whole groups; what is left over is left out."""
    return [seeds[start : start + size] for start in range(0, len(seeds) - size + 1, size)]


def _shifted(find: Lookup, keys: set[str], target: str, points: float) -> Lookup:
    """Return records in which some runs score better by so many points."""

    def found(key: str) -> Record | None:
        record = find(key)
        if record is None or key not in keys:
            return record
        scores = dict(record.scores[target])
        name, score = next((n, s) for n, s in scores.items() if s.primary)
        assert score.value is not None
        value = score.value + (points if score.higher_is_better else -points)
        scores[name] = replace(score, value=value)
        return record.model_copy(update={"scores": {**record.scores, target: scores}})

    return found


def run_ratios(declaration: Declaration, find: Lookup, group: int) -> list[Audit]:
    """Return the audit of every group's device-seconds, as a budget in seconds has it."""
    row = only_row(declaration, group)
    spent = []
    for seed in row.seeds:
        sides = find(seed.strategy), find(seed.anchors["full"][row.target])
        spent.append([record.ledger.used["s"] for record in sides if record and record.ledger])
    return [
        Audit("s", *(sum(spent[i][side] for i in part) for side in (0, 1)))
        for part in _groups(range(len(spent)), group)
    ]


def timing(runs: Sequence[Audit], prices: Sequence[Audit]) -> Timing:
    """Return what audits of equal work say."""
    return Timing(
        runs=tuple(1 + audit.deviation for audit in runs),
        unequal=Rate.among([not audit.passed for audit in runs]),
        prices=tuple(1 + audit.deviation for audit in prices),
        mispriced=Rate.among([not audit.passed for audit in prices]),
    )


def summary(found: Quality, clocks: Timing) -> str:
    """Return what was found, in words that fit 80 columns."""
    rule = f"{TOLERANCE['s']:.0%}"
    spread = statistics.stdev(clocks.prices)
    return "\n".join(
        [
            f"A/A: {found.verdicts.of} comparisons of {found.seeds} seeds, no run in two of them.",
            "False positives at 5 %, with 95 % intervals:",
            f"  verdicts, by both tests {_rate(found.verdicts)}",
            f"  t test alone            {_rate(found.by_t)}",
            f"  sign-flip test alone    {_rate(found.by_sign_flip)}",
            f"  the same runs, regrouped at random: {found.regrouped:.1%} of "
            f"{found.regroupings:,} (dependent, so no interval)",
            f"A planted gain of {found.planted:.2f} points, {found.planted / found.sd:.2f} "
            "standard deviations:",
            f"  found, 80 % expected    {_rate(found.found)}",
            "Equal work that the clock calls unequal, above " + rule + ":",
            f"  runs of a comparison    {_rate(clocks.unequal)}",
            f"  prices timed in turns   {_rate(clocks.mispriced)}",
            f"  the ratio of two such prices has a standard deviation of {spread:.2%}",
        ]
    )


def _rate(rate: Rate) -> str:
    low, high = rate.interval
    return f"{rate.count:>3} of {rate.of}: {rate.share:.1%} [{low:.1%}, {high:.1%}]"
