"""The gate: a baseline and what is there now, seed by seed, to findings. Pure functions.

Quality: the score of every row, its gain over the single-task network that has the whole budget,
its transfer over one of equal steps, and the scores of both networks. A cell passes where
a one-sided t test puts it above the baseline less the margin. It fails where its mean is lower by
more than the margin and is significantly lower than before. That takes both a t test and a
sign-flip test, corrected by Holm over all cells of the baseline. What is neither is inconclusive.
All cells must pass, so passing needs no correction (Berger 1982).

Cost: FLOPs, parameters and peak bytes of a step are counted and must not rise. Device-seconds are
measured, as a multiple of a plain loop's, and compared like scores, by rank tests.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import scipy

from bench.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_NOT_COMPARABLE,
    EXIT_OK,
    EXIT_REGRESSION,
    EXIT_RUNS_FAILED,
)
from bench.gate.baseline import Baseline, BaselineArm, BaselineRow
from bench.spec.budget import Budget
from bench.stats.gains import half_width
from bench.stats.tests import (
    ALPHA,
    PairedResult,
    holm,
    non_inferiority_p,
    paired,
    seeds_to_detect,
    smallest_sign_flip_p,
)

Status = Literal["PASS", "FAIL", "INCONCLUSIVE", "MISSING", "NEW", "ERROR"]
#: Device-seconds may rise by this share.
TIME_MARGIN = 0.1

_NAN = float("nan")


@dataclass(frozen=True)
class Finding:
    """One cell of the gate.

    `before` and `now` are means over the seeds that both sides have, in `unit`. `binding` is False
    where the finding is told and changes no exit code. `remark` is a word more than the status.
    """

    name: str
    quantity: str
    status: Status
    sentence: str
    unit: str = ""
    before: float = _NAN
    now: float = _NAN
    binding: bool = True
    remark: str = ""
    margin: float = _NAN
    change: PairedResult | None = None
    """Of quality: the paired differences, above zero where it is better now."""
    p_worse: float = _NAN
    """That it is worse, corrected by Holm."""
    p_not_worse: float = _NAN
    """That it is not worse by the margin."""


@dataclass(frozen=True)
class _Cell:
    """What is gated of quality: an arm's score of a target, or its gain over another arm."""

    name: str
    arm: str
    target: str
    over: str = ""
    quantity: str = "score"

    @property
    def arms(self) -> tuple[str, ...]:
        return (self.arm, self.over) if self.over else (self.arm,)


def _name(row: BaselineRow) -> str:
    return f"{row.strategy} on {row.pair} → {row.target}"


def _cells(rows: Sequence[BaselineRow]) -> list[_Cell]:
    own, alone = [], {}
    for row in rows:
        own.append(_Cell(_name(row), row.arm, row.target))
        for quantity, anchor in (("gain", row.alone), ("transfer", row.same_steps)):
            if anchor:
                own.append(_Cell(_name(row), row.arm, row.target, anchor, quantity))
                alone[anchor] = _Cell(f"{anchor} → {row.target}", anchor, row.target)
    return [*own, *alone.values()]


def check(
    before: Baseline, now: Baseline, margin: float | None = None, gate_time: bool = False
) -> list[Finding]:
    """Return what became of every cell of a baseline.

    `margin` is that of the baseline's experiment unless it is given. Device-seconds are binding
    only with `gate_time`, and quality only where the budget buys every version the same.
    """
    there, known = ({_name(row): row for row in side.rows} for side in (now, before))
    kept = [row for name, row in known.items() if name in there]
    # Names of arms are those of the baseline from here on.
    arms: dict[str, BaselineArm] = {}
    for row in kept:
        same = there[_name(row)]
        arms |= {row.arm: now.arms[same.arm], row.alone: now.arms[same.alone]}
        if row.same_steps:  # a cheaper step may have made it `full` itself
            arms[row.same_steps] = now.arms[same.same_steps or same.alone]
    margin = before.experiment.margin if margin is None else margin
    deterministic = Budget.parse(before.experiment.budget).axis != "s"
    quality = _quality(_cells(kept), before.arms, arms, margin, len(_cells(before.rows)))
    findings = [f if deterministic else replace(f, binding=False) for f in quality]
    same_torch = before.made.get("torch") == now.made.get("torch")
    # A step of a `same-steps` anchor is one of `alone`.
    priced = {name: arms[name] for row in kept for name in (row.arm, row.alone)}
    for name, arm in priced.items():
        findings += _counted(name, before.arms[name], arm, same_torch)
    timed = {name: (before.arms[name].seconds, arm.seconds) for name, arm in priced.items()}
    findings += _timed(timed, gate_time)
    gone = "it is in the baseline and not in what was run"
    findings += [Finding(n, "row", "MISSING", gone) for n in known if n not in there]
    new = "it is not in the baseline, so nothing is compared with it"
    findings += [Finding(n, "row", "NEW", new) for n in there if n not in known]
    return findings


