"""The plot of the budget audit: how far the compute used by two sides lies apart."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.report.plots.canvas import (
    ANCHOR_MARKS,
    BAND,
    CROSS,
    INK,
    Sheet,
    band_handle,
    empty_sheet,
    handle,
    paged,
)
from bench.report.plots.rows import Panel, draw_panels, lay_out, pages, sheet_width
from bench.report.text.wording import audit
from bench.spec.budget import AXIS_NAMES, TOLERANCE, Axis
from bench.stats.comparison import Comparison, RowResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Each mark is the seed that lies furthest from its anchor; faint dots are the other seeds. A "
    "cross over a mark: outside the tolerance, so the row has no verdict. An arrow: further out "
    "than the scale goes; the figure at the right is the largest of the row."
)


def audit_plot(name: str, results: Sequence[RowResult], axis: Axis) -> "list[Figure]":
    """Draw one line a row and a mark an anchor, on as many pages; `axis` is that of the budget."""
    title = f"{name}: compute used, strategy against anchor"
    if not results:
        return [empty_sheet(title, "No rows were declared.")]
    parts = pages(results, lambda rows: [_panel(rows)])
    limit = _limit(results, 100 * TOLERANCE[axis])
    return [
        _page(paged(title, n, len(parts)), part, axis, limit) for n, part in enumerate(parts, 1)
    ]


def _panel(results: Sequence[RowResult]) -> Panel:
    return lay_out(results, [audit(row).replace("-", "−") for row in results])


def _page(title: str, results: Sequence[RowResult], axis: Axis, limit: float) -> "Figure":
    tolerance = 100 * TOLERANCE[axis]
    panel = _panel(results)
    shown = [anchor for anchor in ANCHOR_MARKS if any(anchor in row.distinct for row in results)]
    legend = [(handle(ANCHOR_MARKS[a], line=False), f"against {a}") for a in shown]
    legend.append((handle(ANCHOR_MARKS["full"], line=False, **CROSS), "outside the tolerance"))
    legend.append((band_handle(), f"tolerance (±{tolerance:g} %)"))
    sheet = Sheet(sheet_width([panel]), panel.whole, title, CAPTION, legend)
    (axes,) = draw_panels(sheet, [panel], "largest difference")
    axes.set_xlim(-limit, limit)
    axes.axvspan(-tolerance, tolerance, **BAND)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=0.5)
    axes.set_xlabel(f"{AXIS_NAMES[axis]} used by the strategy, beyond the anchor's (%)")
    for line in panel.lines:
        for anchor, y in line.marks.items():
            _draw(axes, line.row.against[anchor], y, limit)
    return sheet.figure


def _limit(results: Sequence[RowResult], tolerance: float) -> float:
    """Return the end of the scale: all marks, but never so far that the tolerance is a line."""
    found = [
        abs(100 * audit.deviation)
        for row in results
        for comparison in row.distinct.values()
        for audit in comparison.audits.values()
    ]
    return min(max([1.6 * tolerance, *(1.15 * value for value in found)]), 8 * tolerance)


def _draw(axes: "Axes", comparison: Comparison, y: float, limit: float) -> None:
    mark, worst = ANCHOR_MARKS[comparison.anchor], 100 * comparison.deviation
    if math.isnan(worst):
        return
    seeds = [100 * audit.deviation for audit in comparison.audits.values()]
    axes.scatter(seeds, [y] * len(seeds), s=7, color=mark.colour, alpha=0.3, linewidths=0, zorder=2)
    outside = abs(worst) > limit
    x = math.copysign(limit * 0.97, worst) if outside else worst
    shape = (">" if worst > 0 else "<") if outside else mark.marker
    axes.plot(
        x,
        y,
        shape,
        markersize=5.5,
        markerfacecolor=mark.face,
        markeredgecolor=mark.colour,
        zorder=4,
    )
    if not comparison.audited:
        axes.plot(x, y, zorder=5, **CROSS)
