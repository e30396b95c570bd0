"""The report as Markdown: the decision, one narrow table, and everything else folded away.

Every declared cell is a row, also one whose runs failed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType

from bench.clean import markdown as escape
from bench.clean import markdown_code as _code
from bench.decide.pairs import TaskSet, decisions
from bench.report.text.decision import DECISION, sentence
from bench.report.text.race import race_lines
from bench.report.text.sections import Code, Section, Strong, Table, Text, parts_of, sections
from bench.report.text.tuning import Tuned
from bench.report.text.wording import (
    NOTHING,
    audit,
    cost,
    declared_anew,
    detectable,
    expected,
    finding_marks,
    heading,
    interval,
    number,
    p_value,
    price,
    same_finding,
    score,
    steps,
    what_budget,
)
from bench.stats.comparison import RowResult
from bench.stats.gains import Lookup
from bench.stats.levels import OverLevels
from bench.store.records import ANCHORS, Declaration

#: The file in which the page is, beside the table.
PAGE = "report.html"
#: Plots that stand in sight; the others are folded away.
_SHOWN = ("gains", "budgets", "images")
#: An interval, or the words over one, as `escape` leaves it.
_INTERVAL = re.compile(r"\\\[((?:[-+–\d., ]|95 % CI)*)\\\]")
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
    decided = decisions(declaration.rows, results)
    pictures = {name: f"![{escape(text)}]({name})" for name, text in plots.items()}
    shown = [picture for name, picture in pictures.items() if name.startswith(_SHOWN)]
    others = [picture for picture in pictures.values() if picture not in shown]
    parts = [
        f"# Sharing or not: {escape(experiment.name)}",
        escape(experiment.description),
        f"**Declared anew.** {told}" if (told := declared_anew(declaration)) else "",
        _raced(race_lines(declaration, results)),
        _decisions(declaration, decided),
        f"[The page {PAGE}]({PAGE}) shows all of this, to sort and to filter.",
        "## Numbers",
        _narrow(results) if results else "No rows were declared.",
        escape(same_finding(results)),
        *shown,
        "## More",
        _folded("More plots", *others) if others else "",
        *map(section_markdown, sections(declaration, results, decided, tuning, made, over, find)),
        _folded("All columns", grid(_COLUMNS, map(_cells, results, finding_marks(results))))
        if results
        else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _raced(lines: Sequence[str]) -> str:
    """Return who is left in the races; the section further down has the others."""
    return "\n\n".join(["## Which strategy?", *map(escape, lines)]) if lines else ""


def _decisions(declaration: Declaration, decided: Sequence[TaskSet]) -> str:
    """Return what is decided for each set of tasks that one network may serve."""
    if not decided:
        return ""
    lines = [
        f"- **{tasks.decision.choice}.** {escape(sentence(tasks, declaration.experiment))}"
        for tasks in decided
    ]
    return "\n\n".join(["## Decision", "\n".join(lines), DECISION])


def _narrow(results: Sequence[RowResult]) -> str:
    """Return the table that a page holds: a line a row under the question that it answers."""
    columns = (
        "strategy",
        "verdict",
        "gain at equal steps [95 % CI]",
        f"gain at equal {what_budget(results)} [95 % CI]",
        "score (its / alone)",
        "steps (its / alone)",
        "FLOPs, seconds (× alone)",
    )
    lines = []
    for question, group in groupby(results, key=lambda row: (row.pair, row.target)):
        rows = list(group)
        lines.append((f"**{_code(heading(*question))}**", *[""] * (len(columns) - 1)))
        lines += [
            (
                mark + _code(row.strategy),
                f"**{escape(row.verdict.name)}**",
                interval(row.against.get("same-steps"), row.unit),
                interval(row.against["full"], row.unit),
                escape(both_scores(row)),
                steps(row),
                cost(row),
            )
            for row, mark in zip(rows, finding_marks(rows), strict=True)
        ]
    return grid(columns, lines)


def both_scores(row: RowResult) -> str:
    """Return the mean score of a row and that of its single-task network."""
    ours, alone = row.score_mean, row.against["full"].anchor_mean
    return f"{number(ours, row.unit)} / {number(alone, row.unit)} {row.unit}".strip()


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
        cost(row),
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


def section_markdown(section: Section) -> str:
    """Return a section, folded away under its title."""
    return _folded(escape(section.title), *map(block_markdown, section.blocks))


def block_markdown(block: Text | list[Text] | Table) -> str:
    """Return a paragraph, a list or a table of a section."""
    if isinstance(block, Table):
        lines = [tuple(map(_text, line)) for line in block.lines]
        return grid(tuple(map(_text, block.columns)), lines)
    if isinstance(block, list):
        return "\n".join(f"- {_text(line)}" for line in block)
    return _text(block)


def _text(text: Text) -> str:
    shown = []
    for part in parts_of(text):
        if isinstance(part, Code):
            shown.append(_code(part.text))
        elif isinstance(part, Strong):
            shown.append(f"**{escape(part.text)}**")
        else:
            shown.append(_spaced(part))
    return "".join(shown)


def _spaced(text: str) -> str:
    """Escape a text and keep the blanks at its ends, which join it to its neighbours.

    The brackets of an interval are no link, and stay as they are.
    """
    before, after = text[:1].isspace(), text[-1:].isspace() and bool(text.strip())
    shown = _INTERVAL.sub(r"[\1]", escape(text))
    return f"{' ' * before}{shown}{' ' * after}"


def grid(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return cells as a table under the names of their columns."""
    rows = [columns, ("---",) * len(columns), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _folded(title: str, *parts: str) -> str:
    """Return parts that are folded away under a title."""
    return "\n\n".join([f"<details><summary>{title}</summary>", *parts, "</details>"])
