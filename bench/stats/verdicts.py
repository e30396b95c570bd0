"""From a row's comparisons to its verdict, and how sure that is, in plain words.

See `docs/protocol.md` for what each anchor answers.
"""

import math
from collections.abc import Mapping

from bench.spec.budget import AXIS_NAMES, TOLERANCE
from bench.stats.comparison import Comparison, Verdict
from bench.stats.tests import ALPHA
from bench.store.records import ANCHORS, SCREEN_BELOW, AnchorName


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
    if result.p <= full.level:
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
