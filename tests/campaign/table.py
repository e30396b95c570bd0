"""The table that a campaign ends in, and begins to have from its first fault on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_HEADINGS = (
    "tried",
    "survived",
    "lost records",
    "differing",
    "orphans",
    "files left",
    "other",
)


def table(outcomes: Iterable[Mapping[str, Any]]) -> str:
    """Return a table in Markdown: a line for each kind of fault, sums of kills and errors."""
    reached = [one for one in outcomes if one["reached"]]
    lines = _head("fault")
    for kills, title in ((True, "all kills"), (False, "all disk faults")):
        mine = [one for one in reached if one["kills"] == kills]
        for group in sorted({one["group"] for one in mine}):
            lines.append(_line(group, [one for one in mine if one["group"] == group]))
        lines.append(_line(f"**{title}**", mine))
    return "\n".join(lines)


def places(outcomes: Iterable[Mapping[str, Any]]) -> str:
    """Return a table in Markdown: a line for each place and time that faults were tried at."""
    reached = [one for one in outcomes if one["reached"]]
    lines = _head("where")
    for where in sorted({one["where"] for one in reached}):
        lines.append(_line(where, [one for one in reached if one["where"] == where]))
    return "\n".join([*lines, _line("**all**", reached)])


def _head(what: str) -> list[str]:
    return [f"| {' | '.join((what, *_HEADINGS))} |", f"|---|{'---:|' * len(_HEADINGS)}"]


def survived(one: Mapping[str, Any]) -> bool:
    """Return whether nothing went wrong after a fault."""
    return not any(one[what] for what in ("wrong", "lost", "differing", "orphans", "left"))


def _line(title: str, outcomes: Sequence[Mapping[str, Any]]) -> str:
    sums = [sum(len(one[what]) for one in outcomes) for what in ("lost", "differing", "orphans")]
    sums += [sum(len(one[what]) for one in outcomes) for what in ("left", "wrong")]
    cells = [title, len(outcomes), sum(map(survived, outcomes)), *sums]
    return f"| {' | '.join(map(str, cells))} |"


def faults_told(outcomes: Iterable[Mapping[str, Any]]) -> str:
    """Return what did not survive, with what was wrong."""
    lines = []
    for one in outcomes:
        if one["reached"] and not survived(one):
            lines.append(f"{one['number']} {one['title']} (exit code {one['code']})")
            for what in ("wrong", "lost", "differing", "orphans", "left"):
                lines += [f"    {what}: {said}" for said in one[what]]
    return "\n".join(lines)
