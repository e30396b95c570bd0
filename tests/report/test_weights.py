"""The report shows the weights of losses where a method moves them, and only there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.report import gains_json, write_report
from bench.report.plots.canvas import style
from bench.report.plots.weights import weight_plot
from bench.stats.gains import results

STRATEGIES = ["hard", "uncertainty"]
PAIR = "creatures:species+kin"


@pytest.fixture(name="world", scope="module")
def _world(make_world: Callable[..., Any]) -> Any:
    """Uniform weights stay; those of `uncertainty` go from 0.5 to 0.2 and 0.8 at every seed."""
    world = make_world(pairs=[PAIR], strategies=STRATEGIES, seeds=4, trouble={})
    for key, record in list(world.records.items()):
        if record.spec.strategy not in STRATEGIES:
            continue
        last = len(record.curve) - 1
        moves = 0.3 if record.spec.strategy == "uncertainty" else 0.0
        curve = tuple(
            replace(
                point,
                weights={
                    "species": 0.5 - moves * place / last,
                    "kin": 0.5 + moves * place / last,
                },
            )
            for place, point in enumerate(record.curve)
        )
        world.records[key] = record.model_copy(update={"curve": curve})
    return world


def test_weights_that_move_are_told_with_their_ends(world: Any) -> None:
    rows = {(r.strategy, r.target): r for r in results(world.declaration, world.find)}
    assert not rows["hard", "species"].weights
    found = rows["uncertainty", "species"].weights
    assert list(found) == ["species", "kin"]
    assert found["species"].first.mean == pytest.approx(0.5)
    assert found["species"].last.mean == pytest.approx(0.2)
    assert found["kin"].range == pytest.approx((0.5, 0.8))
    document = gains_json(world.declaration, list(rows.values()))
    told = {row["strategy"]: row["weights"] for row in document["rows"]}
    assert told["hard"] == {}
    assert told["uncertainty"]["kin"]["last_mean"] == pytest.approx(0.8)


def test_a_run_of_two_rows_is_drawn_once(world: Any, tmp_path: Path) -> None:
    found = results(world.declaration, world.find)
    with style():
        (figure,) = weight_plot("w", world.declaration.rows, found, world.find, "flop")
    assert len(figure.axes) == 1
    axes = figure.axes[0]
    assert len(axes.lines) == 2
    low, high = axes.get_xlim()
    for line in axes.lines:
        x = np.asarray(line.get_xdata(), dtype=float)
        assert len(x) == 8
        assert ((low <= x) & (x <= high)).all()
    report = write_report(world.declaration, world.find, tmp_path)
    assert report.files["weights.png"].stat().st_size > 0
    table = report.files["table.md"].read_text()
    assert "| `creatures:species+kin → species` | `uncertainty` | `kin` | 0.500 | 0.8 " in table


def test_without_a_weight_that_moves_there_is_no_plot(make_world: Callable[..., Any]) -> None:
    world = make_world(pairs=[PAIR], strategies=["hard"], seeds=3)
    found = results(world.declaration, world.find)
    assert weight_plot("w", world.declaration.rows, found, world.find, "flop") == []
