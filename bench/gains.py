"""From records to paired gains and verdicts: pure functions of records.

A gain is the signed difference strategy − anchor at one seed, in points of the target's metric,
positive when the strategy is better. See `docs/protocol.md` for what each anchor answers.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from bench.budget import AXIS_NAMES, TOLERANCE, Audit, Axis
from bench.crossed import CrossedResult, crossed
from bench.group_sequential import stage
from bench.records import (
    ANCHORS,
    REFERENCES,
    RIVALS,
    SCREEN_BELOW,
    AnchorName,
    Cell,
    Declaration,
    Record,
    Score,
)
from bench.statistics import (
    ALPHA,
    PairedResult,
    benjamini_hochberg,
    holm,
    minimum_detectable_gain,
    paired,
    seeds_to_detect,
)

_NAN = float("nan")


@dataclass(frozen=True)
class Comparison:
    """A cell against one anchor or one reference.

    `gains` and `audits` are by seed, gains in points of the metric. `anchor_mean` is the anchor's
    mean score as measured; `strategy`, `width` and `parameters` are those of its network for the
    target. `p_holm` and `p_equivalence_holm` are corrected over the `family`: all cells of the
    experiment that have this anchor, so many.
    """

    anchor: AnchorName
    gains: Mapping[int, float]
    result: PairedResult
    p_holm: float
    p_equivalence_holm: float
    anchor_mean: float
    audits: Mapping[int, Audit]
    flops: float
    """FLOPs that the strategy used for each one that the anchor used, over all seeds."""
    margin: float
    """Half width of equivalence, in the unit of the gains; NaN where it has none."""
    strategy: str
    width: float
    parameters: int
    constant: bool
    """Whether all runs of both sides have the very same score, so that there is nothing to tell."""
    population: CrossedResult | None
    """The mean gain over seeds and test images; None where the score is no mean over images."""
    level: float = ALPHA
    """The two-sided p-value that a row alone has to reach; what the interval leaves out."""
    family_level: float = ALPHA
    """The p-value to reach where Holm holds the row to the strictest level of its family."""
    family: int = 1

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

    @property
    def decided(self) -> bool:
        """Whether a gain, a loss or equivalence has been shown."""
        return self.sign != 0 or self.equivalent

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

    @property
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

        That is: enough seeds, equal budgets, and significant after Holm's correction.
        """
        enough = self.result.n >= SCREEN_BELOW
        if not (enough and self.audited and self.p_holm <= ALPHA):
            return 0
        return 1 if self.result.mean > 0 else -1

    @property
    def equivalent(self) -> bool:
        """Whether a verdict may rest on the gain being within the margin."""
        enough = self.result.n >= SCREEN_BELOW and not self.constant
        return enough and self.audited and self.p_equivalence_holm <= ALPHA


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
class Verdict:
    """What a row found, and how sure that is.

    `name` is one of a few words; `sentence` says it in plain ones; `certainty` says what it rests
    on, for a reader who knows no statistics.
    """

    name: str
    sentence: str
    certainty: str = ""

    @property
    def against_full(self) -> str:
        """The first half of the name."""
        return self.name.partition(" · ")[0]


def standing(comparison: Comparison) -> str:
    """Return how a row stands to a reference, in a word or two."""
    if comparison.result.n == 0:
        return "no result"
    if not comparison.audited:
        return "unequal budgets"
    if comparison.result.n < SCREEN_BELOW:
        return "screen"
    if comparison.constant:
        return "no variation"
    if comparison.sign:
        return "better" if comparison.sign > 0 else "worse"
    return "equivalent" if comparison.equivalent else "inconclusive"


