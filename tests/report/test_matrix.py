"""The matrix shows what each task gains beside each partner, where there are several."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.report import write_report
from bench.report.plots.canvas import style
from bench.report.plots.matrix import matrices, matrix
from bench.stats.comparison import RowResult
from bench.stats.gains import results

PAIRS = ["creatures:species+kin", "creatures:species+background", "creatures:kin+background"]


def _results(make_world: Callable[..., Any], *pairs: str, **how: Any) -> list[RowResult]:
    world = make_world(**{"pairs": pairs, "strategies": ["hard"], "trouble": {}} | how)
    return results(world.declaration, world.find)


@pytest.fixture(name="found", scope="module")
def _found(make_world: Callable[..., Any]) -> list[RowResult]:
    return _results(make_world, *PAIRS, strategies=["hard", "cross-stitch"])


def _texts(found: list[RowResult]) -> list[list[str]]:
    with style():
        figure = matrix("made-up", found)
        assert figure is not None
        figure.draw_without_rendering()
    return [[text.get_text() for text in axes.texts] for axes in figure.axes if axes.texts]


def test_rows_are_targets_columns_partners_and_the_diagonal_is_blank(
    found: list[RowResult],
) -> None:
    tasks = ["species", "kin", "background"]
    grids = _texts(found)
    assert len(grids) == 2
    for strategy, texts in zip(("hard", "cross-stitch"), grids, strict=True):
        expected = []
        for target in tasks:
            for partner in tasks:
                row = matrices(found)["creatures", strategy].get((target, partner))
                if row is None:
                    expected.append("")
                    continue
                assert set(row.pair.partition(":")[2].split("+")) == {target, partner}
                full = row.against["full"]
                star = " ★" if full.sign else ""
                expected.append(f"{full.result.mean:+.2f}".replace("-", "−") + star)
        assert texts == expected
        assert texts[0] == texts[4] == texts[8] == ""


def test_two_partners_of_one_task_are_enough(make_world: Callable[..., Any]) -> None:
    found = _results(make_world, *PAIRS[:2])
    ((key, cells),) = matrices(found).items()
    assert key == ("creatures", "hard")
    assert set(cells) == {
        ("species", "kin"),
        ("kin", "species"),
        ("species", "background"),
        ("background", "species"),
    }


@pytest.mark.parametrize(
    "pairs",
    [
        ["creatures:species+kin"],
        ["creatures:species+kin", "creatures:species+kin~shuffled"],  # a placebo is no task
        ["creatures:species+kin", "creatures:shape+coat"],  # nobody has met two
        ["creatures:species+kin", "creatures@noise=0.2:species+background"],  # other knobs
        ["creatures:species+kin", "creatures:species+kin+background"],  # a set is no pair
        ["creatures:species+kin", "multimnist:left+right"],
    ],
)
def test_else_there_is_no_matrix(
    make_world: Callable[..., Any], tmp_path: Path, pairs: list[str]
) -> None:
    found = _results(make_world, *pairs, seeds=2)
    assert not matrices(found)
    assert matrix("made-up", found) is None
    world = make_world(pairs=pairs, strategies=["hard"], seeds=2, trouble={})
    report = write_report(world.declaration, world.find, tmp_path)
    assert not any("matrix" in name for name in report.files)


def test_a_strategy_that_asks_no_partner_has_no_matrix(found: list[RowResult]) -> None:
    # Its rows are those of the first pair that names the target, whatever the partner.
    first: dict[str, RowResult] = {}
    for row in found:
        if row.strategy == "hard":
            first.setdefault(row.target, replace(row, strategy="alone"))
    assert set(matrices([*found, *first.values()])) == {
        ("creatures", "hard"),
        ("creatures", "cross-stitch"),
    }


def test_each_metric_has_a_grid_and_unequal_budgets_are_marked(
    make_world: Callable[..., Any],
) -> None:
    # In the made-up world `hard+partner` uses 2 % more than it may where a pair has a background.
    found = _results(make_world, *PAIRS, strategies=["hard+partner"])
    (texts,) = _texts(found)
    assert sum("†" in text for text in texts) == 4
    mixed = [replace(row, metric="MAE", unit="m") if row.target == "kin" else row for row in found]
    grids = _texts(mixed)
    assert [len(texts) for texts in grids] == [6, 3]
    assert all(text for text in grids[1][::2])


def test_no_text_lies_outside_the_figure_or_on_another(make_world: Callable[..., Any]) -> None:
    names = ["a_rather_long_name_of_a_task", "another_task_with_a_long_name", "x"]
    pairs = [f"a_data_set_with_a_long_name:{a}+{b}" for a in names for b in names if a < b]
    found = _results(make_world, *pairs, strategies=["hard", "a-strategy-with-a-long-name"])
    with style():
        figure = matrix("made-up", found)
        assert figure is not None
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:i])
