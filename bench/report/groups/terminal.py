"""What a terminal shows of groups: the answer, what each option brings and costs, and the scores.

Colour repeats what words and signs say; it never says it alone.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.clean import log, printable
from bench.decide.groupings import GroupChoice, Grouping, GroupingResult, Option
from bench.report.groups.sections import SCORED_COLUMNS, by_target, gained, scored_lines
from bench.report.groups.wording import (
    Standing,
    answer_of,
    braced,
    counted,
    grouping_sentence,
    remarks,
    standings,
)
from bench.report.text.decision import shares
from bench.report.text.terminal import aligned, widths
from bench.report.text.wording import NOTHING, halved, share_percent

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_COLOURS = {
    GroupChoice.ONE: "green",
    GroupChoice.GROUPING: "green",
    GroupChoice.SEPARATE: "yellow",
    GroupChoice.TRADE: "yellow",
}
_HEADER = ("option", "networks", "Δm (%)", "parameters", "FLOPs", "time an image")
_NOTE = (
    "Δm: mean relative gain over networks of their own, ± half of its 95 % interval. Parameters, "
    "inference FLOPs and time are shares of theirs. Gains of tasks are in the unit of their "
    "metric. table.md and report.html have every figure."
)
#: Of more tasks with one word than this the others are counted.
_MOST_NAMED = 6
#: Of more tasks than this only the answer tells who shares; table.md has the other options.
_MOST_GROUPED = 12


def terminal_grouping(
    result: GroupingResult, margin: float, unverified_reason: str = ""
) -> "RenderableType":
    """Return what the command line shows as one renderable. It reads from 80 columns on."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    outer = Table.grid(expand=True)
    outer.add_column(overflow="fold")
    colour = _COLOURS.get(result.verdict.choice, "") if result.verdict else ""
    answer = answer_of(result)
    sentence = grouping_sentence(result, margin, unverified_reason)
    outer.add_row(Text(printable(sentence), style=f"bold {colour}".strip()))
    for number, group in enumerate(answer, 1):
        outer.add_row(Padding(Text(printable(f"{number}: {', '.join(group)}")), (0, 0, 0, 2)))
    if result.options:
        lines = [_cells(option) for option in result.options]
        _add(outer, _HEADER, lines, [_told(option, answer) for option in result.options])
        outer.add_row(Text(""))
        for line in remarks(result, margin):
            outer.add_row(Text(printable(line)))
        outer.add_row(Text(f"\n{_NOTE}", style="dim"))
    if result.scored:
        _add(outer, SCORED_COLUMNS, list(scored_lines(result)))
    return outer


def grouping_summary(
    result: GroupingResult, margin: float, unverified_reason: str = "", width: int = 100
) -> str:
    """Return the same as plain text, for logs and for pages that show what a terminal shows."""
    from rich.console import Console

    # Within a notebook it would show itself there too.
    console = Console(file=io.StringIO(), width=width, color_system=None, force_jupyter=False)
    with console.capture() as captured:
        console.print(terminal_grouping(result, margin, unverified_reason))
    return log("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")


def _add(
    outer: "Table",
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    told: Sequence[Sequence[str]] = (),
) -> None:
    """Add aligned lines under a header, each with what is told below it."""
    from rich.padding import Padding
    from rich.text import Text

    columns = widths([header, *lines])
    outer.add_row(Text(""))
    outer.add_row(aligned([Text(text, style="bold") for text in header], columns))
    for number, line in enumerate(lines):
        outer.add_row(aligned([Text(printable(cell)) for cell in line], columns))
        for text in told[number] if told else ():
            outer.add_row(Padding(Text(printable(text)), (0, 0, 0, 4)))


def _cells(option: Option) -> tuple[str, ...]:
    costs = shares(option.candidate)
    return (
        str(option.name),
        str(option.networks),
        halved(option.delta_m, "%") if option.delta_m.n else NOTHING,
        *(share_percent(costs[name]) for name in ("parameters", "FLOPs", "time per image")),
    )


def _told(option: Option, answer: Grouping) -> list[str]:
    """Return who shares, unless that is the answer, and the tasks of each word, losers first."""
    targets, words = by_target(option), standings(option.candidate)
    plain = option.networks in (1, len(targets)) or option.grouping == answer
    long = len(targets) > _MOST_GROUPED
    told = [] if plain or long else [" ".join(map(braced, option.grouping))]
    for word in Standing:
        named = [task for task, own in words.items() if own is word]
        if not named:
            continue
        shown = [f"{task} {gained(targets[task])}" for task in named[:_MOST_NAMED]]
        if others := len(named) - len(shown):
            shown.append(counted(others, "other"))
        told.append(f"{word}: {', '.join(shown)}")
    return told