@dataclass(frozen=True)
class CellResult:
    """One row of the result table.

    `planned` counts the strategy's runs, one a seed; `collapsed` those that diverged and `failed`
    those that did not end or have not run. `seeds` have a gain against `full`. `steps` are
    what the budget bought the strategy. `unit`, `metric` and `higher_is_better` are the target's.
    `stall` is the largest share of its training that a run of the row, anchors included, has
    waited for images. `gradients` are by the run's other tasks; empty where nothing is shared.
    `references` are the comparisons that decide no verdict. `same_as` names a strategy that has the
    same direction for two tasks: rows of one pair and target with it are one `finding`.
    """

    pair: str
    strategy: str
    target: str
    expect: str | None
    metric: str
    unit: str
    higher_is_better: bool
    planned: int
    seeds: int
    score_mean: float
    score_sd: float
    steps: int
    parameters: int
    collapsed: int
    failed: int
    reasons: tuple[str, ...]
    stall: float
    metrics: Mapping[str, MetricResult]
    gradients: Mapping[str, GradientResult]
    against: Mapping[AnchorName, Comparison]
    references: Mapping[AnchorName, Comparison]
    same_as: str
    verdict: Verdict

    @property
    def finding(self) -> tuple[str, str, str]:
        """What the row is evidence of; two rows of one finding count once."""
        return self.pair, self.target, self.same_as or self.strategy

    @property
    def screening(self) -> bool:
        """Whether there are too few seeds for a verdict."""
        return self.seeds < SCREEN_BELOW


Lookup = Callable[[str], Record | None]
#: The scores of the single test images of the run with a key, by task; empty where there are none.
Examples = Callable[[str], Mapping[str, np.ndarray]]
#: Runs whose images are held in memory at once: those of a few rows and their anchors.
_HELD = 128


def value(record: Record | None, target: str) -> float | None:
    """Return the primary score of a finished run, higher being better."""
    return None if record is None or record.status == "failed" else record.value(target)


def _used(records: Sequence[Record | None], axis: Axis) -> float | None:
    """Return what runs used of an axis together, or None where one is missing.

    A run that diverged ended early; it is held to what it was allotted, since its fault is not
    that it saved compute.
    """
    total = 0.0
    for record in records:
        if record is None or record.ledger is None:
            return None
        ledger = record.ledger
        diverged = record.status == "diverged"
        total += ledger.allotted(axis) if diverged else ledger.used[axis]
    return total


def _pair_up(
    cell: Cell,
    anchor: AnchorName,
    find: Lookup,
    examples: Examples,
    margin: float,
    level: float,
) -> Comparison:
    """Pair the seeds of a cell with an anchor's; a seed counts if all its runs are there.

    The result is not yet corrected over the family.
    """
    gains: dict[int, float] = {}
    audits: dict[int, Audit] = {}
    both: list[tuple[Record, Record]] = []
    scores: list[tuple[float, float]] = []
    flops, network = [0.0, 0.0], ("", _NAN, 0)
    for seed in cell.seeds:
        ours, target = find(seed.strategy), cell.target
        theirs = {task: find(key) for task, key in seed.anchors[anchor].items()}
        baseline = theirs[target]
        gained, reference = value(ours, target), value(baseline, target)
        if ours is None or baseline is None or gained is None or reference is None:
            continue
        assert ours.ledger is not None
        axis = ours.ledger.budget.axis
        # Under `split` and `slim` the networks of all tasks share one budget; under `full` the
        # target's network has all of it.
        used, spent = _used([ours], axis), _used(list(theirs.values()), axis)
        if used is None or spent is None:
            continue
        audits[seed.seed] = Audit(axis, used, spent)
        gains[seed.seed] = gained - reference
        both.append((ours, baseline))
        scores.append((gained, reference))
        assert baseline.ledger is not None
        spec, prices = baseline.spec, baseline.ledger.prices
        network = spec.strategy, spec.width, prices[0].parameters
        flops[0] += _used([ours], "flop") or 0.0
        flops[1] += _used(list(theirs.values()), "flop") or 0.0
    example = both[0][1].primary(cell.target) if both else None
    anchor_mean = statistics.mean(reference for _, reference in scores) if scores else _NAN
    anchor_mean = anchor_mean if example is None or example.higher_is_better else -anchor_mean
    margin = half_width(margin, example.unit if example else "%", anchor_mean)
    return Comparison(
        anchor=anchor,
        gains=gains,
        result=paired(list(gains.values()), margin, level),
        p_holm=_NAN,
        p_equivalence_holm=_NAN,
        anchor_mean=anchor_mean,
        audits=audits,
        flops=flops[0] / flops[1] if flops[1] else _NAN,
        margin=margin,
        strategy=network[0],
        width=network[1],
        parameters=network[2],
        constant=len(scores) > 1 and len({score for pair in scores for score in pair}) == 1,
        population=_population(cell.target, both, examples, level),
        level=level,
    )


