"""How the tasks' gradients lie to each other: cosine and ratio of norms over the compute used."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from bench.report.plots.canvas import (
    INK,
    NORMAL,
    SOFT,
    Mark,
    Sheet,
    cycle_marks,
    handle,
    line_count,
    wrap,
)
from bench.report.plots.curves import (
    Curve,
    draw_curves,
    draw_others,
    mean_curve,
    others_legend,
)
from bench.report.text.wording import GRADIENTS, heading, si_scale
from bench.spec.budget import Axis
from bench.stats.comparison import RowResult
from bench.stats.gains import Lookup
from bench.stats.tests import PairedResult
from bench.store.records import CurvePoint, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    f"{GRADIENTS} Lines are means over seeds; bands reach one standard error of the mean to either "
    "side. A short run probes its gradients at only some points of its curve, which differ between "
    "seeds: a point is the mean of the few seeds that have it, and one of a single seed has "
    "no band. Behind the upright line: the mean over curve and seeds, with its 95 % Student t "
    "interval, which is what to read."
)
#: Widths of the two panels of a question, and their height.
_WIDTHS = (2.6, 1.9)
_HEIGHT = 1.9
_GAP = (0.75, 0.65)


@dataclass(frozen=True)
class _Question:
    title: str
    cosines: tuple[Curve, ...]
    ratios: tuple[Curve, ...]
    """Binary logarithms, so that a ratio and its inverse are as far from the middle."""
    means: Mapping[str, PairedResult]
    """Cosines over the whole curve, by arm."""
    end: float
    """The most compute that a run was to use; the last probe may have been earlier."""
    others: tuple[tuple[Curve, ...], tuple[Curve, ...]]
    """Cosines and ratios of the arms that are drawn in grey."""


def gradient_plot(
    name: str,
    declared: Sequence[Row],
    results: Sequence[RowResult],
    find: Lookup,
    axis: Axis,
    others: Sequence[tuple[Row, RowResult]] = (),
) -> "Figure | None":
    """Draw two panels a question and a line a strategy and partner; None where nothing is shared.

    `results` are those of the declared rows, `axis` is the budget's. `others` are drawn in grey.
    """
    questions = _questions(list(zip(declared, results, strict=True)), others, find, axis)
    if not questions:
        return None
    # Norms may be finite where no cosine is, so an arm may have one curve and not the other.
    drawn = (curve.arm for q in questions for curve in (*q.cosines, *q.ratios))
    marks = cycle_marks(list(dict.fromkeys(drawn)))
    columns = min(2, len(questions))
    inner = sum(_WIDTHS) + _GAP[0]
    titles = [wrap(question.title, inner, NORMAL, bold=True) for question in questions]
    head = 0.18 * max(line_count(text) for text in titles) + 0.1
    each = (_GAP[0] + inner, head + _HEIGHT + _GAP[1])
    sheet = Sheet(
        columns * each[0],
        -(-len(questions) // columns) * each[1],
        f"{name}: gradients of the tasks on the shared parameters",
        CAPTION,
        [(handle(mark), arm) for arm, mark in marks.items()]
        + others_legend([own for own, row in others if row.gradients]),
    )
    largest = max(question.end for question in questions)
    scale, unit = si_scale(largest, axis)
    # All questions have the same scales, so that they can be compared with each other.
    limits = (
        _limits(
            [c for q in questions for c in q.cosines],
            [m for q in questions for m in q.means.values()],
            0.1,
        ),
        _limits([c for q in questions for c in q.ratios], [], 1.0),
    )
    for index, (question, text) in enumerate(zip(questions, titles, strict=True)):
        left, top = _GAP[0] + index % columns * each[0], index // columns * each[1]
        sheet.text(left, top + head - 0.1, text, weight="bold", va="bottom")
        for part, curves in enumerate((question.cosines, question.ratios)):
            x = left + part * (_WIDTHS[0] + _GAP[0])
            axes = sheet.axes(x, top + head, _WIDTHS[part], _HEIGHT)
            axes.set_xlabel(f"compute used ({unit})")
            axes.set_xlim(0, largest / scale * 1.03)
            axes.set_ylabel("ratio of norms, other to target" if part else "cosine")
            axes.set_ylim(*limits[part])
            axes.grid()
            axes.axhline(0, color=INK, linewidth=0.9, zorder=0.5)
            if part:
                _label_ratios(axes)
            else:
                _draw_means(axes, question.means, marks, largest / scale)
            draw_others(axes, question.others[part], scale)
            draw_curves(axes, curves, marks, scale)
    return sheet.figure


def _questions(
    members: Sequence[tuple[Row, RowResult]],
    others: Sequence[tuple[Row, RowResult]],
    find: Lookup,
    axis: Axis,
) -> list[_Question]:
    questions = []
    for (pair, target), group in groupby(members, key=lambda each: (each[0].pair, each[0].target)):
        found: dict[bool, list[Curve]] = {False: [], True: []}
        means, end = {}, 0.0
        for own, row in group:
            if row.gradients:
                runs = [find(seed.strategy) for seed in own.seeds]
                ledgers = [run.ledger for run in runs if run and run.ledger]
                end = max(end, *(ledger.allotted(axis) for ledger in ledgers))
            for ratio, lines in found.items():
                for curve, cosine in _curves(own, row, find, ratio):
                    lines.append(curve)
                    # An arm whose cosines are none of them finite has no line and no mean.
                    if not ratio:
                        means[curve.arm] = cosine
        behind = [each for each in others if (each[0].pair, each[0].target) == (pair, target)]
        grey = [
            tuple(curve for each in behind for curve, _ in _curves(*each, find, ratio))
            for ratio in found
        ]
        if found[False] or found[True]:
            cosines, ratios = (tuple(found[ratio]) for ratio in (False, True))
            questions.append(
                _Question(heading(pair, target), cosines, ratios, means, end, (grey[0], grey[1]))
            )
    return questions


def _curves(
    own: Row, row: RowResult, find: Lookup, ratio: bool
) -> Iterator[tuple[Curve, PairedResult]]:
    """Yield the curve beside each other task of a row, with the mean cosine over the curve."""
    runs = [find(seed.strategy) for seed in own.seeds]
    for other, gradient in row.gradients.items():
        arm = own.strategy if len(row.gradients) == 1 else f"{own.strategy}, {other}"
        curve = mean_curve(arm, runs, _Reader(own.target, other, ratio))
        if curve is not None:
            yield curve, gradient.cosine


@dataclass(frozen=True)
class _Reader:
    """Reads the cosine of two tasks from a point, or the logarithm of their ratio of norms."""

    target: str
    other: str
    ratio: bool

    def __call__(self, point: CurvePoint) -> float | None:
        if not self.ratio:
            return point.cosine(self.target, self.other)
        ratio = point.norm_ratio(self.target, self.other)
        return math.log2(ratio) if ratio else None


def _limits(
    curves: Sequence[Curve], means: Sequence[PairedResult], least: float
) -> tuple[float, float]:
    """Return limits that show all bands and means, and `least` to either side of zero."""
    # Intervals of few seeds go beyond what a cosine can be, and need not be seen to their ends.
    ends = [max(-1.0, min(1.0, e)) for m in means for e in (m.low, m.high) if math.isfinite(e)]
    low = min([-least, *(float((c.mean - c.error).min()) for c in curves), *ends])
    high = max([least, *(float((c.mean + c.error).max()) for c in curves), *ends])
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def _draw_means(
    axes: "Axes", means: Mapping[str, PairedResult], marks: Mapping[str, Mark], end: float
) -> None:
    """Draw the means over the whole curve side by side, behind its end."""
    pitch = min(0.05, 0.4 / max(1, len(means))) * end
    axes.set_xlim(0, 1.03 * end + pitch * (len(means) + 1))
    axes.axvline(1.03 * end, color=SOFT, linewidth=0.8)
    for index, (arm, mean) in enumerate(means.items()):
        mark, x = marks[arm], 1.03 * end + pitch * (index + 1)
        axes.plot(
            x, mean.mean, mark.marker, color=mark.colour, markersize=4, markerfacecolor=mark.face
        )
        if math.isfinite(mean.low):
            axes.vlines(x, mean.low, mean.high, color=mark.colour, linewidth=1.4)


def _label_ratios(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{2.0**value:.3g}"))
