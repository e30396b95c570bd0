"""The dial plot: gains against the value of a knob that rows of one data set differ in."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.report.plots.canvas import (
    BAND,
    CROSS,
    INK,
    NORMAL,
    SMALL,
    Mark,
    Scale,
    Sheet,
    band_handle,
    by_scale,
    cycle_marks,
    gain_limits,
    handle,
    line_count,
    text_width,
    wrap,
)
from bench.stats.comparison import Comparison, RowResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Marks are mean gains against full over paired seeds, bars 95 % Student t intervals (an arrow: "
    "it goes on), faint dots single seeds; lines at one value stand side by side. Along an axis "
    "one knob of the data set changes, and strategy and anchor are trained anew at each of its "
    "values, at the same seeds. Intervals are not corrected for the number of rows. A cross over "
    "a mark: the budgets were unequal. A value without a gain has no mark."
)
_PANEL = (3.6, 2.9)
_GAP = (0.75, 0.75)
_DODGE = 0.09  # between the lines at one value, in inches, where there is room
_EDGE = 0.35  # from the axis to the first value, in inches
#: Values above zero that span more than this factor stand on a logarithmic scale.
_WIDE = 10


@dataclass(frozen=True)
class Dial:
    """Rows whose data sets differ in one numeric knob alone, by its value.

    `pair` is theirs with the knob at its default.
    """

    pair: str
    knob: str
    rows: Mapping[float, tuple[RowResult, ...]]


def dials(results: Sequence[RowResult]) -> list[Dial]:
    """Return the dials among the rows of an experiment, values in rising order.

    A row can stand on several. Values are read from the names of pairs; only where a pair stands at
    a knob's default is its data set asked.
    """
    by_pair: dict[str, list[RowResult]] = {}
    for row in results:
        by_pair.setdefault(row.pair, []).append(row)
    found: dict[tuple[str, str], dict[float, tuple[RowResult, ...]]] = {}
    for pair, rows in by_pair.items():
        for base, knob, value in _settings(pair):
            found.setdefault((base, knob), {})[value] = tuple(rows)
    for (base, knob), values in found.items():
        if base in by_pair and (default := _default(base, knob)) is not None:
            values[default] = tuple(by_pair[base])
    return [
        Dial(pair, knob, dict(sorted(rows.items())))
        for (pair, knob), rows in found.items()
        if len(rows) > 1
    ]


def _settings(pair: str) -> list[tuple[str, str, float]]:
    """Return each numeric knob that a pair's name sets: the pair without it, its name, its value.

    A name is `dataset@knob=value,knob=value:tasks`, or has a path before the tasks.
    """
    head, colon, rest = pair.partition(":")
    name, _, text = head.partition("@")
    knobs = [knob.split("=", 1) for knob in text.split(",") if "=" in knob]
    found = []
    for knob, value in knobs:
        others = ",".join(f"{other}={set_to}" for other, set_to in knobs if other != knob)
        with contextlib.suppress(ValueError):
            if math.isfinite(number := float(value)):
                found.append((f"{name}{'@' * bool(others)}{others}{colon}{rest}", knob, number))
    return found


def _default(pair: str, knob: str) -> float | None:
    """Return the default of a knob of a pair's data set; None where it cannot be read here."""
    from bench.spec.registry import parse_dataset  # imports torch

    head, _, path = pair.rpartition(":")[0].partition(":")
    try:
        dataset = parse_dataset(f"{head}:{path}" if path else head)
    except UserError:
        return None
    default: Any = next((f.default for f in fields(dataset) if f.name == knob), None)
    number = isinstance(default, int | float) and not isinstance(default, bool)
    return float(default) if number else None


@dataclass(frozen=True)
class _Panel:
    dial: Dial
    scale: Scale
    lines: Mapping[str, Mapping[float, Comparison]]
    """Comparisons against full by line and value."""

    @property
    def comparisons(self) -> list[Comparison]:
        return [comparison for line in self.lines.values() for comparison in line.values()]

    def margin(self, value: float) -> float:
        """Return the half width of equivalence at a value of the dial; NaN where there is none."""
        here = [line[value].margin for line in self.lines.values() if value in line]
        return max((margin for margin in here if math.isfinite(margin)), default=math.nan)