def _population(
    target: str, both: Sequence[tuple[Record, Record]], examples: Examples, level: float
) -> CrossedResult | None:
    """Return the mean gain over seeds and test images, from runs of strategy and anchor by seed.

    Only where the score of every run is the mean of its images' scores, as accuracy is and F1 is
    not: what is shown here must be the gain of the row. All seeds have the same test images.
    """
    lines = []
    for pair in both:
        ours, theirs = (_of_images(record, target, examples) for record in pair)
        if ours is None or theirs is None or len(ours) != len(theirs):
            return None
        lines.append(ours - theirs)
    if len({len(line) for line in lines}) != 1:
        return None
    differences = np.stack(lines)
    sign = 1 if both[0][0].primary(target).higher_is_better else -1
    return crossed(sign * differences[:, ~np.isnan(differences).any(0)], level)


def _of_images(record: Record, target: str, examples: Examples) -> np.ndarray | None:
    """Return the scores of a run's test images in the unit of its score, or None (see above)."""
    score, found = record.primary(target), examples(record.key).get(target)
    if found is None or score.value is None or np.isnan(found).all():
        return None
    images = found * (100.0 if score.unit == "%" else 1.0)
    same = math.isclose(float(np.nanmean(images)), score.value, rel_tol=1e-5, abs_tol=1e-9)
    return images if same else None


def half_width(margin: float, unit: str, anchor_mean: float) -> float:
    """Return the margin in the unit of a metric, or NaN.

    It is given in points where the metric is a percentage. Elsewhere a point means nothing, so it
    is that many hundredths of the anchor's mean score; of a score of 0 there are none.
    """
    return margin if unit == "%" else margin / 100 * abs(anchor_mean) or _NAN


def results(
    declaration: Declaration, find: Lookup, examples: Examples = lambda _: {}
) -> list[CellResult]:
    """Return the row of every declared cell.

    `find` returns records by key, `examples` the scores of their single test images.
    """
    images = lru_cache(maxsize=_HELD)(examples)
    experiment = declaration.experiment
    stages = [stage(experiment, len(cell.seeds)) for cell in declaration.cells]
    compared = [
        {a: _pair_up(cell, a, find, images, experiment.margin, at.bound()) for a in _rivals(cell)}
        for cell, at in zip(declaration.cells, stages, strict=True)
    ]
    for anchor in RIVALS:
        family = [(row, at) for row, at in zip(compared, stages, strict=True) if anchor in row]
        different = holm([at.repeated_p(row[anchor].result.p) for row, at in family])
        same = holm(
            [at.repeated_one_sided_p(row[anchor].result.p_equivalence) for row, at in family]
        )
        for (row, at), p, q in zip(family, different, same, strict=True):
            row[anchor] = replace(
                row[anchor],
                p_holm=p,
                p_equivalence_holm=q,
                family=len(family),
                family_level=at.bound(ALPHA / len(family)),
            )
    return _explored(
        [
            _result(cell, rivals, find)
            for cell, rivals in zip(declaration.cells, compared, strict=True)
        ]
    )


def _explored(rows: Sequence[CellResult]) -> list[CellResult]:
    """Return rows whose other metrics are corrected for the false discovery rate over all rows."""
    lines = [m.gains.p for row in rows for name, m in row.metrics.items() if name != row.metric]
    q = iter(benjamini_hochberg(lines))
    return [
        replace(
            row,
            metrics={
                name: metric if name == row.metric else replace(metric, q=next(q))
                for name, metric in row.metrics.items()
            },
        )
        for row in rows
    ]


