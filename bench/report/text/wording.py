"""Words and number formats that tables, plots and files share. No layout and no files here."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from bench.spec.budget import AXIS_NAMES, STALL_LIMIT, Axis, Budget
from bench.spec.experiment import Experiment
from bench.stats.comparison import Comparison, RowResult
from bench.stats.tests import PairedResult
from bench.stats.verdicts import standing
from bench.store.records import SCREEN_BELOW, AnchorName, Declaration, InterimAnalysis

NOTHING = "–"
#: Of more strategies than this only the number is told.
MOST_NAMED = 4

#: What each anchor answers, as a clause.
ANCHOR_MEANING: Mapping[AnchorName, str] = {
    "full": "the single-task network has the whole budget (is sharing worth its price?)",
    "same-steps": "it takes as many steps as the shared network does for this task (is there "
    "transfer?); where both cost the same per step, it is full itself",
    "split": "the tasks' own networks share the budget equally (what does one allowance buy?)",
    "slim": "like split, and narrowed until together they have as many parameters as the shared "
    "network; their cheaper steps are more in number, so this is no test of size alone",
}

_GAIN = (
    "A gain is the test score of a sharing strategy minus that of a single-task network (the "
    "anchor) at the same seed, in points of the metric; above zero, sharing is better."
)
_FLOOR = (
    "The floor is the score on the test images of a predictor that knows the training labels and "
    "sees no image: the largest class, the shares of the labels, the mean. Where neither side is "
    "shown to be better by more than the margin (one-sided t test over the seeds, 5 %), nothing "
    "was learned that a verdict could be about."
)
_INTERVAL = (
    "The 95 % interval is a Student t interval of the mean gain over the seeds: of intervals made "
    "this way, 95 % hold the true mean gain over training runs from this pool of images, scored on "
    "these test images. The interval for new test images treats seeds and test images as random "
    "(crossed random effects), so it speaks of other images of this kind too. It exists where the "
    "metric is a mean over images. Neither is corrected for the number of rows; verdicts are, and "
    "rest on these test images."
)
_P_VALUE = (
    "p (Holm) says how often a mean gain at least this far from zero would arise if the true one "
    "were zero. It is corrected for the number of rows compared with the same anchor. It is the "
    "larger of a paired t test's and a sign-flip test's; at most 0.05 counts as significant."
)
_SKEW = (
    "Both tests take gains to be symmetric about their mean. Where a seed lies far from the others "
    "(five robust standard deviations), or the mean and the Hodges–Lehmann estimate disagree, the "
    "row says so."
)
_DETECTABLE = (
    "The minimum detectable gain (MDG) is the true gain that so many seeds, spread as these are, "
    "would find against full in 80 % of experiments, were the row alone; the one in this table is "
    "what they would find after the strictest correction that its number of rows can ask for."
)
_AUDIT = (
    "The audit compares what both sides really used on the axis of the budget, against the anchor "
    "that lies furthest off; a row whose budgets were unequal gets no verdict."
)
#: What each verdict means.
VERDICTS = (
    "A verdict has two halves. At equal steps, against same-steps: transfer or negative transfer. "
    "At equal compute, against full: pays or does not pay. equivalent: shown to lie within the "
    "margin; slightly better or worse where it is significant all the same. inconclusive: neither "
    "a difference nor equivalence was shown. One word stands for both halves where they agree. "
    "compute saving: it beats split, though not full. screen: too few seeds for a verdict. unequal "
    "budgets: the audit against full failed. nothing learned: neither side was shown to lie above "
    "its floor by more than the margin. no variation: all runs of both sides have the same "
    "score. collapsed: a run diverged and left no score. Tests are corrected over the rows that "
    "have the same anchor, for each anchor by itself; rows with a placebo are controls outside "
    "this family."
)
#: What is said of the budget.
SHORT = (
    "A budget is short where the single-task network loses more than the margin with its share of "
    "it alone (split, half for a pair): a larger budget may then turn verdicts."
)
#: What the price is, the difference between the two halves.
PRICE = (
    "Price: what the steps are worth that the shared network lacks, or has beyond those of a "
    "single-task network of the same budget. At every seed the gain against full is the gain "
    "against same-steps plus this."
)
#: What each reference is and answers.
REFERENCE_MEANING: Mapping[AnchorName, str] = {
    "reference": "It is the strategy that the experiment holds all others against.",
    "wide": "It is the target's own single-task network, widened until a step of it costs as many "
    "FLOPs as a step of the row's: would one bigger network have been a better use of the compute? "
    "Where that is full itself, the row is not here.",
    "same-size": "It is plain sharing, of the width at which it has the row's number of "
    "parameters: is it the method, or only the size? Where that is the row itself, or what it is "
    "compared with already, the row is not here; nor are auxiliary runs.",
}
#: What the comparison with a reference says.
REFERENCE = (
    "Both sides had the whole budget, at the same seeds. better, worse: significant after Holm's "
    "correction over the rows compared with it. equivalent: two one-sided tests, corrected "
    "too, place the difference inside the margin. inconclusive: neither."
)
EXPLORED = (
    "q is the larger of the two tests' p-values, corrected over all lines of this table for the "
    "false discovery rate (Benjamini and Hochberg): of the lines with q at most 0.05, 5 % are "
    "expected to be no difference. This table explores; no verdict rests on it."
)
#: What was found over several pairs.
ACROSS = (
    "Gains over full, all pairs of a strategy together, placebos aside; in points where the metric "
    "is a percentage, else in hundredths of full's score. IQM: the mean of the middle half of all "
    "runs, which a single wild pair does not move. Chance of a gain: the share of runs above zero, "
    "paired by seed. Both have 95 % intervals over the seeds; a seed is drawn with its gains in "
    "all pairs. They speak of these pairs, not of all pairs there are."
)
#: What related partners bring beyond others.
CONTRASTS = (
    "For one target the partner is swapped, at the same seeds and the same number of steps: the "
    "gain beside partners that were declared to help, minus that beside the others. Partners whose "
    "steps cost otherwise take other numbers of steps and are left out."
)
#: Which strategy is best.
RANKING = (
    "Strategies of one question by their mean score. P(best) says how often a strategy has the "
    "best mean when seeds are drawn anew, each with the scores of all strategies. A strategy is "
    "worse than those named where the difference is significant after Holm's correction over all "
    "pairs of strategies. Methods that coincide count once."
)
#: How declared expectations are scored.
EXPECTATIONS = (
    "What was declared before the runs is scored on transfer, at equal steps. It came true where "
    "positive is transfer, negative is negative transfer, and none is equivalent, which has to be "
    "shown. Inconclusive rows and those without a verdict are open. A strategy without a partner "
    "has no expectation."
)
RELATIVE = (
    "Δm is the mean over a pair's targets of the gain against full as a share of the anchor's "
    "mean score; positive is better."
)

#: What the gradients of a row's tasks say, and what they do not.
GRADIENTS = (
    "The cosine is that of the gradients of the target's and another task's own loss, unweighted, "
    "on all shared parameters: above zero, a small step for the one lowers the other's loss too; "
    "below zero, it raises it. They are taken on one fixed batch of training images, as large as a "
    "step's, whose noise draws the cosine towards zero. The ratio is the norm of the other task's "
    "gradient over the target's: above 1, the other pulls harder. Both describe what training was "
    "like. A negative cosine does not prove that sharing harms, nor a positive one that it helps; "
    "the gain says that."
)

#: What the weights of losses are, and why they are shown.
WEIGHTS = (
    "The weight of a task's loss in the mean that a step descends, the task's own weight times the "
    "method's. Only weights that move are here. Where they hardly do, being as good as fixed "
    "weights says nothing of the method."
)

#: What changes where an experiment goes on until it is decided.
SEQUENTIAL = (
    "This experiment ran until it was decided, with interim analyses: a pair got more seeds only "
    "while one of its rows had no verdict. p-values and intervals are repeated ones (Jennison & "
    "Turnbull 1989) with O'Brien–Fleming bounds. They stay valid whenever a pair was stopped: the "
    "error over all analyses together is at most 5 %. A mean gain of a pair that was stopped early "
    "tends to lie further from zero than the true gain. Intervals of the summary across pairs are "
    "those of a single analysis, and therefore somewhat too narrow."
)
#: What changes where only the strategies that can still be the best get more seeds.
RACE = (
    "This experiment was a race. After each quarter of the planned seeds, a strategy left it "
    "that was too unlikely to have the best mean in the end, for every target of its pair. The "
    "chance is that of a t predictive distribution of its mean difference from the leader over "
    "all planned seeds. Its variance leans on those of the other strategies as far as they agree "
    "(Smyth 2004). The chance allowed is 5 % over strategies and analyses: for one target, in "
    "about 5 % of races at most all seeds of all strategies would have named another best one. "
    "Those that left are not thereby shown to be worse than any other, and their rows have fewer "
    "seeds. p-values and intervals are repeated ones (Jennison & Turnbull 1989) with "
    "O'Brien–Fleming bounds, so leaving makes none of them err more often."
)


def anchor_meanings() -> str:
    """Return a sentence that says what each anchor is."""
    clauses = "; ".join(f"{name}: {text}" for name, text in ANCHOR_MEANING.items())
    return f"Anchors: {clauses}."


def how_to_read(experiment: Experiment) -> str:
    """Return the paragraph that explains the table to who never saw the project."""
    parts = [_GAIN, _FLOOR, anchor_meanings(), PRICE, SHORT]
    parts += [_INTERVAL, _P_VALUE, _SKEW, _DETECTABLE, _AUDIT]
    if experiment.until_decided:
        parts += [RACE if experiment.race else SEQUENTIAL]
    return " ".join(parts)


def interim_lines(declaration: Declaration) -> list[str]:
    """Return one line per interim analysis: its seeds, its bound and what it decided."""
    lines = []
    for number, analysis in enumerate(declaration.interim_analyses, 1):
        seeds = " and ".join(map(str, sorted({row.seeds for row in analysis.rows})))
        bounds = " and ".join(f"{p:.2g}" for p in sorted({row.bound for row in analysis.rows}) if p)
        rule = f"p ≤ {bounds} for a row alone" if bounds else "too few to reject"
        so_far = _race_so_far if declaration.experiment.race else _decided_so_far
        lines.append(f"analysis {number} at {seeds} seeds ({rule}): {so_far(analysis)}")
    return lines


def _decided_so_far(analysis: InterimAnalysis) -> str:
    pairs = {row.pair for row in analysis.rows}
    done = pairs - {row.pair for row in analysis.rows if row.undecided}
    names = f" ({', '.join(sorted(done))})" if done else ""
    return f"{len(done)} of {len(pairs)} pairs done{names}"


def _race_so_far(analysis: InterimAnalysis) -> str:
    told = []
    for pair in dict.fromkeys(row.pair for row in analysis.rows):
        racing = {row.strategy for row in analysis.rows if row.pair == pair}
        left = sum(leaver.pair == pair for leaver in analysis.left)
        told.append(f"{left} of {len(racing)} strategies left the race of {pair}")
    return "; ".join(told)


def fold(text: str, fits: Callable[[str], bool]) -> str:
    """Break a text into lines that fit, at spaces or after the signs that join names.

    What is longer than a line that does not fit does not fit either. `fits` may take long, so it is
    asked of the whole text first, and then of lines of as many pieces as the one before.
    """
    if fits(text.strip()):
        return text.strip()
    pieces = re.findall(r"\s+|[^\s+:~_@,-]+[+:~_@,-]*|[+:~_@,-]+", text)
    lines, count = list[str](), 1

    def line(count: int) -> str:
        return "".join(pieces[:count]).strip()

    while pieces:
        least = next((n for n, piece in enumerate(pieces, 1) if piece.strip()), 1)
        count = max(least, min(count, len(pieces)))
        while count > least and not fits(line(count)):
            count -= 1
        while count < len(pieces) and fits(line(count + 1)):
            count += 1
        lines.append(line(count))
        del pieces[:count]
    return "\n".join(lines)


def number(value: float, unit: str = "%", sign: bool = False) -> str:
    """Return a value in the precision of its unit; a dash where there is none."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:{'+' if sign else ''}{'.2f' if unit == '%' else '.3g'}}"


