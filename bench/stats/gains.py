"""From records to paired gains and verdicts: pure functions of records.

A gain is the signed difference strategy − anchor at one seed, in points of the target's metric,
positive when the strategy is better. See `docs/protocol.md` for what each anchor answers.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from bench.spec.budget import Audit, Axis
from bench.stats.comparison import (
    Comparison,
    GradientResult,
    MetricResult,
    RowResult,
    WeightResult,
)
from bench.stats.crossed import CrossedResult, crossed
from bench.stats.group_sequential import Stage, stage
from bench.stats.tests import (
    ALPHA,
    PairedResult,
    benjamini_hochberg,
    holm,
    non_inferiority_p,
    paired,
)
from bench.stats.verdicts import judge
from bench.store.records import (
    ANCHORS,
    REFERENCES,
    RIVALS,
    SCREEN_BELOW,
    AnchorName,
    Declaration,
    Record,
    Row,
    Score,
    Use,
)

_NAN = float("nan")

Lookup = Callable[[str], Record | None]
#: The scores of the single test images of the run with a key, by task; empty where there are none.
Examples = Callable[[str], Mapping[str, np.ndarray]]
#: What is held in memory at once of the images of runs: those of some rows and their anchors, as
#: many as have room in so many bytes.
_HELD, _HELD_BYTES = 512, 2**27
#: The scores of the test images of the run with a key for a target, in the unit of its score; None
#: where that is not their mean.
_Images = Callable[[str, str], np.ndarray | None]


def value(record: Record | None, target: str) -> float | None:
    """Return the primary score of a finished run, higher being better."""
    return None if record is None or record.status == "failed" else record.value(target)


def used(records: Sequence[Record | None], axis: Axis) -> float | None:
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


def _target_steps(record: Record, row: Row) -> int:
    """Return the steps of a row's run that train its target."""
    steps = record.spec.steps
    return sum(steps[phase] for phase in row.target_phases or range(len(steps)))


def _pair_up(
    row: Row,
    anchor: AnchorName,
    find: Lookup,
    images: _Images,
    margin: float,
    level: float,
) -> Comparison:
    """Pair the seeds of a row with an anchor's; a seed counts if all its runs are there.

    The result is not yet corrected over the family.
    """
    gains: dict[int, float] = {}
    audits: dict[int, Audit] = {}
    both: list[tuple[Record, Record]] = []
    scores: list[tuple[float, float]] = []
    flops, seconds = [0.0, 0.0], [0.0, 0.0]
    network, steps = ("", _NAN, 0), (0, 0)
    for seed in row.seeds:
        ours, target = find(seed.strategy), row.target
        theirs = {task: find(key) for task, key in seed.anchors[anchor].items()}
        baseline = theirs[target]
        gained, reference = value(ours, target), value(baseline, target)
        if ours is None or baseline is None or gained is None or reference is None:
            continue
        assert ours.ledger is not None
        assert baseline.ledger is not None
        axis = ours.ledger.budget.axis
        spec, prices = baseline.spec, baseline.ledger.prices
        steps = _target_steps(ours, row), sum(spec.steps)
        # Under `split` and `slim` the networks of all tasks share one budget; under `full` the
        # target's network has all of it.
        own, spent = used([ours], axis), used(list(theirs.values()), axis)
        if own is None or spent is None:
            continue
        equal_steps = anchor == "same-steps"
        audits[seed.seed] = Audit("steps", *steps) if equal_steps else Audit(axis, own, spent)
        gains[seed.seed] = gained - reference
        both.append((ours, baseline))
        scores.append((gained, reference))
        network = spec.strategy, spec.width, prices[0].parameters
        sides: tuple[list[Record | None], ...] = ([ours], list(theirs.values()))
        for side, records in enumerate(sides):
            flops[side] += used(records, "flop") or 0.0
            seconds[side] += _measured_seconds(records)
    example = both[0][1].primary(row.target) if both else None
    known = both[0][0].floor(row.target) if both else None
    floor = _NAN if known is None else known
    anchor_mean = statistics.fmean(reference for _, reference in scores) if scores else _NAN
    anchor_mean = anchor_mean if example is None or example.higher_is_better else -anchor_mean
    margin = half_width(margin, example.unit if example else "%", anchor_mean)
    return Comparison(
        anchor=anchor,
        gains=gains,
        scores={
            seed: score if example is None or example.higher_is_better else -score
            for seed, (_, score) in zip(gains, scores, strict=True)
        },
        result=paired(list(gains.values()), margin, level),
        p_holm=_NAN,
        p_equivalence_holm=_NAN,
        anchor_mean=anchor_mean,
        audits=audits,
        steps=steps,
        flops=_ratio(*flops),
        seconds=_ratio(*seconds),
        margin=margin,
        strategy=network[0],
        width=network[1],
        parameters=network[2],
        floor=floor if example is None or example.higher_is_better else -floor,
        unlearned=bool(scores)
        and not any(above(side, floor, margin) for side in zip(*scores, strict=True)),
        constant=len(scores) > 1 and len({score for pair in scores for score in pair}) == 1,
        use=use_of(theirs for _, theirs in both),
        population=_population(row.target, both, images, level),
        level=level,
    )


