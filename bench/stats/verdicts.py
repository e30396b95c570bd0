"""From a row's comparisons to its verdict, in words.

A verdict has two halves. Transfer compares at equal steps: did the other tasks teach the target
anything? Pay-off compares at equal compute: was sharing worth its price? See `docs/protocol.md`.
"""

import math
from collections.abc import Mapping

from bench.spec.budget import AXIS_NAMES, TOLERANCE
from bench.stats.comparison import Comparison, Verdict
from bench.stats.tests import ALPHA
from bench.store.records import SCREEN_BELOW, AnchorName, Outcome

#: Outcomes that a comparison has without any test: there is nothing to say of a size.
_UNTESTED = (Outcome.NO_RESULT, Outcome.UNEQUAL, Outcome.UNLEARNED, Outcome.CONSTANT)
#: How a sentence on each half of a verdict begins, where the gain is not negligible.
_TRANSFER: Mapping[Outcome, str] = {
    Outcome.BETTER: "Transfers",
    Outcome.WORSE: "Negative transfer",
    Outcome.INCONCLUSIVE: "Transfer is inconclusive",
}
_PAY_OFF: Mapping[Outcome, str] = {
    Outcome.BETTER: "Pays",
    Outcome.WORSE: "Does not pay",
    Outcome.INCONCLUSIVE: "Pay-off is inconclusive",
}


def outcome_of(comparison: Comparison) -> Outcome:
    """Return what a comparison comes to. Every verdict and every standing follows from this.

    A difference that was shown to be negligible is equivalent, whatever its sign.
    """
    if comparison.result.n == 0:
        return Outcome.NO_RESULT
    if not comparison.audited:
        return Outcome.UNEQUAL
    if comparison.unlearned:
        return Outcome.UNLEARNED
    if comparison.result.n < SCREEN_BELOW:
        return Outcome.SCREEN
    if comparison.constant:
        return Outcome.CONSTANT
    if comparison.equivalent:
        slight = {1: Outcome.SLIGHTLY_BETTER, -1: Outcome.SLIGHTLY_WORSE}
        return slight.get(comparison.sign, Outcome.EQUIVALENT)
    if comparison.sign:
        return Outcome.BETTER if comparison.sign > 0 else Outcome.WORSE
    return Outcome.INCONCLUSIVE


def judge(against: Mapping[AnchorName, Comparison], unit: str, unscored: int = 0) -> Verdict:
    """Return the verdict of a row from its comparisons with `full` and `same-steps`.

    A clause is added where the strategy does not beat `full`, but networks that share one budget.
    An anchor without equal budgets or enough seeds takes away what it would say, and nothing else.
    Where steps or samples are equal and their compute is not, nothing is said of pay-off.
    `unscored` runs diverged so far that they have no score; leaving them out of a mean would reward
    them.
    """
    full, same = against["full"], against.get("same-steps")
    if unscored:
        runs = "One run" if unscored == 1 else f"{unscored} runs"
        lost = Outcome.COLLAPSED
        sentence = f"{runs} diverged and left no score, so there is no verdict."
        return Verdict(lost, lost if same else None, sentence)
    pay_off = outcome_of(full)
    transfer = None if same is None else outcome_of(same)
    if same is not None and transfer is not None and not full.equal_compute:
        return _at_equal_steps(full, same, transfer, unit)
    once = same is None or same.steps == full.steps or pay_off is Outcome.UNLEARNED
    if same is None or (once and transfer is pay_off):
        sentence, certainty = _alone(full, pay_off, unit, transfer is not None)
    else:
        assert transfer is not None
        sentence, certainty = _both(full, same, pay_off, transfer, unit)
    if pay_off in (Outcome.NO_RESULT, Outcome.SCREEN):
        return Verdict(pay_off, transfer, sentence, certainty)
    beats_split, clauses = _shared_budget(against, pay_off, unit)
    return Verdict(pay_off, transfer, " ".join([sentence, *clauses]), certainty, beats_split)


def _at_equal_steps(full: Comparison, same: Comparison, transfer: Outcome, unit: str) -> Verdict:
    """Return the verdict of a row whose budget is not compute: it has one half alone."""
    if transfer in _UNTESTED:
        return Verdict(None, transfer, _untested(same, transfer, unit))
    steps = f"at equal steps ({same.steps[0]:,})"
    if transfer is Outcome.SCREEN:
        first = _screening(same, unit, steps)
        certainty = f"A verdict needs {SCREEN_BELOW} seeds or more."
    else:
        first = _half(same, transfer, unit, _TRANSFER, steps)
        certainty = _certainty(same, transfer, unit)
    silent = "Nothing is said of pay-off"
    if full.steps == same.steps:
        second = f"{silent}: it used {full.flops:.2g} times the FLOPs."
    else:
        second = f"{silent}: {_gain(full, unit)} {_terms(full)}."
    return Verdict(None, transfer, f"{first} {second}", certainty)


