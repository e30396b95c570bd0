"""The forest plot: every gain with its interval, against every anchor."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.report.plots.canvas import (
    ANCHOR_MARKS,
    BAND,
    INK,
    SMALL,
    SOFT,
    Scale,
    Sheet,
    band_handle,
    by_scale,
    empty_sheet,
    gain_limits,
    handle,
    paged,
    readable_reach,
)
from bench.report.plots.rows import (
    Line,
    Panel,
    draw_panels,
    lay_out,
    pages,
    sheet_width,
)
from bench.report.text.wording import anchor_meanings, trouble
from bench.stats.comparison import Comparison, RowResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Marks are means over paired seeds, bars 95 % Student t intervals (an arrow: it goes on, "
    f"or the mean itself lies out there), faint dots single seeds. {anchor_meanings()} Verdicts "
    "rest on Holm-corrected tests, which ask for more than an interval clear of zero."
)


def forest(name: str, results: Sequence[RowResult]) -> "list[Figure]":
    """Draw one line a row and up to four marks on it, in a panel a metric, on as many pages."""
    title = f"{name}: gain of sharing over single-task networks"
    if not results:
        return [empty_sheet(title, "No rows were declared.")]
    parts = pages([row for rows in by_scale(results).values() for row in rows], _panels)
    limits = {
        scale: _limits([c for row in rows for c in row.distinct.values()])
        for scale, rows in by_scale(results).items()
    }
    return [_page(paged(title, n, len(parts)), part, limits) for n, part in enumerate(parts, 1)]


def _limits(comparisons: Sequence[Comparison]) -> tuple[float, float]:
    """Return the ends of a scale on which most rows can be read, if not all fit in."""
    low, high = gain_limits(comparisons)
    reach = readable_reach(comparisons)
    return (max(low, -reach), min(high, reach)) if reach else (low, high)


def _panels(results: Sequence[RowResult]) -> list[Panel]:
    """Return rows laid out, a panel a metric."""
    return [
        lay_out(rows, [row.verdict.name for row in rows]) for rows in by_scale(results).values()
    ]


def _page(
    title: str, results: Sequence[RowResult], limits: Mapping[Scale, tuple[float, float]]
) -> "Figure":
    """Draw some rows. `limits` are those of all pages, so that they can be compared."""
    groups, panels = by_scale(results), _panels(results)
    shown = [anchor for anchor in ANCHOR_MARKS if any(anchor in row.distinct for row in results)]
    legend = [
        (handle(ANCHOR_MARKS[anchor], linestyle="-"), f"against {anchor}") for anchor in shown
    ]
    legend.append((band_handle(), "region of equivalence"))
    sheet = Sheet(sheet_width(panels), sum(panel.whole for panel in panels), title, CAPTION, legend)
    drawn = draw_panels(sheet, panels, "verdict")
    for axes, panel, scale in zip(drawn, panels, groups, strict=True):
        axes.set_xlim(*limits[scale])
        axes.axvline(0, color=INK, linewidth=0.9, zorder=0.5)
        axes.set_xlabel(f"gain over the single-task anchor ({scale.gain_unit})")
        for line in panel.lines:
            _draw_line(axes, line)
    return sheet.figure


def _draw_line(axes: "Axes", line: Line) -> None:
    margin = line.row.against["full"].margin
    if math.isfinite(margin):
        axes.fill_betweenx([line.top, line.bottom], -margin, margin, **BAND)
    if not any(comparison.gains for comparison in line.row.against.values()):
        why = trouble(line.row) or "no runs yet"
        axes.text(
            0.02,
            line.middle,
            f"no result: {why if len(why) < 60 else why[:57] + '…'}",
            transform=axes.get_yaxis_transform(),
            style="italic",
            size=SMALL,
            color=SOFT,
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    for anchor, y in line.marks.items():
        _draw_mark(axes, line.row.against[anchor], y)


def _draw_mark(axes: "Axes", comparison: Comparison, y: float) -> None:
    mark, result = ANCHOR_MARKS[comparison.anchor], comparison.result
    seeds = list(comparison.gains.values())
    axes.scatter(seeds, [y] * len(seeds), s=7, color=mark.colour, alpha=0.3, linewidths=0, zorder=2)
    if not math.isfinite(result.mean):
        return
    low, high = axes.get_xlim()
    if math.isfinite(result.low):
        axes.hlines(y, result.low, result.high, color=mark.colour, linewidth=1.5, zorder=3)
        # An interval that leaves the picture ends in an arrow, not in what looks like its end.
        if result.low < low:
            axes.plot(low, y, "<", color=mark.colour, markersize=5, clip_on=False, zorder=4)
        if result.high > high:
            axes.plot(high, y, ">", color=mark.colour, markersize=5, clip_on=False, zorder=4)
    if not low <= result.mean <= high:
        # So far out that the arrow is all there is: the figure says how far.
        left = result.mean < low
        axes.annotate(
            f"{result.mean:+.3g}".replace("-", "−"),
            (low if left else high, y),
            (8 if left else -8, 0),
            textcoords="offset points",
            size=SMALL,
            color=mark.colour,
            ha="left" if left else "right",
            va="center_baseline",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            zorder=4,
        )
        axes.plot(
            low if left else high,
            y,
            "<" if left else ">",
            color=mark.colour,
            markersize=5,
            clip_on=False,
            zorder=4,
        )
    else:
        axes.plot(
            result.mean,
            y,
            mark.marker,
            markersize=5.5,
            markerfacecolor=mark.face,
            markeredgecolor=mark.colour,
            markeredgewidth=1.3,
            zorder=5,
        )
