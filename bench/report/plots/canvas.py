"""The sheet that all plots are drawn on: type, palette, measured layout, and bytes that repeat.

Lengths are inches from the top left of a sheet's body. Margins are measured from the texts that
stand in them, so a long name makes a larger figure instead of a cut label. pyplot is never used.
"""

import io
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bench.clean import printable
from bench.report.text.wording import fold, gain_unit
from bench.stats.comparison import Comparison, RowResult
from bench.store.records import AnchorName

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL, NORMAL, LARGE = 8.0, 9.0, 12.5
INK, SOFT, FAINT = "#1a1a1a", "#5a5a5a", "#d9d9d9"
#: The height in inches of the body of a page, where a plot has several: with title, legend and
#: caption that is at most 2,000 pixels.
PAGE = 10.2
#: Width and height of a panel of `panel_pages`.
_PANEL = (2.3, 1.6)
_PANEL_COLUMNS = 4
_PANEL_GAP = (0.75, 0.75)
#: How many times as far as half of all intervals a scale goes.
_FAR = 6
_EDGE = 0.2
_LINE = 1.35 / 72  # height of a line of text, in inches a point
_HANDLE = 0.6  # what a legend's picture and its gaps take
_DPI = 160
_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": NORMAL,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a dollar sign
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.fontsize": SMALL,
    "svg.hashsalt": "bench",  # the ids in an SVG file are random without
    "svg.fonttype": "none",  # letters as text: small, and found by a search
}


@dataclass(frozen=True)
class Mark:
    """How something is drawn: it differs from others by shape and line, never by hue alone."""

    colour: str
    marker: str
    line: str | tuple[int, tuple[int, ...]] = "-"
    filled: bool = True

    @property
    def face(self) -> str:
        """The colour inside the marker."""
        return self.colour if self.filled else "white"


# Okabe and Ito's palette, which holds for all common kinds of colour blindness.
ANCHOR_MARKS: Mapping[AnchorName, Mark] = {
    "full": Mark("#0072B2", "o"),
    "same-steps": Mark("#CC79A7", "^", (0, (4, 1, 1, 1))),
    "split": Mark("#D55E00", "s", "--"),
    "slim": Mark("#007a59", "D", ":", filled=False),
}
#: What stands behind the strategies that a plot tells apart.
OTHERS = Mark("#c4c4c4", "o")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6a4c93")
_MARKERS = "osD^vP*X"
_LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1)))


def cycle_marks(names: Sequence[str]) -> dict[str, Mark]:
    """Return a mark a name; the three cycles have coprime lengths, so repeats are far apart."""
    return {
        name: Mark(_COLOURS[i % 7], _MARKERS[i % 8], _LINES[i % 5]) for i, name in enumerate(names)
    }


@contextmanager
def style() -> Iterator[None]:
    """Draw with this project's settings and none of the user's."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = NORMAL, bold: bool = False) -> float:
    """Return the width of one line of text in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    text = printable(text)
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=size)
    width, _, _ = TextToPath().get_text_width_height_descent(text, font, ismath=False)
    # Hinting makes drawn text up to 2 % wider than its outline.
    return 1.03 * float(width) / 72


def widest(texts: Sequence[str], size: float = NORMAL, bold: bool = False) -> float:
    """Return the width of the widest line of some texts in inches."""
    return max(
        (text_width(line, size, bold) for text in texts for line in text.split("\n")), default=0.0
    )


def wrap(text: str, width: float, size: float = NORMAL, bold: bool = False) -> str:
    """Break a text into lines of at most `width` inches."""
    return fold(printable(text, keep="\n"), lambda line: text_width(line, size, bold) <= width)


def shortened_to(text: str, width: float, size: float = NORMAL) -> str:
    """Return a text on one line of at most `width` inches; signs in its middle give way."""
    shown = printable(" ".join(text.split()))
    kept = len(shown)
    while text_width(shown, size) > width and kept > 2:
        kept -= 1
        shown = _without_middle(printable(" ".join(text.split())), kept)
    return shown


def _without_middle(text: str, kept: int) -> str:
    """Return a text of which so many signs are left, from both ends alike."""
    return f"{text[: -(-kept // 2)]}…{text[len(text) - kept // 2 :]}"


