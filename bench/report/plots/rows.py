"""Plots with a line a row of the result table, under a heading a question: layout, no meaning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from bench.report.plots.canvas import NORMAL, PAGE, SMALL, SOFT, Sheet, line_count, widest, wrap
from bench.report.text.wording import heading
from bench.stats.comparison import RowResult
from bench.store.records import AnchorName

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PITCH = 0.14  # between the marks of one row, in inches
_INDENT = 0.15
_LABEL_WIDTH = 2.2
_NOTE_WIDTH = 1.9
PLOT_WIDTH = 4.6
_GAP = 0.2
_AXIS_ROOM = 0.55
_TOP_ROOM = 0.25
#: A taller panel repeats its scale at the top.
_TALL = 7.0


@dataclass(frozen=True)
class Line:
    """A row with its place: all heights are in inches from a panel's top, those of `marks` too."""

    row: RowResult
    label: str
    note: str
    top: float
    bottom: float
    marks: dict[AnchorName, float]

    @property
    def middle(self) -> float:
        """Where its label stands."""
        return (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Panel:
    """Rows on one scale, in their groups."""

    headings: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    height: float

    @property
    def whole(self) -> float:
        """The height with both scales."""
        return _TOP_ROOM + self.height + _AXIS_ROOM


def lay_out(rows: Sequence[RowResult], notes: Sequence[str]) -> Panel:
    """Place rows under their headings; `notes` stand at the right of them."""
    headings, lines, y = [], [], 0.0
    noted = iter(notes)
    for (pair, target), group in groupby(rows, key=lambda row: (row.pair, row.target)):
        members = list(group)
        expect = members[0].expect
        title = heading(pair, target) + (f"  (expected: {expect})" if expect else "")
        headings.append((y, title))
        y += 0.3
        for row in members:
            label = wrap(row.strategy, _LABEL_WIDTH)
            note = wrap(next(noted), _NOTE_WIDTH, SMALL)
            text = max(line_count(label) * 0.17, line_count(note) * 0.15)
            height = max(_PITCH * len(row.distinct), text, 0.16) + 0.15
            middle = y + height / 2
            first = middle - _PITCH * (len(row.distinct) - 1) / 2
            marks = {anchor: first + _PITCH * i for i, anchor in enumerate(row.distinct)}
            lines.append(Line(row, label, note, y, y + height, marks))
            y += height
        y += 0.1
    return Panel(tuple(headings), tuple(lines), y)


def pages(
    results: Sequence[RowResult], lay: Callable[[Sequence[RowResult]], Sequence[Panel]]
) -> list[Sequence[RowResult]]:
    """Return rows in as many parts as fit on a page each; `lay` lays rows out."""
    parts: list[Sequence[RowResult]] = []
    start = 0
    for end in range(1, len(results) + 1):
        if end - start > 1 and sum(panel.whole for panel in lay(results[start:end])) > PAGE:
            parts.append(results[start : end - 1])
            start = end - 1
    return [*parts, results[start:]]


def _label_width(panels: Sequence[Panel]) -> float:
    return _INDENT + widest([line.label for panel in panels for line in panel.lines]) + _GAP


def sheet_width(panels: Sequence[Panel]) -> float:
    """Return the width of a body that holds the panels."""
    notes = widest([line.note for panel in panels for line in panel.lines], SMALL)
    titles = widest([text for panel in panels for _, text in panel.headings], NORMAL, bold=True)
    return max(_label_width(panels) + PLOT_WIDTH + _GAP + max(notes, 1.0), titles)


def draw_panels(sheet: Sheet, panels: Sequence[Panel], note_title: str) -> "list[Axes]":
    """Draw labels and notes and return the axes, one a panel; a unit of y is an inch downwards."""
    left, top, drawn = _label_width(panels), 0.0, []
    for panel in panels:
        axes = sheet.axes(left, top + _TOP_ROOM, PLOT_WIDTH, panel.height)
        axes.set_ylim(panel.height, 0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        if panel.height > _TALL:
            axes.tick_params(labeltop=True, top=True)
        origin = top + _TOP_ROOM
        note_x = left + PLOT_WIDTH + _GAP
        sheet.text(note_x, origin - 0.06, note_title, size=SMALL, color=SOFT, va="bottom")
        for y, text in panel.headings:
            axes.axhspan(y, y + 0.26, xmin=0, xmax=1, facecolor="white", edgecolor="none", zorder=1)
            axes.plot(
                [-left / PLOT_WIDTH, (sheet.width - left) / PLOT_WIDTH],
                [y, y],
                color=SOFT,
                linewidth=0.6,
                transform=axes.get_yaxis_transform(),
                clip_on=False,
            )
            sheet.text(0, origin + y + 0.15, text, weight="bold", va="center")
        for line in panel.lines:
            sheet.text(_INDENT, origin + line.middle, line.label, va="center")
            sheet.text(note_x, origin + line.middle, line.note, size=SMALL, va="center")
        drawn.append(axes)
        top += panel.whole
    return drawn
