"""The page of a report: what it shows, worked out for a template that knows no statistics."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.decide.pairs import Candidate, Choice, TaskSet
from bench.report.page.parts import Bar, Figure, bar_of, figure_of, rendered
from bench.report.plots.canvas import by_scale, ends_of, readable_reach
from bench.report.text.decision import DECISION, listed, sentence, shares
from bench.report.text.levels import level_text
from bench.report.text.race import race_lines
from bench.report.text.sections import sections
from bench.report.text.tuning import Tuned
from bench.report.text.wording import (
    ANCHOR_MEANING,
    REFERENCE_MEANING,
    compared,
    context,
    cost,
    declared_anew,
    finding_marks,
    heading,
    interval,
    same_finding,
    score,
    share_percent,
    skew,
    spread,
    steps,
    trouble,
    versus,
    what_budget,
)
from bench.spec.budget import Budget
from bench.spec.experiment import Experiment, experiment_toml
from bench.stats.comparison import Comparison, RowResult
from bench.stats.gains import Lookup
from bench.stats.levels import OverLevels
from bench.store.records import RIVALS, AnchorName, Declaration, Outcome

#: Of more rows than this the page leaves out the tables that have a line for each test.
_MOST_ROWS = 400
_LONG = ("tests", "metrics", "gradients", "weights", "words", "ranking")
#: Sections that the page tells in another way: each row has its words.
_TOLD = ("words",)
#: The plots that stand before the others.
_FIRST = ("curves", "audit", "gradients", "weights")
#: Strategies of a set of tasks that stand in sight, the best first.
_MOST_CANDIDATES = 5
_TITLES: Mapping[Choice, str] = {
    Choice.SHARE: "One model",
    Choice.SEPARATE: "A model for each task",
    Choice.TRADE: "A trade",
    Choice.UNDECIDED: "Undecided",
}
#: How an outcome is coloured and marked, beside its word.
_KINDS: Mapping[Outcome, tuple[str, str]] = {
    Outcome.BETTER: ("better", "▲"),
    Outcome.WORSE: ("worse", "▼"),
    Outcome.EQUIVALENT: ("equal", "="),
    Outcome.SLIGHTLY_BETTER: ("equal", "="),
    Outcome.SLIGHTLY_WORSE: ("equal", "="),
    Outcome.INCONCLUSIVE: ("open", "?"),
    Outcome.SCREEN: ("open", "?"),
}
_NEITHER = ("none", "×")


@dataclass(frozen=True)
class Gain:
    """What a row gains over one anchor: in words, as a number to sort by, and as a picture."""

    text: str
    value: float | None
    kind: str
    bar: Bar | None


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    mark: str
    strategy: str
    question: str
    verdict: str
    kind: str
    sign: str
    words: tuple[str, ...]
    gains: Mapping[AnchorName, Gain]
    score: str
    score_value: float | None
    steps: str
    cost: str
    cost_value: float | None


@dataclass(frozen=True)
class Question:
    """Rows that answer one question."""

    name: str
    context: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class LevelTable:
    """The rows at one budget, or with one number of images."""

    name: str
    budget: str
    questions: tuple[Question, ...]

    @property
    def lines(self) -> list[Line]:
        """All rows."""
        return [line for question in self.questions for line in question.lines]


@dataclass(frozen=True)
class Option:
    """One strategy for a set of tasks."""

    strategy: str
    gains: tuple[tuple[str, Gain], ...]
    delta_m: str
    costs: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """What is decided for one set of tasks."""

    choice: str
    title: str
    tasks: str
    sentence: str
    options: tuple[Option, ...]


def html_page(
    declaration: Declaration,
    results: Sequence[RowResult],
    decided: Sequence[TaskSet],
    plots: Mapping[str, tuple[str, bytes]],
    tuning: Sequence[Tuned] = (),
    made: Mapping[str, Sequence[str]] | None = None,
    over: Sequence[OverLevels] = (),
    find: Lookup = lambda _: None,
) -> str:
    """Return the whole page. `plots` are a text that stands for each and its SVG, by name."""
    experiment = declaration.experiment
    found = sections(declaration, results, decided, tuning, made, over, find)
    many = len(results) > _MOST_ROWS
    shown = {s.name: s for s in found if s.name not in (*_TOLD, *(_LONG if many else ()))}
    tables = _tables(results, over, experiment)
    lines = [line for table in tables for line in table.lines]
    gains = {
        (line.question, line.strategy): line.gains["full"]
        for table in tables[:1]
        for line in table.lines
    }
    return rendered(
        "page.html",
        name=experiment.name,
        description=experiment.description,
        changed=declared_anew(declaration),
        cards=[_card(tasks, experiment, gains) for tasks in decided],
        race=race_lines(declaration, results),
        tally=Counter(_TITLES[tasks.decision.choice].lower() for tasks in decided),
        decision=DECISION,
        tables=tables,
        anchors=[a for a in RIVALS[2:] if any(a in line.gains for line in lines)],
        names=_names(results),
        meanings={**ANCHOR_MEANING, **REFERENCE_MEANING},
        verdicts=list(dict.fromkeys(line.verdict for line in lines)),
        compared=compared(results),
        same=same_finding(results),
        figures=sorted(
            (figure_of(name, text, svg) for name, (text, svg) in plots.items()), key=_place
        ),
        sections=shown,
        left_out=many,
        most=_MOST_CANDIDATES,
        level="images" if experiment.smaller_train_sizes else "budget",
        toml=experiment_toml(experiment),
    )


def _names(results: Sequence[RowResult]) -> dict[str, str]:
    """Return what rows are compared with, by anchor: that of the reference is its strategy."""
    named = [row.references["reference"] for row in results if "reference" in row.references]
    strategy = next((each.strategy for each in named if each.strategy), "reference")
    return {**{anchor: anchor for anchor in RIVALS}, "reference": strategy}


def _tables(
    results: Sequence[RowResult], over: Sequence[OverLevels], experiment: Experiment
) -> list[LevelTable]:
    """Return the table of each level, the largest first."""
    if not over:
        level = Budget.parse(experiment.budget)
        return [_table(level_text(level), results)] if results else []
    levels = over[0].levels
    rows = [results, *([row.rows[n] for row in over] for n in reversed(range(len(levels) - 1)))]
    return [
        _table(level_text(level), each) for level, each in zip(reversed(levels), rows, strict=True)
    ]


def _table(name: str, results: Sequence[RowResult]) -> LevelTable:
    """Return the rows of one level, under their questions."""
    reaches: dict[int, float] = {}
    for rows in by_scale(results).values():
        reach = _reach([c for row in rows for c in row.distinct.values()])
        reaches |= {id(row): reach for row in rows}
    questions = []
    for question, group in groupby(results, key=lambda row: (row.pair, row.target)):
        rows = list(group)
        lines = [
            _line(row, mark, reaches[id(row)])
            for row, mark in zip(rows, finding_marks(rows), strict=True)
        ]
        lines.sort(key=_rank)
        questions.append(Question(heading(*question), context(rows), tuple(lines)))
    return LevelTable(name, what_budget(results), tuple(questions))


def _reach(comparisons: Sequence[Comparison]) -> float:
    """Return how far a scale goes to either side of zero.

    All intervals fit in, unless a few dwarf the others.
    """
    farthest = max(ends_of(comparisons), default=0.0)
    margins = [1.5 * c.margin for c in comparisons if math.isfinite(c.margin)]
    return 1.05 * max([min(farthest, readable_reach(comparisons)), *margins]) or 1.0


def _rank(line: Line) -> float:
    """Return what rows are sorted by: the highest gain at equal compute first."""
    full = line.gains["full"].value
    return math.inf if full is None else -full


def _line(row: RowResult, mark: str, reach: float) -> Line:
    kind, sign = _KINDS.get(row.verdict.halves[-1], _NEITHER)
    words = (row.verdict.sentence, row.verdict.certainty, skew(row), versus(row), trouble(row))
    full = row.against["full"]
    return Line(
        mark=mark,
        strategy=row.strategy,
        question=heading(row.pair, row.target),
        verdict=row.verdict.name,
        kind=kind,
        sign=sign,
        words=tuple(f"{text.rstrip('.')}." for text in words if text),
        gains={
            anchor: _gain(comparison, row.unit, reach)
            for anchor, comparison in (*row.against.items(), *row.references.items())
        },
        score=score(row),
        score_value=_finite(row.score_mean),
        steps=steps(row),
        cost=cost(row),
        cost_value=_finite(full.flops),
    )


def _gain(comparison: Comparison, unit: str, reach: float) -> Gain:
    result = comparison.result
    kind = "equal" if comparison.equivalent else ("worse", "open", "better")[comparison.sign + 1]
    return Gain(
        interval(comparison, unit),
        _finite(result.mean),
        kind,
        bar_of(result, comparison.margin, reach),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _card(tasks: TaskSet, experiment: Experiment, gains: Mapping[tuple[str, str], Gain]) -> Card:
    """Return the decision for a set of tasks. `gains` are by question and strategy."""
    chosen = tasks.decision.strategy
    ranked = sorted(tasks.decision.candidates, key=lambda c: (c.strategy != chosen, _worst(c)))
    return Card(
        choice=str(tasks.decision.choice),
        title=_TITLES[tasks.decision.choice],
        tasks=listed(tasks.targets),
        sentence=sentence(tasks, experiment),
        options=tuple(_option(tasks.pair, candidate, gains) for candidate in ranked),
    )


def _worst(candidate: Candidate) -> float:
    """Return what strategies are ranked by: the highest Δm first, those without one last."""
    mean = candidate.delta_m.mean
    return math.inf if math.isnan(mean) else -mean


def _option(pair: str, candidate: Candidate, gains: Mapping[tuple[str, str], Gain]) -> Option:
    excluded = [target.excluded for target in candidate.targets if target.excluded]
    return Option(
        candidate.strategy,
        tuple(
            (target.target, gains[heading(pair, target.target), candidate.strategy])
            for target in candidate.targets
        ),
        excluded[0] if excluded else spread(candidate.delta_m, "%"),
        tuple(map(share_percent, shares(candidate).values())),
    )


def _place(figure: Figure) -> int:
    """Return where a plot stands: how training went first, then what the table shows already."""
    return _FIRST.index(figure.plot) if figure.plot in _FIRST else len(_FIRST)