def above(scores: Sequence[float], floor: float, margin: float) -> bool:
    """Return whether scores, higher being better, lie more than a margin above a floor on average.

    That has to be shown, but too few seeds for a verdict are taken at their word. Nothing lies
    under an unknown floor, and an unknown margin is none. Two scores within the margin of the floor
    are within it of each other, whatever was done.
    """
    if math.isnan(floor):
        return True
    least = 0.0 if math.isnan(margin) else margin
    gains = [score - floor for score in scores]
    enough = len(gains) >= SCREEN_BELOW
    return statistics.fmean(gains) > least and (
        not enough or non_inferiority_p(gains, -least) <= ALPHA
    )


def use_of(runs: Iterable[Record]) -> Use | None:
    """Return what the network of runs costs to use, from the one that measured it."""
    return next((run.use for run in runs if run.use is not None), None)


def _measured_seconds(records: Sequence[Record | None]) -> float:
    """Return the device-seconds that runs took together; NaN where a ledger has none."""
    ledgers = [record.ledger if record else None for record in records]
    return sum(ledger.used.get("s", _NAN) if ledger else _NAN for ledger in ledgers)


def _ratio(ours: float, theirs: float) -> float:
    return ours / theirs if theirs else _NAN


def _population(
    target: str, both: Sequence[tuple[Record, Record]], images: _Images, level: float
) -> CrossedResult | None:
    """Return the mean gain over seeds and test images, from runs of strategy and anchor by seed.

    Only where the score of every run is the mean of its images' scores, as accuracy is and F1 is
    not: what is shown here must be the gain of the row. All seeds have the same test images.
    """
    lines = []
    for pair in both:
        ours, theirs = (images(record.key, target) for record in pair)
        if ours is None or theirs is None or len(ours) != len(theirs):
            return None
        lines.append(ours - theirs)
    if len({len(line) for line in lines}) != 1:
        return None
    differences = np.stack(lines)
    sign = 1 if both[0][0].primary(target).higher_is_better else -1
    return crossed(sign * differences[:, ~np.isnan(differences).any(0)], level)


def _of_images(record: Record | None, target: str, examples: Examples) -> np.ndarray | None:
    """Return the scores of a run's test images in the unit of its score, or None (see above)."""
    if record is None:
        return None
    score, found = record.primary(target), examples(record.key).get(target)
    if found is None or score.value is None or np.isnan(found).all():
        return None
    images = found * (100.0 if score.unit == "%" else 1.0)
    same = math.isclose(float(np.nanmean(images)), score.value, rel_tol=1e-5, abs_tol=1e-9)
    return images if same else None


