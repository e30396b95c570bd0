"""From records to paired gains and verdicts: pure functions of records.

A gain is the signed difference strategy − anchor at one seed, in points of the target's metric,
positive when the strategy is better. See `docs/protocol.md` for what each anchor answers.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.budget import AXIS_NAMES, TOLERANCE, Audit, Axis
from bench.group_sequential import Stage, stage
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
    target. `p_holm` and `p_equivalence_holm` are corrected over all cells of the
    experiment that have this anchor.
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
    """Half width of equivalence, in the unit of the gains."""
    strategy: str
    width: float
    parameters: int
    level: float = ALPHA
    """The two-sided p-value that a row alone has to reach; what the interval leaves out."""

    @property
    def relative_gain(self) -> float:
        """Mean gain as a share of the anchor's mean score."""
        return self.result.mean / abs(self.anchor_mean) if self.anchor_mean else _NAN

    @property
    def minimum_detectable_gain(self) -> float:
        """The gain that so many seeds detect with 80 % power, were the row alone."""
        return minimum_detectable_gain(self.result.sd, self.result.n, self.level)

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


@dataclass(frozen=True)
class MetricResult:
    """A metric of a row against `full`, as measured, with its gains: positive where better.

    All metrics of a kind are looked at; only the primary one has tests and a verdict.
    """

    unit: str
    higher_is_better: bool
    score_mean: float
    anchor_mean: float
    gains: PairedResult


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
    """What a row found. `name` is one of a few words; `sentence` says it in plain ones."""

    name: str
    sentence: str


def standing(comparison: Comparison) -> str:
    """Return how a row stands to a reference, in a word or two."""
    if comparison.result.n == 0:
        return "no result"
    if not comparison.audited:
        return "unequal budgets"
    if comparison.result.n < SCREEN_BELOW:
        return "screen"
    if comparison.sign:
        return "better" if comparison.sign > 0 else "worse"
    return "equivalent" if comparison.p_equivalence_holm <= ALPHA else "inconclusive"


@dataclass(frozen=True)
class CellResult:
    """One row of the result table.

    `planned` counts the strategy's runs, one a seed; `collapsed` those that diverged and `failed`
    those that did not end or have not run. `seeds` have a gain against every anchor. `steps` are
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


@dataclass(frozen=True)
class _Paired:
    """A cell's numbers against one anchor, before the correction over the family."""

    gains: dict[int, float]
    anchor_mean: float
    audits: dict[int, Audit]
    flops: float
    margin: float
    result: PairedResult
    network: tuple[str, float, int]
    at: Stage


def _pair_up(cell: Cell, anchor: AnchorName, find: Lookup, margin: float, at: Stage) -> _Paired:
    """Pair the seeds of a cell with an anchor's; a seed counts if all its runs are there."""
    gains: dict[int, float] = {}
    audits: dict[int, Audit] = {}
    scores: list[float] = []
    unit, flops, network = "%", [0.0, 0.0], ("", _NAN, 0)
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
        scores.append(baseline.primary(target).value or 0.0)
        unit = baseline.primary(target).unit
        assert baseline.ledger is not None
        spec, prices = baseline.spec, baseline.ledger.prices
        network = spec.strategy, spec.width, prices[0].parameters
        flops[0] += _used([ours], "flop") or 0.0
        flops[1] += _used(list(theirs.values()), "flop") or 0.0
    anchor_mean = statistics.mean(scores) if scores else _NAN
    width = half_width(margin, unit, anchor_mean)
    return _Paired(
        gains,
        anchor_mean,
        audits,
        flops[0] / flops[1] if flops[1] else _NAN,
        width,
        paired(list(gains.values()), width, at.bound()),
        network,
        at,
    )


def half_width(margin: float, unit: str, anchor_mean: float) -> float:
    """Return the margin in the unit of a metric.

    It is given in points where the metric is a percentage. Elsewhere a point means nothing, so it
    is that many hundredths of the anchor's mean score.
    """
    relative = unit != "%" and math.isfinite(anchor_mean) and anchor_mean != 0
    return margin / 100 * abs(anchor_mean) if relative else margin


