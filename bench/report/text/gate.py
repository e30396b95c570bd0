"""What a person and a CI system read of the gate: table, JSON, Markdown, annotations, JUnit XML."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from bench.clean import annotation, annotation_property, finite, printable
from bench.clean import markdown as escape
from bench.errors import EXIT_OK
from bench.gate.baseline import Baseline
from bench.gate.judge import Finding, Status, exit_code
from bench.report.text.table import grid
from bench.report.text.wording import NOTHING, number, p_value, spread

if TYPE_CHECKING:
    from rich.console import Group

#: From the gravest to the best.
_ORDER: tuple[Status, ...] = ("FAIL", "ERROR", "MISSING", "INCONCLUSIVE", "NEW", "PASS")
_MEANING: Mapping[Status, str] = {
    "FAIL": "worse than the baseline, in quality by more than the margin and significantly so",
    "ERROR": "a run diverged, failed or is missing",
    "MISSING": "in the baseline, and not in what was run",
    "INCONCLUSIVE": "neither shown to be as good nor shown to be worse",
    "NEW": "not in the baseline",
    "PASS": "not worse by the margin; what is counted has not risen",
}
_COLOURS = {"FAIL": "red", "ERROR": "red", "MISSING": "red", "INCONCLUSIVE": "yellow"}
_ANNOTATIONS = 10
#: Counts from here on are shown to six digits; JSON has them all.
_LARGE = 1e10
#: Columns of a figure in the terminal, more where one is longer.
_FIGURE = 11


def told(finding: Finding) -> str:
    """Return the status as a person is shown it."""
    advisory = "" if finding.binding or finding.status in ("PASS", "NEW") else " (advisory)"
    remark = f" · {finding.remark}" if finding.remark else ""
    return f"{finding.status}{advisory}{remark}"


def headline(findings: Sequence[Finding]) -> str:
    """Return how many cells have which status; what is not binding is counted apart."""
    binding = Counter(f.status for f in findings if f.binding)
    advisory = sum(not f.binding and f.status not in ("PASS", "NEW") for f in findings)
    counts = [f"{binding[status]} {status}" for status in _ORDER if binding[status]]
    if advisory:
        counts.append(f"{advisory} advisory")
    return ", ".join(counts) or "nothing to check"


def gate_json(
    before: Baseline, now: Baseline, findings: Sequence[Finding], notes: Sequence[str], code: int
) -> dict[str, Any]:
    """Return all that the gate found. What is not a finite number is None."""
    document: dict[str, Any] = finite(
        {
            "schema_version": 1,
            "experiment": before.experiment.name,
            "exit_code": code,
            "headline": headline(findings),
            "notes": list(notes),
            "made": {"baseline": before.made, "now": now.made},
            "findings": [asdict(finding) for finding in findings],
        }
    )
    return document


def _value(finding: Finding, value: float) -> str:
    if not math.isfinite(value):
        return NOTHING
    if finding.quantity in ("score", "gain"):
        return number(value, finding.unit, sign=finding.quantity == "gain")
    if finding.quantity == "seconds":
        return f"{value:.3f}"
    return f"{value:,.0f}" if value < _LARGE else f"{value:.6g}"


def _change(finding: Finding) -> str:
    return spread(finding.change, finding.unit) if finding.change else ""


def _cells(finding: Finding) -> tuple[str, ...]:
    values = [_value(finding, value) for value in (finding.before, finding.now)]
    return (finding.quantity, *values, _change(finding), told(finding))


def _unchanged(finding: Finding) -> bool:
    return finding.sentence == "the same"


def _split(findings: Sequence[Finding]) -> tuple[list[Finding], str]:
    """Return the findings to show, and a sentence for the counts that are what they were."""
    shown = [finding for finding in findings if not _unchanged(finding)]
    same = [finding for finding in findings if _unchanged(finding)]
    if not same:
        return shown, ""
    quantities = ", ".join(dict.fromkeys(finding.quantity for finding in same))
    networks = len({finding.name for finding in same})
    return (
        shown,
        f"PASS: {quantities} of a step are the same ({networks} networks, {len(same)} counts).",
    )


def gate_table(findings: Sequence[Finding]) -> "Group":
    """Return the findings as one renderable; it reads from 80 columns on."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    shown, same = _split(findings)
    figures = [
        _value(finding, value) for finding in shown for value in (finding.before, finding.now)
    ]
    widest = max([_FIGURE, *map(len, figures)])  # the same for all, so that they align
    parts: list[Any] = []
    for name, group in groupby(shown, key=lambda finding: finding.name):
        parts.append(Text(printable(name), style="bold cyan"))
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=not parts[1:])
        table.add_column("", width=10, no_wrap=True)
        for title, width in (("baseline", widest), ("now", widest), ("change [95 %]", 23)):
            table.add_column(title, justify="right", width=width, overflow="fold")
        table.add_column("", overflow="fold")
        words = []
        for finding in group:
            style = _COLOURS.get(finding.status, "") if finding.binding else ""
            *cells, status = _cells(finding)
            table.add_row(*map(Text, cells), Text(printable(status), style=style))
            if finding.status != "PASS":
                words.append(
                    Text(printable(f"{finding.quantity}: {finding.sentence}"), style=style)
                )
        parts.append(Padding(table, (0, 0, 0, 2)))
        parts += [Padding(text, (0, 0, 0, 4)) for text in words]
    if same:
        parts.append(Text(f"\n{same}"))
    parts.append(Text(f"\n{headline(findings)}", style="bold"))
    return Group(*parts)


