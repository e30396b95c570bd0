"""The LaTeX table has every row, the numbers of the report, and names that LaTeX shows as text."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from bench.report.text.latex import latex_table
from bench.report.text.wording import halved
from bench.stats.comparison import RowResult
from bench.stats.gains import results


@pytest.fixture(name="rows_of")
def _rows_of(make_world: Callable[..., Any]) -> Callable[..., list[RowResult]]:
    def rows_of(**options: Any) -> list[RowResult]:
        world = make_world(**options)
        return results(world.declaration, world.find)

    return rows_of


def body(table: str) -> list[list[str]]:
    """Return the cells of each line between the rules."""
    inner = table.partition("\\midrule\n")[2].partition("\\bottomrule\n")[0]
    assert inner
    lines = [line for line in inner.splitlines() if line != "\\addlinespace"]
    assert all(line.endswith(r" \\") for line in lines)
    return [line.removesuffix(r" \\").split(" & ") for line in lines]


def test_each_row_has_its_gains_and_its_verdict(rows_of: Callable[..., Any]) -> None:
    found = rows_of()
    lines = body(latex_table(found))
    assert len(lines) == len(found)
    for row, (_, strategy, transfer, pay_off, verdict) in zip(found, lines, strict=True):
        assert strategy == row.strategy
        assert verdict.replace(r"\textperiodcentered{}", "·") == row.verdict.name
        for cell, anchor in ((transfer, "same-steps"), (pay_off, "full")):
            shown = halved(row.against[anchor].result, row.unit)
            plain = cell.strip("$").replace(r"\pm ", "±").replace(r"\textendash{}", "–")
            assert plain.replace(" ", "") == shown.replace(" ", "")


def test_a_question_is_named_once_and_set_apart_from_the_next(rows_of: Callable[..., Any]) -> None:
    table = latex_table(rows_of())
    named = [cells[0] for cells in body(table) if cells[0]]
    assert named[0] == r"creatures:species+kin $\to$ species, accuracy (\%)"
    assert len(named) == len(set(named)) == table.count("\\addlinespace") + 1


def test_a_hostile_name_is_text(rows_of: Callable[..., Any]) -> None:
    evil = r"[x]{{y}}$\input{z}$&#%_^~<b>|" + "\x1b[31m"
    pair = f"{evil}:a+b"
    table = latex_table(rows_of(pairs=(pair,), strategies=("hard",)))
    asked, strategy, *_ = body(table)[0]
    assert strategy == "hard"
    assert not re.search(r"(?<!\\)[$&#%_^~]", asked.replace(r"$\to$", ""))
    assert set(re.findall(r"\\([a-z]+)", asked.replace(r"$\to$", ""))) == {
        "textbackslash",
        "textasciicircum",
        "textasciitilde",
        "textless",
        "textgreater",
        "textbar",
    }
    assert not asked.startswith("[")  # which would be the argument of the line before
    assert "\x1b" not in table
    assert "$\\pm$" not in table


def test_the_comment_above_stays_a_comment(rows_of: Callable[..., Any]) -> None:
    lines = latex_table(rows_of(seeds=2)).splitlines()
    assert lines[0].startswith("% Gain over a single-task network")
    assert lines[1] == r"\begin{tabular}{llrrl}"
