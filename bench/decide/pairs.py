"""One model or several, for one set of tasks: the rule, with its error rates.

A set of tasks is decided from the gains of its shared networks over single-task networks (`full`),
one gain per target and seed. The words, and what has to be shown for each:

- `share`: with one strategy, no target loses more than the margin. Every target must pass its own
  test (Berger 1982, an intersection-union test), so targets need no correction. Several strategies
  that are tried for the same set do, by Holm.
- `separate`: with every strategy, some target loses more than the margin. Here targets are
  corrected by Holm, and strategies need no correction.
- `trade`: with every strategy that could be judged, some target loses more than the margin, and
  with one of them another target gains more than it.
- `undecided`: none of these.

Each test is a one-sided Student t test of the mean gain against the margin, at 5 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.stats.comparison import RowResult
from bench.stats.group_sequential import SINGLE_ANALYSIS, Stage
from bench.stats.tests import (
    ALPHA,
    PairedResult,
    holm,
    non_inferiority_p,
    paired,
    seeds_to_detect,
)
from bench.store.records import SCREEN_BELOW, Row, Use


class Choice(StrEnum):
    """What a set of tasks is decided to be."""

    SHARE = "share"
    SEPARATE = "separate"
    TRADE = "trade"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class TargetGains:
    """What one target gains in a shared network.

    `gains` are by seed, in the unit of the metric, positive where the shared network is better.
    `margin` is the largest loss that does not matter, in the same unit. `reference` is the mean
    score of the single-task networks. `excluded` says why the target cannot be judged, if so.
    """

    target: str
    gains: Mapping[int, float]
    margin: float
    reference: float
    excluded: str = ""
    stage: Stage = SINGLE_ANALYSIS

    @property
    def _values(self) -> list[float]:
        return list(self.gains.values())

    @property
    def relative(self) -> float:
        """The mean gain as a share of the single-task networks' mean score; NaN without any."""
        if not self.gains or not self.reference:
            return math.nan
        return sum(self._values) / len(self.gains) / abs(self.reference)

    @property
    def keeps(self) -> float:
        """The p-value of losing no more than the margin; 1 where there is no test."""
        return self._corrected(non_inferiority_p(self._values, self.margin))

    @property
    def loses(self) -> float:
        """The p-value of losing more than the margin; 1 where there is no test."""
        lost = [-gain for gain in self._values]
        return self._corrected(non_inferiority_p(lost, -self.margin))

    @property
    def wins(self) -> float:
        """The p-value of gaining more than the margin; 1 where there is no test."""
        return self._corrected(non_inferiority_p(self._values, -self.margin))

    def _corrected(self, p: float) -> float:
        if self.excluded or len(self.gains) < SCREEN_BELOW or math.isnan(p):
            return 1.0
        return self.stage.repeated_one_sided_p(p)

    def seeds_needed(self, level: float) -> int | None:
        """Return the seeds that show on which side of −margin the mean lies, with 80 % power.

        They assume the mean and the spread that were seen, and a one-sided test at `level`. None
        where no number in reach would do.
        """
        found = paired(self._values)
        if found.n < 2:
            return None
        # A test of one side has twice the level when both sides are tested.
        return seeds_to_detect(abs(found.mean + self.margin), found.sd, level=2 * level)


@dataclass(frozen=True)
class Candidate:
    """A strategy whose one network serves all targets of a set.

    `parameters` are those of that network, `parameters_apart` those of the single-task networks
    together. `flops` is what training it took, as a share of what training those took. `use` and
    `use_apart` are what either costs to use; None where it was not measured.
    """

    strategy: str
    targets: tuple[TargetGains, ...]
    parameters: int
    parameters_apart: int
    flops: float
    use: Use | None = None
    use_apart: Use | None = None

    @property
    def seen(self) -> int:
        """The seeds at which every target has a gain, or fewer."""
        return min(len(target.gains) for target in self.targets)

    @property
    def keeps_all(self) -> float:
        """The p-value of `share`: the largest over targets, as all of them must pass."""
        return max(target.keeps for target in self.targets)

    @property
    def loses_some(self) -> float:
        """The p-value of `separate`: the smallest over targets after Holm's correction."""
        return min(holm([target.loses for target in self.targets]))

    @property
    def wins_some(self) -> float:
        """The p-value of some target gaining more than the margin, corrected likewise."""
        return min(holm([target.wins for target in self.targets]))

    def seeds_needed(self, level: float) -> int | None:
        """Return the seeds that decide every target; None where no number in reach would."""
        needed = [None if t.excluded else t.seeds_needed(level) for t in self.targets]
        found = [n for n in needed if n is not None]
        return max(found) if len(found) == len(needed) else None

    @property
    def saves(self) -> bool:
        """Whether it has fewer parameters than the single-task networks, or took less training."""
        return self.parameters < self.parameters_apart or self.flops < 1

    @property
    def delta_m(self) -> PairedResult:
        """Δm, the mean relative gain over targets in percent, with its interval over seeds.

        Maninis et al. (2019) define it for one seed. A target whose reference is 0 leaves none.
        """
        return paired(list(delta_m_by_seed(self.targets).values()))


def delta_m_by_seed(targets: Sequence[TargetGains]) -> dict[int, float]:
    """Return Δm of each seed that all targets have, in percent; empty where a reference is 0."""
    if any(target.reference == 0 or math.isnan(target.reference) for target in targets):
        return {}
    seeds = sorted(set.intersection(*(set(target.gains) for target in targets)))
    return {
        seed: 100 * sum(t.gains[seed] / abs(t.reference) for t in targets) / len(targets)
        for seed in seeds
    }


