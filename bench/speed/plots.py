"""One plot per table. Marks differ by shape as well as by colour; a short bar marks a goal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.report.plots.canvas import (
    FAINT,
    INK,
    NORMAL,
    SMALL,
    SOFT,
    Mark,
    Sheet,
    cycle_marks,
    empty_sheet,
    handle,
    text_width,
    widest,
)
from bench.speed.tables import Table, number, percent
from bench.speed.turns import Ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _OWN, _BODY, _SCALE = 0.34, 0.12, 4.2, 0.45  # heights of a line and of one mark among others
_INTERVALS = "Marks are geometric means over rounds in turns, lines their 95 % intervals."

Row = Mapping[str, Any]


def _dots(
    table: Table,
    label: Callable[[Row], str],
    series: Mapping[str, str],
    axis: str,
    caption: str,
    scale: float = 1.0,
) -> "Figure":
    """Draw one line per row and one mark per series; `series` are keys of the rows by label."""
    if not table.rows:
        return empty_sheet(table.title, " ".join(table.notes))
    labels, marks = [label(row) for row in table.rows], cycle_marks(list(series))
    legend = [(handle(mark, line=False), name) for name, mark in marks.items()]
    if any(row.get("goal") is not None for row in table.rows):
        goal = Mark(INK, "|")
        legend.append((handle(goal, line=False, markersize=11, markeredgewidth=2), "goal"))
    line = _LINE + _OWN * (len(series) - 1)
    left, height = widest(labels) + 0.2, line * len(labels)
    sheet = Sheet(left + _BODY, height + _SCALE, table.title, caption, legend)
    axes = sheet.axes(left, 0, _BODY, height)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels, size=NORMAL)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel(axis)
    for y, row in enumerate(table.rows):
        for i, (name, key) in enumerate(series.items()):
            if (value := row.get(key)) is not None:
                offset = _OWN / line * (i - (len(series) - 1) / 2)
                _dot(axes, value, y + offset, marks[name], scale)
        if (goal_at := row.get("goal")) is not None:
            axes.plot(scale * goal_at, y, "|", color=INK, markersize=20, markeredgewidth=2)
    low, high = axes.get_xlim()
    axes.set_xlim(min(0, low) if scale != 1 else low, high)
    return sheet.figure


def _dot(axes: "Axes", value: Ratio | float, y: float, mark: Mark, scale: float) -> None:
    middle = value.value if isinstance(value, Ratio) else value
    if isinstance(value, Ratio):
        axes.plot([scale * value.low, scale * value.high], [y, y], color=mark.colour, linewidth=1.5)
    axes.plot(
        scale * middle, y, mark.marker, color=mark.colour, markerfacecolor=mark.face, markersize=6
    )


def _step(table: Table) -> "Figure":
    return _dots(
        table,
        lambda row: f"{row['network']}, {row['precision']}",
        {"harness": "ratio"},
        "time of a step over that of the loop by hand",
        f"{_INTERVALS} Below the goal is good.",
    )


def _peers(table: Table) -> "Figure":
    lines: dict[str, dict[str, Any]] = {}
    for row in table.rows:
        label = f"{row['network']}, {row['method']}, {row['precision']}"
        series = f"{row['library']}, {row['cores']} core{'s' * (row['cores'] != 'one')}"
        line = lines.setdefault(label, {"label": label})
        line[series] = row["ratio"]
        if row["goal"] is not None:
            line["goal"] = row["goal"]
    series_found = dict.fromkeys(key for line in lines.values() for key in line)
    names = [key for key in series_found if key not in ("label", "goal")]
    return _dots(
        replace(table, rows=list(lines.values())),
        lambda row: row["label"],
        {name: name for name in names},
        "times as long as the harness",
        f"{_INTERVALS} Further right, the harness is faster. Goals are for LibMTL on all cores.",
    )


def _matrix(table: Table) -> "Figure":
    return _bars(table, "way", "seconds", "wall time (s)", lambda s: f"{s:,.0f} s", "")


def _verdict(table: Table) -> "Figure":
    told = "What it takes to answer one question with the same gain to find and the same errors."
    return _bars(table, "way", "core seconds", "core-seconds", lambda s: f"{s:,.0f} s", told)


def _photographs(table: Table) -> "Figure":
    decoding = [row for row in table.rows if row.get("rate") is not None]
    return _dots(
        replace(table, rows=decoding),
        lambda row: row["what"],
        {"torchvision": "torchvision", "Pillow": "pillow"},
        "times as long as the harness",
        f"{_INTERVALS} Further right, the harness is faster.",
    )


def _machine(table: Table) -> "Figure":
    return _dots(
        table,
        lambda row: f"{row['network']}, {row['precision']}",
        {"whole step": "share", "if all but products took no time": "bound"},
        "share of the measured peak (%)",
        "The peak is the fastest of several loops of products and multiply-adds, on one thread.",
        scale=100,
    )


def _overhead(table: Table) -> "Figure":
    return _bars(
        table,
        "part",
        "share",
        "share of the core-seconds (%)",
        percent,
        "Shares of the time of all cores from the start of the command to its end.",
        scale=100,
    )


def _bars(
    table: Table,
    label: str,
    key: str,
    axis: str,
    show: Callable[[float], str],
    caption: str,
    scale: float = 1.0,
) -> "Figure":
    labels = [str(row[label]).replace("*", "").replace("`", "") for row in table.rows]
    left, height = widest(labels) + 0.2, _LINE * len(labels)
    sheet = Sheet(left + _BODY + text_width("00,000 s"), height + _SCALE, table.title, caption)
    axes = sheet.axes(left, 0, _BODY, height)
    values = [scale * row[key] for row in table.rows]
    axes.barh(range(len(labels)), values, height=0.55, color=cycle_marks([""])[""].colour)
    for y, (row, value) in enumerate(zip(table.rows, values, strict=True)):
        axes.annotate(
            show(row[key]), (max(value, 0), y), (4, 0), textcoords="offset points", va="center"
        )
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels, size=NORMAL)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(axis)
    return sheet.figure


def _growth(table: Table) -> "Figure":
    """Draw a column for each growing quantity: time above, memory below, both axes logarithmic."""
    groups: dict[str, list[Row]] = {}
    for row in table.rows:
        groups.setdefault(row["what"], []).append(row)
    width, height, gap, left = 1.6, 1.4, 0.65, 0.75
    mark, guide = cycle_marks([""])[""], Mark(SOFT, "", (0, (5, 2)))
    legend = [(handle(mark), "measured"), (handle(guide), "as fast as the work")]
    body = left + len(groups) * (width + gap)
    caption = (
        "Both axes are logarithmic. Flatter than the dashed line is cheaper than in proportion."
    )
    sheet = Sheet(body, 2 * height + 0.9, table.title, caption, legend)
    for column, (what, rows) in enumerate(groups.items()):
        x = left + column * (width + gap)
        sheet.text(x, 0.05, what, weight="bold", va="center")
        for line, (key, name, scale) in enumerate(
            (("seconds", "time (s)", 1.0), ("bytes", "memory (MB)", 1e-6))
        ):
            axes = sheet.axes(x, 0.2 + line * (height + 0.2), width, height)
            _panel(axes, rows, key, scale, mark, guide)
            if not column:
                axes.set_ylabel(name)
            if line:
                axes.set_xlabel(rows[0]["unit"], size=SMALL)
            else:
                axes.tick_params(labelbottom=False)
    return sheet.figure


def _panel(
    axes: "Axes", rows: Sequence[Row], key: str, scale: float, mark: Mark, guide: Mark
) -> None:
    from matplotlib.ticker import EngFormatter

    work, values = [row["work"] for row in rows], [scale * row[key] for row in rows]
    axes.loglog(
        work, values, color=mark.colour, marker=mark.marker, markersize=5, linestyle=mark.line
    )
    # Through the last point: the higher earlier points lie above it, the cheaper the growth.
    line = [values[-1] * w / work[-1] for w in work]
    axes.loglog(work, line, color=guide.colour, linestyle=guide.line, linewidth=1)
    axes.grid(color=FAINT)
    axes.minorticks_off()
    low, high = min(values), max(values)
    axes.set_ylim(low / 2, high * 2)
    # Their own ends are the only ticks: the usual ones are written as formulas.
    first, last = work[0], work[-1]
    words = [EngFormatter(sep="")(float(f"{end:.3g}")) for end in (first, last)]
    axes.set_xticks([first, last], words)
    ends = [low, high] if high > 1.3 * low else [high]
    axes.set_yticks(ends, [number(end) for end in ends])


PLOTS: Mapping[str, Callable[[Table], "Figure"]] = {
    "step": _step,
    "peers": _peers,
    "matrix": _matrix,
    "machine": _machine,
    "growth": _growth,
    "overhead": _overhead,
    "verdict": _verdict,
    "photographs": _photographs,
}
