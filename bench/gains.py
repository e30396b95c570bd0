"""From records to paired gains and verdicts: pure functions of records.

A gain is the signed difference strategy − anchor at one seed, in points of the target's metric,
positive when the strategy is better. See `docs/protocol.md` for what each anchor answers.
"""

import math
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

    `gains` are by seed, in points of the metric. `relative_gain` is the mean gain as a share of
    the anchor's mean score. `p_holm` is corrected over all cells of the experiment that have this
    anchor. `audits` holds one audit a seed.
    """

    anchor: AnchorName
    gains: Mapping[int, float]
    result: PairedResult
    p_holm: float
    anchor_mean: float
    audits: tuple[Audit, ...]

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
        return all(audit.passed for audit in self.audits)

    @property
    def deviation(self) -> float:
        """The largest relative difference in the compute used, signed; NaN without a seed."""
        return max((a.deviation for a in self.audits), key=abs, default=_NAN)

    @property
    def sign(self) -> int:
        """1 or −1 where the gain is significant after Holm's correction, else 0."""
        if not self.p_holm <= ALPHA:
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

    `collapsed` and `failed` count the strategy's runs that diverged or did not end. `steps` are
    what the budget bought the strategy. `unit` and `metric` are the target's.
    """

    pair: str
    strategy: str
    target: str
    expect: str | None
    metric: str
    unit: str
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
    audits: tuple[Audit, ...]
    result: PairedResult


def _pair_up(cell: Cell, anchor: AnchorName, find: Lookup, margin: float) -> _Paired:
    gains: dict[int, float] = {}
    baseline, audits = [], []
    for seed in cell.seeds:
        ours = find(seed.strategy)
        theirs = {task: find(key) for task, key in seed.anchors[anchor].items()}
        value, reference = _value(ours, cell.target), _value(theirs[cell.target], cell.target)
        if ours is None or ours.ledger is None or value is None or reference is None:
            continue
        gains[seed.seed] = value - reference
        baseline.append(reference)
        # Under `split` and `slim` the networks of all tasks share one budget; under `full` the
        # target's network has all of it.
        used, spent = _used([ours]), _used(list(theirs.values()))
        if used is not None and spent is not None:
            audits.append(Audit(ours.ledger.budget.axis, used, spent))
    mean = sum(baseline) / len(baseline) if baseline else _NAN
    return _Paired(gains, mean, tuple(audits), paired(list(gains.values()), margin))


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
    scores = [run.primary(cell.target) for run in finished if cell.target in run.scores]
    values = [score.value for score in scores if score.value is not None]
    mean = sum(values) / len(values) if values else _NAN
    spread = (
        math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
        if len(values) > 1
        else _NAN
    )
    others = [
        find(key) for seed in cell.seeds for part in seed.anchors.values() for key in part.values()
    ]
    reasons = {run.reason for run in [*runs, *others] if run is not None and run.reason}
    ledgers = [run.ledger for run in finished if run.ledger is not None]
    metrics = [
        name
        for run in finished[:1]
        for name, s in run.scores.get(cell.target, {}).items()
        if s.primary
    ]
    failed = sum(run is None or run.status == "failed" for run in runs)
    return CellResult(
        pair=cell.pair,
        strategy=cell.strategy,
        target=cell.target,
        expect=cell.expect,
        metric=metrics[0] if metrics else "",
        unit=scores[0].unit if scores else "",
        seeds=min((len(c.gains) for c in against.values()), default=0),
        score_mean=mean,
        score_sd=spread,
        steps=ledgers[0].steps if ledgers else 0,
        parameters=ledgers[0].price.parameters if ledgers else 0,
        collapsed=sum(run.status == "diverged" for run in finished),
        failed=failed,
        reasons=tuple(sorted(reasons)),
        against=against,
        verdict=judge(against, margin, scores[0].unit if scores else ""),
    )


def judge(against: Mapping[AnchorName, Comparison], margin: float, unit: str) -> Verdict:
    """Return the verdict of a row from its comparisons.

    The first half answers whether there is transfer (against `full`); a second half is added
    where the strategy beats an anchor that had less compute or capacity.
    """
    full = against["full"]
    result = full.result
    shown = f"{result.mean:+.2f} {unit or 'points'}".replace(" %", " points")
    if result.n == 0:
        return Verdict("no result", "No seed has both runs that a gain needs.")
    if not all(comparison.audited for comparison in against.values()):
        worst = max((c.deviation for c in against.values()), key=abs)
        return Verdict(
            "unequal budgets",
            f"The compute used differs by {worst:+.1%}, so there is no verdict.",
        )
    if result.n < SCREEN_BELOW:
        return Verdict(
            "screen",
            f"A first look: {shown} over {result.n} seeds, too few for a verdict.",
        )
    if full.sign > 0:
        return Verdict("transfer", f"Sharing helps this task: {shown} at equal compute.")
    if full.sign < 0:
        name, sentence = "negative", f"Sharing hurts this task: {shown} at equal compute."
    elif result.p_equivalence <= ALPHA:
        name = "equivalent"
        sentence = f"No difference above {margin:g} points: {shown} at equal compute."
    else:
        needed = seeds_to_detect(max(abs(result.mean), margin), result.sd)
        enough = f"about {max(needed, result.n + 1)}" if needed else "over 1000"
        name = "inconclusive"
        sentence = f"Undecided: {shown}; {enough} seeds would decide."
    beaten = [a for a in ANCHORS if a in against and against[a].sign > 0]
    if "split" in beaten:
        gain = against["split"].result.mean
        return Verdict(
            f"{name} · compute saving",
            f"{sentence} It beats two networks that share the budget by {gain:.2f}.",
        )
    if "slim" in beaten:
        gain = against["slim"].result.mean
        return Verdict(
            f"{name} · capacity",
            f"{sentence} It beats only two narrow networks, by {gain:.2f}: capacity.",
        )
    return Verdict(name, sentence)
