"""The front: what more networks are predicted to bring, and what was verified at which cost."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.decide.groupings import GroupingResult, Option
from bench.report.plots.canvas import INK, OTHERS, SMALL, SOFT, Mark, Sheet, handle
from bench.stats.partitions import Partition, Rules, partitions, totals
from bench.stats.tests import paired
from bench.store.groupings import OptionName

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Left: the predicted total of groupings over their number of networks. A grey point is a "
    "grouping, where there are seven tasks or fewer. The line joins the best of each number, with "
    "the 95 % interval over seeds; these were searched, so they tend to be too high."
)
VERIFIED = (
    "Right: Δm as it was verified at fresh seeds, with its 95 % interval, over the inference "
    "FLOPs. Networks of their own stand at zero."
)
#: Up to so many tasks every grouping has a point.
_EVERY = 7
_PANEL, _GAP, _TOP = (4.3, 3.4), (0.85, 0.55), 0.3
_BEST = Mark("#0072B2", "o")
_CHOSEN = Mark("#D55E00", "D")
_MARKS: Mapping[OptionName, Mark] = {
    OptionName.ONE: Mark("#0072B2", "o"),
    OptionName.GROUPING: Mark("#D55E00", "D"),
    OptionName.RANDOM: Mark("#7a7a7a", "s", filled=False),
    OptionName.SLIM: Mark("#007a59", "^", filled=False),
}
_APART = Mark(INK, "P", filled=False)


def front_plot(name: str, result: GroupingResult, most: int | None = None) -> "list[Figure]":
    """Draw predicted totals over the number of networks, and what was verified beside them.

    `most` is the most networks that the caps allow.
    """
    verified = [o for o in result.options if math.isfinite(o.delta_m.mean)]
    legend: list[tuple[Artist, str]] = [
        (handle(_BEST), "best of each number, predicted"),
        (handle(_CHOSEN, line=False), "proposed grouping"),
    ]
    if len(result.tasks) <= _EVERY:
        legend.append((handle(OTHERS, line=False, markersize=3), "every grouping"))
    legend += [
        (handle(_MARKS[o.name], line=False), f"{o.name}, verified")
        for o in verified
        if o.name is not OptionName.GROUPING
    ]
    if verified:
        legend.append((handle(_APART, line=False), "networks of their own"))
    panels = 1 + bool(verified)
    sheet = Sheet(
        panels * (_GAP[0] + _PANEL[0]),
        _TOP + _PANEL[1] + _GAP[1],
        f"{name}: what more networks bring",
        f"{CAPTION} {VERIFIED}" if verified else CAPTION.replace("Left: the", "The"),
        legend,
    )
    axes = sheet.axes(_GAP[0], _TOP, *_PANEL)
    _predicted(axes, result, most)
    if verified:
        beside = sheet.axes(2 * _GAP[0] + _PANEL[0], _TOP, *_PANEL)
        _verified(beside, verified, len(result.tasks))
        if result.affinities[0].unit == "%":  # both are Δm, so they have one scale
            low, high = zip(axes.get_ylim(), beside.get_ylim(), strict=True)
            for panel in (axes, beside):
                panel.set_ylim(min(low), max(high))
    return [sheet.figure]


def _predicted(axes: "Axes", result: GroupingResult, most: int | None) -> None:
    """Draw what groupings are predicted to bring."""
    affinities, proposal = result.affinities[0], result.proposal
    count = len(result.tasks)
    unit = affinities.unit
    axes.set_xlabel("networks")
    axes.set_ylabel("predicted total" + (", as Δm (%)" if unit == "%" else ""))
    axes.grid(axis="y")
    axes.axhline(0, color=SOFT, linewidth=0.9, zorder=1)
    if count <= _EVERY:
        every = list(partitions(count))
        values = [float(totals(affinities.mean[None], each, Rules())[0]) for each in every]
        axes.plot(
            _spread(every, values), values, "o", color=OTHERS.colour, markersize=2.2, zorder=2
        )
    found = [(each.networks, paired(each.totals)) for each in proposal.best]
    axes.plot(
        [at for at, _ in found],
        [each.mean for _, each in found],
        color=_BEST.colour,
        marker=_BEST.marker,
        markersize=5,
        linewidth=1.5,
        zorder=4,
    )
    for at, each in found:
        if math.isfinite(each.low):
            axes.plot([at, at], [each.low, each.high], color=_BEST.colour, linewidth=1, zorder=3)
    chosen = proposal.chosen
    axes.plot(chosen.networks, chosen.mean, _CHOSEN.marker, color=_CHOSEN.colour, ms=8, zorder=5)
    axes.set_xlim(0.4, count + 0.6)
    step = max(1, math.ceil(count / 12))
    axes.set_xticks(range(1, count + 1, step))
    if most is not None and most < count:
        axes.axvspan(most + 0.5, count + 0.6, facecolor="#eeeeee", zorder=0)
        axes.text(
            most + 0.6, 0.98, "beyond the cap", size=SMALL, color=SOFT, va="top",
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip


def _spread(every: Sequence[Partition], values: Sequence[float]) -> list[float]:
    """Return where points stand, beside each other by their rank among those of one number."""
    order = sorted(range(len(every)), key=lambda n: (len(every[n]), values[n]))
    sizes, seen = Counter(map(len, every)), Counter[int]()
    places = [0.0] * len(every)
    for n in order:
        networks = len(every[n])
        # The golden ratio's multiples fill an interval evenly, whatever their number.
        part = seen[networks] * 0.618 % 1 - 0.5 if sizes[networks] > 1 else 0.0
        places[n] = networks + 0.5 * part
        seen[networks] += 1
    return places


def _verified(axes: "Axes", options: Sequence[Option], count: int) -> None:
    """Draw Δm of the options over what they cost, beside networks of their own."""
    costed = all(math.isfinite(option.saved) for option in options)
    axes.set_xlabel(
        "inference FLOPs (% of networks of their own)" if costed else "number of networks"
    )
    axes.set_ylabel("verified Δm (%)")
    axes.grid()
    axes.axhline(0, color=SOFT, linewidth=0.9, zorder=1)
    taken: Counter[float] = Counter()
    for option in options:
        at = 100 * (1 - option.saved) if costed else float(option.networks)
        # What costs the same stands side by side.
        shift = (100 if costed else count) * 0.022 * taken[round(at, 1)]
        taken[round(at, 1)] += 1
        mark, found = _MARKS[option.name], option.delta_m
        if math.isfinite(found.low):
            ends = [found.low, found.high]
            axes.plot([at + shift] * 2, ends, color=mark.colour, linewidth=1.4, zorder=3)
        axes.plot(
            at + shift,
            found.mean,
            mark.marker,
            markersize=8 if option.name is OptionName.GROUPING else 6.5,
            markerfacecolor=mark.face,
            markeredgecolor=mark.colour,
            zorder=4,
        )
    whole = 100.0 if costed else float(count)
    axes.plot(whole, 0, _APART.marker, markersize=8, markerfacecolor="white",
              markeredgecolor=INK, zorder=4)  # fmt: skip
    axes.set_xlim(0, 1.06 * max(whole, axes.get_xlim()[1]))
