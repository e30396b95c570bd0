"""The report says how the tasks' gradients lie to each other, and only where any were taken."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from bench.report import gains_json, write_report
from bench.report.plots.canvas import style
from bench.report.plots.gradients import gradient_plot
from bench.report.text.table import markdown
from bench.stats.gains import results
from bench.store.records import CurvePoint, Record

PAIRS = ["creatures:species+kin", "creatures:species+kin+background"]
STRATEGIES = ["hard", "hard+reconstruction", "branch"]


def _looked(record: Record, tasks: Sequence[str], only: set[int]) -> tuple[CurvePoint, ...]:
    rng = np.random.default_rng(crc32(record.key.encode()))
    return tuple(
        replace(
            point,
            norms={t: float(2.0 ** rng.normal(i)) for i, t in enumerate(tasks)},
            cosines={
                a: {b: float(rng.uniform(-0.1, 0.3)) for b in tasks[i + 1 :]}
                for i, a in enumerate(tasks[:-1])
            },
        )
        if index in only
        else point
        for index, point in enumerate(record.curve)
    )


@pytest.fixture(name="world", scope="module")
def _world(make_world: Callable[..., Any]) -> Any:
    """Runs that were looked at twice, each seed at other points; those of `branch` never."""
    world = make_world(pairs=PAIRS, strategies=STRATEGIES, seeds=4, trouble={})
    for key, record in list(world.records.items()):
        tasks = list(record.spec.tasks)
        if record.spec.strategy == "hard+reconstruction":
            tasks.append("reconstruction")
        if len(tasks) > 1 and record.spec.strategy.startswith("hard"):
            seed = record.spec.seed
            curve = _looked(record, tasks, {seed, seed + 4})
            world.records[key] = record.model_copy(update={"curve": curve})
    return world


def _draw(world: Any) -> Any:
    found = results(world.declaration, world.find)
    with style():
        figure = gradient_plot("made-up", world.declaration.rows, found, world.find, "flop")
        if figure is not None:
            figure.draw_without_rendering()
    return figure


def test_a_row_has_the_mean_cosine_and_ratio_with_every_other_task(world: Any) -> None:
    found = {(r.pair, r.strategy, r.target): r for r in results(world.declaration, world.find)}
    assert list(found[PAIRS[0], "hard", "species"].gradients) == ["kin"]
    assert list(found[PAIRS[1], "hard", "kin"].gradients) == ["species", "background"]
    assert list(found[PAIRS[0], "hard+reconstruction", "kin"].gradients) == ["reconstruction"]
    assert not found[PAIRS[0], "branch", "kin"].gradients
    row = found[PAIRS[0], "hard", "species"]
    cell = next(c for c in world.declaration.rows if c.pair == row.pair and c.strategy == "hard")
    means, logs = [], []
    for seed in cell.seeds:
        points = [p for p in world.find(seed.strategy).curve if p.norms]
        assert len(points) == 2
        means.append(sum(p.cosines["species"]["kin"] for p in points) / 2)
        logs.append(sum(math.log(p.norms["kin"] / p.norms["species"]) for p in points) / 2)
    gradient = row.gradients["kin"]
    assert gradient.cosine.n == 4
    assert gradient.cosine.mean == pytest.approx(sum(means) / 4)
    assert gradient.norm_ratio == pytest.approx(math.exp(sum(logs) / 4))
    # Seen from the other task the cosine is the same, and the ratio its inverse.
    other = found[PAIRS[0], "hard", "kin"].gradients["species"]
    assert other.cosine.mean == gradient.cosine.mean
    assert other.norm_ratio == pytest.approx(1 / gradient.norm_ratio)


def test_the_files_have_cosines_and_ratios(world: Any, tmp_path: Path) -> None:
    report = write_report(world.declaration, world.find, tmp_path)
    assert {"gradients.png", "gradients.svg"} <= set(report.files)
    rows = json.loads(report.files["gains.json"].read_text())["rows"]
    for row, found in zip(rows, report.results, strict=True):
        assert list(row["gradients"]) == list(found.gradients)
        for other, gradient in found.gradients.items():
            assert row["gradients"][other]["cosine_mean"] == gradient.cosine.mean
            assert row["gradients"][other]["norm_ratio"] == gradient.norm_ratio
    text = markdown(world.declaration, report.results, {})
    folded = text.split("<summary>Gradients of the tasks on the shared parameters</summary>")[1]
    folded = folded.partition("</details>")[0]
    lines = [line for line in folded.splitlines() if line.startswith("| `")]
    assert len(lines) == sum(len(row.gradients) for row in report.results)
    gradient = report.results[0].gradients["kin"]
    assert f"{gradient.cosine.mean:+.2f} [{gradient.cosine.low:+.2f}," in lines[0]


def test_each_question_has_two_panels_and_a_line_a_strategy_and_other_task(world: Any) -> None:
    figure = _draw(world)
    titles = [text.get_text().replace("\n", "") for text in figure.texts]
    for pair in PAIRS:
        for target in pair.partition(":")[2].split("+"):
            assert f"{pair} → {target}" in titles
    assert len(figure.axes) == 2 * 5
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["hard", "hard+reconstruction"]
    assert {"hard, species", "hard, kin", "hard, background"} == set(labels[2:])
    # Every seed looked at two of the eight points, and together they looked at all.
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 8]
    assert len(lines) == 2
    # Behind them stand the means over curve and seeds.
    row = results(world.declaration, world.find)[0]
    end = max(lines[0].get_xdata())
    behind = [line.get_ydata()[0] for line in figure.axes[0].lines if min(line.get_xdata()) > end]
    assert row.gradients["kin"].cosine.mean in behind
    for axes, other in combinations(figure.axes[::2], 2):
        assert axes.get_ylim() == other.get_ylim()


def test_no_text_lies_outside_the_figure_or_on_another(world: Any) -> None:
    figure = _draw(world)
    with style():
        box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:i])


def test_where_nobody_looked_there_is_nothing(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    world = make_world(pairs=PAIRS[:1], strategies=["hard"], seeds=2, trouble={})
    assert _draw(world) is None
    report = write_report(world.declaration, world.find, tmp_path)
    assert not any("gradients" in name for name in report.files)
    assert all(
        row["gradients"] == {} for row in gains_json(world.declaration, report.results)["rows"]
    )
    assert "Gradients of the tasks" not in report.files["table.md"].read_text()


def test_a_record_of_before_there_were_looks_reads_as_one_without(world: Any) -> None:
    record = next(iter(world.records.values()))
    old = json.loads(record.model_dump_json())
    for point in old["curve"]:
        del point["norms"], point["cosines"]
    read = Record.model_validate(old)
    assert all(point.norms == {} and point.cosines == {} for point in read.curve)
    assert read.curve[0].cosine("species", "kin") is None
    assert read.curve[0].norm_ratio("species", "kin") is None


def test_a_strategy_without_a_finite_cosine_costs_no_other_its_line(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    # As with a learning rate that blows one strategy up: it was looked at, and nothing is a number.
    world = make_world(pairs=PAIRS[:1], strategies=["hard", "branch"], seeds=2, trouble={})
    for key, record in list(world.records.items()):
        tasks = list(record.spec.tasks)
        if len(tasks) > 1:
            curve = _looked(record, tasks, {0, 4})
            if record.spec.strategy == "branch":
                nothing: dict[str, dict[str, float | None]] = {"species": {"kin": None}}
                curve = tuple(replace(p, cosines=nothing) if p.norms else p for p in curve)
            world.records[key] = record.model_copy(update={"curve": curve})
    (panel, *_) = _draw(world).axes
    assert len(panel.get_lines()) > 0
    report = write_report(world.declaration, world.find, tmp_path)
    assert not report.faults
    assert "gradients.png" in report.files
