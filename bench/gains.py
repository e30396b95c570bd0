"""From records to paired gains and verdicts: pure functions of records.

A gain is the signed difference strategy − anchor at one seed, in points of the target's metric,
positive when the strategy is better. See `docs/protocol.md` for what each anchor answers.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.budget import Audit
from bench.records import ANCHORS, AnchorName, Cell, Declaration, Record
from bench.statistics import (
    ALPHA,
    PairedResult,
    holm,
    minimum_detectable_gain,
    paired,
    seeds_to_detect,
)

#: Under so many seeds a table screens and reaches no verdict.
SCREEN_BELOW = 8
_NAN = float("nan")


@dataclass(frozen=True)
class Comparison:
    """A cell against one anchor.

    `gains` and `audits` are by seed, gains in points of the metric. `anchor_mean` is the anchor's
    mean score as measured. `p_holm` is corrected over all cells of the experiment that have this
    anchor.
    """

    anchor: AnchorName
    gains: Mapping[int, float]
    result: PairedResult
    p_holm: float
    anchor_mean: float
    audits: Mapping[int, Audit]

    @property
    def relative_gain(self) -> float:
        """Mean gain as a share of the anchor's mean score."""
        return self.result.mean / abs(self.anchor_mean) if self.anchor_mean else _NAN

    @property
    def minimum_detectable_gain(self) -> float:
        """The gain that so many seeds detect with 80 % power."""
        return minimum_detectable_gain(self.result.sd, self.result.n)

    @property
    def audited(self) -> bool:
        """Whether every seed's budgets were equal within tolerance."""
        return all(audit.passed for audit in self.audits.values())

    @property
    def deviation(self) -> float:
        """The largest relative difference in the compute used, signed; NaN without a seed."""
        return max((a.deviation for a in self.audits.values()), key=abs, default=_NAN)

    @property
    def sign(self) -> int:
        """1 or −1 where the gain is significant and the budgets were equal, else 0."""
        if not (self.audited and self.p_holm <= ALPHA):
            return 0
        return 1 if self.result.mean > 0 else -1


@dataclass(frozen=True)
class Verdict:
    """What a row found. `name` is one of a few words; `sentence` says it in plain ones."""

    name: str
    sentence: str


@dataclass(frozen=True)
class CellResult:
    """One row of the result table.

    `planned` counts the strategy's runs, one a seed; `collapsed` those that diverged and `failed`
    those that did not end or have not run. `seeds` have a gain against every anchor. `steps` are
    what the budget bought the strategy. `unit`, `metric` and `higher_is_better` are the target's.
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
    against: Mapping[AnchorName, Comparison]
    verdict: Verdict

    @property
    def screening(self) -> bool:
        """Whether there are too few seeds for a verdict."""
        return self.seeds < SCREEN_BELOW


Lookup = Callable[[str], Record | None]


def _value(record: Record | None, target: str) -> float | None:
    """Return the primary score of a finished run, higher being better."""
    if record is None or record.status == "failed" or target not in record.scores:
        return None
    score = record.primary(target)
    if score.value is None:
        return None
    return score.value if score.higher_is_better else -score.value


def _used(records: Sequence[Record | None]) -> float | None:
    """Return what runs used together on the axis of their budget."""
    total = 0.0
    for record in records:
        if record is None or record.ledger is None:
            return None
        total += record.ledger.used[record.ledger.budget.axis]
    return total


@dataclass(frozen=True)
class _Paired:
    """A cell's numbers against one anchor, before the correction over the family."""

    gains: dict[int, float]
    anchor_mean: float
    audits: dict[int, Audit]
    result: PairedResult


def _pair_up(cell: Cell, anchor: AnchorName, find: Lookup, margin: float) -> _Paired:
    gains: dict[int, float] = {}
    audits: dict[int, Audit] = {}
    baseline: list[float] = []
    for seed in cell.seeds:
        ours = find(seed.strategy)
        theirs = {task: find(key) for task, key in seed.anchors[anchor].items()}
        value, reference = _value(ours, cell.target), _value(theirs[cell.target], cell.target)
        if ours is None or ours.ledger is None or value is None or reference is None:
            continue
        gains[seed.seed] = value - reference
        baseline.append(abs(reference))
        # Under `split` and `slim` the networks of all tasks share one budget; under `full` the
        # target's network has all of it.
        used, spent = _used([ours]), _used(list(theirs.values()))
        if used is not None and spent is not None:
            audits[seed.seed] = Audit(ours.ledger.budget.axis, used, spent)
    mean = sum(baseline) / len(baseline) if baseline else _NAN
    return _Paired(gains, mean, audits, paired(list(gains.values()), margin))


