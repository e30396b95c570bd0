"""The results folder: one record a run, written whole or not at all.

    DIR/runs/<k2>/<key>/run.json          the record; its presence means that the run is finished
    DIR/runs/<k2>/<key>/examples-*.npz    per-example scores, named by their hash
    DIR/experiments/<name>.json           what was declared, before the first run
    DIR/prices/<hash>.json                frozen timings, so that a resumed run buys the same steps
    DIR/corrupt/                          records that could not be read, set aside

Every file is written under a temporary name, flushed and renamed. The examples land before the
record that names them. Two processes may work on one folder: both write the same records, and
the first one's timings stand.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from bench.clean import printable
from bench.errors import UserError, unknown
from bench.store.records import (
    KEY_PATTERN,
    SCREEN_BELOW,
    Declaration,
    ExamplesFile,
    Record,
)

_KEY = re.compile(KEY_PATTERN)


def write_atomically(path: Path, content: bytes, *, first_wins: bool = False) -> None:
    """Write a file so that a reader sees all of it or none.

    With `first_wins` a file that is there already stays as it is.

    A link is followed: the file that it leads to is replaced, and the link stays. What is no file,
    such as a device or a pipe, is written into, since a rename would put a file in its place.

    Raises `UserError` with the fix where the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path = path.resolve()
        if path.exists() and not path.is_file():
            with path.open("wb") as target:
                target.write(content)
            return
        temporary = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if first_wins:
                # The first of two processes wins; a rename would let the last one.
                with contextlib.suppress(FileExistsError):
                    os.link(temporary, path)
            else:
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; nothing finished is lost. "
            "Free space or name another folder with --results, then run the same command again"
        ) from None


def write_files(folder: Path, contents: Mapping[str, bytes]) -> dict[str, Path]:
    """Write files by name into a folder; return where each is. Raises as `write_atomically`."""
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return {name: folder / name for name in contents}


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays by name as an `.npz`. numpy's own function takes some names for its options."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array)
    return buffer.getvalue()


def _maker(content: bytes) -> str:
    """Return which version wrote a whole record that does not fit this one; empty if it is torn."""
    try:
        made = json.loads(content)["provenance"]
        versions = [f"{what} {made[what][:12]}" for what in ("bench", "commit") if what in made]
    except (ValueError, KeyError, TypeError):
        return ""
    return f"another version ({', '.join(versions) or 'unknown'})"