@dataclass(frozen=True)
class Decision:
    """What is decided for a set of tasks.

    `strategy` is the one to share with, or the one that shows the trade; empty otherwise. `p` is
    the p-value of what was decided; NaN where nothing was. `seeds` are those that may decide it,
    None where it is decided or where none in reach would do.
    """

    choice: Choice
    candidates: tuple[Candidate, ...]
    strategy: str = ""
    p: float = math.nan
    seeds: int | None = None

    @property
    def chosen(self) -> Candidate | None:
        """The candidate of `strategy`."""
        return next((c for c in self.candidates if c.strategy == self.strategy), None)


def decide(candidates: Sequence[Candidate]) -> Decision:
    """Decide a set of tasks from all strategies that were tried for it.

    Raises `ValueError` without a candidate.
    """
    if not candidates:
        raise ValueError("a decision needs a strategy whose network serves several targets")
    every = tuple(candidates)
    shares = holm([candidate.keeps_all for candidate in every])
    sharing = [
        (candidate.delta_m.mean, -p, candidate, p)
        for candidate, p in zip(every, shares, strict=True)
        if p <= ALPHA and candidate.saves
    ]
    if sharing:
        *_, best, p = max(sharing, key=lambda each: (_or_least(each[0]), each[1]))
        return Decision(Choice.SHARE, every, best.strategy, p)
    losing = max(candidate.loses_some for candidate in every)
    if losing > ALPHA:
        # One strategy that is decided may do, so the nearest one counts; at the strictest level
        # that Holm may ask of it. So many seeds as there are have not decided it.
        most = max(candidate.seen for candidate in every)  # those that left a race get no more
        running = [candidate for candidate in every if candidate.seen == most]
        asked = [candidate.seeds_needed(ALPHA / len(every)) for candidate in running]
        within = [n for n in asked if n is not None]
        seeds = max(min(within), most + 1) if within else None
        return Decision(Choice.UNDECIDED, every, seeds=seeds)
    wins = holm([candidate.wins_some for candidate in every])
    p, trading = min(zip(wins, every, strict=True), key=lambda each: each[0])
    if p <= ALPHA:
        return Decision(Choice.TRADE, every, trading.strategy, max(losing, p))
    return Decision(Choice.SEPARATE, every, p=losing)


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value


@dataclass(frozen=True)
class TaskSet:
    """A pair, or several tasks trained together, with what is decided for them."""

    pair: str
    decision: Decision

    @property
    def targets(self) -> tuple[str, ...]:
        """The tasks that one network may serve."""
        return tuple(target.target for target in self.decision.candidates[0].targets)


def decisions(declared: Sequence[Row], results: Sequence[RowResult]) -> list[TaskSet]:
    """Return the decision for every set of tasks that one network was trained to serve.

    A declared row without a result is left out. Auxiliary strategies train a network for each
    target, so they decide nothing here; neither do placebos, which no one would deploy.
    """
    found: dict[str, list[Candidate]] = {}
    groups: dict[tuple[str, str], list[tuple[Row, RowResult]]] = {}
    known = {(row.pair, row.strategy, row.target): row for row in results}
    for own in declared:
        result = known.get((own.pair, own.strategy, own.target))
        if result is not None and not own.placebo:
            groups.setdefault((own.pair, own.strategy), []).append((own, result))
    for (pair, strategy), rows in groups.items():
        runs = {tuple(seed.strategy for seed in own.seeds) for own, _ in rows}
        if len(rows) > 1 and len(runs) == 1:
            found.setdefault(pair, []).append(_candidate(strategy, [row for _, row in rows]))
    return [TaskSet(pair, decide(candidates)) for pair, candidates in found.items()]


def _candidate(strategy: str, rows: Sequence[RowResult]) -> Candidate:
    targets = []
    for row in rows:
        full = row.against["full"]
        excluded = ""
        if row.collapsed or row.failed:
            excluded = "a run diverged or failed"
        elif full.result.n and not full.audited:
            excluded = "unequal budgets"
        elif full.unlearned:
            excluded = "nothing was learned"
        targets.append(
            TargetGains(row.target, full.gains, full.margin, full.anchor_mean, excluded, full.stage)
        )
    comparisons = [row.against["full"] for row in rows]
    shares = [1 / c.flops for c in comparisons if c.flops > 0]
    return Candidate(
        strategy,
        tuple(targets),
        parameters=rows[0].parameters,
        parameters_apart=sum(c.parameters for c in comparisons),
        flops=1 / sum(shares) if len(shares) == len(rows) else math.nan,
        use=rows[0].use,
        use_apart=together([comparison.use for comparison in comparisons]),
    )


def together(uses: Sequence[Use | None]) -> Use | None:
    """Return what several networks cost to use one after the other; None if one is unknown."""
    known = [use for use in uses if use is not None]
    if not known or len(known) < len(uses):
        return None
    weights = 4 * sum(use.parameters for use in known)
    return Use(
        parameters=sum(use.parameters for use in known),
        flops_per_image=sum(use.flops_per_image for use in known),
        seconds_alone=sum(use.seconds_alone for use in known),
        seconds_in_batch=sum(use.seconds_in_batch for use in known),
        # All weights stay in memory; activations are those of one network at a time.
        peak_bytes=weights + max(use.peak_bytes - 4 * use.parameters for use in known),
    )
