"""Who shares at each number of networks: each task is a line, each network a box around lines.

The groupings need not be nested, so that this is no dendrogram. It shows the exact choice at each
number of networks, where average linkage would show another one.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.decide.groupings import GroupingResult
from bench.report.plots.canvas import (
    FAINT,
    INK,
    PAGE,
    SMALL,
    SOFT,
    Sheet,
    cycle_marks,
    shortened_to,
    widest,
)
from bench.stats.partitions import Partition

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "A line is a task, a box a network. Each column has the best grouping of so many networks by "
    "its predicted total, which stands above it. The proposed one has thick boxes; lines have its "
    "colours throughout."
)
_LABEL, _COLUMN, _BOX = 2.6, 0.95, 0.34
#: Height of a line, and the gap between boxes in lines.
_LINE, _GAP = 0.3, 0.7
_HEAD = 0.5
_ABOVE: Mapping[str, Any] = {"ha": "center", "va": "bottom"}


def tree_plot(name: str, result: GroupingResult) -> "list[Figure]":
    """Draw a column for each number of networks, the fewest first."""
    best, chosen = result.proposal.best, result.proposal.chosen
    columns = _ordered(
        [each.partition for each in best], [each.partition for each in best].index(chosen.partition)
    )
    slots = max(map(_slots, columns))
    line = min(_LINE, PAGE / slots)
    labels = [shortened_to(task, _LABEL, SMALL) for task in result.tasks]
    left = widest(labels, SMALL) + 0.2
    width = _COLUMN * len(columns)
    title = f"{name}: who shares a network"
    sheet = Sheet(2 * left + width, _HEAD + slots * line, title, CAPTION)
    axes = sheet.axes(left, _HEAD, width, slots * line)
    axes.set_xlim(0, width)
    axes.set_ylim(slots, 0)
    axes.axis("off")
    places = [_places(column, slots) for column in columns]
    marks = cycle_marks([str(number) for number in range(chosen.networks)]).values()
    for mark, group in zip(marks, chosen.partition, strict=True):
        for task in group:
            points = [
                (x, place[task])
                for at, place in enumerate(places)
                for x in (at * _COLUMN + (_COLUMN - _BOX) / 2, at * _COLUMN + (_COLUMN + _BOX) / 2)
            ]
            xs, ys = zip((0.0, points[0][1]), *points, (width, points[-1][1]), strict=True)
            axes.plot(xs, ys, color=mark.colour, linestyle=mark.line, linewidth=1.6, zorder=2)
    unit = result.affinities[0].unit
    for at, (column, place, each) in enumerate(zip(columns, places, best, strict=True)):
        middle, proposed = (at + 0.5) * _COLUMN, each.partition == chosen.partition
        for group in column:
            _box(axes, middle, [place[task] for task in group], line, thick=proposed)
        weight = "bold" if proposed else "normal"
        text = f"{each.networks}\n{_total(each.mean, unit)}"
        sheet.text(left + middle, _HEAD - 0.08, text, size=SMALL, weight=weight, **_ABOVE)
    told = f"networks\npredicted{' Δm' if unit == '%' else ''}"
    sheet.text(left, _HEAD - 0.08, told, size=SMALL, color=SOFT, **{**_ABOVE, "ha": "right"})
    for task, label in enumerate(labels):
        for x, side, place in ((-0.08, "right", places[0]), (width + 0.08, "left", places[-1])):
            axes.text(x, place[task], label, size=SMALL, ha=side, va="center_baseline")
    return [sheet.figure]


def _box(axes: "Axes", middle: float, places: Sequence[float], line: float, *, thick: bool) -> None:
    """Draw a box around the lines of a network."""
    from matplotlib.patches import FancyBboxPatch

    top, bottom = min(places) - 0.4, max(places) + 0.4
    axes.add_patch(
        FancyBboxPatch(
            (middle - _BOX / 2, top),
            _BOX,
            bottom - top,
            boxstyle="round,pad=0,rounding_size=0.06",
            mutation_aspect=1 / line,
            facecolor=FAINT if thick else "#f2f2f2",
            edgecolor=INK if thick else "#8a8a8a",
            linewidth=2.0 if thick else 0.9,
            zorder=1,
        )
    )


def _total(value: float, unit: str) -> str:
    """Return a predicted total, above its column."""
    shown = f"{value:+.1f} %" if unit == "%" else f"{value:+.3g}"
    return shown.replace("-", "−")


def _slots(column: Partition) -> float:
    """Return the height of a column, in lines."""
    return sum(map(len, column)) + _GAP * (len(column) - 1)


def _places(column: Partition, slots: float) -> dict[int, float]:
    """Return where the line of each task passes a column, in lines from the top."""
    places = {}
    at = (slots - _slots(column)) / 2
    for group in column:
        for task in group:
            places[task] = at + 0.5
            at += 1
        at += _GAP
    return places


def _ordered(partitions: Sequence[Partition], first: int) -> list[Partition]:
    """Return the groups and tasks of each column in an order that crosses few lines.

    Columns are ordered from the proposed one outwards, by the mean place that tasks had before.
    """
    found = {first: partitions[first]}
    for step, end in ((-1, -1), (1, len(partitions))):
        for at in range(first + step, end, step):
            before = _places(found[at - step], 0.0)
            groups = [tuple(sorted(group, key=before.__getitem__)) for group in partitions[at]]
            found[at] = tuple(
                sorted(groups, key=lambda group: sum(before[task] for task in group) / len(group))
            )
    return [found[at] for at in range(len(partitions))]