class Store:
    """The records under one results folder."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        # Whatever a plugin does to the working folder, records go where they were asked for.
        self.root = root.absolute()
        self._given = root
        self._read_only = read_only
        #: One line for each record that could not be read since this object was made.
        self.damaged: list[str] = []

    def check_writable(self) -> None:
        """Raise `UserError` where nothing can be written."""
        probe = self.root / f".probe-{os.getpid()}"
        write_atomically(probe, b"")
        probe.unlink(missing_ok=True)

    def _folder(self, key: str) -> Path:
        if not _KEY.fullmatch(key):  # a part of a path, which must not lead out of the folder
            raise ValueError(f"'{printable(key)}' is no key of a run")
        return self.root / "runs" / key[:2] / key

    def save(self, record: Record, examples: Mapping[str, np.ndarray]) -> Record:
        """Write a record and its examples; return the record as written.

        A failure never replaces a result.
        """
        folder = self._folder(record.key)
        if record.status == "failed":
            known = self.load(record.key)
            if known is not None and known.status != "failed":
                return record
        if examples:
            content = _npz(examples)
            sha256 = hashlib.sha256(content).hexdigest()
            name = f"examples-{sha256[:12]}.npz"
            write_atomically(folder / name, content)
            record = record.model_copy(update={"examples": ExamplesFile(file=name, sha256=sha256)})
        write_atomically(folder / "run.json", record.model_dump_json(indent=1).encode())
        return record

    def has(self, key: str) -> bool:
        """Return whether there is a record, without reading it."""
        return bool(_KEY.fullmatch(key)) and (self._folder(key) / "run.json").is_file()

    def load(self, key: str) -> Record | None:
        """Return a record, or None where there is none; one that is damaged is set aside."""
        if not _KEY.fullmatch(key):
            return None
        path = self._folder(key) / "run.json"
        content = b""
        try:
            content = path.read_bytes()
            record = Record.model_validate_json(content)
            if record.key != key:
                raise ValueError(f"it says it is run {record.key}")
            if record.examples is not None:
                self._examples_bytes(record)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            self._put_aside(key, f"{where + ': ' if where else ''}{first['msg']}", _maker(content))
        except ValueError as error:
            self._put_aside(key, str(error))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        else:
            return record
        return None

    def _examples_bytes(self, record: Record) -> bytes:
        assert record.examples is not None
        name = record.examples.file
        if Path(name).name != name:
            raise ValueError(f"'{name}' is not the name of a file beside the record")
        try:
            content = (self._folder(record.key) / name).read_bytes()
        except FileNotFoundError:
            raise ValueError(f"{name} is missing") from None
        if hashlib.sha256(content).hexdigest() != record.examples.sha256:
            raise ValueError(f"{name} is damaged")
        return content

    def examples(self, record: Record) -> dict[str, np.ndarray]:
        """Return the per-example scores of a record, by task; empty where it has none."""
        if record.examples is None:
            return {}
        with np.load(io.BytesIO(self._examples_bytes(record)), allow_pickle=False) as file:
            return {task: file[task] for task in file.files}

    def _put_aside(self, key: str, why: str, maker: str = "") -> None:
        if self._read_only:
            line = f"corrupt record {key[:12]} ignored: {why}"
            if maker:
                line = (
                    f"records that {maker} wrote are not read ({why}): run the experiment again, "
                    "or read them with that version"
                )
            if line not in self.damaged:
                self.damaged.append(line)
            return
        folder = self._folder(key)
        target = self.root / "corrupt" / f"{key}-{time.time_ns()}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
        except FileNotFoundError:
            return  # another process has set it aside already
        except OSError as error:
            raise UserError(f"cannot set aside the corrupt record {folder}: {error}") from None
        self.damaged.append(f"corrupt record {key[:12]} set aside to {target}: {why}")

    def records(self) -> Iterator[Record]:
        """Yield every readable record."""
        for path in sorted((self.root / "runs").glob("??/*/run.json")):
            if (record := self.load(path.parent.name)) is not None:
                yield record

    def declare(self, declaration: Declaration) -> Declaration:
        """Save what an experiment is about to compare, and return it as saved.

        A family that is not the one declared before under this name is counted as changed: choosing
        rows or recipes after seeing results weakens what the corrected p-values say. A first look
        over too few seeds for a verdict is free.
        """
        path = self.root / "experiments" / f"{declaration.experiment.name}.json"
        if (former := self._declaration(path)) is not None:
            looked = former.experiment.seeds >= SCREEN_BELOW
            changed = looked and former.family != declaration.family
            declaration = declaration.model_copy(update={"changes": former.changes + int(changed)})
        write_atomically(path, declaration.model_dump_json(indent=1).encode())
        return declaration

    def _declaration(self, path: Path) -> Declaration | None:
        try:
            return Declaration.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            why = f"cannot be read ({type(error).__name__})"
            if isinstance(error, ValidationError) and error.errors()[0]["loc"] == (
                "schema_version",
            ):
                why = "was written by another version of bench"
            raise UserError(
                f"{path} {why}: delete it and run the experiment again; its finished runs are kept"
            ) from None

    def declarations(self) -> list[Declaration]:
        """Return all declared experiments, by name. Raises `UserError` for one that is damaged."""
        paths = sorted((self.root / "experiments").glob("*.json"))
        return [d for path in paths if (d := self._declaration(path)) is not None]

    def experiments(self) -> list[Declaration]:
        """Return all declared experiments, by name. Raises `UserError` where there is none."""
        if not (found := self.declarations()):
            raise UserError(
                f"no experiment in '{self._given}': run one first, or name its folder with "
                "--results"
            )
        return found

    def experiment(self, name: str) -> Declaration:
        """Return the experiment of a name. Raises `UserError` where there is none."""
        found = {declaration.experiment.name: declaration for declaration in self.declarations()}
        if not found:
            raise UserError(
                f"no experiment in '{self._given}': `python -m bench run {name}` makes one"
            )
        if name not in found:
            raise unknown("experiment", name, found)
        return found[name]

    def timing(self, name: str) -> float | None:
        """Return a frozen timing in device-seconds a step."""
        try:
            value = json.loads((self.root / "prices" / f"{name}.json").read_bytes())["seconds"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return float(value) if isinstance(value, (int, float)) and value > 0 else None

    def freeze_timing(self, name: str, seconds: float, arm: str) -> float:
        """Save a timing, so that later calls buy the same steps; return the one that stands.

        Where the store is read-only, nothing is saved.
        """
        if self._read_only:
            return seconds
        path = self.root / "prices" / f"{name}.json"
        # In this order: a file that was not there yet may be another process's fresh one by now.
        if path.exists() and self.timing(name) is None:
            path.unlink(missing_ok=True)  # it is damaged
        write_atomically(
            path, json.dumps({"arm": arm, "seconds": seconds}).encode(), first_wins=True
        )
        return self.timing(name) or seconds
