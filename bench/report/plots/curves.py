"""Learning curves: validation score over compute used, a panel a question, a line an arm."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from bench.report.plots.canvas import (
    INK,
    NORMAL,
    OTHERS,
    SMALL,
    SOFT,
    Mark,
    Sheet,
    cycle_marks,
    empty_sheet,
    handle,
    line_count,
    wrap,
)
from bench.report.text.wording import heading, metric_label, si_scale
from bench.spec.budget import Axis
from bench.stats.comparison import RowResult
from bench.stats.gains import Lookup
from bench.store.records import CurvePoint, Record, Row

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Lines are means over seeds; bands reach one standard error of the mean to either side. They "
    "ignore that seeds are paired, so they do not show whether a gain is significant. "
    "Runs without a score at a point (diverged or failed) are left out of it. The networks of "
    "the split anchor get an equal share of the budget each, so their lines end early."
)
_FULL, _SPLIT = "single-task, full budget", "single-task, split budget"
_PANEL = (3.3, 2.5)
_GAP = (0.75, 0.65)


@dataclass(frozen=True)
class Curve:
    """The mean of a number over the compute that an arm used, with its standard error."""

    arm: str
    x: np.ndarray
    mean: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class _Panel:
    title: str
    label: str
    curves: tuple[Curve, ...]
    others: tuple[Curve, ...]


def curve_of(arm: str, runs: Iterable[Record | None], task: str) -> Curve | None:
    """Return the curve of an arm from its runs, one a seed, or None where no run has a point."""
    return mean_curve(arm, runs, lambda point: point.scores.get(task))


def mean_curve(
    arm: str, runs: Iterable[Record | None], read: Callable[[CurvePoint], float | None]
) -> Curve | None:
    """Return the mean of what `read` finds at the points of an arm's runs; None where nothing."""
    values: dict[int, list[float]] = {}
    ledgers = []
    for run in runs:
        if run is None or run.ledger is None:
            continue
        ledgers.append(run.ledger)
        for point in run.curve:
            value = read(point)
            if value is not None:
                values.setdefault(point.step, []).append(value)
    if not values:
        return None
    steps = sorted(values)
    errors = [
        np.std(values[step], ddof=1) / len(values[step]) ** 0.5 if len(values[step]) > 1 else 0.0
        for step in steps
    ]
    # The seeds of an arm cost the same, but for runs that were priced by another version.
    x = [np.mean([each.allotted(each.budget.axis, step) for each in ledgers]) for step in steps]
    means = [np.mean(values[step]) for step in steps]
    return Curve(arm, np.array(x), np.array(means), np.array(errors))


