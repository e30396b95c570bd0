"""The report as Markdown: what was found in words, then the numbers that it rests on.

Every declared cell is a row, also one whose runs failed.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType

from bench.clean import markdown as escape
from bench.clean import markdown_code as _code
from bench.decide.pairs import decisions
from bench.report.text import levels
from bench.report.text.decision import (
    DECISION,
    RELATIVE_COLUMNS,
    USE,
    USE_COLUMNS,
    relative_lines,
    sentence,
    use_lines,
)
from bench.report.text.pilot import PILOT, pilot_cost, pilot_table, pilot_verdict
from bench.report.text.tuning import COLUMNS, TUNING, Tuned, cells, tuning_note
from bench.report.text.wording import (
    ACROSS,
    CONTRASTS,
    EXPECTATIONS,
    EXPLORED,
    GRADIENTS,
    NOTHING,
    RANKING,
    REFERENCE,
    REFERENCE_MEANING,
    RELATIVE,
    VERDICTS,
    WEIGHTS,
    audit,
    bounded,
    chance,
    detectable,
    expected,
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
    price,
    same_finding,
    score,
    seeds_needed,
    settings,
    short_budget,
    skew,
    spread,
    stall,
    steps,
    trouble,
    what_budget,
)
from bench.spec.budget import Budget
from bench.stats.across import Estimate, across_pairs, contrasts, expectations, without_gains
from bench.stats.comparison import Comparison, RowResult
from bench.stats.gains import Lookup
from bench.stats.levels import OverLevels
from bench.stats.ranking import Ranked, rankings
from bench.stats.verdicts import standing
from bench.store.records import ANCHORS, REFERENCES, AnchorName, Declaration

#: Of more strategies than this only the number is told.
_MOST_NAMED = 4
_COLUMNS = (
    "pair",
    "strategy",
    "target",
    "expected",
    "score (mean ± sd)",
    "full's score",
    "floor",
    "steps (its / full's)",
    "FLOPs, seconds (× full's)",
    "transfer: gain vs same-steps [95 % CI]",
    "price [95 % CI]",
    "pay-off: gain vs full [95 % CI]",
    *(f"gain vs {anchor} [95 % CI]" for anchor in ANCHORS[2:]),
    "p (Holm, same-steps)",
    "p (Holm, full)",
    "MDG",
    "diverged/failed",
    "audit",
    "verdict",
)


def markdown(
    declaration: Declaration,
    results: Sequence[RowResult],
    plots: Mapping[str, str],
    tuning: Sequence[Tuned] = (),
    made: Mapping[str, Sequence[str]] = MappingProxyType({}),
    over: Sequence[OverLevels] = (),
    find: Lookup = lambda _: None,
) -> str:
    """Return the report in Markdown.

    `plots` are texts that stand for images, by file name; `made` says on what the runs were made.
    `find` returns the records of pilots.
    """
    experiment = declaration.experiment
    facts = " · ".join(f"{key}: {escape(text)}" for key, text in settings(experiment).items())
    times = "once" if declaration.changes == 1 else f"{declaration.changes} times"
    changed = declaration.changes and (
        "**Declared anew.** Other rows, seeds, budget, margin or recipe stood under this name "
        f"before (changed {times}); "
        "what was chosen after seeing results proves less than it seems to."
    )
    parts = [
        f"# Sharing or not: {escape(experiment.name)}",
        escape(experiment.description),
        changed,
        _decisions(declaration, results),
        "## What was found",
        _words(results) if results else "No rows were declared.",
        _over_levels(over),
        _expectations(results),
        _contrasts(results),
        _across(results),
        _rankings(results),
        "## Plots",
        "\n\n".join(f"![{escape(text)}]({name})" for name, text in plots.items()),
        "## Numbers",
        _table(results) if results else "",
        escape(same_finding(results)),
        _tests(results),
        f"**How to read it.** {how_to_read(experiment)}",
        f"**Verdicts.** {VERDICTS}",
        f"**Settings.** {facts}.",
        _data(declaration),
        _interim(declaration),
        _made(made),
        *(_reference(name, results) for name in REFERENCES),
        _troubles(results),
        _stalls(results),
        _tuning(tuning),
        _pilot(declaration, find),
        _metrics(results),
        _gradients(results),
        _weights(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _decisions(declaration: Declaration, results: Sequence[RowResult]) -> str:
    """Return what is decided for each set of tasks that one network may serve."""
    found = decisions(declaration.rows, results)
    if not found:
        return ""
    lines = [
        f"- **{tasks.decision.choice}.** {escape(sentence(tasks, declaration.experiment))}"
        for tasks in found
    ]
    parts = ["## Decision", DECISION, "\n".join(lines)]
    if relative := relative_lines(found):
        means = [(escape(a), _code(by), escape(b), mean) for a, by, b, mean in relative]
        parts += [RELATIVE, grid(RELATIVE_COLUMNS, means)]
    if used := use_lines(found):
        rows = [(escape(name), _code(network), *figures) for name, network, *figures in used]
        parts += [USE, grid(USE_COLUMNS, rows)]
    return "\n\n".join(parts)


def _words(results: Sequence[RowResult]) -> str:
    """Return each verdict with what it rests on, under the question that it answers."""
    parts = [
        "Each line compares a shared network with a single-task network of the task behind the "
        f"arrow: first at equal steps (transfer), then at equal {what_budget(results)} (pay-off)."
    ]
    for question, group in groupby(results, key=lambda row: (row.pair, row.target)):
        rows = list(group)
        told = [f"declared before the runs: {rows[0].expect}"] if rows[0].expect else []
        told += list(filter(None, map(short_budget, rows)))[:1]
        expect = f" ({'; '.join(told)})" if told else ""
        lines = [
            f"- {_code(row.strategy)}: **{escape(row.verdict.name)}.** "
            f"{escape(row.verdict.sentence)} {escape(row.verdict.certainty)}".rstrip()
            + (f" {escape(text)}." if (text := skew(row)) else "")
            for row in rows
        ]
        parts += [f"{_code(heading(*question))}{expect}", "\n".join(lines)]
    return "\n\n".join(parts)


def _over_levels(over: Sequence[OverLevels]) -> str:
    """Return the verdicts at each level."""
    if not over:
        return ""
    rows = [tuple(map(escape, levels.cells(row))) for row in over]
    title, text = "With how many images?", levels.OVER_SIZES
    if isinstance(over[0].levels[0], Budget):
        title, text = "At which budget?", levels.OVER_BUDGETS
    return f"## {title}\n\n{text}\n\n{grid(levels.columns(over), rows)}"


def _expectations(results: Sequence[RowResult]) -> str:
    """Return how what was declared came out."""
    found = expectations(results)
    if not found:
        return ""
    true, false = sum(e.came_true for e in found), sum(e.came_false for e in found)
    rows = sum(e.rows for e in found)
    columns = ("strategy", "declared", "rows", "came true", "came false", "open")
    lines = [
        (_code(e.strategy), e.expect, *map(str, (e.rows, e.came_true, e.came_false, e.open)))
        for e in found
    ]
    return (
        f"## Was it expected?\n\n{true} of {rows} declared expectations came true, {false} came "
        f"false, {rows - true - false} are open. {EXPECTATIONS}\n\n{grid(columns, lines)}"
    )


def _contrasts(results: Sequence[RowResult]) -> str:
    """Return whether related partners bring more than others, where a target has met both."""
    columns = ("strategy", "related against", "targets", "difference [95 % CI]", "p (Holm)", "")
    lines = [
        (
            _code(c.strategy),
            c.others,
            ", ".join(map(_code, c.targets)),
            spread(c.result, "%"),
            escape(p_value(c.p_holm)),
            f"**{c.finding}**",
        )
        for c in contrasts(results)
    ]
    if not lines:
        return ""
    return f"## Does a related partner bring more?\n\n{CONTRASTS}\n\n{grid(columns, lines)}"


def _rankings(results: Sequence[RowResult]) -> str:
    """Return the strategies of each question in their order."""
    columns = ("question", "strategy", "mean", "P(best)", "significantly worse than")
    lines = [
        (
            _code(heading(ranking.pair, ranking.target)),
            _code(ranked.strategy),
            number(ranked.mean, ranking.unit),
            escape(chance(ranked.probability_best)),
            _beaten(ranked, len(ranking.ranked)),
        )
        for ranking in rankings(results)
        for ranked in ranking.ranked
    ]
    return f"## Which strategy?\n\n{RANKING}\n\n{grid(columns, lines)}" if lines else ""


def _beaten(ranked: Ranked, count: int) -> str:
    """Return which strategies are better; of many only how many there are."""
    if len(ranked.beaten_by) > _MOST_NAMED:
        return f"{len(ranked.beaten_by)} of {count - 1}"
    return ", ".join(map(_code, ranked.beaten_by)) or NOTHING


def _across(results: Sequence[RowResult]) -> str:
    """Return the gains over several pairs together."""
    columns = ("strategy", "questions", "seeds", "IQM [95 % CI]", "chance of a gain [95 % CI]")
    lines = [
        (
            _code(a.strategy),
            f"{len(a.questions)}" + (f" ({a.left_out} left out)" if a.left_out else ""),
            str(len(a.gains)),
            _estimate(a.interquartile_mean, sign=True),
            _estimate(a.improvement),
        )
        for a in across_pairs(results)
    ]
    lost = [(_code(strategy), *[NOTHING] * 4) for strategy in without_gains(results)]
    if not lines:
        return ""
    return f"## Across pairs\n\n{ACROSS}\n\n{grid(columns, [*lines, *lost])}"


def _estimate(found: Estimate, sign: bool = False) -> str:
    return bounded(found.value, found.low, found.high, sign=sign)


def _made(made: Mapping[str, Sequence[str]]) -> str:
    """Return the versions and machines that the runs were made with."""
    facts = " · ".join(escape(f"{key}: {', '.join(values)}") for key, values in made.items())
    return f"**Made with.** {facts}." if made else ""


def _data(declaration: Declaration) -> str:
    lines = [f"- {escape(line)}" for line in declaration.data]
    return "**Data.**\n\n" + "\n".join(lines) if lines else ""


def _interim(declaration: Declaration) -> str:
    lines = [f"- {escape(line)}" for line in interim_lines(declaration)]
    return "**Interim analyses.**\n\n" + "\n".join(lines) if lines else ""


def _named(row: RowResult) -> str:
    return f"{_code(heading(row.pair, row.target))}, {_code(row.strategy)}"


def _table(results: Sequence[RowResult]) -> str:
    return grid(_COLUMNS, map(_cells, results, finding_marks(results)))


def grid(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return cells as a table under the names of their columns."""
    rows = [columns, ("---",) * len(columns), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(row: RowResult, mark: str) -> tuple[str, ...]:
    full = row.against["full"]
    return (
        _code(row.pair),
        mark + _code(row.strategy),
        _code(row.target),
        expected(row.expect),
        escape(score(row)),
        number(full.anchor_mean, row.unit),
        number(full.floor, row.unit),
        steps(row),
        f"{number(full.flops, '')}, {number(full.seconds, '')}",
        interval(row.against.get("same-steps"), row.unit),
        price(row),
        *(interval(row.against.get(anchor), row.unit) for anchor in ("full", *ANCHORS[2:])),
        escape(p_value(same.p_holm)) if (same := row.against.get("same-steps")) else NOTHING,
        escape(p_value(full.p_holm)),
        detectable(full.minimum_detectable_gain, row.unit),
        f"{row.collapsed}/{row.failed}",
        audit(row),
        f"**{escape(row.verdict.name)}**",
    )


def _tests(results: Sequence[RowResult]) -> str:
    """Return every test of every row, folded away."""
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
    lines = [
        (_code(heading(row.pair, row.target)), _code(row.strategy), *_test(comparison, row.unit))
        for row in results
        for comparison in row.against.values()
    ]
    text = (
        "Seeds needed: what would find a true gain of the size seen, or of the margin where that "
        "is more, in 80 % of experiments; only where neither a gain nor equivalence was shown."
    )
    return _folded("All tests, against every anchor", columns, lines, text)


def _test(comparison: Comparison, unit: str) -> tuple[str, ...]:
    result, wide, robust = comparison.result, comparison.population, comparison.robust
    return (
        comparison.anchor,
        str(result.n),
        spread(result, unit),
        bounded(robust.estimate, robust.low, robust.high, unit, sign=True) if robust else NOTHING,
        ", ".join(map(str, comparison.outlying)) or NOTHING,
        bounded(wide.mean, wide.low, wide.high, unit, sign=True) if wide else NOTHING,
        *(
            escape(p_value(p))
            for p in (
                result.p_t,
                result.p_sign_flip,
                comparison.p_holm,
                comparison.p_equivalence_holm,
            )
        ),
        detectable(comparison.minimum_detectable_gain, unit),
        detectable(comparison.family_detectable_gain, unit),
        seeds_needed(comparison),
    )


def _troubles(results: Sequence[RowResult]) -> str:
    lines = [f"- {_named(row)}: {escape(text)}" for row in results if (text := trouble(row))]
    return "## Runs that diverged or failed\n\n" + "\n".join(lines) if lines else ""


def _stalls(results: Sequence[RowResult]) -> str:
    lines = [f"- {_named(row)}: {escape(text)}" for row in results if (text := stall(row))]
    return "## Runs that waited for images\n\n" + "\n".join(lines) if lines else ""


def _metrics(results: Sequence[RowResult]) -> str:
    """Return the metrics beside the primary one, folded away: they have no test and no verdict."""
    columns = ("question", "strategy", "metric", "score", "full's score", "gain [95 % CI]", "q")
    lines = []
    for row in results:
        for name, metric in row.metrics.items():
            if name == row.metric:
                continue
            unit, gains = metric.unit, metric.gains
            lines.append(
                (
                    _code(heading(row.pair, row.target)),
                    _code(row.strategy),
                    escape(metric_label(name, unit)),
                    number(metric.score_mean, unit),
                    number(metric.anchor_mean, unit),
                    spread(gains, unit),
                    escape(p_value(metric.q)),
                )
            )
    return _folded(
        "Other metrics against full (a gain is positive where better; no verdict rests on them)",
        columns,
        lines,
        EXPLORED,
    )


def _reference(name: AnchorName, results: Sequence[RowResult]) -> str:
    """Return the rows against one of their references, where any has it."""
    held = [(row, row.references[name]) for row in results if name in row.references]
    if not held:
        return ""
    strategy = _code(next((c.strategy for _, c in held if c.strategy), NOTHING))
    title = {
        "reference": strategy,
        "wide": f"{strategy} as costly as the row (wide)",
        "same-size": f"{strategy} as large as the row (same-size)",
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
    lines = [
        (
            _code(heading(row.pair, row.target)),
            f"{mark}{_code(row.strategy)} ({row.parameters:,})",
            f"{_code(network(comparison))} ({comparison.parameters:,})",
            interval(comparison, row.unit),
            escape(p_value(comparison.p_holm)),
            escape(p_value(comparison.p_equivalence_holm)),
            detectable(comparison.minimum_detectable_gain, row.unit),
            percent(comparison.deviation),
            f"**{standing(comparison)}**",
        )
        for (row, comparison), mark in zip(
            held, finding_marks([row for row, _ in held]), strict=True
        )
    ]
    text = f"{REFERENCE_MEANING[name]} {REFERENCE}"
    return f"## Against {title}\n\n{text}\n\n{grid(columns, lines)}"


def _tuning(tuning: Sequence[Tuned]) -> str:
    """Return what was chosen for each arm, where arms were tuned."""
    if not tuning:
        return ""
    lines = [(_code(name), *(escape(cell) for cell in rest)) for name, *rest in map(cells, tuning)]
    parts = ("## Tuning", f"{escape(tuning_note(tuning))}.", TUNING, grid(COLUMNS, lines))
    return "\n\n".join(parts)


def _pilot(declaration: Declaration, find: Lookup) -> str:
    """Return how a converged budget was found, where it was."""
    pilot = declaration.pilot
    if pilot is None:
        return ""
    told = f"{pilot_verdict(pilot)}. {pilot_cost(declaration, pilot, find)}."
    columns, lines = pilot_table(pilot)
    parts = ["## Pilots", escape(told), PILOT]
    return "\n\n".join([*parts, grid([escape(name) for name in columns], lines)])


def _gradients(results: Sequence[RowResult]) -> str:
    """Return how the gradients of each target and its partners lie to each other, folded away."""
    columns = ("question", "strategy", "other task", "cosine [95 % CI]", "norm ratio")
    lines = [
        (
            _code(heading(row.pair, row.target)),
            _code(row.strategy),
            _code(other),
            spread(gradient.cosine, "%"),
            number(gradient.norm_ratio, ""),
        )
        for row in results
        for other, gradient in row.gradients.items()
    ]
    return _folded("Gradients of the tasks on the shared parameters", columns, lines, GRADIENTS)


def _weights(results: Sequence[RowResult]) -> str:
    """Return how the weights of losses moved, folded away; a run of two rows has them twice."""
    columns = ("question", "strategy", "task", "first point", "last point [95 % CI]", "range")
    lines = [
        (
            _code(heading(row.pair, row.target)),
            _code(row.strategy),
            _code(task),
            f"{weight.first.mean:.3f}",
            bounded(weight.last.mean, weight.last.low, weight.last.high, unit=""),
            f"{weight.range[0]:.3f} to {weight.range[1]:.3f}",
        )
        for row in results
        for task, weight in row.weights.items()
    ]
    return _folded("Weights of the tasks' losses", columns, lines, WEIGHTS)


def _folded(
    title: str, columns: Sequence[str], lines: Sequence[Sequence[str]], text: str = ""
) -> str:
    """Return a table that is folded away under its title; nothing where it has no line."""
    if not lines:
        return ""
    parts = [f"<details><summary>{title}</summary>", text, grid(columns, lines), "</details>"]
    return "\n\n".join(part for part in parts if part)