def gain(value: float, unit: str = "%") -> str:
    """Return a gain, always with its sign."""
    return number(value, unit, sign=True)


def interval(comparison: Comparison | None, unit: str) -> str:
    """Return a mean gain with its 95 % interval."""
    if comparison is None:
        return NOTHING
    return spread(comparison.result, unit)


def network(comparison: Comparison) -> str:
    """Return the network that a comparison is with: its strategy and, if scaled, its width."""
    if not comparison.strategy:
        return comparison.anchor
    return comparison.strategy + (
        "" if comparison.width == 1 else f", width {comparison.width:.2f}"
    )


def versus(result: RowResult) -> str:
    """Return how a row stands to its references, or an empty text where it has none."""
    parts = []
    for name, comparison in result.references.items():
        rival = network(comparison)
        shown = rival if name == "reference" else f"{name} ({rival})"
        gains = spread(comparison.result, result.unit)
        parts.append(f"Against {shown}: {gains}, {standing(comparison)}")
    return ". ".join(parts)


def same_finding(results: Sequence[RowResult]) -> str:
    """Return which strategies are one finding here, or an empty text where none are."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in results:
        groups.setdefault(row.finding, []).append(row.strategy)
    shown = dict.fromkeys(" and ".join(names) for names in groups.values() if len(names) > 1)
    if not shown:
        return ""
    return (
        f"With two tasks these have one direction: {'; '.join(shown)}. A row that begins with = is "
        "one finding with the row above, not a win of its own: only the lengths and costs of "
        "their steps, and rounding, can tell the two apart."
    )


def finding_marks(results: Sequence[RowResult]) -> list[str]:
    """Return what stands before the strategy of each row: = where it is the finding above."""
    findings = [row.finding for row in results]
    same = [False, *(a == b for a, b in pairwise(findings))]
    return ["= " * mark for mark in same[: len(findings)]]


def spread(result: PairedResult, unit: str) -> str:
    """Return the mean of gains with its 95 % interval, where there is one."""
    return bounded(result.mean, result.low, result.high, unit, sign=True)


def chance(share: float) -> str:
    """Return a simulated probability in percent; it is never certain."""
    return (
        "<1 %" if share < 0.01 else ">99 %" if share > 0.99 else f"{share:.0%}".replace("%", " %")
    )


def price(result: RowResult) -> str:
    """Return what sharing's price is worth in points, with its interval; 0 where it has none."""
    if result.price is None:
        return number(0.0, result.unit) if "same-steps" in result.against else NOTHING
    return spread(result.price, result.unit)


