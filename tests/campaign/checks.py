"""What a results folder holds, compared with that of an undisturbed campaign."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What records measure differs from call to call. All else has to be equal.
_MEASURED = {
    "seconds",
    "s",
    "evaluation_seconds",
    "stall",
    "seconds_alone",
    "seconds_in_batch",
    "measured_peak_bytes",
    "provenance",
}


def unmeasured(document: Any) -> Any:
    """Return a document without what is measured."""
    if isinstance(document, dict):
        return {k: unmeasured(v) for k, v in document.items() if k not in _MEASURED}
    if isinstance(document, list):
        return [unmeasured(value) for value in document]
    return document


@dataclass(frozen=True)
class Kept:
    """A record in a results folder: its bytes, what it says, and whether it is whole."""

    content: bytes
    document: Mapping[str, Any] | None
    why: str = ""

    @property
    def finished(self) -> bool:
        """Whether it is the result of a run that has not failed."""
        return self.document is not None and self.document["status"] != "failed"


def records(results: Path) -> dict[str, Kept]:
    """Return every record of a folder by key."""
    return {path.parent.name: _record(path) for path in results.glob("runs/??/*/run.json")}


def _record(path: Path) -> Kept:
    content = path.read_bytes()
    try:
        document = json.loads(content)
        if (examples := document["examples"]) is not None:
            found = hashlib.sha256((path.parent / examples["file"]).read_bytes()).hexdigest()
            if found != examples["sha256"]:
                return Kept(content, None, "its examples are others")
    except (ValueError, LookupError, TypeError, OSError) as error:
        return Kept(content, None, f"{type(error).__name__}: {error}")
    return Kept(content, document)


def files(folder: Path) -> set[str]:
    """Return all that lies in a folder and below, but folders, by path."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


@dataclass(frozen=True)
class Reference:
    """What an undisturbed campaign has left."""

    records: Mapping[str, Any]
    documents: Mapping[str, Any]
    """Declarations without what is measured, and the bytes of reports."""
    files: set[str]

    @classmethod
    def of(cls, results: Path) -> "Reference":
        """Read it from a folder."""
        return cls(
            {key: unmeasured(kept.document) for key, kept in records(results).items()},
            _documents(results),
            files(results),
        )


def _documents(results: Path) -> dict[str, Any]:
    reports = results.glob("reports/*/gains.json")
    found: dict[str, Any] = {str(path.relative_to(results)): path.read_bytes() for path in reports}
    for path in results.glob("experiments/*.json"):
        try:
            found[str(path.relative_to(results))] = unmeasured(json.loads(path.read_bytes()))
        except ValueError:
            found[str(path.relative_to(results))] = None
    return found


@dataclass
class Damage:
    """What a fault has done that it must not do, in words."""

    lost: list[str] = field(default_factory=list)
    """Records that were finished and are gone, torn or changed."""
    differing: list[str] = field(default_factory=list)
    """Records, declarations and reports that are not those of the reference."""
    left: list[str] = field(default_factory=list)
    """Files that the reference does not have."""


def lost(before: Mapping[str, Kept], after: Mapping[str, Kept]) -> list[str]:
    """Return which finished records are gone, torn or changed."""
    said = []
    for key, kept in before.items():
        if not kept.finished:
            continue
        if key not in after:
            said.append(f"{key[:12]} is gone")
        elif after[key].content != kept.content:
            said.append(f"{key[:12]} was changed")
        elif not after[key].finished:
            said.append(f"{key[:12]} is torn: {after[key].why}")
    return said


def torn(found: Mapping[str, Kept]) -> list[str]:
    """Return which records are not whole."""
    return [f"{key[:12]} is torn: {kept.why}" for key, kept in found.items() if not kept.document]


def _of_its_own(key: str, kept: Kept, reference: Reference) -> bool:
    """Return whether a record says that a run failed for want of a price, and no more.

    It was to have no steps, so it has a key that no other run has, and nothing reads it.
    """
    failed = kept.document is not None and not kept.finished
    return failed and key not in reference.records


def differing(results: Path, reference: Reference) -> list[str]:
    """Return what differs from the reference, measured times aside."""
    kept = {
        key: one for key, one in records(results).items() if not _of_its_own(key, one, reference)
    }
    found = {key: unmeasured(one.document) for key, one in kept.items()}
    said = [f"{key[:12]}" for key, one in reference.records.items() if found.get(key) != one]
    said += [f"{key[:12]} is not in it" for key in found.keys() - reference.records.keys()]
    documents = _documents(results)
    return said + [name for name, one in reference.documents.items() if documents.get(name) != one]


def left(results: Path, scratch: Path, reference: Reference) -> list[str]:
    """Return files that the reference does not have, and what is left of temporary ones."""
    more = files(results) - reference.files
    for key, one in records(results).items():
        if _of_its_own(key, one, reference):
            more.discard(f"runs/{key[:2]}/{key}/run.json")
    # A command that draws was tried, and one that does not was run again.
    more = {name for name in more if not re.fullmatch(r"reports/[^/]+/\w+\.(?:png|svg)", name)}
    # torch makes a folder for its compiler, wherever it is imported.
    temporary = {path.name for path in scratch.iterdir() if not path.name.startswith("torch")}
    return sorted(more) + sorted(temporary)
