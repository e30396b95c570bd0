"""The plane of two tasks' scores: every strategy and anchor as a point, with its uncertainty."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bench.report.plots.canvas import (
    INK,
    NORMAL,
    OTHERS,
    Mark,
    Sheet,
    cycle_marks,
    handle,
    line_count,
    wrap,
)
from bench.report.text.wording import metric_label
from bench.stats.comparison import RowResult
from bench.store.records import AnchorName, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "A point is the mean test score on both tasks over the paired seeds; up and right is better. "
    "The ellipse holds the true means with 95 % confidence (Hotelling's T² of the seeds). Anchors "
    "are the single-task networks of both tasks together. A line joins the points that no other "
    "beats on both tasks. Ellipses show how scores vary; as seeds are paired, gains vary less."
)
_PANEL = 3.4
_GAP = (0.85, 0.75)
_COLUMNS = 2
_ANCHORS: Mapping[AnchorName, str] = {
    "full": "single-task, whole budget",
    "split": "single-task, shared budget",
}
_ANCHOR_MARKS = {
    _ANCHORS["full"]: Mark(INK, "P", filled=False),
    _ANCHORS["split"]: Mark("#777777", "X", filled=False),
}
#: Of more points than this only those that no other beats, and the anchors, have an ellipse.
_CROWDED = 10


@dataclass(frozen=True)
class Point:
    """Scores of one strategy or anchor on two tasks, `[seeds, 2]`, as measured."""

    name: str
    scores: np.ndarray

    @property
    def mean(self) -> tuple[float, float]:
        """The mean score on either task."""
        first, second = self.scores.mean(0)
        return float(first), float(second)

    def ellipse(self, count: int = 100) -> np.ndarray | None:
        """Return the outline of the 95 % confidence region of the means `[count, 2]`."""
        n = len(self.scores)
        if n < 4:
            return None
        values, vectors = np.linalg.eigh(np.cov(self.scores.T) / n)
        quantile = 2 * (n - 1) / (n - 2) * stats.f.ppf(0.95, 2, n - 2)
        angles = np.linspace(0, 2 * math.pi, count)
        circle = np.stack([np.cos(angles), np.sin(angles)])
        radii = np.sqrt(np.maximum(values, 0) * quantile)
        return np.asarray(self.scores.mean(0) + (vectors @ (radii[:, None] * circle)).T)


def points(rows: Sequence[RowResult]) -> list[Point]:
    """Return the points of two tasks: `rows` hold both targets of each strategy of one pair.

    The score of a seed is the anchor's plus the gain, so a seed without a gain is left out.
    """
    found: dict[str, Point] = {}
    targets = list(dict.fromkeys(row.target for row in rows))
    for strategy in dict.fromkeys(row.strategy for row in rows):
        both = [row for row in rows if row.strategy == strategy]
        if [row.target for row in both] != targets:
            continue
        scores = [row.scores for row in both]
        seeds = sorted(set.intersection(*map(set, scores)))
        if seeds:
            table = np.array([[by_seed[seed] for by_seed in scores] for seed in seeds])
            found[strategy] = Point(strategy, table)
        for anchor, label in _ANCHORS.items():
            if label in found or any(anchor not in row.against for row in both):
                continue
            theirs = [row.against[anchor].scores for row in both]
            seeds = sorted(set.intersection(*map(set, theirs)))
            if seeds:
                table = np.array([[by_seed[seed] for by_seed in theirs] for seed in seeds])
                found[label] = Point(label, table)
    return list(found.values())


def front(found: Sequence[Point], signs: tuple[int, int]) -> list[Point]:
    """Return the points that no other beats on both tasks, along the first score."""
    means = {p.name: np.array(p.mean) * signs for p in found}
    kept = [
        p
        for p in found
        if not any(
            (means[o.name] >= means[p.name]).all() and (means[o.name] > means[p.name]).any()
            for o in found
        )
    ]
    return sorted(kept, key=lambda p: p.mean[0])


def pareto(
    name: str,
    declared: Sequence[Row],
    results: Sequence[RowResult],
    grey: Collection[str] = (),
) -> "Figure | None":
    """Draw a panel per pair whose tasks are both targets; None where there is no such pair.

    The points of strategies in `grey` are not told apart.
    """
    groups: dict[str, list[RowResult]] = {}
    for own, row in zip(declared, results, strict=True):
        if not own.placebo:
            groups.setdefault(row.pair, []).append(row)
    panels = {
        pair: found
        for pair, rows in groups.items()
        if len({row.target for row in rows}) == 2 and len(found := points(rows)) > 1
    }
    if not panels:
        return None
    names = dict.fromkeys(p.name for found in panels.values() for p in found)
    told = [n for n in names if n not in (*_ANCHOR_MARKS, *grey)]
    marks = dict.fromkeys(grey, OTHERS) | cycle_marks(told) | _ANCHOR_MARKS
    legend = [(handle(marks[n], line=False), n) for n in names if n not in grey]
    if behind := len(names) - len(legend):
        legend.append((handle(OTHERS, line=False), f"{behind} other strategies"))
    columns = min(_COLUMNS, len(panels))
    titles = {pair: wrap(pair, _PANEL, NORMAL, bold=True) for pair in panels}
    head = 0.18 * max(map(line_count, titles.values())) + 0.1
    each = (_GAP[0] + _PANEL, head + _PANEL + _GAP[1])
    sheet = Sheet(
        columns * each[0],
        math.ceil(len(panels) / columns) * each[1],
        f"{name}: scores on both tasks",
        CAPTION,
        legend,
    )
    for index, (pair, found) in enumerate(panels.items()):
        left, top = _GAP[0] + index % columns * each[0], index // columns * each[1]
        sheet.text(left, top + head - 0.08, titles[pair], weight="bold", va="bottom")
        axes = sheet.axes(left, top + head, _PANEL, _PANEL)
        _draw(axes, groups[pair], found, marks)
    return sheet.figure


def _draw(
    axes: "Axes", rows: Sequence[RowResult], found: Sequence[Point], marks: Mapping[str, Mark]
) -> None:
    first, second = {row.target: row for row in rows}.values()
    axes.set_xlabel(f"{first.target}: {metric_label(first.metric, first.unit)}")
    axes.set_ylabel(f"{second.target}: {metric_label(second.metric, second.unit)}")
    axes.grid()
    signs = (1 if first.higher_is_better else -1, 1 if second.higher_is_better else -1)
    best = front(found, signs)
    line = np.array([p.mean for p in best])
    axes.plot(line[:, 0], line[:, 1], color="#999999", linewidth=1, linestyle=":", zorder=1)
    clear = {p.name for p in (found if len(found) <= _CROWDED else best)} | set(_ANCHOR_MARKS)
    for point in found:
        mark = marks[point.name]
        outline = point.ellipse()
        if outline is not None and point.name in clear:
            axes.fill(*outline.T, color=mark.colour, alpha=0.12, linewidth=0, zorder=1)
            axes.plot(*outline.T, color=mark.colour, alpha=0.6, linewidth=0.8, zorder=2)
        axes.plot(
            *point.mean,
            mark.marker,
            markersize=6,
            markerfacecolor=mark.face,
            markeredgecolor=mark.colour,
            zorder=2 if mark is OTHERS else 3,
        )
    # Of a measure of error less is better: the scale runs the other way, so up and right is better.
    if signs[0] < 0:
        axes.invert_xaxis()
    if signs[1] < 0:
        axes.invert_yaxis()