def gate_markdown(name: str, findings: Sequence[Finding], notes: Sequence[str]) -> str:
    """Return the findings in Markdown, for the summary of a job; the gravest come first."""
    shown, same = _split(findings)
    shown.sort(key=lambda finding: _ORDER.index(finding.status))
    lines = [
        [
            escape(finding.name),
            *map(escape, _cells(finding)[:-1]),
            escape(p_value(finding.p_worse)),
            f"**{escape(told(finding))}**",
            escape(finding.sentence),
        ]
        for finding in shown
    ]
    columns = ("what", "", "baseline", "now", "change [95 % CI]", "p (worse, Holm)", "", "")
    met = [status for status in _ORDER if any(finding.status == status for finding in findings)]
    parts = [
        f"## Gate of {escape(name)}: {headline(findings)}",
        grid(columns, lines) if lines else "",
        escape(same),
        "\n".join(f"- {escape(note)}" for note in notes),
        " ".join(f"{status}: {_MEANING[status]}." for status in met),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _fails(finding: Finding, inconclusive_fails: bool) -> bool:
    """Return whether a finding alone would make the command exit with another code than 0."""
    return exit_code([finding], inconclusive_fails) != EXIT_OK


def annotations(findings: Sequence[Finding], inconclusive_fails: bool = True) -> list[str]:
    """Return workflow commands of GitHub Actions, at most ten: a step shows no more.

    What makes the step fail is an error, all else a warning.
    """
    grave = [f for f in findings if f.status not in ("PASS", "NEW")]
    grave.sort(key=lambda f: (not f.binding, _ORDER.index(f.status)))
    kept = grave if len(grave) <= _ANNOTATIONS else grave[: _ANNOTATIONS - 1]
    lines = [_annotation(finding, _fails(finding, inconclusive_fails)) for finding in kept]
    if len(kept) < len(grave):
        lines.append(
            f"::warning title=bench check::and {len(grave) - len(kept)} more: see check.json"
        )
    return lines


def _annotation(finding: Finding, fails: bool) -> str:
    level = "error" if fails else "warning"
    title = annotation_property(f"{told(finding)}: {finding.quantity}")
    return f"::{level} title={title}::{annotation(f'{finding.name}: {finding.sentence}')}"


def _junit_kind(finding: Finding, inconclusive_fails: bool) -> str:
    if finding.status == "PASS":
        return ""
    if not _fails(finding, inconclusive_fails):
        return "skipped"
    return "failure" if finding.status in ("FAIL", "MISSING") else "error"


def junit(name: str, findings: Sequence[Finding], inconclusive_fails: bool = True) -> bytes:
    """Return the findings as JUnit XML: a case a cell.

    A case fails where the cell makes the command fail: as an error where nothing was found out,
    else as a failure. What is told and changes no exit code is skipped: JUnit has no word for it.
    """
    kinds = [_junit_kind(finding, inconclusive_fails) for finding in findings]
    counts = Counter(kinds)
    suite = ElementTree.Element(
        "testsuite",
        name=printable(f"bench check {name}"),
        tests=str(len(findings)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
    )
    for finding, kind in zip(findings, kinds, strict=True):
        case = ElementTree.SubElement(
            suite, "testcase", classname=printable(finding.name), name=finding.quantity
        )
        if kind:
            message = printable(f"{told(finding)}: {finding.sentence}")
            ElementTree.SubElement(case, kind, message=message)
    document: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return document
