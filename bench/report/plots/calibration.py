"""The plot of an A/A experiment: p-values, which are evenly spread where nothing is to be found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bench.report.plots.canvas import BAND, INK, Mark, Sheet, band_handle, handle
from bench.stats.calibration import Quality
from bench.stats.tests import ALPHA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 4.6, 3.4
_T, _FLIP = Mark("#0072B2", ""), Mark("#D55E00", "", "--")


def calibration_plot(found: Quality) -> "Figure":
    """Draw the share of comparisons at or below each p-value, for both tests."""
    caption = (
        f"{found.verdicts.of} comparisons of a strategy with itself over {found.seeds} seeds each, "
        "no run in two of them. A p-value that keeps its promise follows the straight line; the "
        "band holds a line of so many even p-values at each place in 95 % of experiments. Left of "
        f"the dotted line, at {ALPHA:g}, are false positives."
    )
    legend = [
        (handle(_T), "t test"),
        (handle(_FLIP), "sign-flip test"),
        (band_handle(), "evenly spread, 95 %"),
    ]
    title = "p-values where there is nothing to be found"
    sheet = Sheet(0.7 + _WIDTH, _HEIGHT + 0.6, title, caption, legend)
    axes = sheet.axes(0.7, 0.1, _WIDTH, _HEIGHT)
    at = np.linspace(0, 1, 401)
    low, high = (stats.binom.ppf(q, len(found.p_t), at) / len(found.p_t) for q in (0.025, 0.975))
    axes.fill_between(at, low, high, step="mid", **BAND)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    axes.axvline(ALPHA, color=INK, linewidth=0.8, linestyle=":")
    for values, mark in ((found.p_t, _T), (found.p_sign_flip, _FLIP)):
        axes.step(*_steps(values), where="post", color=mark.colour, linestyle=mark.line, lw=1.5)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("p-value")
    axes.set_ylabel("share of comparisons at or below")
    return sheet.figure


def _steps(values: Sequence[float]) -> tuple[list[float], list[float]]:
    ordered = sorted(values)
    return [0.0, *ordered, 1.0], [i / len(ordered) for i in range(len(ordered) + 1)] + [1.0]