def results(declaration: Declaration, find: Lookup) -> list[CellResult]:
    """Return the row of every declared cell, from the records that `find` returns by key."""
    experiment = declaration.experiment
    numbers = []
    for cell in declaration.cells:
        at, margin = stage(experiment, len(cell.seeds)), experiment.margin
        numbers.append({a: _pair_up(cell, a, find, margin, at) for a in _rivals(cell)})
    compared: list[dict[AnchorName, Comparison]] = [{} for _ in numbers]
    for anchor in RIVALS:
        family = [index for index, row in enumerate(numbers) if anchor in row]
        parts = [numbers[index][anchor] for index in family]
        different = holm([part.at.repeated_p(part.result.p) for part in parts])
        same = holm([part.at.repeated_one_sided_p(part.result.p_equivalence) for part in parts])
        for index, part, p, q in zip(family, parts, different, same, strict=True):
            compared[index][anchor] = Comparison(
                anchor,
                part.gains,
                part.result,
                p,
                q,
                part.anchor_mean,
                part.audits,
                part.flops,
                part.margin,
                *part.network,
                part.at.bound(),
            )
    return [
        _result(cell, rivals, find)
        for cell, rivals in zip(declaration.cells, compared, strict=True)
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
        seeds=min((len(c.gains) for c in against.values()), default=0),
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
            paired(gains, 1.0, alpha),
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
        found[other] = GradientResult(paired(cosines, margin=1.0), ratio)
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
    where the strategy beats an anchor that had less compute or capacity. `unscored` runs diverged
    so far that they have no score; leaving them out of a mean would reward them.
    """
    full = against["full"]
    result, margin = full.result, full.margin
    seeds = min(len(comparison.gains) for comparison in against.values())
    if unscored:
        runs = "One run" if unscored == 1 else f"{unscored} runs"
        return Verdict("collapsed", f"{runs} diverged and left no score, so there is no verdict.")
    if seeds == 0:
        return Verdict("no result", "No seed has all the runs that a gain needs.")
    if not all(comparison.audited for comparison in against.values()):
        worst = max(against.values(), key=lambda comparison: abs(comparison.deviation))
        return Verdict(
            "unequal budgets",
            f"The compute used differs by {worst.deviation:+.1%} from that of {worst.anchor}, "
            "so there is no verdict.",
        )
    shown = f"{_figure(result.mean)} {_points(unit)} {_terms(full)}"
    if seeds < SCREEN_BELOW:
        over = "one seed" if seeds == 1 else f"{seeds} seeds"
        return Verdict("screen", f"A first look: {shown} over {over}, too few for a verdict.")
    if full.sign > 0:
        return Verdict("transfer", f"Sharing helps this task: {shown}.")
    if full.sign < 0:
        name, sentence = "negative", f"Sharing hurts this task: {shown}."
    elif full.p_equivalence_holm <= ALPHA:
        name = "equivalent"
        sentence = f"No difference above {_size(margin, unit)}: {shown}."
    else:
        name, sentence = "inconclusive", f"Undecided: {shown}; {_outlook(result, margin, unit)}."
    beaten = [a for a in ANCHORS if a in against and against[a].sign > 0]
    if "split" in beaten:
        split, slim = (_figure(against[a].result.mean) for a in ("split", "slim"))
        same = "" if "slim" in beaten else ", which is no clear difference"
        return Verdict(
            f"{name} · compute saving",
            f"{sentence} Against separate networks that share the budget: {split}; "
            f"against narrow ones of the same parameters: {slim}{same}.",
        )
    if "slim" in beaten:
        gain = _figure(against["slim"].result.mean)
        return Verdict(
            f"{name} · capacity",
            f"{sentence} It beats separate narrow networks only ({gain}), which is capacity.",
        )
    return Verdict(name, sentence)


def _terms(full: Comparison) -> str:
    """Return on what terms the two sides were equal: steps may cost very different FLOPs."""
    assert full.audit is not None
    terms = f"at equal {AXIS_NAMES[full.audit.axis]}"
    if full.audit.axis in ("steps", "samples") and abs(full.flops - 1) > TOLERANCE["s"]:
        terms += f" (and {full.flops:.1f} times the FLOPs)"
    if 0 < full.level < ALPHA:
        terms += f" over {full.result.n} seeds (a look by p ≤ {full.level:.2g})"
    return terms


def _outlook(result: PairedResult, margin: float, unit: str) -> str:
    """Return how many seeds would find a true gain as large as the one seen, or as the margin."""
    small = abs(result.mean) < margin
    needed = seeds_to_detect(margin if small else result.mean, result.sd)
    seeds = f"about {max(needed, result.n + 1)} seeds" if needed else "no number of seeds in reach"
    size = _size(margin, unit) if small else "this size"
    return f"{seeds} would find a true gain of {size} in 80 % of experiments, before Holm"


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
