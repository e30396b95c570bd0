"""The results folder: one record a run, written whole or not at all.

    DIR/runs/<k2>/<key>/run.json          the record; its presence means that the run is finished
    DIR/runs/<k2>/<key>/examples-*.npz    per-example scores, named by their hash
    DIR/experiments/<name>.json           what was declared, before the first run
    DIR/groups/<name>.json                the same of a question of groups
    DIR/prices/<hash>.json                frozen timings, so that a resumed run buys the same steps
    DIR/corrupt/                          what could not be read, set aside

Every file is written under a temporary name, flushed and renamed. The examples land before the
record that names them. Two processes may work on one folder: both write the same records, and
the first one's timings stand.

A document is believed only where its schema, its numbers and its place agree. One that lies is set
aside, named once and made again. A store that only reads leaves it where it is.

The first timing stands because it is looked for and written under the lock of its folder. A file
system without locks leaves a window between the two. In it the last of two processes wins, and
both read back what stands.
"""

import contextlib
import gc
import hashlib
import io
import os
import re
import secrets
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field
from pydantic_core import from_json

from bench.clean import printable
from bench.errors import UserError, unknown
from bench.files import (
    DocumentError,
    SchemaError,
    UnfitFileError,
    clause,
    delete,
    folder_locked,
    read_array,
    read_bytes,
    read_document,
    sweep,
    write_atomically,
)
from bench.store.groupings import GroupDeclaration
from bench.store.records import (
    KEY_PATTERN,
    SCREEN_BELOW,
    Declaration,
    ExamplesFile,
    Record,
)

_KEY = re.compile(KEY_PATTERN)

#: The most bytes of each kind of file. A declaration names every run of its experiment.
_MOST_RECORD = 2**24
_MOST_DECLARATION = 2**27
_MOST_TIMING = 2**12
#: Of the scores of single images, also unpacked: four million of 32 bits.
_MOST_EXAMPLES = 2**24
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: What may be left half written by a kill is in these.
_ROOMS = ("runs", "experiments", "groups", "prices", "reports", "cache", "baselines", "plans")


class _Timing(BaseModel):
    """A frozen timing: device-seconds of a step, within what any machine can take."""

    arm: str = ""
    seconds: Annotated[float, Field(strict=True, gt=1e-9, lt=1e9, allow_inf_nan=False)]


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays by name as an `.npz`. numpy's own function takes some names for its options."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array)
    return buffer.getvalue()


