"""No table of the command line cuts or breaks a figure in 80 columns, be it large or small."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bench.cli.console import table_of_figures
from bench.cli.list import show_validation
from bench.cli.power import _show
from bench.gate.judge import Finding
from bench.report import fidelity_table, gate_table, level_table, terminal_table
from bench.spec.budget import Budget
from bench.speed.report import show
from bench.speed.tables import Column, Table
from bench.stats.comparison import RowResult
from bench.stats.fidelity import FidelityRow
from bench.stats.gains import results
from bench.stats.levels import OverLevels
from bench.stats.power import Need, Requirement, Total
from bench.stats.tests import paired
from bench.validation.suite import CheckResult, PluginReport
from tests.report.conftest import make_world

WIDTH = 80
LONG = "cross-stitch@knob=value+reconstruction@0.25+uncertainty-weighting"
#: Gains of one metric: of the smallest and the largest that a score has.
GAINS = {"%": (-100.0, 0.01), "rad": (-1.2345e9, 2.3456e-5)}
FIGURE = re.compile(r"[+±-]?\d[\d.,e+-]*\d|\d")


def printed(table: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=WIDTH, color_system=None).print(table)
    return file.getvalue()


def assert_whole(text: str, told: Sequence[str]) -> None:
    """Check that a text of 80 columns has each figure of what was told in it."""
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "…" not in text
    found = {figure for line in lines for figure in FIGURE.findall(line)}
    assert {figure for cell in told for figure in FIGURE.findall(cell)} <= found


@pytest.fixture(name="row_of", scope="module")
def _row_of() -> Callable[..., RowResult]:
    world = make_world(("creatures:species+kin",), ("hard",), seeds=8, trouble={})
    plain = results(world.declaration, world.find)[0]

    def row_of(unit: str, gain: float, steps: int = 1_000_000) -> RowResult:
        result = paired([gain, gain * 1.5, gain * 0.5, gain * 1.25])
        against = {
            name: replace(found, result=result, steps=(steps, steps))
            for name, found in plain.against.items()
        }
        return replace(plain, strategy=LONG, unit=unit, against=against)

    return row_of


@pytest.mark.parametrize(("unit", "gain"), [(u, g) for u, gains in GAINS.items() for g in gains])
def test_the_table_of_a_report(row_of: Callable[..., RowResult], unit: str, gain: float) -> None:
    from bench.report.text.terminal import _cells

    row = row_of(unit, gain)
    assert_whole(printed(terminal_table([row, row])), _cells(row, "")[1:-1])


@pytest.mark.parametrize(("unit", "gain"), [(u, g) for u, gains in GAINS.items() for g in gains])
def test_the_table_of_two_precisions(
    row_of: Callable[..., RowResult], unit: str, gain: float
) -> None:
    from bench.report.text.fidelity import _line

    row = row_of(unit, gain)
    scores = paired([gain, gain * 1.5])
    found = FidelityRow(row, row, scores, scores)
    assert_whole(printed(fidelity_table([found])), _line(found)[1:-1])


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize(("unit", "gain"), [(u, g) for u, gains in GAINS.items() for g in gains])
def test_the_table_over_budgets(
    row_of: Callable[..., RowResult], unit: str, gain: float, count: int
) -> None:
    from bench.report.text.levels import cells

    levels = tuple(Budget(1.25e12 * 2**number, "flop") for number in range(count))
    row = row_of(unit, gain)
    over = OverLevels(row.pair, row.strategy, row.target, levels, (row,) * count)
    assert_whole(printed(level_table([over])), cells(over)[2:-2])


@pytest.mark.parametrize("value", [1.0, 12_345_678.0, 123_456_789_012.0, 1.23456e18])
def test_the_table_of_the_gate(value: float) -> None:
    counts = Finding("hard on d:t+u", "peak bytes", "FAIL", "rose", "", value, value * 1.01)
    change = paired([-112.5, -111.5, -113.25, -112.25])
    score = Finding("x", "score", "INCONCLUSIVE", "open", "%", 58.8, -53.7, change=change)
    from bench.report.text.gate import _cells

    told = [cell for finding in (counts, score) for cell in _cells(finding)[1:-1]]
    assert_whole(printed(gate_table([counts, score])), told)


@pytest.mark.parametrize(
    ("sd", "hours"), [(0.000123, 0.0012), (1.5, 0.33), (12.5, 9.94), (1.2345e7, 123_456.0)]
)
def test_the_table_of_power(
    sd: float, hours: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    alone, family = Need(0.05, 987, hours), Need(0.0001, None, hours * 1.1)
    row = Requirement(
        "study",
        "a_rather_long_data_set:first_task+second_task",
        LONG,
        "first_task",
        "same-steps",
        "%",
        1.0,
        sd,
        10,
        4,
        1.0,
        alone,
        family,
    )
    _show([row], Total("study", 4, 1.0, alone, family), 1.0)
    text = capsys.readouterr().out
    shown = [f"{x:,.0f}" if x >= 10 else f"{x:.2g}" for x in (hours, hours * 1.1)]
    assert_whole(text, [f"{sd:.3g}", "987", "over 1,000", *shown])
    assert text.count("same-steps") == 1


def test_the_table_of_validation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    findings = (CheckResult("a_check_with_a_name", "failed", "why " * 40),) * 123
    show_validation([PluginReport(LONG, "aggregation", findings, 12345.67)], as_json=False)
    assert_whole(capsys.readouterr().out, ["0 of 123", "12345.7"])


def test_tables_of_speed() -> None:
    columns = [Column(str(number), f"figure {number} (ms)") for number in range(7)]
    row = {str(number): f"{1234.5 * 10**number:,.1f}" for number in range(5)}
    file = io.StringIO()
    show([Table("x", "title", columns, [row])], Console(file=file, width=WIDTH))
    assert_whole(file.getvalue(), list(row.values()))


@pytest.mark.parametrize("width", [30, 80, 200])
def test_names_give_way_to_figures(width: int) -> None:
    lines = [[LONG, "123,456", "0.001\n0.33"], ["a", "1", "2"]]
    table, room = table_of_figures("title", ("name", "first", "second"), lines, width)
    for line in lines:
        table.add_row(*line)
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert {"123,456", "0.001", "0.33"} <= set(text.split())
    assert room >= 8
