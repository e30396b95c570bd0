"""The plot across pairs: performance profiles, and the mean of the middle half of all runs."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.report.plots.canvas import (
    BAND,
    INK,
    SMALL,
    SOFT,
    Mark,
    Sheet,
    band_handle,
    cycle_marks,
    handle,
    widest,
    wrap,
)
from bench.report.text.wording import ACROSS, bounded
from bench.stats.across import AcrossPairs, across_pairs, shares_above
from bench.stats.comparison import RowResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Above: the share of runs, over all pairs and seeds, that gain more than the value below it; a "
    "curve that lies higher is better all along, and curves that cross are better at different "
    "things. Shades are 95 % intervals at each value by itself. Below: the mean of the middle half "
    f"of all runs. {ACROSS}"
)
_WIDTH, _PROFILE = 4.6, 2.6
_POINTS = 121
_LABEL_WIDTH = 2.2
_ROW = 0.3
#: More curves than this have no shades, which would hide one another.
_SHADED = 4


def across_plot(name: str, results: Sequence[RowResult], margin: float) -> "Figure | None":
    """Draw a curve and a line a strategy; None where no strategy was asked of two pairs."""
    found = across_pairs(results)
    if not found:
        return None
    marks = cycle_marks([across.strategy for across in found])
    labels = [wrap(across.strategy, _LABEL_WIDTH) for across in found]
    notes = [_note(across) for across in found]
    left = max(widest(labels), 0.5) + 0.25
    legend = [(handle(mark, marker=""), strategy) for strategy, mark in marks.items()]
    legend.append((band_handle(), "region of equivalence"))
    rows = _ROW * len(found) + 0.1
    width = left + _WIDTH + 0.2 + max(widest(notes, SMALL), 1.0)
    title = f"{name}: gain of sharing across pairs"
    sheet = Sheet(width, _PROFILE + 0.75 + rows + 0.55, title, CAPTION, legend)
    ends = _ends(found, margin)
    top = sheet.axes(left, 0, _WIDTH, _PROFILE)
    below = sheet.axes(left, _PROFILE + 0.75, _WIDTH, rows)
    for axes in (top, below):
        axes.set_xlim(*ends)
        axes.axvspan(-margin, margin, **BAND)
        axes.axvline(0, color=INK, linewidth=0.9, zorder=0.5)
        axes.grid(axis="x")
    top.set_ylim(0, 1)
    top.set_ylabel("share of runs that gain more")
    unit = "points" if all(row.unit == "%" for row in results) else "points, or % of full's score"
    top.set_xlabel(f"gain over the single-task network with the whole budget ({unit})")
    for across in found:
        _profile(top, across, marks[across.strategy], ends, len(found) <= _SHADED)
    below.set_ylim(len(found), 0)
    below.set_yticks([])
    below.spines["left"].set_visible(False)
    below.set_xlabel(f"interquartile mean of the gains ({unit})")
    side = left + _WIDTH + 0.2
    heading = _PROFILE + 0.69
    sheet.text(side, heading, "chance of a gain", size=SMALL, color=SOFT, va="bottom")
    for index, (across, label, note) in enumerate(zip(found, labels, notes, strict=True)):
        y = _PROFILE + 0.75 + (index + 0.5) * rows / len(found)
        sheet.text(0, y, label, va="center")
        sheet.text(side, y, note, size=SMALL, va="center")
        _middle(below, across, marks[across.strategy], index + 0.5)
    return sheet.figure


def _note(across: AcrossPairs) -> str:
    chance = across.improvement
    return bounded(chance.value, chance.low, chance.high)


def _ends(found: Sequence[AcrossPairs], margin: float) -> tuple[float, float]:
    gains = np.concatenate([across.gains.ravel() for across in found])
    gains = gains[np.isfinite(gains)]
    low, high = min([-1.5 * margin, *gains]), max([1.5 * margin, *gains])
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def _profile(
    axes: "Axes", across: AcrossPairs, mark: Mark, ends: tuple[float, float], shaded: bool
) -> None:
    x = np.linspace(*ends, _POINTS)
    shares = shares_above(across.gains, list(x))
    value = np.array([s.value for s in shares])
    axes.plot(x, value, color=mark.colour, linestyle=mark.line, linewidth=1.6)
    if shaded and math.isfinite(shares[0].low):
        low, high = [s.low for s in shares], [s.high for s in shares]
        inside = (value > 0) & (value < 1)  # beyond its own runs a curve says nothing
        axes.fill_between(x, low, high, where=inside, color=mark.colour, alpha=0.15, linewidth=0)


def _middle(axes: "Axes", across: AcrossPairs, mark: Mark, y: float) -> None:
    found = across.interquartile_mean
    if math.isfinite(found.low):
        axes.hlines(y, found.low, found.high, color=mark.colour, linewidth=1.5)
    if math.isfinite(found.value):
        axes.plot(
            found.value,
            y,
            mark.marker,
            markersize=5.5,
            markerfacecolor=mark.face,
            markeredgecolor=mark.colour,
        )
