"""Plots hold all their texts, grow with their rows, and load matplotlib only when drawn."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bench.report.plots.across import across_plot
from bench.report.plots.audit import audit_plot
from bench.report.plots.canvas import OTHERS, by_scale, cycle_marks, style, text_width, wrap
from bench.report.plots.curves import curve_of, curves
from bench.report.plots.dial import dial_plot
from bench.report.plots.forest import forest
from bench.report.plots.heatmap import heatmap
from bench.report.plots.pareto import pareto
from bench.report.selection import best_and_worst
from bench.report.text.wording import gain_unit
from bench.stats.gains import results

LONG = {
    "pairs": ["a_rather_long_dataset_name:first_of_the_two_tasks+second_task_with_a_long_name"],
    "strategies": ["a-strategy-with-quite-a-long-name+reconstruction@0.25+uncertainty", "hard"],
    "name": "an-experiment-with-a-long-name-that-somebody-typed-in-a-hurry",
    "seeds": 8,
}
DIALS = {
    "pairs": [
        f"creatures@{knobs}:species+relative"
        for knobs in ("shared=0", "shared=1", "shared=2", "labels=0.05", "labels=0.5", "noise=0.25")
    ],
    "strategies": ["hard", "hard+a-strategy-with-quite-a-long-name@0.25", "cross-stitch"],
}


def figures(world: Any) -> dict[str, Any]:
    found = results(world.declaration, world.find)
    name = world.declaration.experiment.name
    with style():
        drawn = {
            "gains": forest(name, found)[0],
            "heatmap": heatmap(name, found),
            "curves": curves(name, world.declaration.rows, found, world.find, "flop"),
            "audit": audit_plot(name, found, "flop")[0],
            "dial": dial_plot(name, found),
            "across": across_plot(name, found, 1.0),
        }
    return {plot: figure for plot, figure in drawn.items() if figure is not None}


@pytest.fixture(
    name="crowded", scope="module", params=[LONG, {}, DIALS], ids=["long", "many rows", "dials"]
)
def _crowded(request: pytest.FixtureRequest, make_world: Callable[..., Any]) -> dict[str, Any]:
    return figures(make_world(**request.param))


def test_no_text_lies_outside_a_figure(crowded: dict[str, Any]) -> None:
    for plot, figure in crowded.items():
        with style():
            box = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert box.x0 >= 0, plot
        assert box.y0 >= 0, plot
        assert box.x1 <= width, plot
        assert box.y1 <= height, plot


def test_no_two_texts_of_a_sheet_overlap(crowded: dict[str, Any]) -> None:
    for plot, figure in crowded.items():
        with style():
            figure.draw_without_rendering()
            boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i]), plot


def test_figures_grow_with_their_rows(make_world: Callable[..., Any]) -> None:
    few = figures(make_world(pairs=["creatures:species+kin"], strategies=["hard"], seeds=2))
    many = figures(make_world(strategies=["hard"], seeds=2))
    for plot in few:
        assert many[plot].get_size_inches()[1] > few[plot].get_size_inches()[1]


def test_a_curve_averages_the_runs_that_have_a_point(make_world: Callable[..., Any]) -> None:
    world = make_world(pairs=["creatures:species+kin"], strategies=["hard"], seeds=3, trouble={})
    cell = world.declaration.rows[0]
    runs = [world.find(seed.strategy) for seed in cell.seeds]
    curve = curve_of("hard", [*runs, None], "species")
    assert curve is not None
    last = [run.curve[-1].scores["species"] for run in runs]
    assert curve.mean[-1] == pytest.approx(sum(last) / 3)
    ledger = runs[0].ledger
    assert curve.x[-1] == pytest.approx(ledger.steps[0] * ledger.prices[0].flops)
    assert curve_of("hard", [None], "species") is None


def test_neighbouring_arms_differ_by_more_than_colour() -> None:
    marks = list(cycle_marks([str(i) for i in range(40)]).values())
    assert len({(mark.marker, mark.line) for mark in marks}) == 40
    assert len(set(marks)) == 40


@pytest.mark.parametrize(
    ("metric", "unit", "words"),
    [
        ("accuracy", "%", "percentage points of accuracy"),
        ("absolute error", "m", "absolute error, m; positive is better"),
        ("MAE", "", "MAE; positive is better"),
        ("", "", "points of the metric"),
    ],
)
def test_an_axis_says_the_unit_of_gains_where_there_is_one(
    metric: str, unit: str, words: str
) -> None:
    assert gain_unit(metric, unit) == words


def test_each_row_has_the_band_of_its_own_margin(make_world: Callable[..., Any]) -> None:
    world = make_world(pairs=["a:x+y"], strategies=["hard"], metric="MAE", unit="m", trouble={})
    found = results(world.declaration, world.find)
    for row, value in zip(found, (100.0, 10.0), strict=True):
        assert row.against["full"].margin == pytest.approx(row.against["full"].anchor_mean / 100)
        object.__setattr__(row.against["full"], "margin", value)
    with style():
        (axes,) = forest("bands", found)[0].axes
    bands = [c.get_paths()[0].get_extents().width for c in axes.collections if c.get_zorder() == 0]
    assert bands == [200.0, 20.0]


def test_numbers_without_a_unit_have_an_axis_for_each_task(
    make_world: Callable[..., Any],
) -> None:
    world = make_world(pairs=["a:x+y"], strategies=["hard"], metric="MAE", unit="", seeds=3)
    found = results(world.declaration, world.find)
    with style():
        labels = [axes.get_xlabel() for axes in forest("two units", found)[0].axes]
    assert [scale.target for scale in by_scale(found)] == ["x", "y"]
    assert labels == [
        f"gain over the single-task anchor ({task}: MAE; positive is better)" for task in "xy"
    ]


def test_a_score_of_zero_is_drawn_without_a_band(make_world: Callable[..., Any]) -> None:
    world = make_world(pairs=["a:x+y"], strategies=["hard"], metric="MAE", unit="m", trouble={})
    for key, record in world.records.items():
        scores = {
            t: {m: replace(s, value=0.0) for m, s in f.items()} for t, f in record.scores.items()
        }
        world.records[key] = record.model_copy(update={"scores": scores})
    assert figures(world)


def test_wrapped_text_fits_its_width_and_loses_nothing() -> None:
    text = "hard+reconstruction@0.25+uncertainty-weighting and more words"
    wrapped = wrap(text, 1.5)
    assert all(text_width(line) <= 1.5 for line in wrapped.split("\n"))
    assert wrapped.replace("\n", "").replace(" ", "") == text.replace(" ", "")


def test_importing_the_report_loads_neither_plots_nor_torch() -> None:
    code = "import bench.report, sys; print({'matplotlib', 'torch', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_many_strategies_stand_below_one_another_in_the_heat_map(
    make_world: Callable[..., Any],
) -> None:
    world = make_world(
        pairs=["creatures:species+kin"], strategies=[f"method-{i}" for i in range(20)], seeds=3
    )
    with style():
        width, height = heatmap("many", results(world.declaration, world.find)).get_size_inches()
    assert width < 9 < height + 2


@pytest.mark.parametrize("count", [3, 15, 80])
def test_plots_of_rows_are_pages_of_at_most_two_thousand_pixels_on_one_scale(
    make_world: Callable[..., Any], count: int
) -> None:
    world = make_world(
        pairs=["creatures:species+kin"],
        strategies=[f"a-method-with-a-name-{i}" for i in range(-(-count // 2))],
        seeds=3,
    )
    found = results(world.declaration, world.find)[:count]
    with style():
        for pages in (forest("many", found), audit_plot("many", found, "flop")):
            assert (len(pages) > 1) == (count == 80)
            rows = 0
            for number, figure in enumerate(pages, 1):
                assert figure.get_size_inches()[1] * figure.dpi <= 2000
                texts = [text.get_text() for text in figure.texts]
                rows += sum(text.startswith("a-method") for text in texts)
                assert (f"page {number} of {len(pages)}" in " ".join(texts)) == (count == 80)
            assert rows == count
            assert len({figure.axes[0].get_xlim() for figure in pages}) == 1


def test_of_many_strategies_the_middle_is_grey_and_in_no_legend(
    make_world: Callable[..., Any],
) -> None:
    world = make_world(
        pairs=["creatures:species+kin"], strategies=[f"method-{i}" for i in range(20)], seeds=4
    )
    found, rows = results(world.declaration, world.find), world.declaration.rows
    few = best_and_worst(found)
    shown = {row.strategy for row in few.of(rows)}
    assert len(shown) == 13
    assert "of 20 strategies the 10 best and 3 worst, others grey" in few.title("x")
    grey = {row.strategy for row in few.others(rows)}
    assert len(grey) == 7
    with style():
        figure = curves("x", few.of(rows), few.of(found), world.find, "flop", few.others(rows))
        plane = pareto("x", rows, found, grey)
    assert plane is not None
    for drawn, anchors in ((figure, 2), (plane, 2)):
        legend = [text.get_text() for text in drawn.legends[0].get_texts()]
        assert legend[-1] == "7 other strategies"
        assert len(legend) == 13 + anchors + 1
        assert not grey & set(legend)
    faint = [line for line in figure.axes[0].lines if line.get_color() == OTHERS.colour]
    assert len(faint) == 7