#: Whether a budget is short, by whether that is shown.
BUDGET_WORDS = {True: "short", False: "long enough", None: "perhaps short"}


def short_budget(result: RowResult) -> str:
    """Return whether more compute would help the target's single-task network; empty if unknown."""
    if result.short is None or not result.short.n:
        return ""
    word = BUDGET_WORDS[result.budget_is_short]
    part = {2: "half", 3: "a third", 4: "a quarter"}.get(result.shares, f"1/{result.shares}")
    return f"budget {word}: {part} of it costs {halved(result.short, result.unit)}"


def context(rows: Sequence[RowResult]) -> str:
    """Return what the rows of one question share: the expectation and the score to beat."""
    known = [row for row in rows if math.isfinite(row.against["full"].anchor_mean)]
    row = (known or rows)[0]
    alone = number(row.against["full"].anchor_mean, row.unit)
    told = [
        f"expected: {row.expect}" if row.expect else "",
        f"single-task {row.metric}: {alone} {row.unit}".strip(),
        next(filter(None, map(short_budget, rows)), ""),
    ]
    return "; ".join(filter(None, told))


def cost(row: RowResult) -> str:
    """Return the FLOPs and seconds of a row for each that its single-task network took."""
    full = row.against["full"]
    return f"{number(full.flops, '')}, {number(full.seconds, '')}"


