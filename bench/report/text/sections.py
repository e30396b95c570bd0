"""The parts of a report behind its table, as titles, texts and tables: no markup, no escaping.

`table.md` and the page show the same sections, each in its own markup.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.decide.pairs import TaskSet
from bench.report.text import levels
from bench.report.text.decision import (
    RELATIVE_COLUMNS,
    USE,
    USE_COLUMNS,
    relative_lines,
    use_lines,
)
from bench.report.text.pilot import PILOT, pilot_cost, pilot_table, pilot_verdict
from bench.report.text.race import COLUMNS as RACE_COLUMNS
from bench.report.text.race import race_table
from bench.report.text.tuning import COLUMNS, TUNING, Tuned, cells, tuning_note
from bench.report.text.wording import (
    ACROSS,
    CONTRASTS,
    EXPECTATIONS,
    EXPLORED,
    GRADIENTS,
    MOST_NAMED,
    NOTHING,
    RANKING,
    REFERENCE,
    REFERENCE_MEANING,
    RELATIVE,
    VERDICTS,
    WEIGHTS,
    bounded,
    chance,
    compared,
    detectable,
    finding_marks,
    heading,
    how_to_read,
    interim_lines,
    interval,
    metric_label,
    network,
    number,
    p_value,
    percent,
    seeds_needed,
    settings,
    short_budget,
    skew,
    spread,
    stall,
    trouble,
)
from bench.spec.budget import Budget
from bench.stats.across import Estimate, across_pairs, contrasts, expectations, without_gains
from bench.stats.comparison import Comparison, RowResult
from bench.stats.gains import Lookup
from bench.stats.levels import OverLevels
from bench.stats.ranking import Ranked, rankings
from bench.stats.verdicts import standing
from bench.store.records import REFERENCES, AnchorName, Declaration


@dataclass(frozen=True)
class Code:
    """A name that somebody typed, shown as code."""

    text: str


@dataclass(frozen=True)
class Strong:
    """A finding, shown in bold."""

    text: str


#: What one piece of a text is, and what a cell or a line is made of.
Part = str | Code | Strong
Text = Part | tuple[Part, ...]


@dataclass(frozen=True)
class Table:
    """Cells under the names of their columns."""

    columns: tuple[str, ...]
    lines: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True)
class Section:
    """A part of a report: what it is called, what is to be known of it, lists and tables.

    `blocks` are paragraphs (a text), lists (a list of texts) and tables, in their order.
    """

    name: str
    title: str
    blocks: tuple[Text | list[Text] | Table, ...]


def parts_of(text: Text) -> tuple[Part, ...]:
    """Return the pieces of a text."""
    return text if isinstance(text, tuple) else (text,)


def sections(
    declaration: Declaration,
    results: Sequence[RowResult],
    decided: Sequence[TaskSet] = (),
    tuning: Sequence[Tuned] = (),
    made: Mapping[str, Sequence[str]] | None = None,
    over: Sequence[OverLevels] = (),
    find: Lookup = lambda _: None,
) -> list[Section]:
    """Return all sections that have something to show, in the order in which they are read.

    `made` says on what the runs were made, `find` returns the records of pilots.
    """
    every = (
        _race(declaration, results),
        _relative(decided),
        _use(decided),
        _words(results),
        _over_levels(over),
        _expectations(results),
        _contrasts(results),
        _across(results),
        _rankings(results),
        *(_reference(name, results) for name in REFERENCES),
        _troubles(results),
        _stalls(results),
        _tests(results),
        _metrics(results),
        _gradients(results),
        _weights(results),
        _tuning(tuning),
        _pilot(declaration, find),
        _interim(declaration),
        _data(declaration),
        _made(declaration, made or {}),
        Section("reading", "How to read it", (how_to_read(declaration.experiment), VERDICTS)),
    )
    return [section for section in every if section is not None]


def tabled(
    name: str,
    title: str,
    columns: Sequence[str],
    lines: Iterable[tuple[Text, ...]],
    *texts: Text,
) -> Section | None:
    """Return a section with a table under some texts; None where the table has no line."""
    rows = tuple(lines)
    return Section(name, title, (*texts, Table(tuple(columns), rows))) if rows else None


def _listed(name: str, title: str, lines: Iterable[Text], *texts: Text) -> Section | None:
    """Return a section with a list under some texts; None where the list has no line."""
    items = list(lines)
    return Section(name, title, (*texts, items)) if items else None


def _race(declaration: Declaration, results: Sequence[RowResult]) -> Section | None:
    """Return when strategies left a race; who is left is said above all sections."""
    lines: list[tuple[Text, ...]] = [
        (Code(pair), Code(strategy), *rest)
        for pair, strategy, *rest in race_table(declaration, results)
    ]
    return tabled("race", "The race", RACE_COLUMNS, lines)


def _question(row: RowResult) -> Code:
    return Code(heading(row.pair, row.target))


def _relative(decided: Sequence[TaskSet]) -> Section | None:
    """Return Δm of each strategy whose network serves a set of tasks."""
    lines: list[tuple[Text, ...]] = [
        (name, Code(by), gains, mean) for name, by, gains, mean in relative_lines(decided)
    ]
    return tabled("delta-m", "Δm", RELATIVE_COLUMNS, lines, RELATIVE)


def _use(decided: Sequence[TaskSet]) -> Section | None:
    lines: list[tuple[Text, ...]] = [
        (name, Code(network), *figures) for name, network, *figures in use_lines(decided)
    ]
    return tabled("use", "What the networks cost to use", USE_COLUMNS, lines, USE)


def _words(results: Sequence[RowResult]) -> Section | None:
    """Return each verdict with what it rests on, under the question that it answers."""
    if not results:
        return None
    blocks: list[Text | list[Text] | Table] = [f"Each line compares {compared(results)}."]
    for _, group in groupby(results, key=lambda row: (row.pair, row.target)):
        rows = list(group)
        told = [f"declared before the runs: {rows[0].expect}"] if rows[0].expect else []
        told += list(filter(None, map(short_budget, rows)))[:1]
        blocks.append((_question(rows[0]), f" ({'; '.join(told)})" if told else ""))
        blocks.append([_said(row) for row in rows])
    return Section("words", "Each verdict in words", tuple(blocks))


def _said(row: RowResult) -> Text:
    """Return the verdict of a row with what it rests on."""
    certainty = f"{row.verdict.certainty} {text}." if (text := skew(row)) else row.verdict.certainty
    return (
        Code(row.strategy),
        ": ",
        Strong(f"{row.verdict.name}."),
        f" {row.verdict.sentence} {certainty}".rstrip(),
    )


def _over_levels(over: Sequence[OverLevels]) -> Section | None:
    """Return the verdicts at each level."""
    if not over:
        return None
    budgets = isinstance(over[0].levels[0], Budget)
    return tabled(
        "levels",
        "At which budget?" if budgets else "With how many images?",
        levels.columns(over),
        map(levels.cells, over),
        levels.OVER_BUDGETS if budgets else levels.OVER_SIZES,
    )


def _expectations(results: Sequence[RowResult]) -> Section | None:
    """Return how what was declared came out."""
    found = expectations(results)
    true, false = sum(e.came_true for e in found), sum(e.came_false for e in found)
    rows = sum(e.rows for e in found)
    told = (
        f"{true} of {rows} declared expectations came true, {false} came "
        f"false, {rows - true - false} are open. {EXPECTATIONS}"
    )
    columns = ("strategy", "declared", "rows", "came true", "came false", "open")
    lines: list[tuple[Text, ...]] = [
        (Code(e.strategy), e.expect, *map(str, (e.rows, e.came_true, e.came_false, e.open)))
        for e in found
    ]
    return tabled("expectations", "Was it expected?", columns, lines, told)


def _contrasts(results: Sequence[RowResult]) -> Section | None:
    """Return whether related partners bring more than others, where a target has met both."""
    columns = ("strategy", "related against", "targets", "difference [95 % CI]", "p (Holm)", "")
    lines: list[tuple[Text, ...]] = [
        (
            Code(c.strategy),
            c.others,
            _names(c.targets),
            spread(c.result, "%"),
            p_value(c.p_holm),
            Strong(c.finding),
        )
        for c in contrasts(results)
    ]
    return tabled("contrasts", "Does a related partner bring more?", columns, lines, CONTRASTS)


def _names(names: Sequence[str]) -> tuple[Part, ...]:
    """Return names with commas between them."""
    return tuple(part for name in names for part in (", ", Code(name)))[1:]


def _rankings(results: Sequence[RowResult]) -> Section | None:
    """Return the strategies of each question in their order."""
    columns = ("question", "strategy", "mean", "P(best)", "significantly worse than")
    lines: list[tuple[Text, ...]] = [
        (
            Code(heading(ranking.pair, ranking.target)),
            Code(ranked.strategy),
            number(ranked.mean, ranking.unit),
            chance(ranked.probability_best),
            _beaten(ranked, len(ranking.ranked)),
        )
        for ranking in rankings(results)
        for ranked in ranking.ranked
    ]
    return tabled("ranking", "Which strategy?", columns, lines, RANKING)


def _beaten(ranked: Ranked, count: int) -> Text:
    """Return which strategies are better; of many only how many there are."""
    if len(ranked.beaten_by) > MOST_NAMED:
        return f"{len(ranked.beaten_by)} of {count - 1}"
    return _names(ranked.beaten_by) or NOTHING


def _across(results: Sequence[RowResult]) -> Section | None:
    """Return the gains over several pairs together."""
    columns = ("strategy", "questions", "seeds", "IQM [95 % CI]", "chance of a gain [95 % CI]")
    lines: list[tuple[Text, ...]] = [
        (
            Code(a.strategy),
            f"{len(a.questions)}" + (f" ({a.left_out} left out)" if a.left_out else ""),
            str(len(a.gains)),
            _estimate(a.interquartile_mean, sign=True),
            _estimate(a.improvement),
        )
        for a in across_pairs(results)
    ]
    if lines:
        lines += [(Code(strategy), *[NOTHING] * 4) for strategy in without_gains(results)]
    return tabled("across", "Across pairs", columns, lines, ACROSS)


def _estimate(found: Estimate, sign: bool = False) -> str:
    return bounded(found.value, found.low, found.high, sign=sign)


def _reference(name: AnchorName, results: Sequence[RowResult]) -> Section | None:
    """Return the rows against one of their references, where any has it."""
    held = [(row, row.references[name]) for row in results if name in row.references]
    strategy = next((c.strategy for _, c in held if c.strategy), NOTHING)
    title = {
        "reference": f"Against {strategy}",
        "wide": f"Against {strategy} as costly as the row (wide)",
        "same-size": f"Against {strategy} as large as the row (same-size)",
    }[name]
    columns = (
        "question",
        "strategy (parameters)",
        "against (parameters)",
        "gain [95 % CI]",
        "p (Holm)",
        "p of equivalence (Holm)",
        "MDG",
        "audit",
        "standing",
    )
    marks = finding_marks([row for row, _ in held])
    lines: list[tuple[Text, ...]] = [
        (
            _question(row),
            (mark, Code(row.strategy), f" ({row.parameters:,})"),
            (Code(network(comparison)), f" ({comparison.parameters:,})"),
            interval(comparison, row.unit),
            p_value(comparison.p_holm),
            p_value(comparison.p_equivalence_holm),
            detectable(comparison.minimum_detectable_gain, row.unit),
            percent(comparison.deviation),
            Strong(standing(comparison)),
        )
        for (row, comparison), mark in zip(held, marks, strict=True)
    ]
    return tabled(name, title, columns, lines, f"{REFERENCE_MEANING[name]} {REFERENCE}")


def _troubles(results: Sequence[RowResult]) -> Section | None:
    lines = [_of(row, text) for row in results if (text := trouble(row))]
    return _listed("troubles", "Runs that diverged or failed", lines)


def _stalls(results: Sequence[RowResult]) -> Section | None:
    lines = [_of(row, text) for row in results if (text := stall(row))]
    return _listed("stalls", "Runs that waited for images", lines)


def _of(row: RowResult, text: str) -> Text:
    return (_question(row), ", ", Code(row.strategy), f": {text}")


def _tests(results: Sequence[RowResult]) -> Section | None:
    """Return every test of every row."""
    columns = (
        "question",
        "strategy",
        "against",
        "seeds",
        "gain [95 % CI]",
        "Hodges–Lehmann [95 % CI]",
        "outlying seeds",
        "for new test images too",
        "p (t)",
        "p (sign flip)",
        "p (Holm)",
        "p of equivalence (Holm)",
        "MDG",
        "MDG in this table",
        "seeds needed",
    )
    lines: list[tuple[Text, ...]] = [
        (_question(row), Code(row.strategy), *_test(comparison, row.unit))
        for row in results
        for comparison in row.against.values()
    ]
    text = (
        "Seeds needed: what would find a true gain of the size seen, or of the margin where that "
        "is more, in 80 % of experiments; only where neither a gain nor equivalence was shown."
    )
    return tabled("tests", "All tests, against every anchor", columns, lines, text)


def _test(comparison: Comparison, unit: str) -> tuple[str, ...]:
    result, wide, robust = comparison.result, comparison.population, comparison.robust
    return (
        comparison.anchor,
        str(result.n),
        spread(result, unit),
        bounded(robust.estimate, robust.low, robust.high, unit, sign=True) if robust else NOTHING,
        ", ".join(map(str, comparison.outlying)) or NOTHING,
        bounded(wide.mean, wide.low, wide.high, unit, sign=True) if wide else NOTHING,
        *map(
            p_value,
            (
                result.p_t,
                result.p_sign_flip,
                comparison.p_holm,
                comparison.p_equivalence_holm,
            ),
        ),
        detectable(comparison.minimum_detectable_gain, unit),
        detectable(comparison.family_detectable_gain, unit),
        seeds_needed(comparison),
    )


def _metrics(results: Sequence[RowResult]) -> Section | None:
    """Return the metrics beside the primary one: they have no test and no verdict."""
    columns = ("question", "strategy", "metric", "score", "full's score", "gain [95 % CI]", "q")
    lines: list[tuple[Text, ...]] = [
        (
            _question(row),
            Code(row.strategy),
            metric_label(name, metric.unit),
            number(metric.score_mean, metric.unit),
            number(metric.anchor_mean, metric.unit),
            spread(metric.gains, metric.unit),
            p_value(metric.q),
        )
        for row in results
        for name, metric in row.metrics.items()
        if name != row.metric
    ]
    title = "Other metrics against full (a gain is positive where better; no verdict rests on them)"
    return tabled("metrics", title, columns, lines, EXPLORED)


def _gradients(results: Sequence[RowResult]) -> Section | None:
    """Return how the gradients of each target and its partners lie to each other."""
    columns = ("question", "strategy", "other task", "cosine [95 % CI]", "norm ratio")
    lines: list[tuple[Text, ...]] = [
        (
            _question(row),
            Code(row.strategy),
            Code(other),
            spread(gradient.cosine, "%"),
            number(gradient.norm_ratio, ""),
        )
        for row in results
        for other, gradient in row.gradients.items()
    ]
    title = "Gradients of the tasks on the shared parameters"
    return tabled("gradients", title, columns, lines, GRADIENTS)


def _weights(results: Sequence[RowResult]) -> Section | None:
    """Return how the weights of losses moved; a run of two rows has them twice."""
    columns = ("question", "strategy", "task", "first point", "last point [95 % CI]", "range")
    lines: list[tuple[Text, ...]] = [
        (
            _question(row),
            Code(row.strategy),
            Code(task),
            f"{weight.first.mean:.3f}",
            bounded(weight.last.mean, weight.last.low, weight.last.high, unit=""),
            f"{weight.range[0]:.3f} to {weight.range[1]:.3f}",
        )
        for row in results
        for task, weight in row.weights.items()
    ]
    return tabled("weights", "Weights of the tasks' losses", columns, lines, WEIGHTS)


def _tuning(tuning: Sequence[Tuned]) -> Section | None:
    """Return what was chosen for each arm, where arms were tuned."""
    lines: list[tuple[Text, ...]] = [(Code(name), *rest) for name, *rest in map(cells, tuning)]
    note = f"{tuning_note(tuning)}." if tuning else ""
    return tabled("tuning", "Tuning", COLUMNS, lines, note, TUNING)


def _pilot(declaration: Declaration, find: Lookup) -> Section | None:
    """Return how a converged budget was found, where it was."""
    pilot = declaration.pilot
    if pilot is None:
        return None
    told = f"{pilot_verdict(pilot)}. {pilot_cost(declaration, pilot, find)}."
    columns, lines = pilot_table(pilot)
    return Section("pilots", "Pilots", (told, PILOT, Table(columns, tuple(lines))))


def _interim(declaration: Declaration) -> Section | None:
    return _listed("interim", "Interim analyses", interim_lines(declaration))


def _data(declaration: Declaration) -> Section | None:
    return _listed("data", "Data", declaration.data)


def _made(declaration: Declaration, made: Mapping[str, Sequence[str]]) -> Section | None:
    """Return the settings of all rows, with the versions and machines of the runs."""
    facts = settings(declaration.experiment) | {key: ", ".join(made[key]) for key in made}
    return tabled("made", "Settings, versions and machines", ("", ""), facts.items())