def exit_code(findings: Sequence[Finding], inconclusive_fails: bool) -> int:
    """Return what the command line exits with: the gravest of what is binding."""
    found = {finding.status for finding in findings if finding.binding}
    if "FAIL" in found:
        return EXIT_REGRESSION
    if "ERROR" in found:
        return EXIT_RUNS_FAILED
    if "MISSING" in found:
        return EXIT_NOT_COMPARABLE
    if "INCONCLUSIVE" in found and inconclusive_fails:
        return EXIT_INCONCLUSIVE
    return EXIT_OK


def undecidable(before: Baseline, now: Baseline) -> str:
    """Return why no single cell can fail, or an empty text where one can."""
    cells = len(_cells(before.rows))
    seeds = max((len(_seeds(a) & _seeds(b)) for a, b in _kept_arms(before, now)), default=0)
    if cells * smallest_sign_flip_p(seeds) / 2 <= ALPHA:
        return ""
    needed = math.ceil(math.log2(cells / ALPHA))
    return (
        f"with {seeds} seeds no single one of {cells} cells can fail: after Holm's correction the "
        f"sign-flip test cannot reach 5 %; give {needed} seeds or more"
    )


def unused_seeds(before: Baseline, now: Baseline) -> str:
    """Return how many seeds only the baseline has, or an empty text where it has none of its own.

    Runs that went wrong are errors and are not counted here.
    """
    pairs = [(_seeds(a), _seeds(b) | b.trouble.keys()) for a, b in _kept_arms(before, now)]
    old, new = (set().union(*(pair[side] for pair in pairs)) for side in (0, 1))
    if old <= new:
        return ""
    return f"{len(old - new)} of the baseline's {len(old)} seeds were not run and count for nothing"


def _kept_arms(before: Baseline, now: Baseline) -> Iterator[tuple[BaselineArm, BaselineArm]]:
    """Yield the arms of the rows that both sides have."""
    there = {_name(row): row for row in now.rows}
    for row in before.rows:
        if same := there.get(_name(row)):
            yield before.arms[row.arm], now.arms[same.arm]
            yield before.arms[row.alone], now.arms[same.alone]


# ---------------------------------------------------------------------------------- quality


@dataclass(frozen=True)
class _Compared:
    """The numbers of a cell before the correction; `trouble` says why there are none."""

    cell: _Cell
    unit: str
    before: float
    now: float
    margin: float
    change: PairedResult
    p_worse: float
    p_not_worse: float
    trouble: str


def _quality(
    cells: Sequence[_Cell],
    before: Mapping[str, BaselineArm],
    now: Mapping[str, BaselineArm],
    margin: float,
    family: int,
) -> list[Finding]:
    found = [_compare(cell, before, now, margin) for cell in cells]
    # A row that is gone was declared too; leaving it out would reward losing it.
    lost = [_NAN] * (family - len(found))
    corrected = holm([compared.p_worse for compared in found] + lost)
    return [_judge(compared, p, family) for compared, p in zip(found, corrected, strict=False)]


def _compare(
    cell: _Cell, before: Mapping[str, BaselineArm], now: Mapping[str, BaselineArm], margin: float
) -> _Compared:
    trouble = [
        f"{name}, seed {seed}: {reason}"
        for name in cell.arms
        for seed, reason in now[name].trouble.items()
        if seed not in before[name].trouble and seed in _seeds(before[name])
    ]
    old, new = (_values(cell, side) for side in (before, now))
    seeds = sorted(old.keys() & new.keys())
    measured = before[cell.over or cell.arm].scores.get(cell.target)
    unit = measured.unit if measured else ""
    level = statistics.mean(measured.by_seed.values()) if measured and measured.by_seed else _NAN
    width = half_width(margin, unit, level)
    sign = 1 if measured is None or measured.higher_is_better or cell.over else -1
    differences = [sign * (new[seed] - old[seed]) for seed in seeds]
    change = paired(differences, width)
    # The two-sided p-values of both tests halve, since both null distributions are symmetric.
    p_worse = change.p / 2 if change.mean < 0 else 1 - change.p / 2
    return _Compared(
        cell,
        unit,
        statistics.mean(old[seed] for seed in seeds) if seeds else _NAN,
        statistics.mean(new[seed] for seed in seeds) if seeds else _NAN,
        width,
        change,
        _NAN if trouble else p_worse,
        non_inferiority_p(differences, width),
        "; ".join(trouble) or ("" if seeds else "no seed has a score on both sides"),
    )


def _seeds(arm: BaselineArm) -> set[int]:
    return {seed for scores in arm.scores.values() for seed in scores.by_seed}


def _values(cell: _Cell, arms: Mapping[str, BaselineArm]) -> dict[int, float]:
    """Return the scores by seed as measured, or the gains, which are better above zero."""
    own = arms[cell.arm].scores.get(cell.target)
    if own is None or not cell.over:
        return own.by_seed if own else {}
    alone = arms[cell.over].scores.get(cell.target)
    sign = 1 if own.higher_is_better else -1
    reference = alone.by_seed if alone else {}
    shared = own.by_seed.keys() & reference.keys()
    return {seed: sign * (own.by_seed[seed] - reference[seed]) for seed in shared}


