"""What a self-test found as files: a JSON document, and a page in Markdown."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.clean import json_text, markdown
from bench.files import write_files
from bench.report.text.table import grid
from bench.selftest.checks import Finding
from bench.store.provenance import provenance

#: What a check's outcome means.
OUTCOMES = {
    "ok": "holds",
    "stated": "the device lacks it, which its records say",
    "failed": "does not hold: do not trust the device",
    "skipped": "could not be tried",
}


def passed(findings: Mapping[str, Finding]) -> bool:
    """Return whether no check has failed."""
    return all(finding.outcome != "failed" for finding in findings.values())


def shown(value: float | str) -> str:
    """Return a figure with four digits, and a text as it is."""
    return value if isinstance(value, str) else f"{value:,.4g}"


def document(device: str, findings: Mapping[str, Finding]) -> dict[str, object]:
    """Return what was found as JSON-able data, never rounded."""
    return {
        "device": device,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "passed": passed(findings),
        "made": dict(provenance("cpu")),
        "checks": {name: asdict(finding) for name, finding in findings.items()},
    }


def page(found: Mapping[str, object], findings: Mapping[str, Finding]) -> str:
    """Return a document and its findings as a page."""
    made = found["made"]
    assert isinstance(made, Mapping)
    lines = [f"- {key}: {markdown(str(value))}" for key, value in made.items() if key != "device"]
    rows = [
        [
            markdown(name),
            finding.outcome,
            markdown(finding.said),
            markdown("; ".join(f"{key}: {shown(value)}" for key, value in finding.figures.items())),
        ]
        for name, finding in findings.items()
    ]
    parts = [
        f"# Self-test of {found['device']}: {'passed' if found['passed'] else 'failed'}",
        f"Made by `python -m bench selftest --device {found['device']}`, {found['date']}.",
        grid(["check", "outcome", "found", "figures"], rows),
        "\n".join(f"- {outcome}: {meaning}" for outcome, meaning in OUTCOMES.items()),
        "## Where",
        "\n".join(lines),
    ]
    return "\n\n".join(parts) + "\n"


def write(device: str, findings: Mapping[str, Finding], folder: Path) -> dict[str, Path]:
    """Write document and page, and return the files by name.

    Raises `UserError` where the folder cannot be written.
    """
    found = document(device, findings)
    contents = {"selftest.json": json_text(found), "selftest.md": page(found, findings)}
    return write_files(folder, {name: text.encode() for name, text in contents.items()})
