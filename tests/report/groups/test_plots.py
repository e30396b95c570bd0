"""The plots of groups at all sizes: they fit on a page, and show what the result says."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch, Rectangle

from bench.decide.groupings import GroupingResult
from bench.report.groups.affinity import affinity_plot
from bench.report.groups.front import front_plot
from bench.report.groups.tree import tree_plot
from bench.report.plots.canvas import finished, style
from bench.stats.partitions import Rules

Make = Callable[..., GroupingResult]
MOST_PIXELS = 2000


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with style():
        yield


def _pages(result: GroupingResult) -> list[Any]:
    rules = Rules(most=2)
    return [
        *front_plot("name", result, rules),
        *tree_plot("name", result),
        *affinity_plot("name", result),
    ]


def _lines(axes: Any) -> list[np.ndarray]:
    """Return the points `[2, n]` of each line."""
    return [np.asarray(line.get_data(), dtype=float) for line in axes.lines]


def _texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


@pytest.mark.parametrize("world", ["", "grouping"])
@pytest.mark.parametrize("tasks", [2, 3, 5, 8, 12, 40])
def test_pages_hold_all_texts_and_are_no_larger_than_a_page(
    make_result: Make, tasks: int, world: str
) -> None:
    for figure in _pages(make_result(tasks, world)):
        finished(figure)
        width, height = figure.get_size_inches() * figure.dpi
        assert max(width, height) <= MOST_PIXELS
        whole = figure.get_tightbbox()
        assert whole.x0 >= -0.01
        assert whole.y0 >= -0.01
        assert whole.x1 <= width / figure.dpi + 0.01
        assert whole.y1 <= height / figure.dpi + 0.01


def test_hostile_and_long_names_fit(hostile: GroupingResult) -> None:
    for figure in _pages(hostile):
        finished(figure)
        width, height = figure.get_size_inches()
        whole = figure.get_tightbbox()
        assert whole.x1 <= width + 0.01
        assert whole.y1 <= height + 0.01
        assert not any("\x1b" in text for text in _texts(figure))


def test_the_matrix_is_in_the_order_of_the_grouping_and_frames_its_groups(
    make_result: Make,
) -> None:
    result = make_result(5)
    first, second = affinity_plot("name", result)
    axes = first.axes[0]
    order = ["gender", "colour", "usage", "season", "category"]
    assert [label.get_text() for label in axes.get_yticklabels()] == order
    frames = [p for p in axes.patches if isinstance(p, Rectangle)]
    assert [(p.get_x(), p.get_width()) for p in frames] == [(0, 3), (3, 2)]
    shown: np.ndarray = np.ma.filled(np.ma.asarray(axes.collections[0].get_array()), np.nan)
    assert shown[0, 1] == pytest.approx(result.affinities[0].mean[0, 2])  # gender from colour
    assert np.isnan(np.diag(shown)).all()
    assert "name: affinity of tasks by cosine" in _texts(second)


def test_a_pair_that_was_not_measured_has_a_dash(make_result: Make) -> None:
    result = make_result(5)
    values = result.affinities[0].values.copy()
    values[:, 0, 1] = np.nan
    changed = replace(result, affinities=(replace(result.affinities[0], values=values),))
    figure = affinity_plot("name", changed)[0]
    assert _texts(figure).count("–") == 1


def test_the_front_shows_every_grouping_of_few_tasks_and_the_cap(make_result: Make) -> None:
    result = make_result(5)
    axes = front_plot("name", result, Rules(most=3))[0].axes[0]
    points = {line.shape[1]: line for line in _lines(axes)}
    assert 52 in points  # all groupings of five tasks
    assert list(points[5][1]) == [each.mean for each in result.proposal.best]
    assert "beyond the cap" in [text.get_text() for text in axes.texts]
    apart = front_plot("name", result, Rules(apart=((0, 1),)))[0].axes[0]
    assert 52 not in {line.shape[1] for line in _lines(apart)}
    many = front_plot("name", make_result(40), Rules())[0].axes[0]
    assert all(line.shape[1] <= 5 for line in _lines(many))


def test_the_front_shows_what_was_verified_over_its_cost(make_result: Make) -> None:
    result = make_result(5, "grouping")
    _, axes = front_plot("name", result, Rules())[0].axes
    marks = {(round(line[0, 0]), float(line[1, 0])) for line in _lines(axes) if line.shape[1] == 1}
    one = result.options[0].delta_m.mean
    assert {(20, one), (40, result.options[1].delta_m.mean), (100, 0.0)} <= marks


def test_the_tree_has_a_box_for_each_network_and_a_line_for_each_task(make_result: Make) -> None:
    result = make_result(5)
    axes = tree_plot("name", result)[0].axes[0]
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == 1 + 2 + 3 + 4 + 5
    assert len(axes.lines) == 5
    thick = [box for box in boxes if box.get_linewidth() == max(b.get_linewidth() for b in boxes)]
    assert len(thick) == 2
    colours = {line.get_color() for line in axes.lines}
    assert len(colours) == 2


def test_nested_groupings_cross_no_lines(make_result: Make) -> None:
    axes = tree_plot("name", make_result(12, blocks=3))[0].axes[0]
    places = np.array([line[1] for line in _lines(axes)])
    orders = [tuple(np.argsort(column)) for column in places.T]
    assert sum(a != b for a, b in pairwise(orders)) == 0
