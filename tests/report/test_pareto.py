"""The plane of two tasks' scores."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.report.plots.pareto import Point, front, pareto, points
from bench.stats.gains import results

PAIR = "creatures:species+kin"


def test_points_are_the_scores_of_strategies_and_anchors_by_seed(
    make_world: Callable[..., Any],
) -> None:
    world = make_world([PAIR], ["hard", "cross-stitch"], trouble={})
    found = {p.name: p for p in points(results(world.declaration, world.find))}
    assert list(found) == [
        "hard",
        "single-task, whole budget",
        "single-task, shared budget",
        "cross-stitch",
    ]
    for row in world.declaration.rows:
        if row.strategy != "hard":
            continue
        place = ("species", "kin").index(row.target)
        for seed in row.seeds:
            own = world.find(seed.strategy).value(row.target)
            alone = world.find(seed.anchors["full"][row.target]).value(row.target)
            assert found["hard"].scores[seed.seed, place] == own
            assert found["single-task, whole budget"].scores[seed.seed, place] == alone


def test_what_nothing_beats_on_both_tasks_is_the_front() -> None:
    at = {"a": (1, 5), "b": (2, 4), "c": (1, 4), "d": (3, 3), "e": (3, 2)}
    every = [Point(name, np.array([mean, mean], dtype=float)) for name, mean in at.items()]
    assert [p.name for p in front(every, (1, 1))] == ["a", "b", "d"]
    # Of an error, less is better.
    assert [p.name for p in front(every, (1, -1))] == ["e"]
    assert [p.name for p in front(every, (-1, -1))] == ["c", "e"]


def test_the_ellipse_holds_the_true_means_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([[2.0, 0.0], [1.5, 0.5]])
    held = 0
    for _ in range(1000):
        point = Point("x", rng.normal(size=(10, 2)) @ spread.T)
        outline = point.ellipse()
        assert outline is not None
        # The origin is inside where the outline goes around it.
        angles = np.unwrap(np.arctan2(outline[:, 1], outline[:, 0]))
        held += abs(angles[-1] - angles[0]) > 3
    assert held / 1000 == pytest.approx(0.95, abs=0.021)


def test_few_seeds_have_no_ellipse_and_one_target_no_plane(make_world: Callable[..., Any]) -> None:
    assert Point("x", np.zeros((3, 2))).ellipse() is None
    alone = make_world(["creatures:species+kin~shuffled"], ["hard"], trouble={})
    found = results(alone.declaration, alone.find)
    assert pareto("x", alone.declaration.rows, found) is None


def test_many_strategies_still_have_a_legend_and_a_point_each(
    make_world: Callable[..., Any],
) -> None:
    strategies = [f"method-{n}" for n in range(40)]
    world = make_world([PAIR], strategies, trouble={})
    figure = pareto("x", world.declaration.rows, results(world.declaration, world.find))
    assert figure is not None
    (axes,) = figure.axes
    drawn = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
    assert len(drawn) == 42
    assert len(figure.legends[0].get_texts()) == 42
