"""What the runs of a row say: its gains, its metrics, its gradients and its verdict."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.spec.budget import TOLERANCE, Audit
from bench.stats.crossed import CrossedResult
from bench.stats.group_sequential import SINGLE_ANALYSIS, Stage
from bench.stats.robust import HodgesLehmann, hodges_lehmann, outlying
from bench.stats.tests import ALPHA, PairedResult, minimum_detectable_gain, seeds_to_detect
from bench.store.records import SCREEN_BELOW, AnchorName, Outcome, Use

_NAN = float("nan")


@dataclass(frozen=True)
class Comparison:
    """A row against one anchor or one reference.

    `gains` and `audits` are by seed, gains in points of the metric. `anchor_mean` is the anchor's
    mean score as measured; `strategy`, `width` and `parameters` are those of its network for the
    target. `p_holm` and `p_equivalence_holm` are corrected over the `family`: all rows of the
    experiment that have this anchor, so many.
    """

    anchor: AnchorName
    gains: Mapping[int, float]
    scores: Mapping[int, float]
    """The scores of the anchor's network for the target by seed, as measured."""
    result: PairedResult
    p_holm: float
    p_equivalence_holm: float
    anchor_mean: float
    audits: Mapping[int, Audit]
    steps: tuple[int, int]
    """Training steps of the row and of the anchor's network for the target; 0 without a seed."""
    flops: float
    """FLOPs that the strategy used for each one that the anchor used, over all seeds."""
    seconds: float
    """Device-seconds likewise."""
    margin: float
    """Half width of equivalence, in the unit of the gains; NaN where it has none."""
    strategy: str
    width: float
    parameters: int
    constant: bool
    """Whether all runs of both sides have the very same score, so that there is nothing to tell."""
    population: CrossedResult | None
    """The mean gain over seeds and test images; None where the score is no mean over images."""
    floor: float = _NAN
    """What a predictor that sees no image scores, as measured; NaN where nobody knows."""
    unlearned: bool = False
    """Whether neither side was shown to be better than that."""
    use: Use | None = None
    """What the anchor's network for the target costs to use."""
    level: float = ALPHA
    """The two-sided p-value that a row alone has to reach; what the interval leaves out."""
    family_level: float = ALPHA
    """The p-value to reach where Holm holds the row to the strictest level of its family."""
    family: int = 1
    stage: Stage = SINGLE_ANALYSIS
    """The interim analysis that the row stands at, in an experiment that has several."""

    @property
    def relative_gain(self) -> float:
        """Mean gain as a share of the anchor's mean score."""
        return self.result.mean / abs(self.anchor_mean) if self.anchor_mean else _NAN

    @property
    def minimum_detectable_gain(self) -> float:
        """The gain that so many seeds detect with 80 % power, were the row alone."""
        return minimum_detectable_gain(self.result.sd, self.result.n, self.level)

    @property
    def family_detectable_gain(self) -> float:
        """The gain that they detect so at the strictest level that Holm may ask for."""
        return minimum_detectable_gain(self.result.sd, self.result.n, self.family_level)

    @cached_property
    def robust(self) -> HodgesLehmann | None:
        """The companion of the mean that few seeds cannot move; None without a gain."""
        if not self.gains:
            return None
        return hodges_lehmann(np.array(list(self.gains.values())), self.level or ALPHA)

    @cached_property
    def outlying(self) -> tuple[int, ...]:
        """The seeds whose gain lies far from the others."""
        return outlying(self.gains)

    @property
    def skewed(self) -> bool:
        """Whether the robust gain lies outside the interval of the mean, or a seed lies apart."""
        if self.robust is None or self.result.n < SCREEN_BELOW or self.unlearned:
            return False
        outside = not self.result.low <= self.robust.estimate <= self.result.high
        return bool(self.outlying) or outside

    @property
    def decided(self) -> bool:
        """Whether a gain, a loss or equivalence has been shown, or more seeds would show none."""
        return self.sign != 0 or self.equivalent or self.unlearned

    @property
    def sought(self) -> float:
        """The gain that an undecided row looks for: the one seen, or the margin if that is more."""
        small = abs(self.result.mean) < self.margin
        return self.margin if small else abs(self.result.mean)

    @property
    def seeds_needed(self) -> int | None:
        """The seeds that find `sought` with 80 % power in this family; None where none in reach."""
        needed = seeds_to_detect(self.sought, self.result.sd, level=ALPHA / self.family)
        return needed and max(needed, self.result.n + 1)

    @cached_property
    def audit(self) -> Audit | None:
        """The audit that counts: the worst seed, or the sum over seeds for device-seconds.

        Seconds are measured and wobble from run to run; what is counted does not.
        """
        audits = list(self.audits.values())
        if not audits:
            return None
        if audits[0].axis == "s":
            return Audit("s", sum(a.used for a in audits), sum(a.reference for a in audits))
        return max(audits, key=lambda audit: abs(audit.deviation))

    @property
    def equal_compute(self) -> bool:
        """Whether an equal budget is equal compute: steps and samples may cost otherwise."""
        counted = self.audit is None or self.audit.axis in ("flop", "s")
        return counted or abs(self.flops - 1) <= TOLERANCE["flop"]

    @property
    def audited(self) -> bool:
        """Whether the budgets were equal within tolerance."""
        return self.audit is not None and self.audit.passed

    @property
    def deviation(self) -> float:
        """The relative difference in the compute used, signed; NaN without a seed."""
        return self.audit.deviation if self.audit else _NAN

    @property
    def sign(self) -> int:
        """1 or −1 where a verdict may rest on the gain, else 0.

        That is: something was learned, with enough seeds and equal budgets, and it is significant
        after Holm's correction.
        """
        enough = self.result.n >= SCREEN_BELOW
        if self.unlearned or not (enough and self.audited and self.p_holm <= ALPHA):
            return 0
        return 1 if self.result.mean > 0 else -1

    @property
    def equivalent(self) -> bool:
        """Whether a verdict may rest on the gain being within the margin."""
        enough = self.result.n >= SCREEN_BELOW and not (self.constant or self.unlearned)
        return enough and self.audited and self.p_equivalence_holm <= ALPHA