def _rivals(cell: Cell) -> list[AnchorName]:
    return [rival for rival in RIVALS if cell.seeds and rival in cell.seeds[0].anchors]


def _result(cell: Cell, rivals: Mapping[AnchorName, Comparison], find: Lookup) -> CellResult:
    against = {anchor: rivals[anchor] for anchor in ANCHORS if anchor in rivals}
    runs = [find(seed.strategy) for seed in cell.seeds]
    finished = [run for run in runs if run is not None and run.status != "failed"]
    others = [find(key) for key in sorted(cell.anchor_keys)]
    # The anchors know the metric too, where every run of the strategy has failed.
    known = {
        name: score
        for run in (*others, *finished)
        if run is not None
        for name, score in run.scores.get(cell.target, {}).items()
    }
    metric = next((name for name, score in known.items() if score.primary), "")
    score = known.get(metric)
    unit = score.unit if score else ""
    values = [v for run in finished if (v := run.primary(cell.target).value) is not None]
    unscored = len(finished) - len(values)
    ledgers = [run.ledger for run in finished if run.ledger is not None]
    return CellResult(
        pair=cell.pair,
        strategy=cell.strategy,
        target=cell.target,
        expect=cell.expect,
        metric=metric,
        unit=unit,
        higher_is_better=score.higher_is_better if score else True,
        planned=len(cell.seeds),
        seeds=len(against["full"].gains),
        score_mean=statistics.mean(values) if values else _NAN,
        score_sd=statistics.stdev(values) if len(values) > 1 else _NAN,
        steps=sum(ledgers[0].steps) if ledgers else 0,
        parameters=ledgers[0].parameters if ledgers else 0,
        collapsed=sum(run.status == "diverged" for run in finished),
        failed=len(runs) - len(finished),
        reasons=tuple(_reasons([*runs, *others])),
        metrics=_metrics(cell, find, known, against["full"].level),
        gradients=_gradients(cell.target, finished),
        stall=max((r.ledger.stall for r in (*runs, *others) if r and r.ledger), default=0.0),
        against=against,
        references={name: rivals[name] for name in REFERENCES if name in rivals},
        same_as=cell.same_as,
        verdict=judge(against, unit, unscored),
    )


def _metrics(
    cell: Cell, find: Lookup, known: Mapping[str, Score], alpha: float
) -> dict[str, MetricResult]:
    """Return every metric against `full`, over the seeds that have both runs and both scores."""
    found = {}
    for name, example in known.items():
        values, references = [], []
        for seed in cell.seeds:
            runs = find(seed.strategy), find(seed.anchors["full"][cell.target])
            scores = [run.scores.get(cell.target, {}).get(name) if run else None for run in runs]
            value, reference = (score.value if score else None for score in scores)
            if value is not None and reference is not None:
                values.append(value)
                references.append(reference)
        sign = 1 if example.higher_is_better else -1
        gains = [sign * (a - b) for a, b in zip(values, references, strict=True)]
        found[name] = MetricResult(
            example.unit,
            example.higher_is_better,
            statistics.mean(values) if values else _NAN,
            statistics.mean(references) if references else _NAN,
            paired(gains, level=alpha),
        )
    return found


def _gradients(target: str, runs: Sequence[Record]) -> dict[str, GradientResult]:
    """Return how the gradients of a target's partners lie to its own, by partner."""
    curves = [run.curve for run in runs]
    others = dict.fromkeys(t for curve in curves for p in curve for t in p.norms if t != target)
    found = {}
    for other in others:
        cosines = _means([point.cosine(target, other) for point in curve] for curve in curves)
        ratios = _means(
            [math.log(r) if (r := point.norm_ratio(target, other)) else None for point in curve]
            for curve in curves
        )
        ratio = math.exp(statistics.mean(ratios)) if ratios else _NAN
        found[other] = GradientResult(paired(cosines), ratio)
    return found


def _means(groups: Iterable[Sequence[float | None]]) -> list[float]:
    """Return the mean of what each group knows; one that knows nothing is left out."""
    known = ([value for value in group if value is not None] for group in groups)
    return [statistics.mean(values) for values in known if values]


