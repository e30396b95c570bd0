"""The matrix of affinities: what each task gains beside each partner of its data set."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.report.plots.canvas import NORMAL, SMALL, SOFT, Sheet, by_scale, line_count, wrap
from bench.report.plots.heatmap import Grid, colour_limit
from bench.stats.comparison import RowResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = (
    "Mean gain of the task of a line beside the partner of a column, over its own single-task "
    "network with the whole budget (full). Bold with ★: significant after Holm's correction. †: "
    "budgets were unequal, so there is no verdict. –: no result. Blank: the two were not asked for "
    "as a pair. Read along a line; one task can gain what the other pays."
)
#: Rows of a strategy by target and partner.
Cells = dict[tuple[str, str], RowResult]


def matrices(results: Sequence[RowResult]) -> dict[tuple[str, str], Cells]:
    """Return the rows of pairs of two real tasks by (data set, strategy), then (target, partner).

    Only where any target has met two partners or more: one partner leaves nothing to compare.
    """
    found: dict[tuple[str, str], Cells] = {}
    for row in results:
        dataset, _, names = row.pair.rpartition(":")
        partners = [task for task in names.split("+") if task != row.target]
        if len(partners) == 1 and not row.placebo:
            found.setdefault((dataset, row.strategy), {})[row.target, partners[0]] = row
    return {
        key: cells
        for key, cells in found.items()
        if len(cells) > len({target for target, _ in cells})
    }


def matrix(name: str, results: Sequence[RowResult]) -> "Figure | None":
    """Draw targets × partners, a grid a data set, strategy and metric; None without a matrix."""
    found = matrices(results)
    if not found:
        return None
    rows = [row for cells in found.values() for row in cells.values()]
    # Strategies of one metric have one scale, so that they can be compared with each other.
    limits = {key: colour_limit(members) for key, members in by_scale(rows).items()}
    grids = []
    for (dataset, strategy), cells in found.items():
        tasks = list(dict.fromkeys([*(target for target, _ in cells), *(p for _, p in cells)]))
        for scale, members in by_scale(list(cells.values())).items():
            own = {key: row for key, row in cells.items() if any(row is m for m in members)}
            grid = Grid(own, scale, limits[scale], tasks, unasked="")
            grids.append((f"{dataset}, {strategy}", grid))
    left = max(grid.label_width for _, grid in grids) + 0.15
    width = left + max(grid.width for _, grid in grids)
    titles = [wrap(title, width, NORMAL, bold=True) for title, _ in grids]
    heads = [0.18 * line_count(title) + 0.25 for title in titles]
    sheet = Sheet(
        width,
        sum(heads) + sum(grid.whole for _, grid in grids),
        f"{name}: gain of each task beside each partner",
        CAPTION,
    )
    top = 0.0
    for title, head, (_, grid) in zip(titles, heads, grids, strict=True):
        sheet.text(0, top + head - 0.2, title, weight="bold", va="bottom")
        sheet.text(
            0, top + head + grid.header - 0.05, "target", size=SMALL, color=SOFT, va="bottom"
        )
        sheet.text(left, top + head - 0.04, "beside partner", size=SMALL, color=SOFT, va="bottom")
        grid.draw(sheet, left, top + head)
        top += head + grid.whole
    return sheet.figure
