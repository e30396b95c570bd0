"""The dial plot shows gains over the knob that rows differ in, and exists only where they do."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.report import write_report
from bench.report.plots.canvas import style
from bench.report.plots.dial import dial_plot, dials
from bench.stats.comparison import RowResult
from bench.stats.gains import results

TASKS = "species+relative"
DIAL = [f"creatures{knobs}:{TASKS}" for knobs in ("", "@shared=0", "@shared=1", "@noise=0.2")]


@pytest.fixture(name="found", scope="module")
def _found(make_world: Callable[..., Any]) -> list[RowResult]:
    world = make_world(pairs=DIAL, strategies=["hard", "cross-stitch"], trouble={})
    return results(world.declaration, world.find)


def knobs_of(found: list[RowResult]) -> dict[tuple[str, str], list[float]]:
    return {(dial.pair, dial.knob): list(dial.rows) for dial in dials(found)}


def renamed(found: list[RowResult], names: dict[str, str]) -> list[RowResult]:
    return [replace(row, pair=names.get(row.pair, row.pair)) for row in found]


def test_a_knob_is_a_dial_where_pairs_differ_in_it_alone(found: list[RowResult]) -> None:
    # The pair without a knob in its name is a point of both, at the defaults.
    assert knobs_of(found) == {
        (f"creatures:{TASKS}", "shared"): [0, 1, 2],
        (f"creatures:{TASKS}", "noise"): [0, 0.2],
    }
    (shared, _) = dials(found)
    assert [row.pair for row in shared.rows[2]] == [DIAL[0]] * 4


def test_pairs_that_differ_in_two_knobs_make_no_dial(found: list[RowResult]) -> None:
    both = {DIAL[0]: f"creatures@shared=1,noise=0.4:{TASKS}"}
    rows = [row for row in renamed(found, both) if row.pair in (DIAL[1], *both.values())]
    assert not dials(rows)


def test_a_dial_keeps_the_knobs_that_its_pairs_have_in_common(found: list[RowResult]) -> None:
    names = {
        DIAL[1]: f"creatures@noise=0.4,shared=1:{TASKS}",
        DIAL[3]: f"creatures@noise=0.4:{TASKS}",
    }
    rows = [row for row in renamed(found, names) if row.pair in names.values()]
    assert knobs_of(rows) == {(f"creatures@noise=0.4:{TASKS}", "shared"): [1, 2]}


@pytest.mark.parametrize(
    "other",
    [
        "creatures@shared=1:species+kin",  # other tasks
        f"creatures@disjoint=true:{TASKS}",  # a choice, not a number
        f"no-longer-installed@shared=1:{TASKS}",
        f"creatures@shape=wide:{TASKS}",
    ],
)
def test_other_differences_make_no_dial(found: list[RowResult], other: str) -> None:
    rows = [row for row in renamed(found, {DIAL[1]: other}) if row.pair in (DIAL[0], other)]
    assert not dials(rows)
    assert dial_plot("made-up", rows) is None


def test_a_data_set_that_is_gone_has_its_dial(found: list[RowResult]) -> None:
    names = {DIAL[1]: f"gone@shared=-1,b=x:{TASKS}", DIAL[2]: f"gone@shared=2.5,b=x:{TASKS}"}
    rows = [row for row in renamed(found, names) if row.pair in names.values()]
    assert knobs_of(rows) == {(f"gone@b=x:{TASKS}", "shared"): [-1, 2.5]}


@pytest.mark.parametrize("knobs", [("", ""), ("@shared=1", "@shared=2")])
def test_where_no_pair_stands_at_a_default_no_plugin_is_loaded(knobs: tuple[str, str]) -> None:
    code = (
        "import sys; from types import SimpleNamespace as Row; "
        "from bench.report.plots.dial import dials;"
        f"assert len(dials([Row(pair='a{knobs[0]}:b+c'), Row(pair='a{knobs[1]}:b+c')])) < 2;"
        "print({'torch', 'bench.spec.registry'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def panels(found: list[RowResult]) -> Any:
    with style():
        figure = dial_plot("made-up", found)
        assert figure is not None
        figure.draw_without_rendering()
    return figure


def test_lines_go_through_the_mean_gains_against_full(found: list[RowResult]) -> None:
    figure = panels(found)
    shared = figure.axes[0]
    assert shared.get_xlabel() == "shared"
    assert [text.get_text() for text in shared.get_xticklabels()] == ["0", "1", "2"]
    # One line a strategy and target; what else is drawn has one point or stands on the zero line.
    drawn = [list(line.get_ydata()) for line in shared.lines if len(line.get_ydata()) == 3]
    expected = []
    for strategy, target in dict.fromkeys((row.strategy, row.target) for row in found):
        by_pair = {
            row.pair: row.against["full"].result.mean
            for row in found
            if (row.strategy, row.target) == (strategy, target)
        }
        expected.append([by_pair[pair] for pair in (DIAL[1], DIAL[2], DIAL[0])])
    assert drawn == expected
    low, high = shared.get_ylim()
    seeds = [gain for row in found for gain in row.against["full"].gains.values()]
    assert low < min(seeds)
    assert max(seeds) < high


def test_each_metric_has_a_panel_of_its_own(found: list[RowResult]) -> None:
    rows = [
        replace(row, metric="MAE", unit="m") if row.target == "relative" else row for row in found
    ]
    labels = [axes.get_ylabel() for axes in panels(rows).axes]
    assert len(labels) == 4
    assert len([label for label in labels if "MAE" in label]) == 2


def test_a_wide_dial_is_logarithmic_and_leaves_out_labels_that_would_touch(
    found: list[RowResult],
) -> None:
    sizes = dict(zip(DIAL, (100, 101, 1000, 4000), strict=True))
    rows = renamed(found, {pair: f"creatures@train={n}:{TASKS}" for pair, n in sizes.items()})
    (axes,) = panels(rows).axes
    assert axes.get_xlabel() == "train (logarithmic)"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["100", "1000", "4000"]


def test_unequal_budgets_are_crossed_out(make_world: Callable[..., Any]) -> None:
    # In the made-up world `hard+partner` uses 2 % more than it may where a pair has a background.
    pairs = ["creatures:species+background", "creatures@noise=0.2:species+background"]
    found = []
    for strategy in ("hard", "hard+partner"):
        world = make_world(pairs=pairs, strategies=[strategy], seeds=8, trouble={})
        found.append(results(world.declaration, world.find))
    crosses = [
        sum(line.get_marker() == "x" for line in panels(rows).axes[0].lines) for rows in found
    ]
    assert crosses == [0, 4]


def test_a_value_without_a_gain_has_no_mark(make_world: Callable[..., Any]) -> None:
    failed = dict.fromkeys(range(10), ("failed", "out of memory"))
    world = make_world(pairs=DIAL[:3], strategies=["hard"], trouble={(DIAL[2], "hard"): failed})
    axes = panels(results(world.declaration, world.find)).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "2"]
    lengths = [len(line.get_ydata()) for line in axes.lines if line.get_linestyle() != "None"]
    assert lengths == [2, 2, 2]  # the zero line, and two values of each target


def test_a_dial_without_any_gain_is_drawn_empty(make_world: Callable[..., Any]) -> None:
    pairs = [*DIAL[:2], "creatures:species+kin", "creatures@noise=0.2:species+kin"]
    failed = dict.fromkeys(range(10), ("failed", "out of memory"))
    trouble = {(pair, "hard"): failed for pair in pairs[:2]}
    world = make_world(pairs=pairs, strategies=["hard"], seeds=2, trouble=trouble)
    found = [
        replace(row, metric="", unit="") if row.pair in pairs[:2] else row
        for row in results(world.declaration, world.find)
    ]
    assert len(panels(found).axes) == 2


def test_a_report_has_a_dial_plot_only_where_there_is_a_dial(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    files = {"dial.png", "dial.svg"}
    dialled = make_world(pairs=DIAL[:2], strategies=["hard"], seeds=2, trouble={})
    report = write_report(dialled.declaration, dialled.find, tmp_path)
    assert files <= set(report.files)
    assert "](dial.png)" in report.files["table.md"].read_text()
    plain = make_world(pairs=DIAL[:1], strategies=["hard"], seeds=2, trouble={})
    report = write_report(plain.declaration, plain.find, tmp_path)
    assert not files & {path.name for path in tmp_path.iterdir()}
    assert "](dial.png)" not in report.files["table.md"].read_text()
