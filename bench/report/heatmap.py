"""The heat map: who gains from which strategy, at a glance."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.gains import CellResult
from bench.report.canvas import (
    INK,
    NORMAL,
    SMALL,
    SOFT,
    Sheet,
    by_metric,
    empty_sheet,
    line_count,
    widest,
    wrap,
)
from bench.report.wording import NOTHING, gain, gain_unit, half_width, heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Mean gain over the single-task network with the whole budget (full). Bold with ★: significant "
    "after Holm's correction. †: budgets were unequal, so there is no verdict. –: no result or not "
    "asked."
)
#: Red, green and blue, each from 0 to 1.
Colour = tuple[float, float, float]
_CELL = (0.95, 0.42)
_SCALE_ROOM = 0.95
_LABEL_WIDTH = 3.0
#: The luminance at which dark and white letters stand out alike.
_EVEN = 0.2


def heatmap(name: str, results: Sequence[CellResult]) -> "Figure":
    """Draw questions × strategies, in a panel a metric."""
    title = f"{name}: gain of each strategy against the full anchor"
    if not results:
        return empty_sheet(title, "No rows were declared.")
    parts = [_Part(metric, unit, rows) for (metric, unit), rows in by_metric(results).items()]
    left = max(part.label_width for part in parts) + 0.15
    width = left + max(part.width for part in parts)
    sheet = Sheet(width, sum(part.whole for part in parts), title, CAPTION)
    top = 0.0
    for part in parts:
        part.draw(sheet, left, top)
        top += part.whole
    return sheet.figure


class _Part:
    """The rows of one metric."""

    def __init__(self, metric: str, unit: str, rows: Sequence[CellResult]) -> None:
        self.unit, self.gain_unit = unit, gain_unit(metric, unit)
        self.cells = {(heading(row.pair, row.target), row.strategy): row for row in rows}
        self.questions = list(dict.fromkeys(question for question, _ in self.cells))
        self.strategies = list(dict.fromkeys(strategy for _, strategy in self.cells))
        self.labels = [wrap(question, _LABEL_WIDTH) for question in self.questions]
        self.columns = [wrap(strategy, 1.2, SMALL) for strategy in self.strategies]
        self.label_width = widest(self.labels)
        self.column = max(_CELL[0], widest(self.columns, SMALL) + 0.15)
        self.row = max(_CELL[1], 0.17 * max(line_count(label) for label in self.labels) + 0.1)
        self.header = 0.15 * max(line_count(column) for column in self.columns) + 0.1
        self.width = self.column * len(self.strategies)
        self.height = self.row * len(self.questions)
        self.whole = self.header + self.height + _SCALE_ROOM

    def draw(self, sheet: Sheet, left: float, top: float) -> None:
        """Draw the panel at a place of the sheet."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        limit, beyond = self._limit()
        scale = ScalarMappable(Normalize(-limit, limit), "RdBu")

        def colour(mean: float) -> Colour:
            red, green, blue, _ = scale.cmap(0.5 + mean / (2 * limit))
            return red, green, blue

        axes = sheet.axes(left, top + self.header, self.width, self.height)
        axes.set_xlim(0, len(self.strategies))
        axes.set_ylim(len(self.questions), 0)
        axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
        axes.set_xticks([i + 0.5 for i in range(len(self.strategies))], self.columns, size=SMALL)
        axes.set_yticks([i + 0.5 for i in range(len(self.questions))], self.labels, size=NORMAL)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for y, question in enumerate(self.questions):
            for x, strategy in enumerate(self.strategies):
                self._cell(axes, colour, x, y, self.cells.get((question, strategy)))
        bar = sheet.axes(left, top + self.header + self.height + 0.2, max(self.width, 2.4), 0.13)
        sheet.figure.colorbar(
            scale, cax=bar, orientation="horizontal", extend="both" if beyond else "neither"
        )
        bar.set_xlabel(f"mean gain ({self.gain_unit})", size=SMALL)

    def _limit(self) -> tuple[float, bool]:
        """Return the end of the colour scale, and whether a gain lies beyond it.

        One collapsed row must not bleach all others.
        """
        margin = half_width(list(self.cells.values()))
        means = [abs(row.against["full"].result.mean) for row in self.cells.values()]
        means = [mean for mean in means if math.isfinite(mean)] or [margin]
        limit = max(margin, min(max(means), 4 * float(np.median(means))))
        return limit, max(means) > limit

    def _cell(
        self,
        axes: "Axes",
        colour: Callable[[float], Colour],
        x: int,
        y: int,
        row: CellResult | None,
    ) -> None:
        from matplotlib.patches import Rectangle

        mean = math.nan if row is None else row.against["full"].result.mean
        if row is None or math.isnan(mean):
            face, text, ink, bold = (1.0, 1.0, 1.0), NOTHING, SOFT, False
        else:
            face = colour(mean)
            unequal = row.verdict.name == "unequal budgets"
            bold = row.against["full"].sign != 0 and not unequal
            text = gain(mean, self.unit).replace("-", "−") + (" ★" if bold else "")
            text += " †" if unequal else ""
            ink = INK if _luminance(face) > _EVEN else "white"
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=face, edgecolor="white", linewidth=1.5))
        weight = "bold" if bold else "normal"
        axes.text(
            x + 0.5, y + 0.5, text, color=ink, weight=weight, ha="center", va="center_baseline"
        )


def _luminance(colour: Colour) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