def distinct(against: Mapping[AnchorName, Comparison]) -> dict[AnchorName, Comparison]:
    """Return the comparisons of a row with anchors, `same-steps` only where it is not `full`."""
    steps = against["full"].steps
    return {
        name: comparison
        for name, comparison in against.items()
        if name != "same-steps" or comparison.steps != steps
    }


@dataclass(frozen=True)
class MetricResult:
    """A metric of a row against `full`, as measured, with its gains: positive where better.

    All metrics of a kind are looked at; only the primary one has a verdict. `q` is the p-value of
    another one, corrected for the false discovery rate over all such of the experiment.
    """

    unit: str
    higher_is_better: bool
    score_mean: float
    anchor_mean: float
    gains: PairedResult
    q: float = _NAN


@dataclass(frozen=True)
class GradientResult:
    """How another task's gradient lies to the target's on the shared parameters of a row's runs.

    `cosine` is over seeds, of each the mean along its curve, and tests nothing. `norm_ratio` is the
    norm of the other's gradient over the target's, a geometric mean; NaN where one was always zero.
    """

    cosine: PairedResult
    norm_ratio: float


@dataclass(frozen=True)
class WeightResult:
    """The weight of a task's loss in the runs of a row whose weights moved.

    `first` and `last` are over seeds, at the first and the last point of their curves. `range` is
    the smallest and the largest at any point of any seed.
    """

    first: PairedResult
    last: PairedResult
    range: tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """What a row found, and how sure that is.

    `pay_off` is the outcome against `full`, at equal compute; None where the budget counts steps or
    samples that differ in compute. `transfer` is that against `same-steps`, None where the row has
    no such anchor. One of them is always there. `beats_split` is set where the strategy does not
    beat `full`, but single-task networks that share one budget. `sentence` says what was found,
    `certainty` what that rests on.
    """

    pay_off: Outcome | None
    transfer: Outcome | None
    sentence: str
    certainty: str = ""
    beats_split: bool = False

    @property
    def halves(self) -> tuple[Outcome, ...]:
        """The outcomes that there are, transfer first."""
        return tuple(half for half in (self.transfer, self.pay_off) if half is not None)

    @property
    def undecided(self) -> bool:
        """Whether more seeds may bring a verdict, at equal compute or at equal steps."""
        return any(half.undecided for half in self.halves)

    @property
    def name(self) -> str:
        """The verdict in a few words: transfer first, then pay-off, once where they agree."""
        words = [] if self.transfer is None else [self.transfer.transfer]
        words += [] if self.pay_off is None else [self.pay_off.pay_off]
        words += ["compute saving"] * self.beats_split
        return " · ".join(dict.fromkeys(words))


@dataclass(frozen=True)
class RowResult:
    """One row of the result table.

    `planned` counts the strategy's runs, one a seed; `collapsed` those that diverged and `failed`
    those that did not end or have not run. `scores` are by seed, as measured; `seeds` have a gain
    against `full`. `steps` are what the budget bought the strategy. `unit`, `metric` and
    `higher_is_better` are the target's.
    `stall` is the largest share of its training that a run of the row, anchors included, has
    waited for images. `gradients` are by the run's other tasks; empty where nothing is shared.
    `weights` are by task; empty where they never moved, or gradients are aggregated.
    `price` is the gain of the `same-steps` networks over those of `full`: what the steps that
    sharing costs are worth, so that gain = transfer + price at every seed; None where one run is
    both. `short` is what the target's network loses with one of `shares` shares of the budget. The
    `references` are the comparisons that decide no verdict. `same_as` names a strategy that has the
    same direction for two tasks: rows of one pair and target with it are one `finding`.
    """

    pair: str
    strategy: str
    target: str
    placebo: str
    expect: str | None
    metric: str
    unit: str
    higher_is_better: bool
    planned: int
    seeds: int
    scores: Mapping[int, float]
    score_mean: float
    score_sd: float
    steps: int
    parameters: int
    collapsed: int
    failed: int
    reasons: tuple[str, ...]
    stall: float
    use: Use | None
    metrics: Mapping[str, MetricResult]
    gradients: Mapping[str, GradientResult]
    weights: Mapping[str, WeightResult]
    against: Mapping[AnchorName, Comparison]
    references: Mapping[AnchorName, Comparison]
    same_as: str
    price: PairedResult | None
    short: PairedResult | None
    shares: int
    verdict: Verdict

    @property
    def distinct(self) -> dict[AnchorName, Comparison]:
        """The comparisons with its anchors, without `same-steps` where its runs are `full`'s."""
        return distinct(self.against)

    @property
    def budget_is_short(self) -> bool | None:
        """Whether a share of the budget costs more than the margin; None where it is not shown.

        Where nothing was learned, no budget is shown to be long enough.
        """
        margin, unlearned = self.against["full"].margin, self.against["full"].unlearned
        if self.short is None or self.short.n < SCREEN_BELOW or math.isnan(margin):
            return None
        if self.short.low > margin:
            return True
        return False if self.short.high < margin and not unlearned else None

    @property
    def finding(self) -> tuple[str, str, str]:
        """What the row is evidence of; two rows of one finding count once."""
        return self.pair, self.target, self.same_as or self.strategy

    @property
    def screening(self) -> bool:
        """Whether there are too few seeds for a verdict."""
        return self.seeds < SCREEN_BELOW