def results(declaration: Declaration, find: Lookup) -> list[CellResult]:
    """Return the row of every declared cell, from the records that `find` returns by key."""
    margin = declaration.experiment.margin
    numbers = [
        {anchor: _pair_up(cell, anchor, find, margin) for anchor in _anchors(cell)}
        for cell in declaration.cells
    ]
    corrected: list[dict[AnchorName, float]] = [{} for _ in numbers]
    for anchor in ANCHORS:
        family = [index for index, row in enumerate(numbers) if anchor in row]
        adjusted = holm([numbers[index][anchor].result.p for index in family])
        for index, p in zip(family, adjusted, strict=True):
            corrected[index][anchor] = p
    return [
        _result(cell, row, p, find, margin)
        for cell, row, p in zip(declaration.cells, numbers, corrected, strict=True)
    ]


def _anchors(cell: Cell) -> list[AnchorName]:
    return [a for a in ANCHORS if cell.seeds and a in cell.seeds[0].anchors]


def _result(
    cell: Cell,
    numbers: Mapping[AnchorName, _Paired],
    corrected: Mapping[AnchorName, float],
    find: Lookup,
    margin: float,
) -> CellResult:
    against = {
        anchor: Comparison(
            anchor, part.gains, part.result, corrected[anchor], part.anchor_mean, part.audits
        )
        for anchor, part in numbers.items()
    }
    runs = [find(seed.strategy) for seed in cell.seeds]
    finished = [run for run in runs if run is not None and run.status != "failed"]
    others = [find(key) for key in sorted(cell.anchor_keys)]
    # The anchors know the metric too, where every run of the strategy has failed.
    known = [
        (name, score)
        for run in (*finished, *others)
        if run is not None
        for name, score in run.scores.get(cell.target, {}).items()
        if score.primary
    ]
    metric, score = known[0] if known else ("", None)
    unit = score.unit if score else ""
    values = [v for run in finished if (v := run.primary(cell.target).value) is not None]
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
        steps=ledgers[0].steps if ledgers else 0,
        parameters=ledgers[0].price.parameters if ledgers else 0,
        collapsed=sum(run.status == "diverged" for run in finished),
        failed=len(runs) - len(finished),
        reasons=tuple(_reasons([*runs, *others])),
        against=against,
        verdict=judge(against, margin, unit),
    )


def _reasons(runs: Sequence[Record | None]) -> list[str]:
    """Return why runs went wrong, each reason once with the arm it befell and how often."""
    counts = Counter(f"{run.spec.label}: {run.reason}" for run in runs if run and run.reason)
    return [f"{text} ({n} runs)" if n > 1 else text for text, n in sorted(counts.items())]


def judge(against: Mapping[AnchorName, Comparison], margin: float, unit: str) -> Verdict:
    """Return the verdict of a row from its comparisons.

    The first half answers whether there is transfer (against `full`); a second half is added
    where the strategy beats an anchor that had less compute or capacity.
    """
    full = against["full"]
    result = full.result
    shown = f"{_figure(result.mean)} {_points(unit)}"
    if result.n == 0:
        return Verdict("no result", "No seed has both runs that a gain needs.")
    if not all(comparison.audited for comparison in against.values()):
        worst = max((c.deviation for c in against.values()), key=abs)
        return Verdict(
            "unequal budgets",
            f"The compute used differs by {worst:+.1%}, so there is no verdict.",
        )
    if result.n < SCREEN_BELOW:
        seeds = "one seed" if result.n == 1 else f"{result.n} seeds"
        return Verdict("screen", f"A first look: {shown} over {seeds}, too few for a verdict.")
    if full.sign > 0:
        return Verdict("transfer", f"Sharing helps this task: {shown} at equal compute.")
    if full.sign < 0:
        name, sentence = "negative", f"Sharing hurts this task: {shown} at equal compute."
    elif result.p_equivalence <= ALPHA:
        name = "equivalent"
        sentence = f"No difference above {margin:g} {_points(unit)}: {shown} at equal compute."
    else:
        needed = seeds_to_detect(max(abs(result.mean), margin), result.sd)
        enough = f"about {max(needed, result.n + 1)}" if needed else "over 1000"
        name = "inconclusive"
        sentence = f"Undecided: {shown}; {enough} seeds would decide."
    beaten = [a for a in ANCHORS if a in against and against[a].sign > 0]
    if "split" in beaten:
        gain = _figure(against["split"].result.mean)
        return Verdict(
            f"{name} · compute saving",
            f"{sentence} Against two networks that share the budget: {gain}.",
        )
    if "slim" in beaten:
        gain = _figure(against["slim"].result.mean)
        return Verdict(
            f"{name} · capacity",
            f"{sentence} It beats two narrow networks only ({gain}), which is capacity.",
        )
    return Verdict(name, sentence)


def _points(unit: str) -> str:
    return "points" if unit == "%" else unit or "points"


def _figure(value: float) -> str:
    """Return a signed figure: two decimals, or two digits where that would show nothing."""
    return f"{value:+.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:+.2g}"
