"""The matrix of affinities in the order of the proposed grouping, whose groups are outlined."""

import math
from typing import TYPE_CHECKING

import numpy as np

from bench.decide.groupings import Grouping, GroupingResult
from bench.report.plots.canvas import (
    INK,
    SMALL,
    SOFT,
    Sheet,
    line_count,
    shortened_to,
    text_width,
    widest,
    wrap,
)
from bench.report.plots.heatmap import ink_on, robust_limit
from bench.report.text.wording import NOTHING
from bench.stats.affinities import Affinities

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "A row is who gains, a column from whom: the mean over the seeds at which affinities were "
    "measured. Tasks stand in the order of the proposed grouping; lines frame its networks. "
    "–: not measured. These numbers propose; they are no verdict."
)
#: The most inches that all cells take, and the size of one where there are few tasks.
_WIDE, _CELL = 8.4, (0.85, 0.42)
#: Of more tasks than this names of columns are turned, and of so many cells have no number.
_TURNED, _PLAIN = 6, 13
_LABEL, _TURNED_LABEL, _SCALE_ROOM = 2.6, 1.5, 0.85


def affinity_plot(name: str, result: GroupingResult) -> "list[Figure]":
    """Draw tasks × tasks, on a page for each method."""
    return [_page(name, each, result.grouping) for each in result.affinities]


def _page(name: str, affinities: Affinities, grouping: Grouping) -> "Figure":
    tasks = [task for group in grouping for task in group]
    places = [affinities.tasks.index(task) for task in tasks]
    values = affinities.mean[np.ix_(places, places)]
    count = len(tasks)
    turned, plain = count > _TURNED, count > _PLAIN
    side = min(_CELL[1] if not turned else 0.6, _WIDE / count)
    cell = (side if turned else _CELL[0], _CELL[1] if not plain else side)
    rows = [shortened_to(task, _LABEL, SMALL) for task in tasks]
    columns = (
        [shortened_to(task, _TURNED_LABEL, SMALL) for task in tasks]
        if turned
        else [wrap(task, cell[0] - 0.08, SMALL) for task in tasks]
    )
    header = (
        max(text_width(text, SMALL) for text in columns)
        if turned
        else 0.15 * max(map(line_count, columns))
    ) + 0.15
    left = widest(rows, SMALL) + 0.15
    width, height = cell[0] * count, cell[1] * count
    sheet = Sheet(
        left + width,
        header + height + _SCALE_ROOM,
        f"{name}: affinity of tasks by {affinities.method}",
        f"{CAPTION} Seeds: {len(affinities.values)}.",
    )
    sheet.text(0, header - 0.05, "who gains", size=SMALL, color=SOFT, va="bottom")
    axes = sheet.axes(left, header, width, height)
    axes.set_xlim(0, count)
    axes.set_ylim(count, 0)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    middle = [i + 0.5 for i in range(count)]
    axes.set_xticks(middle, columns, size=SMALL, rotation=90 if turned else 0)
    axes.set_yticks(middle, rows, size=SMALL)
    for spine in axes.spines.values():
        spine.set_visible(False)
    end, beyond = robust_limit([float(v) for v in values[~np.eye(count, dtype=bool)]])
    _cells(axes, values, end, affinities.unit, numbers=not plain)
    at = 0
    for group in grouping:
        _frame(axes, at, len(group))
        at += len(group)
    _scale(sheet, (left, header + height + 0.2, max(width, 2.4)), end, beyond, affinities.unit)
    return sheet.figure


def _cells(axes: "Axes", values: np.ndarray, end: float, unit: str, *, numbers: bool) -> None:
    """Draw the cells, as vectors: one coloured square each, with its number where it fits."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    colours = colormaps["RdBu"]
    for (y, x), value in np.ndenumerate(values):
        if x == y:
            continue
        known = math.isfinite(value)
        face = colours(0.5 + value / (2 * end))[:3] if known else (1.0, 1.0, 1.0)
        line = 1.0 if numbers else 0.4
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=face, edgecolor="white", linewidth=line))
        if numbers or not known:
            text = _number(float(value), unit) if known else NOTHING
            ink = ink_on(face) if known else SOFT
            how = {"ha": "center", "va": "center_baseline", "size": SMALL}
            axes.text(x + 0.5, y + 0.5, text, color=ink, **how)


def _number(value: float, unit: str) -> str:
    """Return what a cell shows: a gain has one decimal, another affinity two digits."""
    shown = f"{value:+.1f}" if unit == "%" else f"{value:+.2g}"
    return shown.replace("-", "−")


def _frame(axes: "Axes", at: int, size: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((at, at), size, size, fill=False, edgecolor=INK, linewidth=1.8, clip_on=False)
    )


def _scale(
    sheet: Sheet, place: tuple[float, float, float], end: float, beyond: bool, unit: str
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    left, top, width = place
    bar = sheet.axes(left, top, width, 0.13)
    sheet.figure.colorbar(
        ScalarMappable(Normalize(-end, end), "RdBu"),
        cax=bar,
        orientation="horizontal",
        extend="both" if beyond else "neither",
    )
    what = "gain (% of its single-task score)" if unit == "%" else "affinity, in no unit"
    bar.set_xlabel(what, size=SMALL)