def _unpacked(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` by task. Raises where it is none, or holds what may not be."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if any(member.compress_type not in _COMPRESSIONS for member in members):
            raise ValueError("it is compressed in another way than these files are")
        if (size := sum(member.file_size for member in members)) > _MOST_EXAMPLES:
            raise ValueError(f"it unpacks to {size:,} bytes, over {_MOST_EXAMPLES:,}")
        for member in members:
            task = member.filename.removesuffix(".npy")
            if task in arrays:
                raise ValueError(f"'{task}' stands there twice")
            with archive.open(member) as file:
                arrays[task] = read_array(file, member.file_size)
            if arrays[task].ndim != 1 or arrays[task].dtype.kind not in "fiub":
                raise ValueError(f"the scores of '{task}' are no single line of numbers")
    if not arrays:
        raise ValueError("it is empty")
    return arrays


def _unreadable(path: Path, error: OSError) -> UserError:
    """Return the error for a file that is not known to be damaged, and cannot be read for now."""
    return UserError(
        f"cannot read {path}: {error.strerror}; it stays where it is. Run the same command again "
        "when it can be read"
    )


def _maker(path: Path) -> str:
    """Return which version wrote a whole record that does not fit this one; empty if it is torn."""
    try:
        made = from_json(read_bytes(path, _MOST_RECORD, follow=False))["provenance"]
        versions = [f"{what} {made[what][:12]}" for what in ("bench", "commit") if what in made]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return f"another version ({', '.join(versions) or 'unknown'})"


@contextlib.contextmanager
def reading_many() -> Iterator[None]:
    """Keep Python from looking for cycles among records that are read, and that have none.

    It would take a quarter of the time of a command that reads twenty thousand.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what was read is not looked through later either
        if was:
            gc.enable()


def brief(find: Callable[[str], Record | None]) -> Callable[[str], Record | None]:
    """Return what finds records without their curves, which are most of what they hold."""

    def found(key: str) -> Record | None:
        record = find(key)
        return record and record.model_copy(update={"curve": ()})

    return found


class Store:
    """The records under one results folder."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        # Whatever a plugin does to the working folder, records go where they were asked for.
        self.root = root.absolute()
        self._given = root
        self._read_only = read_only
        #: One line for each file that could not be read since this object was made.
        self.damaged: list[str] = []
        self._told = 0

    def news(self) -> list[str]:
        """Return the lines of `damaged` that this has not returned yet."""
        fresh = self.damaged[self._told :]
        self._told = len(self.damaged)
        return fresh

    def check_writable(self) -> None:
        """Raise `UserError` where nothing can be written; sweep what killed processes left."""
        self.sweep()
        # Named as what is not whole yet, so that it is swept too.
        probe = self.root / f".probe-{os.getpid()}-{secrets.token_hex(4)}.part"
        write_atomically(probe, b"")
        delete(probe)

    def sweep(self) -> None:
        """Delete what killed processes left half written, as far as it can be deleted."""
        sweep(self.root, below=False)
        for room in _ROOMS:
            sweep(self.root / room)

    def _folder(self, key: str) -> Path:
        if not _KEY.fullmatch(key):  # a part of a path, which must not lead out of the folder
            raise ValueError(f"'{printable(key)}' is no key of a run")
        return Path(f"{self.root}/runs/{key[:2]}/{key}")  # quicker than three joins

    def save(self, record: Record, examples: Mapping[str, np.ndarray]) -> Record:
        """Write a record and its examples; return the record as written.

        A failure never replaces a result. More examples than would be read again are left out.
        """
        folder = self._folder(record.key)
        if record.status == "failed":
            known = self.load(record.key)
            if known is not None and known.status != "failed":
                return record
        if examples and sum(array.nbytes for array in examples.values()) <= _MOST_EXAMPLES:
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
        try:
            record = read_document(path, Record, _MOST_RECORD, follow=False)
            if record.key != key:
                raise DocumentError(f"it says it is run {record.key}")
            self._packed_examples(record)
        except DocumentError as error:
            if not (isinstance(error, SchemaError) and self._older(path, error)):
                self._put_aside_run(key, str(error))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            self._put_aside_run(key, "its folder is none")
        except OSError as error:
            raise _unreadable(path, error) from None
        else:
            return record
        return None

    def distrust(self, record: Record, why: str) -> None:
        """Set a record aside that was read, and is not what it has to be."""
        self._put_aside_run(record.key, why)

    def reader(self, declaration: Declaration) -> Callable[[str], Record | None]:
        """Return what finds the records of an experiment by key.

        A record that is not the run that a row has it for counts as missing. Of those with one
        reason the first is named, since it may be the declaration that lies.
        """
        misfit, told = declaration.misfit, set[str]()

        def find(key: str) -> Record | None:
            record = self.load(key)
            if record is not None and (why := misfit(record)):
                if why not in told:
                    self._tell(f"record {key[:12]} is not used: {why}")
                told.add(why)
                return None
            return record

        return find

    def _packed_examples(self, record: Record) -> bytes | None:
        """Return the file of a record's per-example scores; None where it has none.

        Raises `DocumentError` unless it is the file that the record names.
        """
        if record.examples is None:
            return None
        name = record.examples.file
        if Path(name).name != name:
            raise DocumentError(clause(f"'{name}' is not the name of a file beside the record"))
        path = self._folder(record.key) / name
        try:
            content = read_bytes(path, _MOST_EXAMPLES, follow=False)
        except FileNotFoundError:
            raise DocumentError(f"{name} is missing") from None
        except UnfitFileError as error:
            raise DocumentError(f"{name} cannot be read: {error.strerror}") from None
        except OSError as error:  # it may be readable the next time, so it is not damaged
            raise _unreadable(path, error) from None
        if hashlib.sha256(content).hexdigest() != record.examples.sha256:
            raise DocumentError(f"{name} is damaged")
        return content

    def examples(self, record: Record) -> dict[str, np.ndarray]:
        """Return the per-example scores of a record, by task; empty where it has none.

        It is empty too where they were damaged since the record was loaded, or where what the
        record names holds no scores. The record is then set aside.
        """
        try:
            content = self._packed_examples(record)
            return {} if content is None else _unpacked(content)
        except DocumentError as error:
            why = str(error)
        except UserError:
            raise
        except Exception as error:  # a broken archive may raise almost anything
            why = clause(f"{record.examples and record.examples.file} holds no scores: {error}")
        self._put_aside_run(record.key, why)
        return {}

    def _older(self, path: Path, why: DocumentError) -> bool:
        """Name a whole record that another version wrote, and that stays; return if it is one."""
        maker = _maker(path) if self._read_only else ""
        if maker:
            self._tell(
                f"records that {maker} wrote are not read ({why}): run the experiment again, "
                "or read them with that version"
            )
        return bool(maker)

    def _put_aside_run(self, key: str, why: str) -> None:
        self._put_aside(self._folder(key), key, f"record {key[:12]}", why)

    def _put_aside(self, path: Path, name: str, what: str, why: str) -> None:
        """Move what is damaged out of the way and name it; where nothing is written, name it."""
        if self._read_only:
            self._tell(f"corrupt {what} ignored: {why}")
            return
        target = self.root / "corrupt" / f"{name}-{time.time_ns()}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        except FileNotFoundError:
            return  # another process has set it aside already
        except OSError as error:
            raise UserError(f"cannot set aside the corrupt {what}, {path}: {error}") from None
        self._tell(f"corrupt {what} set aside to {target}: {why}")

    def _tell(self, line: str) -> None:
        if line not in self.damaged:
            self.damaged.append(line)

    def records(self) -> Iterator[Record]:
        """Yield every readable record."""
        for path in sorted((self.root / "runs").glob("??/*/run.json")):
            if (record := self.load(path.parent.name)) is not None:
                yield record

    def declare(self, declaration: Declaration, *, by_clock: bool = False) -> Declaration:
        """Save what an experiment is about to compare, and return it as saved.

        A family that is not the one declared before under this name is counted as changed: choosing
        rows or recipes after seeing results weakens what the corrected p-values say. A first look
        over too few seeds for a verdict is free, and so is a number of seeds that follows from the
        time alone, `by_clock`.
        """
        path = self.root / "experiments" / f"{declaration.experiment.name}.json"
        try:
            former = self._declaration(path)
        except DocumentError as error:
            self._put_aside(path, path.name, f"declaration {path.name}", str(error))
            former = None
        if former is not None:
            looked = former.experiment.seeds >= SCREEN_BELOW
            changed = looked and not by_clock and former.family != declaration.family
            declaration = declaration.model_copy(update={"changes": former.changes + int(changed)})
        write_atomically(path, declaration.model_dump_json(indent=1).encode())
        return declaration

    def _declaration(self, path: Path) -> Declaration | None:
        """Return a declaration, None where there is none. Raises `DocumentError` if it is damaged.

        Raises `UserError` where it cannot be read.
        """
        try:
            declaration = read_document(path, Declaration, _MOST_DECLARATION, follow=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(path, error) from None
        if declaration.experiment.name != path.stem:
            raise DocumentError(f"it declares '{declaration.experiment.name}'")
        return declaration

    def _known(self) -> tuple[dict[str, Declaration], dict[str, str]]:
        """Return the declared experiments by name, and what is wrong with the damaged ones."""
        found: dict[str, Declaration] = {}
        broken: dict[str, str] = {}
        for path in sorted((self.root / "experiments").glob("*.json")):
            try:
                declaration = self._declaration(path)
            except DocumentError as error:
                why = f"cannot be read: {error}"
                if str(error).startswith("schema_version: "):
                    why = "was written by another version of bench"
                broken[path.stem] = (
                    f"{path} {why}: delete it and run the experiment again; its finished runs "
                    "are kept"
                )
            else:
                if declaration is not None:
                    found[path.stem] = declaration
        return found, broken

    def declarations(self) -> list[Declaration]:
        """Return all declared experiments, by name. Raises `UserError` for one that is damaged."""
        found, broken = self._known()
        for line in broken.values():
            raise UserError(line)
        return list(found.values())

    def experiments(self) -> list[Declaration]:
        """Return all declared experiments, by name. Raises `UserError` where there is none.

        One that is damaged is named and left out, where there is another.
        """
        found, broken = self._known()
        if not found and broken:
            raise UserError(next(iter(broken.values())))
        if not found:
            raise UserError(
                f"no experiment in '{self._given}': run one first, or name its folder with "
                "--results"
            )
        for line in broken.values():
            self._tell(line)
        return list(found.values())

    def experiment(self, name: str) -> Declaration:
        """Return the experiment of a name. Raises `UserError` where there is none."""
        found, broken = self._known()
        if name in broken:
            raise UserError(broken[name])
        if not found and not broken:
            raise UserError(
                f"no experiment in '{self._given}': `python -m bench run {name}` makes one"
            )
        if name not in found:
            raise unknown("experiment", name, found)
        return found[name]

    def declare_groups(self, declaration: GroupDeclaration) -> None:
        """Save what a question of groups is about to train."""
        path = self.root / "groups" / f"{declaration.experiment.name}.json"
        write_atomically(path, declaration.model_dump_json(indent=1).encode())

    def groups(self) -> dict[str, GroupDeclaration]:
        """Return the declared questions of groups by name. One that is damaged is named."""
        found = {}
        for path in sorted((self.root / "groups").glob("*.json")):
            try:
                each = read_document(path, GroupDeclaration, _MOST_DECLARATION, follow=False)
            except FileNotFoundError:
                continue
            except DocumentError as error:
                self._tell(f"{path} cannot be read: {error}: ask the question again")
                continue
            except OSError as error:
                raise _unreadable(path, error) from None
            if each.experiment.name == path.stem:
                found[path.stem] = each
            else:
                self._tell(f"{path} declares '{each.experiment.name}': ask the question again")
        return found

    def timing(self, name: str) -> float | None:
        """Return a frozen timing in device-seconds a step; one that is damaged is set aside."""
        path = self.root / "prices" / f"{name}.json"
        try:
            return read_document(path, _Timing, _MOST_TIMING, follow=False).seconds
        except FileNotFoundError:
            return None
        except DocumentError as error:
            self._put_aside(path, path.name, f"price {name[:12]}", str(error))
            return None
        except OSError as error:
            raise _unreadable(path, error) from None

    def freeze_timing(self, name: str, seconds: float, arm: str) -> float:
        """Save a timing, so that later calls buy the same steps; return the one that stands.

        Where the store is read-only, nothing is saved.
        """
        if self._read_only:
            return seconds
        path = self.root / "prices" / f"{name}.json"
        content = _Timing(arm=arm, seconds=seconds).model_dump_json().encode()
        if (known := self.timing(name)) is not None:
            return known
        with contextlib.suppress(OSError):  # whatever it is, writing meets it too, and says so
            path.parent.mkdir(parents=True, exist_ok=True)
        with folder_locked(path.parent):
            if self.timing(name) is None:  # another process may have been quicker
                write_atomically(path, content)
        return self.timing(name) or seconds
