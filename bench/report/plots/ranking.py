"""The critical-difference picture: strategies in order, and bars over those that do not differ."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.report.plots.canvas import (
    INK,
    NORMAL,
    SMALL,
    SOFT,
    Sheet,
    line_count,
    widest,
    wrap,
)
from bench.report.text.wording import chance, heading, metric_label
from bench.stats.ranking import Ranking

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = (
    "Strategies by their mean score over the paired seeds, the best on top. A vertical bar joins "
    "neighbours of which no two differ significantly, after Holm's correction over all pairs of "
    "strategies of the question (Demšar 2006). P(best): how often a strategy has the best mean "
    "when seeds are drawn anew (paired bootstrap). Methods that coincide are shown once."
)
_LINE = 0.22
_WIDTH = 3.2
_GAP = 0.75
_LABEL = 2.4
_BAR = 0.14


def ranking_plot(name: str, found: Sequence[Ranking]) -> "Figure | None":
    """Draw a panel per question; None where nothing is ranked."""
    if not found:
        return None
    labels = {r.strategy: wrap(r.strategy, _LABEL) for ranking in found for r in ranking.ranked}
    left = widest(list(labels.values())) + 0.2
    bars = max(len(ranking.groups) for ranking in found) * _BAR + 0.15
    heights = [
        sum(max(_LINE, 0.17 * line_count(labels[r.strategy])) for r in ranking.ranked)
        for ranking in found
    ]
    each = [0.35 + height + _GAP for height in heights]
    sheet = Sheet(left + _WIDTH + bars + 0.9, sum(each), f"{name}: which strategy", CAPTION)
    top = 0.0
    for ranking, height, whole in zip(found, heights, each, strict=True):
        sheet.text(0, top + 0.05, heading(ranking.pair, ranking.target), weight="bold", va="top")
        axes = sheet.axes(left, top + 0.35, _WIDTH, height)
        count = len(ranking.ranked)
        places = np.arange(count) + 0.5
        axes.set_ylim(count, 0)
        axes.plot([r.mean for r in ranking.ranked], places, "o", color="#0072B2", markersize=5)
        axes.set_yticks(places, [labels[r.strategy] for r in ranking.ranked], size=NORMAL)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_xlabel(f"mean {metric_label(ranking.metric, ranking.unit)}", size=SMALL)
        if not ranking.higher_is_better:
            axes.invert_xaxis()
        step = height / count
        for index, (first, last) in enumerate(ranking.groups):
            x = 1 + (0.12 + index * _BAR) / _WIDTH
            axes.plot(
                [x, x],
                [first + 0.15, last + 0.85],
                color=INK,
                linewidth=3,
                transform=axes.get_yaxis_transform(),
                clip_on=False,
            )
        right = left + _WIDTH + bars + 0.1
        sheet.text(right, top + 0.27, "P(best)", size=SMALL, color=SOFT, va="bottom")
        for place, r in enumerate(ranking.ranked):
            y = top + 0.35 + (place + 0.5) * step
            sheet.text(right, y, chance(r.probability_best), size=SMALL, va="center")
        top += whole
    return sheet.figure