def _reasons(runs: Sequence[Record | None]) -> list[str]:
    """Return why runs went wrong, each reason once with the arm it befell and how often."""
    counts = Counter(f"{run.spec.label}: {run.reason}" for run in runs if run and run.reason)
    return [f"{text} ({n} runs)" if n > 1 else text for text, n in sorted(counts.items())]


def judge(against: Mapping[AnchorName, Comparison], unit: str, unscored: int = 0) -> Verdict:
    """Return the verdict of a row from its comparisons.

    The first half answers whether there is transfer (against `full`); a second half is added
    where the strategy beats an anchor that had less compute or capacity. An anchor without equal
    budgets or enough seeds takes away what it would say, and nothing else. `unscored` runs diverged
    so far that they have no score; leaving them out of a mean would reward them.
    """
    if unscored:
        runs = "One run" if unscored == 1 else f"{unscored} runs"
        return Verdict("collapsed", f"{runs} diverged and left no score, so there is no verdict.")
    first = _first_half(against["full"], unit)
    if first.name in ("no result", "screen"):
        return first
    second, clauses = _second_half(against)
    name = f"{first.name} · {second}" if second else first.name
    return Verdict(name, " ".join([first.sentence, *clauses]), first.certainty)


def _first_half(full: Comparison, unit: str) -> Verdict:
    """Return what the comparison with `full` says."""
    result = full.result
    if result.n == 0:
        return Verdict("no result", "No seed has all the runs that a gain needs.")
    if not full.audited:
        return Verdict(
            "unequal budgets",
            f"{_unequal(full)}, so there is no verdict against it.",
        )
    shown = f"{_figure(result.mean)} {_points(unit)} {_terms(full)}"
    if result.n < SCREEN_BELOW:
        over = "one seed" if result.n == 1 else f"{result.n} seeds"
        return Verdict(
            "screen",
            f"A first look: {shown} over {over}, too few for a verdict.",
            "Not sure at all: chance alone gives gains like this one so often that no test can "
            "tell.",
        )
    if full.constant:
        return Verdict(
            "no variation",
            f"All runs of both sides have the very same score ({full.anchor_mean:.4g} "
            f"{unit}".rstrip()
            + "), as where nothing is learned or nothing is wrong: a harder "
            "or easier task, or another budget, would tell.",
        )
    chances = f"{_chances(full.p_holm)} such tables"
    if full.sign:
        effect = "helps" if full.sign > 0 else "hurts"
        return Verdict(
            "transfer" if full.sign > 0 else "negative",
            f"Sharing {effect} this task: {shown}.",
            f"Sure: were no true difference in any row, chance would show one as clear as this in "
            f"{chances}. {_range(full, unit)}",
        )
    if full.equivalent:
        return Verdict(
            "equivalent",
            f"No difference above {_size(full.margin, unit)}: {shown}.",
            f"Sure: were all true differences that large, one would look as small as this in "
            f"{_chances(full.p_equivalence_holm)} such tables. {_range(full, unit)}",
        )
    missed, alone = full.family_detectable_gain, ""
    if result.low > 0 or result.high < 0:
        alone = f" Alone this row would be clear; one such among {full.family} is no surprise."
    return Verdict(
        "inconclusive",
        f"Undecided: {shown}; {_outlook(full, unit)}.",
        f"Not sure: {_range(full, unit)[0].lower()}{_range(full, unit)[1:]}{alone} "
        + (
            f"A true gain under {_size(missed, unit)} is more likely missed than in one table of "
            "five."
            if math.isfinite(missed)
            else f"With {result.n} seeds and {full.family} rows no gain could have been called."
        ),
    )