def curves(
    name: str,
    declared: Sequence[Row],
    results: Sequence[RowResult],
    find: Lookup,
    axis: Axis,
    others: Sequence[Row] = (),
) -> "Figure":
    """Draw the curves of all arms, and behind them in grey those of `others`.

    `results` are those of `declared`, `axis` is the budget's.
    """
    title = f"{name}: validation score over compute"
    panels = _panels(declared, results, find, others)
    if not panels:
        return empty_sheet(title, "No run has a learning curve.")
    marks = _marks(panels)
    columns = min(3, len(panels))
    titles = [wrap(panel.title, _PANEL[0], NORMAL, bold=True) for panel in panels]
    head = 0.18 * max(line_count(text) for text in titles) + 0.1
    each = (_GAP[0] + _PANEL[0], head + _PANEL[1] + _GAP[1])
    sheet = Sheet(
        columns * each[0],
        -(-len(panels) // columns) * each[1],
        title,
        CAPTION,
        [(handle(mark), arm) for arm, mark in marks.items()] + others_legend(others),
    )
    largest = max(float(curve.x[-1]) for panel in panels for curve in panel.curves)
    scale, unit = si_scale(largest, axis)
    for index, (panel, text) in enumerate(zip(panels, titles, strict=True)):
        left, top = _GAP[0] + index % columns * each[0], index // columns * each[1]
        axes = sheet.axes(left, top + head, *_PANEL)
        sheet.text(left, top + head - 0.1, text, weight="bold", va="bottom")
        axes.set_xlabel(f"compute used ({unit})")
        axes.set_ylabel(panel.label)
        axes.set_xlim(0, largest / scale * 1.03)
        axes.grid()
        draw_others(axes, panel.others, scale)
        draw_curves(axes, panel.curves, marks, scale)
    return sheet.figure


def others_legend(others: Sequence[Row]) -> list[tuple["Artist", str]]:
    """Return the legend's line for what is drawn in grey."""
    count = len({row.strategy for row in others})
    return [(handle(OTHERS, marker=""), f"{count} other strategies")] if count else []


def draw_others(axes: "Axes", curves: Iterable[Curve], scale: float) -> None:
    """Draw curves in grey, behind those that are told apart; `scale` divides the compute."""
    for curve in curves:
        axes.plot(curve.x / scale, curve.mean, color=OTHERS.colour, linewidth=0.8, zorder=1)


def _panels(
    declared: Sequence[Row],
    results: Sequence[RowResult],
    find: Lookup,
    others: Sequence[Row],
) -> list[_Panel]:
    """Return a panel for every question of which any run has a curve."""
    panels = []
    pairs = zip(declared, results, strict=True)
    for (pair, target), group in groupby(pairs, key=lambda both: (both[0].pair, both[0].target)):
        members = list(group)
        found: list[Curve | None] = []
        for anchor, arm in (("full", _FULL), ("split", _SPLIT)):
            keys = next((k for own, _ in members if (k := _anchor_keys(own, anchor))), [])
            found.append(curve_of(arm, map(find, keys), target))
        for own, _ in members:
            runs = [find(seed.strategy) for seed in own.seeds]
            found.append(curve_of(own.strategy, runs, target))
        if drawn := tuple(curve for curve in found if curve is not None):
            row = next((row for _, row in members if row.metric), members[0][1])
            label = f"validation {metric_label(row.metric, row.unit)}"
            behind = [
                curve_of(own.strategy, [find(seed.strategy) for seed in own.seeds], target)
                for own in others
                if (own.pair, own.target) == (pair, target)
            ]
            grey = tuple(curve for curve in behind if curve is not None)
            panels.append(_Panel(heading(pair, target), label, drawn, grey))
    return panels


def _anchor_keys(own: Row, name: str) -> list[str]:
    return [
        part[own.target]
        for seed in own.seeds
        for anchor, part in seed.anchors.items()
        if anchor == name
    ]


def _marks(panels: Sequence[_Panel]) -> dict[str, Mark]:
    arms = list(dict.fromkeys(curve.arm for panel in panels for curve in panel.curves))
    anchors = {_FULL: Mark(INK, "o"), _SPLIT: Mark(SOFT, "s", (0, (4, 2)), filled=False)}
    shared = cycle_marks([arm for arm in arms if arm not in anchors])
    return {arm: mark for arm, mark in (anchors | shared).items() if arm in arms}


def draw_curves(
    axes: "Axes", curves: Iterable[Curve], marks: Mapping[str, Mark], scale: float
) -> None:
    """Draw curves with their bands; `scale` divides the compute."""
    for curve in curves:
        mark, x = marks[curve.arm], curve.x / scale
        axes.plot(
            x,
            curve.mean,
            color=mark.colour,
            linestyle=mark.line,
            linewidth=1.4,
            marker=mark.marker,
            markersize=4,
            markerfacecolor=mark.face,
            zorder=3,
        )
        axes.fill_between(
            x,
            curve.mean - curve.error,
            curve.mean + curve.error,
            color=mark.colour,
            alpha=0.13,
            linewidth=0,
        )
    axes.tick_params(labelsize=SMALL)