def _held(declaration: Declaration, find: Lookup, examples: Examples) -> int:
    """Return how many runs may have their images in memory, by the number of the first one's.

    Bits on disk are floats of eight bytes once they have the unit of a score.
    """
    keys = (seed.strategy for row in declaration.rows for seed in row.seeds)
    first = next((key for key in keys if find(key) is not None), None)
    size = sum(8 * each.size for each in examples(first).values()) if first is not None else 0
    return max(_HELD, _HELD_BYTES // size) if size else _HELD


def half_width(margin: float, unit: str, anchor_mean: float) -> float:
    """Return the margin in the unit of a metric, or NaN.

    It is given in points where the metric is a percentage. Elsewhere a point means nothing, so it
    is that many hundredths of the anchor's mean score; of a score of 0 there are none.
    """
    return margin if unit == "%" else margin / 100 * abs(anchor_mean) or _NAN


def comparisons(
    declaration: Declaration, find: Lookup, examples: Examples = lambda _: {}
) -> list[dict[AnchorName, Comparison]]:
    """Return the comparisons of every declared row with its rivals, corrected over the family.

    `find` returns records by key, `examples` the scores of their single test images.
    """
    held = _held(declaration, find, examples)
    files = lru_cache(maxsize=held)(examples)  # each has the scores of all tasks of a run

    @lru_cache(maxsize=held)
    def images(key: str, target: str) -> np.ndarray | None:
        return _of_images(find(key), target, files)

    experiment = declaration.experiment
    stages = [stage(experiment, len(row.seeds)) for row in declaration.rows]
    compared = [
        {a: _pair_up(row, a, find, images, experiment.margin, at.bound()) for a in _rivals(row)}
        for row, at in zip(declaration.rows, stages, strict=True)
    ]
    for anchor in RIVALS:
        # Rows with a placebo are controls and no hypotheses: each stands by itself.
        members = [
            (own, row, at)
            for own, row, at in zip(declaration.rows, compared, stages, strict=True)
            if anchor in row
        ]
        _correct(anchor, [(row, at) for own, row, at in members if not own.placebo])
        for own, row, at in members:
            if own.placebo:
                _correct(anchor, [(row, at)])
    for row in compared:
        _agree(row)
    return compared


def results(
    declaration: Declaration, find: Lookup, examples: Examples = lambda _: {}
) -> list[RowResult]:
    """Return the row of every declared row. The arguments are those of `comparisons`."""
    compared = comparisons(declaration, find, examples)
    return _explored(
        [_result(row, rivals, find) for row, rivals in zip(declaration.rows, compared, strict=True)]
    )


def _correct(
    anchor: AnchorName, family: Sequence[tuple[dict[AnchorName, Comparison], Stage]]
) -> None:
    """Correct the comparisons of rows with one anchor, by Holm over this family."""
    different = holm([at.repeated_p(row[anchor].result.p) for row, at in family])
    same = holm([at.repeated_one_sided_p(row[anchor].result.p_equivalence) for row, at in family])
    for (row, at), p, q in zip(family, different, same, strict=True):
        row[anchor] = replace(
            row[anchor],
            p_holm=p,
            p_equivalence_holm=q,
            family=len(family),
            family_level=at.bound(ALPHA / len(family)),
            stage=at,
        )


def _agree(row: dict[AnchorName, Comparison]) -> None:
    """Give both anchors of a row the larger p-value of the two where one run is both.

    Each is corrected in a family of its own. The same gain must not be significant in one of them
    and not in the other, and a larger p-value errs in neither.
    """
    full, same = row["full"], row.get("same-steps")
    if same is None or same.steps != full.steps:
        return
    p = float(np.fmax(full.p_holm, same.p_holm))
    q = float(np.fmax(full.p_equivalence_holm, same.p_equivalence_holm))
    row["full"] = replace(full, p_holm=p, p_equivalence_holm=q)
    row["same-steps"] = replace(same, p_holm=p, p_equivalence_holm=q)


def _apart(lower: Comparison, upper: Comparison, level: float) -> PairedResult:
    """Return how far an anchor's scores lie above another's, at the seeds that both have.

    It is the gain over the lower one minus that over the upper one.
    """
    seeds = [seed for seed in lower.gains if seed in upper.gains]
    return paired([lower.gains[seed] - upper.gains[seed] for seed in seeds], level=level)


def _price(against: Mapping[AnchorName, Comparison]) -> PairedResult | None:
    """Return what the steps are worth that a row's own lack beside those of `full`, by seed."""
    full, same = against["full"], against.get("same-steps")
    if same is None or same.steps == full.steps:
        return None
    return _apart(full, same, full.level)


def _short(against: Mapping[AnchorName, Comparison]) -> PairedResult | None:
    """Return what a share of the budget costs the target's single-task network, by seed."""
    full, split = against["full"], against.get("split")
    return None if split is None else _apart(split, full, full.level)


def _explored(rows: Sequence[RowResult]) -> list[RowResult]:
    """Return rows whose other metrics are corrected for the false discovery rate over all rows."""
    lines = [
        row.against["full"].stage.repeated_p(m.gains.p)
        for row in rows
        for name, m in row.metrics.items()
        if name != row.metric
    ]
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


def _rivals(row: Row) -> list[AnchorName]:
    return [rival for rival in RIVALS if row.seeds and rival in row.seeds[0].anchors]


def _result(row: Row, rivals: Mapping[AnchorName, Comparison], find: Lookup) -> RowResult:
    against = {anchor: rivals[anchor] for anchor in ANCHORS if anchor in rivals}
    runs = [find(seed.strategy) for seed in row.seeds]
    finished = [run for run in runs if run is not None and run.status != "failed"]
    others = [find(key) for key in sorted(row.anchor_keys)]
    # The anchors know the metric too, where every run of the strategy has failed.
    known = {
        name: score
        for run in (*others, *finished)
        if run is not None
        for name, score in run.scores.get(row.target, {}).items()
    }
    metric = next((name for name, score in known.items() if score.primary), "")
    score = known.get(metric)
    unit = score.unit if score else ""
    values = [v for run in finished if (v := run.primary(row.target).value) is not None]
    unscored = len(finished) - len(values)
    ledgers = [run.ledger for run in finished if run.ledger is not None]
    return RowResult(
        pair=row.pair,
        strategy=row.strategy,
        target=row.target,
        placebo=row.placebo,
        expect=row.expect,
        metric=metric,
        unit=unit,
        higher_is_better=score.higher_is_better if score else True,
        planned=len(row.seeds),
        seeds=len(against["full"].gains),
        scores={
            run.spec.seed: value
            for run in finished
            if (value := run.primary(row.target).value) is not None
        },
        score_mean=statistics.fmean(values) if values else _NAN,
        score_sd=statistics.stdev(values) if len(values) > 1 else _NAN,
        steps=sum(ledgers[0].steps) if ledgers else 0,
        parameters=ledgers[0].parameters if ledgers else 0,
        collapsed=sum(run.status == "diverged" for run in finished),
        failed=len(runs) - len(finished),
        reasons=tuple(_reasons([*runs, *others])),
        metrics=_metrics(row, find, known, against["full"].level),
        gradients=_gradients(row.target, finished),
        weights=_weights(finished),
        use=use_of(finished),
        stall=max((r.ledger.stall for r in (*runs, *others) if r and r.ledger), default=0.0),
        against=against,
        references={name: rivals[name] for name in REFERENCES if name in rivals},
        same_as=row.same_as,
        price=_price(against),
        short=_short(against),
        shares=max((len(seed.anchors.get("split", {})) for seed in row.seeds), default=0) or 1,
        verdict=judge(against, unit, unscored),
    )


def _metrics(
    row: Row, find: Lookup, known: Mapping[str, Score], alpha: float
) -> dict[str, MetricResult]:
    """Return every metric against `full`, over the seeds that have both runs and both scores."""
    found = {}
    for name, example in known.items():
        values, references = [], []
        for seed in row.seeds:
            runs = find(seed.strategy), find(seed.anchors["full"][row.target])
            scores = [run.scores.get(row.target, {}).get(name) if run else None for run in runs]
            value, reference = (score.value if score else None for score in scores)
            if value is not None and reference is not None:
                values.append(value)
                references.append(reference)
        sign = 1 if example.higher_is_better else -1
        gains = [sign * (a - b) for a, b in zip(values, references, strict=True)]
        found[name] = MetricResult(
            example.unit,
            example.higher_is_better,
            statistics.fmean(values) if values else _NAN,
            statistics.fmean(references) if references else _NAN,
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
        ratio = math.exp(statistics.fmean(ratios)) if ratios else _NAN
        found[other] = GradientResult(paired(cosines), ratio)
    return found


#: Weights that move by less are those of float32, and fixed.
_STILL = 1e-5


def _weights(runs: Sequence[Record]) -> dict[str, WeightResult]:
    """Return how the weights of losses moved, by task; empty where they stayed."""
    found = {}
    for task in dict.fromkeys(t for run in runs for point in run.curve for t in point.weights):
        known = (
            [w for point in run.curve if (w := point.weights.get(task)) is not None] for run in runs
        )
        curves = [curve for curve in known if curve]
        values = [weight for curve in curves for weight in curve]
        if values:
            first, last = (paired([curve[place] for curve in curves]) for place in (0, -1))
            found[task] = WeightResult(first, last, (min(values), max(values)))
    moved = any(high - low > _STILL for low, high in (w.range for w in found.values()))
    return found if moved else {}


def _means(groups: Iterable[Sequence[float | None]]) -> list[float]:
    """Return the mean of what each group knows; one that knows nothing is left out."""
    known = ([value for value in group if value is not None] for group in groups)
    return [statistics.fmean(values) for values in known if values]


def _reasons(runs: Sequence[Record | None]) -> list[str]:
    """Return why runs went wrong, each reason once with the arm it befell and how often."""
    counts = Counter(f"{run.spec.label}: {run.reason}" for run in runs if run and run.reason)
    return [f"{text} ({n} runs)" if n > 1 else text for text, n in sorted(counts.items())]