def declared_anew(declaration: Declaration) -> str:
    """Return a warning where something else stood under this name before, or an empty text."""
    if not declaration.changes:
        return ""
    times = "once" if declaration.changes == 1 else f"{declaration.changes} times"
    return (
        "Other rows, seeds, budget, margin or recipe stood under this name before (changed "
        f"{times}); what was chosen after seeing results proves less than it seems to."
    )


def compared(results: Sequence[RowResult]) -> str:
    """Return what rows are compared with, and what either half of a verdict says."""
    second = "at equal compute (pay-off)"
    if what_budget(results) != "compute":
        second = "with the same budget, though not with the same compute"
    return (
        "a shared network with a single-task network of the task behind the arrow: at equal steps "
        f"(transfer), and {second}"
    )


def what_budget(results: Sequence[RowResult]) -> str:
    """Return what rows and the networks with the whole budget have used alike, in a word."""
    equal = all(row.against["full"].equal_compute for row in results)
    return "compute" if equal else "budget"


def steps(result: RowResult) -> str:
    """Return the steps of the row and of the network with the whole budget."""
    ours, theirs = result.against["full"].steps
    return f"{ours:,} / {theirs:,}" if theirs else NOTHING


def halved_gain(comparison: Comparison | None, unit: str) -> str:
    """Return the gain of a comparison ± half of its interval; a dash where there is none."""
    return NOTHING if comparison is None else halved(comparison.result, unit)