def standing(comparison: Comparison) -> str:
    """Return how a row compares with a reference, in a word or two."""
    return str(outcome_of(comparison))


def _alone(full: Comparison, outcome: Outcome, unit: str, transfers: bool) -> tuple[str, str]:
    """Return what the comparison with `full` says, and what that rests on.

    `transfers` says whether it is a comparison at equal steps too.
    """
    if outcome in _UNTESTED:
        return _untested(full, outcome, unit), ""
    terms = _terms(full, transfers)
    if outcome is Outcome.SCREEN:
        return (
            _screening(full, unit, terms),
            f"A verdict needs {SCREEN_BELOW} seeds or more.",
        )
    if outcome is Outcome.BETTER:
        word = "Transfers and pays" if transfers else "Pays"
    elif outcome is Outcome.WORSE:
        word = "Negative transfer, and does not pay" if transfers else "Does not pay"
    else:
        word = _neither(full, outcome, unit)
    return f"{word}: {_gain(full, unit)} {terms}{_prospect(full, outcome, unit)}.", _certainty(
        full, outcome, unit
    )


def _screening(comparison: Comparison, unit: str, terms: str) -> str:
    """Return what too few seeds say."""
    n = comparison.result.n
    over = "one seed" if n == 1 else f"{n} seeds"
    return f"Screening only: {_gain(comparison, unit)} {terms} over {over}, too few for a verdict."


def _both(
    full: Comparison, same: Comparison, pay_off: Outcome, transfer: Outcome, unit: str
) -> tuple[str, str]:
    """Return what both halves say where a row takes other steps than `full`, and their grounds."""
    cause = _cause(full)
    steps = f"at equal steps ({same.steps[0]:,})"
    first = _half(same, transfer, unit, _TRANSFER, steps)
    if transfer is Outcome.SCREEN:
        first = _screening(same, unit, steps)
    second = _half(full, pay_off, unit, _PAY_OFF, f"{_terms(full)}, as {cause}")
    if pay_off is Outcome.SCREEN:
        second = f"{_gain(full, unit)} {_terms(full)}: {cause}."
    grounds = [
        f"{label}: {text}"
        for label, comparison, outcome in (
            ("At equal steps", same, transfer),
            (f"A{_terms(full)[1:]}", full, pay_off),
        )
        if outcome not in (*_UNTESTED, Outcome.SCREEN)
        and (text := _certainty(comparison, outcome, unit))
    ]
    if Outcome.SCREEN in (pay_off, transfer):
        grounds.append(f"A verdict needs {SCREEN_BELOW} seeds or more.")
    return f"{first} {second}", " ".join(grounds)


def _half(
    comparison: Comparison, outcome: Outcome, unit: str, words: Mapping[Outcome, str], terms: str
) -> str:
    """Return what one half of a verdict says of a gain, on the terms of its comparison."""
    if outcome in _UNTESTED:
        return _untested(comparison, outcome, unit)
    word = words.get(outcome) or _neither(comparison, outcome, unit)
    return f"{word}: {_gain(comparison, unit)} {terms}{_prospect(comparison, outcome, unit)}."


def _untested(comparison: Comparison, outcome: Outcome, unit: str) -> str:
    if outcome is Outcome.NO_RESULT:
        return f"No seed has all the runs that a gain over {comparison.anchor} needs."
    if outcome is Outcome.UNEQUAL:
        return f"{_unequal(comparison)}, so there is no verdict against it."
    score = f"{comparison.anchor_mean:.4g} {unit}".rstrip()
    if outcome is Outcome.UNLEARNED:
        floor = f"{comparison.floor:.4g} {unit}".rstrip()
        margin = comparison.margin
        better = f"more than {_size(margin, unit)} better" if math.isfinite(margin) else "better"
        return (
            f"Nothing was learned: {comparison.anchor} scores {score} on average, and neither side "
            f"was shown to be {better} than a predictor that sees no image ({floor}), so there is "
            "nothing to compare. Try a larger budget, another learning rate or more images."
        )
    return (
        f"All runs of both sides have the same score ({score}), so there is nothing to "
        "compare. Try a harder or easier task, or another budget."
    )


def _neither(comparison: Comparison, outcome: Outcome, unit: str) -> str:
    """Return the word for a difference that is negligible or not shown."""
    if outcome is Outcome.INCONCLUSIVE:
        return "Inconclusive"
    slight = str(outcome).removeprefix(str(Outcome.EQUIVALENT))
    return f"No difference above {_size(comparison.margin, unit)}{slight}"