def line_count(text: str) -> int:
    """Return how many lines a wrapped text has."""
    return text.count("\n") + 1


def paged(title: str, number: int, count: int) -> str:
    """Return the title of one of several pages."""
    return f"{title} (page {number} of {count})" if count > 1 else title


class Sheet:
    """A figure with a title and a legend above its body and a caption below it."""

    def __init__(
        self,
        width: float,
        height: float,
        title: str,
        caption: str,
        legend: Sequence[tuple["Artist", str]] = (),
    ) -> None:
        """Make room for a body of width × height inches."""
        from matplotlib.figure import Figure

        self.width = max(width, 6.4)
        title = wrap(title, self.width, LARGE, bold=True)
        caption = wrap(caption, self.width, SMALL)
        columns = self._columns([label for _, label in legend])
        rows = -(-len(legend) // columns) if legend else 0
        self._above = _EDGE + line_count(title) * LARGE * _LINE + 0.1 + 0.22 * rows + 0.1
        below = 0.15 + line_count(caption) * SMALL * _LINE + _EDGE
        self._size = (self.width + 2 * _EDGE, self._above + height + below)
        self.figure: Figure = Figure(figsize=self._size, dpi=_DPI)
        self.text(0, _EDGE - self._above, title, size=LARGE, weight="bold", va="top")
        self.text(0, height + 0.15, caption, size=SMALL, color=SOFT, va="top", linespacing=1.25)
        if legend:
            self._legend(legend, columns, 0.22 * rows + 0.1)

    def _columns(self, labels: Sequence[str]) -> int:
        """Return the most columns that fit; matplotlib fills them one after the other."""
        widths = [text_width(label, SMALL) + _HANDLE for label in labels]
        for columns in range(len(labels), 1, -1):
            rows = -(-len(labels) // columns)
            if sum(max(widths[i : i + rows]) for i in range(0, len(labels), rows)) <= self.width:
                return -(-len(labels) // rows)
        return 1

    def _legend(self, legend: Sequence[tuple["Artist", str]], columns: int, height: float) -> None:
        self.figure.legend(
            [handle for handle, _ in legend],
            # matplotlib leaves out of a legend what begins with an underscore.
            [f" {label}" if label.startswith("_") else label for _, label in legend],
            loc="upper left",
            bbox_to_anchor=self._at(0, -height),
            ncols=columns,
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            handlelength=2.8,
            columnspacing=1.6,
        )

    def _at(self, x: float, y: float) -> tuple[float, float]:
        width, height = self._size
        return (_EDGE + x) / width, 1 - (self._above + y) / height

    def text(self, x: float, y: float, text: str, **how: Any) -> None:
        """Write at a place of the body."""
        self.figure.text(*self._at(x, y), text, **how)

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """Return axes at a place of the body."""
        x, y = self._at(left, top + height)
        return self.figure.add_axes((x, y, width / self._size[0], height / self._size[1]))


def panel_pages(
    title: str,
    caption: str,
    legend: Sequence[tuple["Artist", str]],
    headings: Sequence[Sequence[str]],
    draw: Callable[["Axes", int], None],
) -> "list[Figure]":
    """Return small panels side by side, on as many pages. `draw` draws the panel of a number.

    `headings` are the lines above each panel, which are broken where they are too long.
    """
    titles = [
        "\n".join(wrap(text, _PANEL[0], SMALL, bold=True) for text in lines) for lines in headings
    ]
    head = 0.16 * max(line_count(text) for text in titles) + 0.1
    columns = min(_PANEL_COLUMNS, len(titles))
    width, height = _PANEL_GAP[0] + _PANEL[0], head + _PANEL[1] + _PANEL_GAP[1]
    most = columns * max(1, int(PAGE / height))
    parts = [range(at, min(at + most, len(titles))) for at in range(0, len(titles), most)]
    figures = []
    for number, part in enumerate(parts, 1):
        sheet = Sheet(
            columns * width,
            math.ceil(len(part) / columns) * height,
            paged(title, number, len(parts)),
            caption,
            legend,
        )
        for place, index in enumerate(part):
            left, top = _PANEL_GAP[0] + place % columns * width, place // columns * height
            text = titles[index]
            sheet.text(left, top + head - 0.06, text, size=SMALL, weight="bold", va="bottom")
            draw(sheet.axes(left, top + head, *_PANEL), index)
        figures.append(sheet.figure)
    return figures


def empty_sheet(title: str, why: str) -> "Figure":
    """Return a figure that says why there is nothing to see."""
    sheet = Sheet(6.4, 0.6, title, "")
    sheet.text(0, 0.3, why, color=SOFT)
    return sheet.figure


def handle(mark: Mark, line: bool = True, **how: Any) -> "Artist":
    """Return the legend's picture of a mark."""
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {
        "color": mark.colour,
        "marker": mark.marker,
        "markerfacecolor": mark.face,
        "linestyle": mark.line if line else "none",
        "markersize": 5.5,
        "linewidth": 1.5,
    }
    return Line2D([], [], **{**style, **how})


def band_handle() -> "Artist":
    """Return the legend's picture of a shaded band."""
    from matplotlib.patches import Patch

    return Patch(**BAND)


#: How a region of no concern is shaded.
BAND: dict[str, Any] = {"facecolor": "#e4e4e4", "edgecolor": "none", "zorder": 0}
#: How a mark is crossed out whose two sides used different amounts.
CROSS: dict[str, Any] = {"marker": "x", "color": INK, "markersize": 8.0, "markeredgewidth": 1.6}


@dataclass(frozen=True)
class Scale:
    """What rows share that stand on one axis: a metric, its unit and, without one, the target."""

    metric: str
    unit: str
    target: str = ""

    @property
    def gain_unit(self) -> str:
        """The unit that gains have, in words."""
        words = gain_unit(self.metric, self.unit)
        return f"{self.target}: {words}" if self.target else words


def by_scale(results: Sequence[RowResult]) -> dict[Scale, list[RowResult]]:
    """Return the rows of each scale, since one axis holds one unit.

    Numbers without a unit are of one only where they are of one task. A row that no run of it or
    its anchors tells the metric of stands with the first.
    """
    scales = {
        id(row): Scale(row.metric, row.unit, "" if row.unit else row.target)
        for row in results
        if row.metric
    }
    first = next(iter(scales.values()), Scale("", ""))
    groups: dict[Scale, list[RowResult]] = {}
    for row in results:
        groups.setdefault(scales.get(id(row), first), []).append(row)
    return groups


def gain_limits(comparisons: Sequence[Comparison]) -> tuple[float, float]:
    """Return limits that show all seeds, and intervals unless those dwarf everything else."""
    seeds = [gain for c in comparisons for gain in c.gains.values()]
    ends = [end for c in comparisons for end in (c.result.low, c.result.high)]
    margin = max((c.margin for c in comparisons if math.isfinite(c.margin)), default=0.0)
    low, high = min([*seeds, -1.5 * margin]), max([*seeds, 1.5 * margin])
    room = high - low or 2.0
    low, high = (low, high) if low < high else (low - 1, high + 1)
    low = max(min([low, *(end for end in ends if math.isfinite(end))]), low - room / 2)
    high = min(max([high, *(end for end in ends if math.isfinite(end))]), high + room / 2)
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def finished(figure: "Figure") -> "Figure":
    """Return a figure that can be saved: its texts are clean, and it has a canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text):  # fonts have no glyph for control characters, and warn
            text.set_text(printable(text.get_text(), keep="\n"))
    FigureCanvasAgg(figure)
    return figure


def ends_of(comparisons: Sequence[Comparison]) -> list[float]:
    """Return how far means and the ends of intervals lie from zero."""
    results = [c.result for c in comparisons]
    return [abs(end) for r in results for end in (r.mean, r.low, r.high) if math.isfinite(end)]


def readable_reach(comparisons: Sequence[Comparison]) -> float:
    """Return how far to either side of zero a scale may go so that most rows can be read on it."""
    margins = [1.5 * c.margin for c in comparisons if math.isfinite(c.margin)]
    return max([_FAR * statistics.median(ends_of(comparisons) or [0.0]), *margins])


def picture(figure: "Figure") -> dict[str, bytes]:
    """Return a figure as PNG and SVG, by suffix. The same figure gives the same bytes."""
    finished(figure)
    pictures = {}
    for suffix, metadata in (
        ("png", {"Software": None}),
        ("svg", {"Date": None, "Creator": None}),
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=metadata)
        pictures[suffix] = buffer.getvalue()
    return pictures