def halved(result: PairedResult, unit: str) -> str:
    """Return the mean of gains ± half of its interval: it is symmetric, so that says all of it."""
    half = result.high - result.mean
    return gain(result.mean, unit) + (f" ±{number(half, unit)}" if math.isfinite(half) else "")


def bounded(value: float, low: float, high: float, unit: str = "%", sign: bool = False) -> str:
    """Return a figure with its interval, where there is one."""
    shown = [number(x, unit, sign) for x in (value, low, high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if math.isfinite(low) else shown[0]


def detectable(value: float, unit: str) -> str:
    """Return a minimum detectable gain; there is none where no gain could be called."""
    return "none" if value == math.inf else number(value, unit)


def seeds_needed(comparison: Comparison) -> str:
    """Return how many seeds would decide a row that is undecided."""
    if comparison.decided or comparison.result.n < SCREEN_BELOW:
        return NOTHING
    needed = comparison.seeds_needed
    return str(needed) if needed else "over 1,000"


def score(result: RowResult) -> str:
    """Return the mean test score with its standard deviation over seeds."""
    mean, sd = number(result.score_mean, result.unit), number(result.score_sd, result.unit)
    if mean == NOTHING:
        return NOTHING
    spread = "" if sd == NOTHING else f" ± {sd}"
    return f"{mean}{spread} {result.unit}".strip()


def p_value(p: float) -> str:
    """Return a p-value to three decimals."""
    if math.isnan(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def rounded_up(p: float) -> str:
    """Return a p-value that a finding rests on, to three decimals and never smaller than it is."""
    return f"{math.ceil(1e3 * p) / 1e3:.3f}"


def points(margin: float) -> str:
    """Return a margin in words: `1 point`."""
    return f"{margin:g} point{'s' * (margin != 1)}"


def percent(share: float) -> str:
    """Return a signed share in percent, to two decimals."""
    return f"{share:+.2%}".replace("%", " %") if math.isfinite(share) else NOTHING


def share_percent(share: float) -> str:
    """Return a share in whole percent; a dash where there is none."""
    return f"{share:.0%}".replace("%", " %") if math.isfinite(share) else NOTHING


def audit(result: RowResult) -> str:
    """Return whether the budgets of a row were equal, with the largest difference."""
    deviations = [c.deviation for c in result.against.values() if not math.isnan(c.deviation)]
    if not deviations:
        return NOTHING
    passed = all(c.audited for c in result.against.values())
    worst = max(deviations, key=abs)
    shown = percent(worst) if math.isfinite(worst) else "reference used nothing"
    return f"{'equal' if passed else 'UNEQUAL'} ({shown})"


def heading(pair: str, target: str) -> str:
    """Return the name of the question that several strategies answer."""
    return f"{pair} → {target}"


def expected(expect: str | None) -> str:
    """Return what was declared before the runs."""
    return expect or NOTHING


def skew(result: RowResult) -> str:
    """Return which seeds drive a row, and what the gain is without their pull; empty if none do."""
    found = result.against["full"]
    if not found.skewed or found.robust is None:
        return ""
    robust, unit = found.robust, result.unit
    mean = bounded(robust.estimate, robust.low, robust.high, unit, sign=True)
    told = f"the Hodges–Lehmann gain at equal compute, which single seeds cannot move, is {mean}"
    if not found.outlying:
        return f"The gains are skewed: {told}"
    seeds = " and ".join(f"{seed} ({gain(found.gains[seed], unit)})" for seed in found.outlying)
    lies = "Seed {} lies" if len(found.outlying) == 1 else "Seeds {} lie"
    return f"{lies.format(seeds)} far from the others; {told}"


def trouble(result: RowResult) -> str:
    """Return why a row lacks runs, or an empty text where it lacks none."""
    counts = []
    if result.collapsed:
        counts.append(f"{result.collapsed} diverged")
    if result.failed:
        counts.append(f"{result.failed} failed or not run")
    reasons = "; ".join(result.reasons)
    return ": ".join(part for part in (", ".join(counts), reasons) if part)


def stall(result: RowResult) -> str:
    """Return how long the runs of a row waited for images; an empty text where that is little."""
    if result.stall <= STALL_LIMIT:
        return ""
    return (
        f"up to {result.stall:.0%} of the training time went by waiting for images, so its seconds "
        "say little: let them live on the device (--resident always) or on a faster disk"
    )


def gain_unit(metric: str, unit: str) -> str:
    """Return the unit that gains in a metric have."""
    if unit == "%":
        return f"percentage points of {metric}"
    if not metric:
        return "points of the metric"
    return f"{', '.join(filter(None, (metric, unit)))}; positive is better"


def metric_label(metric: str, unit: str) -> str:
    """Return a metric with its unit."""
    return f"{metric or 'score'} ({unit})" if unit else metric or "score"


def si_scale(largest: float, axis: Axis) -> tuple[float, str]:
    """Return the divisor and the unit in which amounts up to `largest` read well."""
    if axis == "flop":
        for scale, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
            if largest >= scale:
                return scale, f"{prefix}FLOPs"
    return 1.0, AXIS_NAMES[axis]


def amount(budget: Budget) -> str:
    """Return a budget as a person writes it: `2 TFLOPs`."""
    scale, unit = si_scale(budget.amount, budget.axis)
    return f"{budget.amount / scale:.4g} {unit}"


def settings(experiment: Experiment) -> dict[str, str]:
    """Return what all rows of an experiment have in common."""
    recipe = experiment.recipe
    schedule = f"warm-up over {100 * recipe.warmup:g} %, then cosine"
    tuned = "each arm's own, tuned around " if experiment.tune else ""
    factor = recipe.encoder_rate
    encoders = "" if factor is None else f"; encoders at {tuned}{factor:g} times that"
    trials = f"{experiment.tune} trials of every arm at {_seeds(experiment.tune_seeds)}"
    most = " at most a strategy" if experiment.race else " at most a pair"
    return {
        "budget": f"{amount(Budget.parse(experiment.budget))} a shared run",
        "seeds": f"{experiment.seeds}{most if experiment.until_decided else ''}",
        "network": recipe.network,
        **({} if recipe.dense_head == "decoder" else {"dense head": recipe.dense_head}),
        **({"metric": ", ".join(recipe.metric)} if recipe.metric else {}),
        "batch size": str(recipe.batch_size),
        "learning rate": f"{tuned}{recipe.learning_rate:g}, {schedule}{encoders}",
        "weight decay": f"{tuned if recipe.weight_decay else ''}{recipe.weight_decay:g}",
        "tuning": trials if experiment.tune else "none: one recipe for all",
        "augmentation": recipe.augment,
        "equivalence margin": f"±{experiment.margin:g} points, or as many per cent of full's score "
        "where the metric is no percentage",
    }


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
