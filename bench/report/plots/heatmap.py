"""The heat map: who gains from which strategy, at a glance."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.report.plots.canvas import (
    INK,
    NORMAL,
    SMALL,
    SOFT,
    Scale,
    Sheet,
    by_scale,
    empty_sheet,
    line_count,
    widest,
    wrap,
)
from bench.report.text.wording import NOTHING, gain, heading
from bench.stats.comparison import RowResult
from bench.store.records import AnchorName

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Mean gain over single-task networks: with as many steps (same-steps) and with as much compute "
    "(full). Bold with ★: significant after Holm's correction. †: budgets were unequal, so there "
    "is no verdict. –: no result or not asked."
)
#: Red, green and blue, each from 0 to 1.
Colour = tuple[float, float, float]
_CELL = (0.95, 0.42)
_SCALE_ROOM = 0.95
#: More strategies than this stand below one another.
_COLUMNS = 8
_LABEL_WIDTH = 3.0
_TITLE_ROOM = 0.35
#: The halves of a verdict and their titles.
_HALVES: Mapping[AnchorName, str] = {
    "same-steps": "Transfer: at equal steps",
    "full": "Pay-off: at equal compute",
}
#: The luminance at which dark and white letters stand out alike.
_EVEN = 0.2


def heatmap(name: str, results: Sequence[RowResult]) -> "Figure":
    """Draw questions × strategies, in a panel per metric and half of the verdict.

    The other way round where one page would be too narrow for all strategies. One half is enough
    where every row takes as many steps as the network with the whole budget.
    """
    title = f"{name}: gain of each strategy over single-task networks"
    if not results:
        return empty_sheet(title, "No rows were declared.")
    parts = []
    apart = any("same-steps" in row.distinct for row in results)
    for scale, rows in by_scale(results).items():
        cells = {(heading(row.pair, row.target), row.strategy): row for row in rows}
        strategies = {row.strategy for row in rows}
        if len(strategies) > max(_COLUMNS, len({question for question, _ in cells})):
            cells = {(strategy, question): row for (question, strategy), row in cells.items()}
        limit = colour_limit(rows)
        if apart:
            parts += [Grid(cells, scale, limit, anchor=a, title=t) for a, t in _HALVES.items()]
        else:
            parts.append(Grid(cells, scale, limit))
    left = max(part.label_width for part in parts) + 0.15
    width = left + max(part.width for part in parts)
    sheet = Sheet(width, sum(part.whole for part in parts), title, CAPTION)
    top = 0.0
    for part in parts:
        part.draw(sheet, left, top)
        top += part.whole
    return sheet.figure


def colour_limit(rows: Sequence[RowResult]) -> tuple[float, bool]:
    """Return the end of the colour scale of rows of a metric, and whether a gain lies beyond it.

    One collapsed row must not bleach all others.
    """
    full = [row.against["full"] for row in rows]
    margin = max((c.margin for c in full if math.isfinite(c.margin)), default=0.0)
    return robust_limit([c.result.mean for c in full], margin)


def robust_limit(values: Sequence[float], least: float = 0.0) -> tuple[float, bool]:
    """Return where a colour scale of values ends, and whether one lies beyond it."""
    sizes = [abs(value) for value in values if math.isfinite(value)] or [0.0]
    limit = max(least, min(max(sizes), 4 * float(np.median(sizes)))) or max(sizes) or 1.0
    return limit, max(sizes) > limit


def ink_on(face: Colour) -> str:
    """Return the colour of letters that stand out on a colour."""
    return INK if _luminance(face) > _EVEN else "white"


class Grid:
    """Rows of one metric as coloured cells, by the names of their line and column.

    `limit` is what `colour_limit` returns. What was not asked shows `unasked`. Gains are those
    against `anchor`.
    """

    def __init__(
        self,
        cells: Mapping[tuple[str, str], RowResult],
        scale: Scale,
        limit: tuple[float, bool],
        columns: Sequence[str] = (),
        unasked: str = NOTHING,
        anchor: AnchorName = "full",
        title: str = "",
    ) -> None:
        self.anchor, self.title = anchor, title
        self.unit, self.gain_unit = scale.unit, scale.gain_unit
        self.rows, self.limit, self.unasked = cells, limit, unasked
        self.lines = list(dict.fromkeys(line for line, _ in cells))
        self.names = list(columns) or list(dict.fromkeys(column for _, column in cells))
        self.labels = [wrap(line, _LABEL_WIDTH) for line in self.lines]
        self.columns = [wrap(name, 1.2, SMALL) for name in self.names]
        self.label_width = widest(self.labels)
        self.column = max(_CELL[0], widest(self.columns, SMALL) + 0.15)
        self.row = max(_CELL[1], 0.17 * max(line_count(label) for label in self.labels) + 0.1)
        self.header = 0.15 * max(line_count(column) for column in self.columns) + 0.1
        self.header += _TITLE_ROOM * bool(title)
        self.width = self.column * len(self.names)
        self.height = self.row * len(self.lines)
        self.whole = self.header + self.height + _SCALE_ROOM

    def draw(self, sheet: Sheet, left: float, top: float) -> None:
        """Draw the panel at a place of the sheet."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        limit, beyond = self.limit
        scale = ScalarMappable(Normalize(-limit, limit), "RdBu")

        def colour(mean: float) -> Colour:
            red, green, blue, _ = scale.cmap(0.5 + mean / (2 * limit))
            return red, green, blue

        if self.title:
            sheet.text(0, top, self.title, weight="bold", va="top")
        axes = sheet.axes(left, top + self.header, self.width, self.height)
        axes.set_xlim(0, len(self.names))
        axes.set_ylim(len(self.lines), 0)
        axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
        axes.set_xticks([i + 0.5 for i in range(len(self.names))], self.columns, size=SMALL)
        axes.set_yticks([i + 0.5 for i in range(len(self.lines))], self.labels, size=NORMAL)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for y, line in enumerate(self.lines):
            for x, name in enumerate(self.names):
                self._cell(axes, colour, x, y, self.rows.get((line, name)))
        bar = sheet.axes(left, top + self.header + self.height + 0.2, max(self.width, 2.4), 0.13)
        sheet.figure.colorbar(
            scale, cax=bar, orientation="horizontal", extend="both" if beyond else "neither"
        )
        bar.set_xlabel(f"mean gain ({self.gain_unit})", size=SMALL)

    def _cell(
        self,
        axes: "Axes",
        colour: Callable[[float], Colour],
        x: int,
        y: int,
        row: RowResult | None,
    ) -> None:
        from matplotlib.patches import Rectangle

        comparison = None if row is None else row.against.get(self.anchor)
        mean = comparison.result.mean if comparison else math.nan
        if comparison is None or math.isnan(mean):
            text = self.unasked if row is None else NOTHING
            face, ink, bold = (1.0, 1.0, 1.0), SOFT, False
        else:
            face = colour(mean)
            unequal = not comparison.audited
            bold = comparison.sign != 0
            text = gain(mean, self.unit).replace("-", "−") + (" ★" if bold else "")
            text += " †" if unequal else ""
            ink = ink_on(face)
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=face, edgecolor="white", linewidth=1.5))
        weight = "bold" if bold else "normal"
        axes.text(
            x + 0.5, y + 0.5, text, color=ink, weight=weight, ha="center", va="center_baseline"
        )


def _luminance(colour: Colour) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