def dial_plot(name: str, results: Sequence[RowResult]) -> "Figure | None":
    """Draw a panel a dial and metric and a line a strategy and target; None without a dial."""
    found = dials(results)
    if not found:
        return None
    panels = [panel for dial in found for panel in _panels(dial)]
    # Panels of one metric have one scale, so that dials can be compared with each other.
    limits = {
        scale: gain_limits(
            [c for panel in panels if panel.scale == scale for c in panel.comparisons]
        )
        for scale in {panel.scale for panel in panels}
    }
    marks = cycle_marks(list(dict.fromkeys(line for panel in panels for line in panel.lines)))
    legend = [(handle(mark), line) for line, mark in marks.items()]
    legend.append((band_handle(), "region of equivalence"))
    columns = min(2, len(panels))
    titles = [wrap(panel.dial.pair, _PANEL[0], NORMAL, bold=True) for panel in panels]
    head = 0.18 * max(line_count(text) for text in titles) + 0.1
    each = (_GAP[0] + _PANEL[0], head + _PANEL[1] + _GAP[1])
    sheet = Sheet(
        columns * each[0],
        -(-len(panels) // columns) * each[1],
        f"{name}: gain over the single-task network along a dial",
        CAPTION,
        legend,
    )
    for index, (panel, text) in enumerate(zip(panels, titles, strict=True)):
        left, top = _GAP[0] + index % columns * each[0], index // columns * each[1]
        axes = sheet.axes(left, top + head, *_PANEL)
        sheet.text(left, top + head - 0.1, text, weight="bold", va="bottom")
        axes.set_ylabel(f"gain ({panel.scale.gain_unit})")
        axes.set_ylim(*limits[panel.scale])
        _draw(axes, panel, marks)
    return sheet.figure


def _panels(dial: Dial) -> list[_Panel]:
    rows = [(value, row) for value, members in dial.rows.items() for row in members]
    panels = []
    for scale, members in by_scale([row for _, row in rows]).items():
        lines: dict[str, dict[float, Comparison]] = {}
        for value, row in rows:
            if any(row is member for member in members):
                line = lines.setdefault(f"{row.strategy} → {row.target}", {})
                line[value] = row.against["full"]
        panels.append(_Panel(dial, scale, lines))
    return panels


def _draw(axes: "Axes", panel: _Panel, marks: Mapping[str, Mark]) -> None:
    places = _scale(axes, panel.dial)
    middles = [(a + b) / 2 for a, b in pairwise(places.values())]
    for value, ends in zip(places, pairwise([0.0, *middles, _PANEL[0]]), strict=True):
        margin = panel.margin(value)
        if math.isfinite(margin):
            axes.fill_between(ends, -margin, margin, **BAND)
    axes.axhline(0, color=INK, linewidth=0.9, zorder=0.5)
    axes.grid(axis="y")
    nearest = min(b - a for a, b in pairwise(places.values()))
    dodge = min(_DODGE, 0.8 * min(nearest, 2 * _EDGE) / len(panel.lines))
    for index, (name, line) in enumerate(panel.lines.items()):
        shift = dodge * (index - (len(panel.lines) - 1) / 2)
        points = [
            (places[value] + shift, comparison)
            for value, comparison in line.items()
            if math.isfinite(comparison.result.mean)
        ]
        mark = marks[name]
        axes.plot(
            [x for x, _ in points],
            [comparison.result.mean for _, comparison in points],
            color=mark.colour,
            linestyle=mark.line,
            linewidth=1.2,
            zorder=3,
        )
        for x, comparison in points:
            _draw_point(axes, x, comparison, mark)


def _scale(axes: "Axes", dial: Dial) -> dict[float, float]:
    """Return where each value of the dial stands, in inches, and label the axis with them."""
    values = list(dial.rows)
    wide = values[0] > 0 and values[-1] > _WIDE * values[0]
    scaled = [math.log(value) if wide else value for value in values]
    room = _PANEL[0] - 2 * _EDGE
    span = scaled[-1] - scaled[0]
    places = {
        value: _EDGE + room * (s - scaled[0]) / span
        for value, s in zip(values, scaled, strict=True)
    }
    ticks: list[float] = []
    for value in values:  # a label that would touch the one before it is left out
        width = text_width(f"{value:g}", SMALL)
        if not ticks or places[value] - places[ticks[-1]] > width + 0.1:
            ticks.append(value)
    axes.set_xlim(0, _PANEL[0])
    axes.set_xticks([places[value] for value in ticks], [f"{value:g}" for value in ticks])
    axes.set_xlabel(dial.knob + (" (logarithmic)" if wide else ""))
    return places


def _draw_point(axes: "Axes", x: float, comparison: Comparison, mark: Mark) -> None:
    result, seeds = comparison.result, list(comparison.gains.values())
    axes.scatter([x] * len(seeds), seeds, s=7, color=mark.colour, alpha=0.3, linewidths=0, zorder=2)
    if math.isfinite(result.low):
        axes.vlines(x, result.low, result.high, color=mark.colour, linewidth=1.5, zorder=3)
        low, high = axes.get_ylim()
        # An interval that leaves the picture ends in an arrow, not in what looks like its end.
        for beyond, end, shape in ((result.low < low, low, "v"), (result.high > high, high, "^")):
            if beyond:
                axes.plot(x, end, shape, color=mark.colour, markersize=5, clip_on=False, zorder=4)
    axes.plot(
        x,
        result.mean,
        mark.marker,
        color=mark.colour,
        markersize=5.5,
        markerfacecolor=mark.face,
        zorder=5,
    )
    if not comparison.audited:
        axes.plot(x, result.mean, zorder=6, **CROSS)
