"""Gain over budget or images: a panel per row of the result table, transfer and pay-off."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.report.plots.canvas import (
    ANCHOR_MARKS,
    BAND,
    INK,
    SMALL,
    band_handle,
    gain_limits,
    handle,
    panel_pages,
)
from bench.report.text.wording import gain_unit, heading, si_scale
from bench.spec.budget import Budget
from bench.stats.levels import OverLevels
from bench.store.records import AnchorName

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Means over paired seeds with 95 % intervals. Transfer is the gain at equal steps, pay-off the "
    "gain at equal compute; where both are one run, only the pay-off is drawn. A tick on the zero "
    "line: where the pay-off turns, with its 95 % bootstrap interval."
)
_LINES: tuple[tuple[AnchorName, str], ...] = (("same-steps", "transfer"), ("full", "pay-off"))


def level_plot(name: str, over: Sequence[OverLevels]) -> "list[Figure]":
    """Draw the gain of every row over its levels, on as many pages; none without two levels."""
    if not over or len(over[0].levels) < 2:
        return []
    factor = "budget" if isinstance(over[0].levels[0], Budget) else "training images"
    legend = [(handle(ANCHOR_MARKS[anchor], linestyle="-"), label) for anchor, label in _LINES]
    return panel_pages(
        f"{name}: gain of sharing over the {factor}",
        CAPTION,
        [*legend, (band_handle(), "region of equivalence")],
        [(row.strategy, heading(row.pair, row.target)) for row in over],
        lambda axes, number: _draw(axes, over[number]),
    )


def _draw(axes: "Axes", row: OverLevels) -> None:
    largest = row.levels[-1]
    scale, unit = 1.0, "training images"
    if isinstance(largest, Budget):
        scale, unit = si_scale(largest.amount, largest.axis)
    x = np.array([level.amount / scale for level in row.levels])
    shown = [(a, [r.against[a] for r in row.rows]) for a, _ in _LINES if _has(row, a)]
    axes.set_xscale("log", base=2)
    axes.set_xticks(x, [f"{value:.3g}" for value in x])
    axes.minorticks_off()
    axes.set_xlabel(unit, size=SMALL)
    first = row.rows[-1]
    axes.set_ylabel(
        "gain" if first.unit == "%" else gain_unit(first.metric, first.unit), size=SMALL
    )
    axes.grid(axis="y")
    axes.axhline(0, color=INK, linewidth=0.9, zorder=0.5)
    margins = np.array([r.against["full"].margin for r in row.rows])
    if np.isfinite(margins).all():
        axes.fill_between(x, -margins, margins, **BAND)
    for place, (anchor, comparisons) in enumerate(shown):
        mark = ANCHOR_MARKS[anchor]
        means = [c.result.mean for c in comparisons]
        shift = 2 ** (0.05 * (place - (len(shown) - 1) / 2))  # bars beside one another
        errors = [
            [max(0.0, c.result.mean - c.result.low) for c in comparisons],
            [max(0.0, c.result.high - c.result.mean) for c in comparisons],
        ]
        axes.errorbar(
            x * shift,
            means,
            yerr=np.nan_to_num(errors),
            color=mark.colour,
            marker=mark.marker,
            markersize=4.5,
            linewidth=1.3,
            zorder=3,
        )
    low, high = gain_limits([c for _, comparisons in shown for c in comparisons])
    ends = [e for _, cs in shown for c in cs for e in (c.result.low, c.result.high)]
    finite = [end for end in ends if math.isfinite(end)] or [low, high]
    axes.set_ylim(min([*finite, -1.0]) * 1.1, max([*finite, 1.0]) * 1.1)
    if (found := row.crossing("full")) is not None:
        at = found.at / scale
        axes.plot(at, 0, "|", color=INK, markersize=11, markeredgewidth=1.6, zorder=4)
        if not math.isnan(found.low):
            axes.hlines(
                0,
                max(found.low / scale, x[0]),
                min(found.high / scale, x[-1]),
                color=INK,
                linewidth=2.5,
                zorder=2,
            )
    axes.tick_params(labelsize=SMALL)


def _has(row: OverLevels, anchor: AnchorName) -> bool:
    """Return whether an anchor tells more than `full` at any of the levels."""
    return anchor == "full" or any(anchor in each.distinct for each in row.rows)