def _second_half(against: Mapping[AnchorName, Comparison]) -> tuple[str, list[str]]:
    """Return what the anchors with less compute or capacity add: a name, or none, and sentences."""
    others = {anchor: against[anchor] for anchor in ANCHORS[1:] if anchor in against}
    silent = {anchor: why for anchor, c in others.items() if (why := _silence(c))}
    clauses = [f"{why}, so nothing is said against it." for why in silent.values()]
    beaten = [anchor for anchor, c in others.items() if c.sign > 0]
    if against["full"].sign > 0 and against["full"].audited:
        return "", clauses  # who has less is beaten too, as a rule
    figures = {anchor: _figure(c.result.mean) for anchor, c in others.items()}
    if "split" in beaten:
        clause = f"Against separate networks that share the budget: {figures['split']}"
        if "slim" in others and "slim" not in silent:
            same = "" if "slim" in beaten else ", which is no clear difference"
            clause += f"; against narrow ones of the same parameters: {figures['slim']}{same}"
        return "compute saving", [f"{clause}.", *clauses]
    if "slim" in beaten and "split" in silent:
        return "", [f"It beats separate narrow networks ({figures['slim']}).", *clauses]
    if "slim" in beaten:
        clause = f"It beats separate narrow networks only ({figures['slim']}), which is capacity."
        return "capacity", [clause, *clauses]
    return "", clauses


def _silence(comparison: Comparison) -> str:
    """Return why an anchor says nothing, or an empty text where it may."""
    if comparison.result.n == 0:
        return f"No seed has all the runs of {comparison.anchor}"
    if not comparison.audited:
        return _unequal(comparison)
    if comparison.result.n < SCREEN_BELOW:
        return f"Only {comparison.result.n} seeds have all the runs of {comparison.anchor}"
    return ""


def _unequal(comparison: Comparison) -> str:
    return (
        f"The compute used differs by {comparison.deviation:+.1%} from that of {comparison.anchor}"
    )


def _chances(p: float) -> str:
    """Return a p-value as so many of so many."""
    return "fewer than 1 of 1,000" if p < 0.001 else f"about {math.ceil(100 * p)} of 100"


def _range(comparison: Comparison, unit: str) -> str:
    """Return where the true gain lies, on these test images and on others."""
    result, population = comparison.result, comparison.population
    if math.isinf(result.low):
        return "At this look nothing can be said yet of where the true gain lies."
    if result.low == result.high:
        return "The gain is the same at every seed."
    text = f"The true gain most likely lies between {_between(result.low, result.high)}"
    if population is None:
        return f"{text} {_points(unit)}."
    sign = 1 if result.mean > 0 else -1
    fits = population.low <= 0 <= population.high
    doubt = ", so other images might show none" if comparison.sign == sign and fits else ""
    others = _between(population.low, population.high)
    return f"{text} {_points(unit)}; on other test images of this sort, between {others}{doubt}."


def _between(low: float, high: float) -> str:
    return f"{_figure(low)} and {_figure(high)}"


def _terms(full: Comparison) -> str:
    """Return on what terms the two sides were equal: steps may cost very different FLOPs."""
    assert full.audit is not None
    terms = f"at equal {AXIS_NAMES[full.audit.axis]}"
    if full.audit.axis in ("steps", "samples") and abs(full.flops - 1) > TOLERANCE["s"]:
        terms += f" (and {full.flops:.1f} times the FLOPs)"
    if 0 < full.level < ALPHA:
        terms += f" over {full.result.n} seeds (a look by p ≤ {full.level:.2g})"
    return terms


def _outlook(comparison: Comparison, unit: str) -> str:
    """Return how many seeds would find a true gain as large as the one seen, or as the margin."""
    needed = comparison.seeds_needed
    seeds = f"about {needed} seeds" if needed else "no number of seeds in reach"
    seen = comparison.sought == abs(comparison.result.mean)
    size = "this size" if seen else _size(comparison.sought, unit)
    return f"{seeds} would find a true gain of {size} in 80 % of such tables"


def _points(unit: str) -> str:
    return "points" if unit == "%" else unit or "points"


def _size(value: float, unit: str) -> str:
    points = _points(unit)
    return (
        f"{value:.3g} {points.removesuffix('s') if value == 1 and points == 'points' else points}"
    )


def _figure(value: float) -> str:
    """Return a signed figure: two decimals, or two digits where that would show nothing."""
    return f"{value:+.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:+.2g}"
