"""From a row's comparisons to its verdict, in words.

See `docs/protocol.md` for what each anchor answers.
"""

import math
from collections.abc import Mapping

from bench.spec.budget import AXIS_NAMES, TOLERANCE
from bench.stats.comparison import Comparison, Verdict
from bench.stats.tests import ALPHA
from bench.store.records import ANCHORS, SCREEN_BELOW, AnchorName, Outcome, Qualifier


def outcome_of(comparison: Comparison) -> Outcome:
    """Return what a comparison comes to. Every verdict and every standing follows from this."""
    if comparison.result.n == 0:
        return Outcome.NO_RESULT
    if not comparison.audited:
        return Outcome.UNEQUAL
    if comparison.result.n < SCREEN_BELOW:
        return Outcome.SCREEN
    if comparison.constant:
        return Outcome.CONSTANT
    if comparison.sign:
        return Outcome.TRANSFER if comparison.sign > 0 else Outcome.NEGATIVE
    return Outcome.EQUIVALENT if comparison.equivalent else Outcome.INCONCLUSIVE


def judge(against: Mapping[AnchorName, Comparison], unit: str, unscored: int = 0) -> Verdict:
    """Return the verdict of a row from its comparisons.

    The outcome is that against `full`. A qualifier is added where the strategy beats an anchor that
    had less compute or capacity. An anchor without equal budgets or enough seeds takes away what it
    would say, and nothing else. `unscored` runs diverged so far that they have no score; leaving
    them out of a mean would reward them.
    """
    if unscored:
        runs = "One run" if unscored == 1 else f"{unscored} runs"
        return Verdict(
            Outcome.COLLAPSED, f"{runs} diverged and left no score, so there is no verdict."
        )
    full = against["full"]
    outcome = outcome_of(full)
    sentence, certainty = _words(full, outcome, unit)
    if outcome in (Outcome.NO_RESULT, Outcome.SCREEN):
        return Verdict(outcome, sentence, certainty)
    qualifier, clauses = _qualified(against, unit)
    return Verdict(outcome, " ".join([sentence, *clauses]), certainty, qualifier)


def standing(comparison: Comparison) -> str:
    """Return how a row compares with a reference, in a word or two."""
    outcome = outcome_of(comparison)
    return {Outcome.TRANSFER: "better", Outcome.NEGATIVE: "worse"}.get(outcome, str(outcome))


def _words(full: Comparison, outcome: Outcome, unit: str) -> tuple[str, str]:
    """Return what the comparison with `full` says, and what that rests on."""
    result = full.result
    if outcome is Outcome.NO_RESULT:
        return "No seed has all the runs that a gain needs.", ""
    if outcome is Outcome.UNEQUAL:
        return f"{_unequal(full)}, so there is no verdict against it.", ""
    shown = f"{_figure(result.mean)} {_points(unit)} {_terms(full)}"
    if outcome is Outcome.SCREEN:
        over = "one seed" if result.n == 1 else f"{result.n} seeds"
        return (
            f"Screening only: {shown} over {over}, too few for a verdict.",
            f"A verdict needs {SCREEN_BELOW} seeds or more.",
        )
    if outcome is Outcome.CONSTANT:
        score = f"{full.anchor_mean:.4g} {unit}".rstrip()
        return (
            f"All runs of both sides have the same score ({score}), so there is nothing to "
            "compare. Try a harder or easier task, or another budget.",
            "",
        )
    interval = _interval(full, unit)
    if outcome in (Outcome.TRANSFER, Outcome.NEGATIVE):
        side = "Better" if outcome is Outcome.TRANSFER else "Worse"
        return (
            f"{side} than a single-task network: {shown}.",
            f"Significant ({_p(full.p_holm)}). {interval}",
        )
    if outcome is Outcome.EQUIVALENT:
        return (
            f"No difference above {_size(full.margin, unit)}: {shown}.",
            f"Equivalence is significant ({_p(full.p_equivalence_holm)}). {interval}",
        )
    alone = "Not significant."
    if result.p <= full.level:
        alone = f"Significant on its own, not after correction for {full.family} rows."
    detectable = full.family_detectable_gain
    power = (
        f"Power is below 80 % for true gains under {_size(detectable, unit)}."
        if math.isfinite(detectable)
        else f"With {result.n} seeds and {full.family} rows no gain can be significant."
    )
    return (
        f"Inconclusive: {shown}; {_outlook(full, unit)}.",
        f"{alone} {interval} {power}",
    )


def _qualified(
    against: Mapping[AnchorName, Comparison], unit: str
) -> tuple[Qualifier | None, list[str]]:
    """Return what the anchors with less compute or capacity add, and the sentences for it."""
    others = {anchor: against[anchor] for anchor in ANCHORS[1:] if anchor in against}
    silent = {anchor: why for anchor, c in others.items() if (why := _silence(c))}
    clauses = [f"{why}, so nothing is said against it." for why in silent.values()]
    beaten = [anchor for anchor, c in others.items() if c.sign > 0]
    if outcome_of(against["full"]) is Outcome.TRANSFER:
        return None, clauses  # as a rule it beats those with less, too
    figures = {anchor: f"{_figure(c.result.mean)} {_points(unit)}" for anchor, c in others.items()}
    if "split" in beaten:
        clause = f"Against separate networks that share the budget: {figures['split']}"
        if "slim" in others and "slim" not in silent:
            same = "" if "slim" in beaten else ", not significant"
            clause += f"; against narrow ones of the same parameters: {figures['slim']}{same}"
        return Qualifier.COMPUTE_SAVING, [f"{clause}.", *clauses]
    if "slim" in beaten and "split" in silent:
        return None, [f"It beats separate narrow networks ({figures['slim']}).", *clauses]
    if "slim" in beaten:
        clause = f"It beats separate narrow networks only ({figures['slim']})."
        return Qualifier.CAPACITY, [clause, *clauses]
    return None, clauses


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


def _terms(full: Comparison) -> str:
    """Return what the two sides had alike, and how many steps each took where those differ."""
    assert full.audit is not None
    terms = f"at equal {AXIS_NAMES[full.audit.axis]}"
    if full.audit.axis in ("steps", "samples") and abs(full.flops - 1) > TOLERANCE["s"]:
        terms += f" (and {full.flops:.1f} times the FLOPs)"
    if abs(full.steps[0] - full.steps[1]) > TOLERANCE["steps"] * full.steps[1]:
        terms += f" ({full.steps[0]:,} steps against {full.steps[1]:,})"
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