def _judge(found: _Compared, p_worse: float, family: int) -> Finding:
    change, margin = found.change, found.margin
    unit = "points" if found.unit == "%" else found.unit
    size = f"{margin:.3g} {unit}".strip()
    remark = "EQUIVALENT" if change.p_equivalence <= ALPHA else ""
    seeds = f"{change.n} seeds" if change.n != 1 else "one seed"
    status: Status
    if found.trouble:
        status, sentence, remark = "ERROR", found.trouble, ""
    elif change.mean == 0 and change.sd == 0:
        status, sentence, remark = "PASS", f"the same at all {seeds}", "EQUIVALENT"
    elif change.mean < -margin and p_worse <= ALPHA:
        status, remark = "FAIL", ""
        sentence = f"worse by {-change.mean:.3g} {unit}, more than the margin of {size}".strip()
    elif found.p_not_worse <= ALPHA:
        status, sentence = "PASS", f"not worse by {size}"
    else:
        status = "INCONCLUSIVE"
        sentence = f"undecided over {seeds}; {_outlook(found, size, family)}"
    return Finding(
        name=found.cell.name,
        quantity=found.cell.quantity,
        status=status,
        sentence=sentence,
        unit=found.unit,
        before=found.before,
        now=found.now,
        remark=remark,
        margin=margin,
        change=change,
        p_worse=p_worse,
        p_not_worse=found.p_not_worse,
    )


def _outlook(found: _Compared, size: str, family: int) -> str:
    """Return how many seeds would decide. The tests have one side, so two-sided levels double."""
    change, margin = found.change, found.margin
    if change.n < 2:
        return "one seed has no spread: run two or more"
    if math.isnan(margin):
        return "the baseline's score is 0, and a margin in per cent of it is nothing"
    if change.mean < -margin:
        # Failing is corrected by Holm, passing is not.
        needed = seeds_to_detect(change.mean, change.sd, level=2 * ALPHA / family)
        shown = "would show a loss of this size"
    else:
        needed = seeds_to_detect(margin, change.sd, level=2 * ALPHA)
        shown = f"would show that nothing above {size} is lost, if so"
    if needed is None:
        return f"no number of seeds in reach {shown}"
    return f"about {max(needed, change.n + 1)} seeds {shown}"


# ---------------------------------------------------------------------------------- cost


def _counted(
    name: str, before: BaselineArm, now: BaselineArm, same_torch: bool
) -> Iterator[Finding]:
    """Yield what became of what is counted. Another torch may count otherwise, but builds no
    other network.
    """
    if not _seeds(now):
        return  # it was never priced, and its score says why
    for quantity, old, new, binding in (
        ("FLOPs", before.flops, now.flops, same_torch),
        ("parameters", before.parameters, now.parameters, True),
        ("peak bytes", before.peak_bytes, now.peak_bytes, same_torch),
    ):
        status: Status = "FAIL" if new > old else "PASS"
        rise = 100 * (new / old - 1) if old else math.inf
        sentence = f"{rise:+.2g} % a step" if new != old else "the same"
        if new > old and not binding:
            sentence += ", as another torch counts it"
        remark = "LOWER" if new < old else ""
        yield Finding(
            name, quantity, status, sentence, "", old, new, binding=binding, remark=remark
        )


def _timed(
    ratios: Mapping[str, tuple[Sequence[float], Sequence[float]]], binding: bool
) -> list[Finding]:
    """Return what became of device-seconds, arms that both sides have timed (Mann–Whitney)."""
    timed = {name: both for name, both in ratios.items() if all(both)}
    slower = [
        scipy.stats.mannwhitneyu(new, old, alternative="greater").pvalue
        for old, new in timed.values()
    ]
    findings = []
    for (name, (old, new)), p_worse in zip(timed.items(), holm(slower), strict=True):
        allowed = [ratio * (1 + TIME_MARGIN) for ratio in old]
        p_not_worse = float(scipy.stats.mannwhitneyu(new, allowed, alternative="less").pvalue)
        typical, was = statistics.median(new), statistics.median(old)
        rise = typical / was - 1
        status: Status = "INCONCLUSIVE"
        if rise > TIME_MARGIN and p_worse <= ALPHA:
            status = "FAIL"
        elif p_not_worse <= ALPHA:
            status = "PASS"
        findings.append(
            Finding(
                name=name,
                quantity="seconds",
                status=status,
                sentence=f"{rise:+.1%} a step, of {TIME_MARGIN:.0%} allowed",
                unit="×",
                before=was,
                now=typical,
                binding=binding,
                margin=TIME_MARGIN,
                p_worse=p_worse,
                p_not_worse=p_not_worse,
            )
        )
    return findings
