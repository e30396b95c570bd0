"""The result table for a paper: a `tabular` with the rules of booktabs, which `\\input` takes."""

from collections.abc import Sequence
from itertools import groupby

from bench.clean import latex, printable
from bench.report.text.wording import (
    finding_marks,
    halved,
    heading,
    metric_label,
    same_finding,
    what_budget,
)
from bench.stats.comparison import Comparison, RowResult

_COLUMNS = ("pair → target", "strategy", "equal steps", "equal {budget}", "verdict")
_NOTE = (
    "Gain over a single-task network in points of the metric, mean ± half of the 95 % interval, at "
    "equal steps and at equal {budget}."
)


def latex_table(results: Sequence[RowResult]) -> str:
    """Return the rows of a report as a LaTeX table, one line each, for `\\usepackage{booktabs}`.

    Names are escaped and show as they are. What a reader needs to know stands above as a comment.
    Letters that the document's fonts lack need LuaLaTeX or XeLaTeX and a font that has them.
    """
    budget = what_budget(results)
    note = f"{_NOTE.format(budget=budget)} {same_finding(results)}".strip()
    header = (latex(column.format(budget=budget)) for column in _COLUMNS)
    lines = [
        f"% {printable(note)}",
        r"\begin{tabular}{llrrl}",
        r"\toprule",
        _line(*header),
        r"\midrule",
    ]
    questions = groupby(results, key=lambda row: (row.pair, row.target))
    for number, (question, group) in enumerate(questions):
        rows = list(group)
        lines += [r"\addlinespace"] * (number > 0)
        asked = f"{heading(*question)}, {metric_label(rows[0].metric, rows[0].unit)}"
        for row, mark in zip(rows, finding_marks(rows), strict=True):
            lines.append(
                _line(
                    latex(asked),
                    latex(mark + row.strategy),
                    _gain(row.against.get("same-steps"), row.unit),
                    _gain(row.against["full"], row.unit),
                    latex(row.verdict.name),
                )
            )
            asked = ""
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _line(*cells: str) -> str:
    return f"{' & '.join(cells)} \\\\"


def _gain(comparison: Comparison | None, unit: str) -> str:
    """Return a gain as mathematics, in which its sign is a minus and no hyphen."""
    shown = "" if comparison is None else halved(comparison.result, unit)
    if not shown.startswith(("+", "-")):
        return r"\textendash{}"
    return "$" + shown.replace("±", r"\pm ") + "$"
