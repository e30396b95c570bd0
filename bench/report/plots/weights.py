"""How the weights of the tasks' losses moved: a panel per run of tasks under a weighting."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.report.plots.canvas import SMALL, cycle_marks, handle, panel_pages
from bench.report.plots.curves import Curve, draw_curves, mean_curve
from bench.report.text.wording import WEIGHTS, si_scale
from bench.spec.budget import Axis
from bench.stats.comparison import RowResult
from bench.stats.gains import Lookup
from bench.store.records import CurvePoint, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    f"{WEIGHTS} Lines are means over seeds; bands reach one standard error of the mean to either "
    "side."
)


def weight_plot(
    name: str, declared: Sequence[Row], results: Sequence[RowResult], find: Lookup, axis: Axis
) -> "list[Figure]":
    """Draw the weights over the compute used, on as many pages; none where no weight moved."""
    panels = _panels(declared, results, find)
    if not panels:
        return []
    curves = [curve for _, group in panels for curve in group]
    marks = cycle_marks(list(dict.fromkeys(curve.arm for curve in curves)))
    largest = max(float(curve.x[-1]) for curve in curves)
    scale, unit = si_scale(largest, axis)

    def draw(axes: "Axes", number: int) -> None:
        axes.set_xlabel(f"compute used ({unit})", size=SMALL)
        axes.set_ylabel("weight", size=SMALL)
        axes.set_xlim(0, largest / scale * 1.03)
        axes.set_ylim(-0.02, 1.02)
        axes.grid()
        draw_curves(axes, panels[number][1], marks, scale)

    legend = [(handle(mark), task) for task, mark in marks.items()]
    title = f"{name}: weights of the tasks' losses"
    return panel_pages(title, CAPTION, legend, [lines for lines, _ in panels], draw)


def _weight(task: str, point: CurvePoint) -> float | None:
    return point.weights.get(task)


def _panels(
    declared: Sequence[Row], results: Sequence[RowResult], find: Lookup
) -> list[tuple[tuple[str, str], list[Curve]]]:
    """Return strategy and pair with the curve of each task; a run of two rows is drawn once."""
    panels = []
    drawn = set()
    for own, row in zip(declared, results, strict=True):
        keys = tuple(seed.strategy for seed in own.seeds)
        if not row.weights or keys in drawn:
            continue
        drawn.add(keys)
        runs = [find(key) for key in keys]
        found = [mean_curve(task, runs, partial(_weight, task)) for task in row.weights]
        # A run for one target alone says which.
        tasks = runs[0].spec.scored if runs and runs[0] else ()
        where = own.pair if len(tasks) > 1 else f"{own.pair} → {own.target}"
        panels.append(((own.strategy, where), [curve for curve in found if curve is not None]))
    return panels