def _gain(comparison: Comparison, unit: str) -> str:
    return f"{_figure(comparison.result.mean)} {_points(unit)}"


def _cause(full: Comparison) -> str:
    """Return why a row takes other steps than a single-task network with the same budget."""
    ours, theirs = full.steps
    step = full.flops * theirs / ours
    steps = f"it takes {ours:,} steps and a single-task network {theirs:,}"
    assert full.audit is not None
    if full.audit.axis == "flop" and math.isfinite(step):
        return f"a step for this task costs {step:.3g} times as much: {steps}"
    return steps


def _prospect(comparison: Comparison, outcome: Outcome, unit: str) -> str:
    """Return how many seeds may decide what is not decided; nothing where it is."""
    return f"; {_outlook(comparison, unit)}" if outcome is Outcome.INCONCLUSIVE else ""


def _certainty(comparison: Comparison, outcome: Outcome, unit: str) -> str:
    """Return what a tested outcome rests on."""
    interval = _interval(comparison, unit)
    if outcome in (Outcome.BETTER, Outcome.WORSE):
        return f"Significant ({_p(comparison.p_holm)}). {interval}"
    if outcome.equal:
        return f"Equivalence is significant ({_p(comparison.p_equivalence_holm)}). {interval}"
    alone = "Not significant."
    if comparison.result.p <= comparison.level:
        alone = f"Significant on its own, not after correction for {comparison.family} rows."
    detectable = comparison.family_detectable_gain
    power = (
        f"Power is below 80 % for true gains under {_size(detectable, unit)}."
        if math.isfinite(detectable)
        else f"With {comparison.result.n} seeds and {comparison.family} rows no gain can be "
        "significant."
    )
    return f"{alone} {interval} {power}"


def _shared_budget(
    against: Mapping[AnchorName, Comparison], pay_off: Outcome, unit: str
) -> tuple[bool, list[str]]:
    """Return whether only networks that share one budget are beaten, and the sentences for it."""
    others = {name: against[name] for name in ("split", "slim") if name in against}
    clauses = [
        f"{why}, so nothing is said against it." for c in others.values() if (why := _silence(c))
    ]
    if pay_off is Outcome.BETTER or "split" not in others or others["split"].sign <= 0:
        return False, clauses
    figures = _gain(others["split"], unit)
    return True, [f"Beats separate networks that share the budget ({figures}).", *clauses]


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


def _p(p: float) -> str:
    """Return a corrected p-value, rounded up so that it claims no more than it shows."""
    return "Holm-adjusted p < 0.001" if p < 0.001 else f"Holm-adjusted p = {_rounded_up(p)}"


def _rounded_up(p: float) -> str:
    digits = 3 if p < 0.01 else 2
    return f"{math.ceil(p * 10**digits - 1e-9) / 10**digits:.{digits}f}"


def _interval(comparison: Comparison, unit: str) -> str:
    """Return the interval of the gain on these test images, and on others."""
    result, population = comparison.result, comparison.population
    if result.low == result.high:
        return "The gain is the same at every seed."
    text = f"{100 * (1 - comparison.level):.4g} % interval: {_between(result.low, result.high)}"
    if population is None:
        return f"{text} {_points(unit)}."
    sign = 1 if result.mean > 0 else -1
    fits = population.low <= 0 <= population.high
    doubt = ", which includes no gain at all" if comparison.sign == sign and fits else ""
    others = _between(population.low, population.high)
    return f"{text} {_points(unit)}; for other test images, {others}{doubt}."


def _between(low: float, high: float) -> str:
    return f"{_figure(low)} to {_figure(high)}"


def _terms(full: Comparison, equal_steps: bool = False) -> str:
    """Return what the two sides had alike, and at which interim analysis."""
    assert full.audit is not None
    axis = full.audit.axis
    terms = f"at equal {AXIS_NAMES[axis]}"
    if equal_steps and axis != "steps":
        terms += f" and steps ({full.steps[0]:,})"
    if axis in ("steps", "samples") and abs(full.flops - 1) > TOLERANCE["s"]:
        terms += f" (and {full.flops:.1f} times the FLOPs)"
    if 0 < full.level < ALPHA:
        terms += f" over {full.result.n} seeds (an interim analysis at p ≤ {full.level:.2g})"
    return terms


def _outlook(comparison: Comparison, unit: str) -> str:
    """Return how many seeds would find a true gain as large as the one seen, or as the margin."""
    needed = comparison.seeds_needed
    seeds = f"about {needed} seeds" if needed else "no number of seeds in reach"
    seen = comparison.sought == abs(comparison.result.mean)
    size = "this size" if seen else _size(comparison.sought, unit)
    return f"{seeds} would find a true gain of {size} with 80 % power"


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
