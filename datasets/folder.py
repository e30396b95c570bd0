"""Your own images and their labels, in the form that you have them in.

`folder:PATH/labels.csv:species+coat` names a CSV or Parquet table and two of its columns. One
column holds the images' paths, relative to the table's folder. A column `split` says train or test.
Every other column is a task, whose type follows from its cells (see `_columns.py`). Several tables,
joined by a comma, are tasks on different images.

`folder:PATH:class` names a folder with a folder for each class. Other forms become tables as well:
`_sources.py` has the list.

No file outside the named folder is opened, whatever a table or a link says.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Dataset, DataSource, Glance, UserError, unknown
from bench.images import ImageSource, identity, read_header, read_mask, read_rows
from bench.task_types import (
    MISSING,
    VOID,
    Classification,
    MultiLabel,
    Regression,
    Segmentation,
    TaskType,
)
from bench.tasks import Expectation, ImageSet, Reading, Task, TaskData

from ._columns import Column, Declared, KindName, OneHot, infer_kind, names_files
from ._form import BACKGROUNDS, SIDE, Form, form_of
from ._naming import Naming, find_images
from ._pictures import Files
from ._readings import BALANCED, Choices, Doubt, read_column, read_flags, without_missing
from ._root import Root
from ._sources import Wanted, read_source
from ._splits import NONE, SplitReading, read_splits
from ._tables import Cell, Pictures, Table, printable
from ._trees import CLASS, LAYOUTS, RESERVED, nameable

_LARGEST_SIDE = 1024
#: Images of a table whose sizes are looked at before settings are chosen.
_GLANCED = 100
#: One in so many images is drawn for the test set where no column says which.
_TEST_SHARE = 5
#: The knobs that set the task types of columns.
_KINDS: tuple[KindName, ...] = get_args(KindName)
_MOST_FAULTS = 20
#: What is said of an image that is there and cannot be read.
_UNREADABLE = " cannot be read"
#: Rows that a question names.
_MOST_ROWS = 3
_MOST_CLASSES = 64
#: Classes count alike where the largest is over so many times the smallest.
_UNEVEN = 2
#: Values this near 0 and as near 255 are those of a black and white mask that was blurred.
_BLUR = 10
_PIECE = 256


@dataclass(frozen=True)
class _Fault:
    """What is wrong with a row of a table. A fault of an image may be skipped."""

    table: str
    row: int
    text: str
    image: bool = True


@dataclass(frozen=True, eq=False)
class _Part:
    """A table whose columns have their roles: images, split, and labels by task name.

    `naming` says how a column names the images, if one does. `doubts` has the cells of each label
    that can be read in several ways. `groups` has the group of each row, if there are any. `joined`
    is set where there are other tables.
    """

    name: str
    table: Table
    pictures: Pictures
    naming: Naming | None
    splits: SplitReading
    labels: Mapping[str, Column]
    doubts: Mapping[str, Sequence[Doubt]]
    groups: Sequence[Cell] | None = None
    joined: bool = False

    @cached_property
    def drawn(self) -> Sequence[int]:
        """The rows in the order of the hashes of their images' paths, or contents: a draw.

        It does not depend on the order of the table, nor on where the folder lies.
        """

        def draw(row: int) -> tuple[bytes, ...]:
            return _hash(self.group(row)), _hash(self.pictures.key(row))

        return sorted(range(len(self.table.numbers)), key=draw)

    def group(self, row: int) -> str:
        """Return the group of a row's image, which is alone in it if nothing is said."""
        cell = self.groups[row] if self.groups else None
        return f"group {cell}" if cell is not None else self.pictures.key(row)

    def first_of(self, count: int) -> set[int]:
        """Return so many rows of the draw, and the others of the last one's group."""
        groups = {self.group(row) for row in self.drawn[:count]}
        return {row for row in self.drawn if self.group(row) in groups}

    @cached_property
    def roots(self) -> Sequence[Root]:
        """The folders that the paths of masks may start from."""
        images = [self.naming.root(self.table)] if self.naming and self.naming.folder else []
        return [Root(self.table.base), *images]

    def beside(self, columns: Collection[str]) -> "_Part":
        """Return the part among others: those of its labels that another has are named after it."""
        names = {c: f"{self.name}.{c}" if c in columns else c for c in self.labels}
        labels = {names[c]: column for c, column in self.labels.items()}
        doubts = {names[c]: found for c, found in self.doubts.items()}
        return replace(self, labels=labels, doubts=doubts, joined=True)

    def asked(self, doubt: Doubt) -> str:
        """Return a doubt in words: the cells, the first of their rows, and what decides."""
        rows = [self.table.numbers[at] for at in doubt.at]
        where = f" ({self.table.spots(rows, _MOST_ROWS)})" if rows else ""
        knobs = " or ".join(f"folder@{knob}:…" for knob in doubt.knobs)
        return f"{doubt.what}{where}{f': say {knobs}' if knobs else ''}"

    def check_any_there(self, faults: Sequence[_Fault]) -> None:
        """Raise `UserError` in one line where all images are missing, or none is an image."""
        if not self.naming:
            bad = {f.row: f.text for f in faults if f.table == self.name and f.image}
            if 1 < len(bad) == len(self.table.numbers):
                row = min(bad)
                fix = ": say which column has them with folder@image=COLUMN:…"
                fix = "" if self.table.knobs else fix
                raise UserError(
                    f"'{self.table.path}': none of its {len(bad):,} images can be read; "
                    f"{self.table.spots([row])}: {bad[row].rstrip('.')}{fix}"
                )
        missing = {
            f.row: f.text
            for f in faults
            if f.table == self.name and f.image and _UNREADABLE not in f.text
        }
        if self.naming and 1 < len(missing) == len(self.table.numbers):
            row = min(missing)
            column = printable(self.naming.column)
            raise UserError(
                f"'{self.table.path}': none of its {len(missing):,} images is there; "
                f"{self.table.spots([row])}: {missing[row]}: correct the column '{column}', or say "
                "where they are with folder@root=DIR:…"
            )

    def fault(self, row: int, text: str, image: bool = True) -> _Fault:
        """Return a fault of the row at a position."""
        return _Fault(self.name, self.table.numbers[row], text, image)


@dataclass(frozen=True, eq=False)
class _Images:
    """The readable images of a part; `rows` are their positions in its table."""

    part: _Part
    rows: Sequence[int]
    set: ImageSet

    def check(self) -> None:
        """Raise `UserError` where there is nothing to train on or nothing to test on."""
        for half, images in (("training", self.set.train), ("test", self.set.test)):
            if not len(images):
                path = self.part.table.path
                columns = " and ".join(map(printable, self.part.splits.columns))
                why = f": column {columns} says so (split={NONE} draws a test set)"
                why = why if columns else ""
                raise UserError(f"'{path}' has no {half} image that can be read{why}")

    def halves(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the labels of the training pool and of the test set."""
        count = len(self.set.train)
        return labels[:count], labels[count:]


class _Lazy(Mapping[str, TaskData]):
    """Tasks that are made when they are first asked for."""

    def __init__(self, make: Mapping[str, Callable[[], TaskData]]) -> None:
        self._make = make
        self._made: dict[str, TaskData] = {}

    def __getitem__(self, task: str) -> TaskData:
        if task not in self._made:
            self._made[task] = self._make[task]()
        return self._made[task]

    def __iter__(self) -> Iterator[str]:
        return iter(self._make)

    def __len__(self) -> int:
        return len(self._make)


@dataclass(frozen=True)
class Folder(Dataset):
    """Images with labels, of a table or of folders: any number of tasks of four types."""

    name = "folder"
    summary = "your own images: a table with a column of paths, or a folder for each class"
    needs = "PATH of the table or the folder, such as photos/labels.csv; see docs/tutorial.md"
    takes_path = True
    #: Those after the folder are no tables that are read, and an error says so.
    suffixes = (
        ".csv",
        ".tsv",
        ".txt",
        ".parquet",
        ".pq",
        "/",
        ".xlsx",
        ".xls",
        ".ods",
        ".jsonl",
        ".gz",
        ".zip",
    )

    path: str = ""
    image: str = ""
    """Column of the image files' paths, names or ids, or of the images; inferred if not given."""
    folders: str = ""
    """What the folders at the top are: classes, splits or domains; inferred where not given."""
    root: str = ""
    """Folder of the images, from the table's folder on or absolute; found where not given."""
    suffix: str = ""
    """Ending of the image files, such as .jpg, where the column holds ids."""
    split: str = ""
    """Column that says train, valid or test, in any coding; found where it is not given. With
    `none` a test set is drawn."""
    test: tuple[str, ...] = ()
    """Values of the column `split` that mark the test set, such as the number of a fold."""
    missing: tuple[str, ...] = ()
    """Values that mean that there is none, `-1` or `COLUMN=-1`."""
    keep: tuple[str, ...] = ()
    """Values that are values, though they often mean that there is none: `COLUMN=None`."""
    decimal: tuple[str, ...] = ()
    """Decimal sign of numbers like `1,234`: `comma`, `point`, or `COLUMN=comma`."""
    unit: tuple[str, ...] = ()
    """Unit of the numbers that have none, where others in the column have one: `COLUMN=kg`."""
    exact: tuple[str, ...] = ()
    """Columns whose classes may differ in case or blanks alone, or whose masks hold classes."""
    folded: tuple[str, ...] = ()
    """Columns whose classes never do, though they are single letters."""
    separator: tuple[str, ...] = ()
    """What separates the labels of a cell: comma, space, none and so on, or `COLUMN=comma`."""
    metric: tuple[str, ...] = ()
    """What classes are scored by, `accuracy` or `balanced`, or `COLUMN=accuracy`; balanced where
    the largest class is over twice the smallest."""
    weighted: tuple[str, ...] = ()
    """Columns whose classes weigh alike in the loss, whatever their number of images."""
    onehot: tuple[str, ...] = ()
    """Columns of true and false that are one multi-label task, `A=B=C`; `[A,B,C]` says the same."""
    group: str = ""
    """Column of groups, patients for example, whose images stay on one side of every split."""
    size: int = 0
    """Side of the square that images are stretched to, in pixels; 0 derives it from the images."""
    bits: int = 0
    """Bits that images with 16 of them use, 12 for example; 0 derives it from their values."""
    background: str = "white"
    """What transparent pixels show: white, black, or hidden for the colours below."""
    binary: tuple[str, ...] = ()
    """Columns whose masks are black and white, and blurred as a JPEG is."""
    classification: tuple[str, ...] = ()
    multilabel: tuple[str, ...] = ()
    regression: tuple[str, ...] = ()
    segmentation: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= _LARGEST_SIDE:
            raise ValueError(f"size is a side in pixels, up to {_LARGEST_SIDE}")
        self._choices.check()
        if self.folders and self.folders not in LAYOUTS:
            raise ValueError(f"folders are {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}")
        if self.bits and not 8 <= self.bits <= 16:
            raise ValueError("bits are 8 to 16")
        if self.background not in BACKGROUNDS:
            raise ValueError(f"background is {', '.join(BACKGROUNDS[:-1])} or {BACKGROUNDS[-1]}")
        if self.test and self.split in ("", NONE):
            raise ValueError("test= has values of the column of splits: name it with split=COLUMN")
        named = [column for kind in _KINDS for column in getattr(self, kind)]
        for column in named:
            if named.count(column) > 1:
                raise ValueError(f"'{column}' is given two kinds")

    @property
    def _choices(self) -> Choices:
        return Choices(**{knob.name: getattr(self, knob.name) for knob in fields(Choices)})

    def with_tasks(self, names: Collection[str]) -> "Folder":
        """Return the data set with a multi-label task for each name like `[smile,beard,hat]`."""
        sets = [name[1:-1] for name in names if name[:1] + name[-1:] == "[]"]
        groups = ["=".join(part.strip() for part in each.split(",")) for each in sets]
        new = [group for group in dict.fromkeys(groups) if group and group not in self.onehot]
        self._check_layout(names)
        return replace(self, onehot=(*self.onehot, *new)) if new else self

    def _check_layout(self, names: Collection[str]) -> None:
        """Raise `UserError` where the classes are asked for, and the folders are domains."""
        domains = [part.name for part in self._parts if part.table.knobs and part.table.name]
        if domains and CLASS in names and CLASS not in domains:
            raise UserError(
                f"'{self.path}' has no task '{CLASS}', since its folders are read as domains: name "
                f"some of these ({', '.join(domains)}), or say folder@folders=classes:… if they "
                "are the classes"
            )

    @property
    def tasks(self) -> Mapping[str, str]:
        """Every label column by the name of its task, with its type or why it cannot be a task."""
        return {name: column.summary for p in self._parts for name, column in p.labels.items()}

    @property
    def pairs(self) -> Sequence[tuple[tuple[str, ...], Expectation | None, str]]:
        """The two tasks, where there are two; among more, only a user can choose."""
        usable = [name for p in self._parts for name, c in p.labels.items() if not c.refusal]
        return [(tuple(usable), None, "")] if len(usable) == 2 else []

    def check(self, source: DataSource, tasks: Collection[str]) -> None:
        """Raise `UserError` with every fault of the images and of the requested labels."""
        asked = [(p, c) for p in self._parts for name, c in p.labels.items() if name in tasks]
        self._ask(tasks)
        for part, column in asked:
            _refuse(part, column)
        faults, sets = _read(self, source)
        found = list(faults)
        images = {read.part.name: read for read in sets}
        for part, column in asked:
            found += _label_faults(part, column)
            if column.kind == "segmentation":
                found += self._masks(images[part.name], column, source)[0]
        self._raise(found, source)
        for read in sets:
            read.check()

    def glance(self, source: DataSource) -> Glance:
        """Return the images of the smallest table, and the middle shorter side of a sample."""
        first: dict[ImageSource, tuple[_Part, int, bool]] = {}
        listed = [_list(part, first)[1] for part in self._parts]
        headers = []
        for part in listed:
            for file in part.files[:: len(part.files) // _GLANCED + 1]:
                with suppress(ValueError, OSError, UserError):  # it is told when it is read
                    headers.append(read_header(file))
        sizes = [(sum(row not in p.test for row in p.rows), len(p.rows)) for p in listed]
        train, every = min(sizes)
        usable = [name for p in self._parts for name, c in p.labels.items() if not c.refusal]
        sides = sorted(int(header[:2].min()) for header in headers)
        middle = sides[len(sides) // 2] if sides else SIDE
        grey = bool(headers) and all(header[2] == 1 for header in headers)
        return Glance(train, every - train, middle, tuple(usable), grey)

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Return the tasks, each made when asked for; images `[N, C, H, W]` are mapped from a file.

        Raises `UserError` as `check` does. For the images it does so at once, and for the labels of
        a task when that task is asked for.
        """
        self._ask(())
        faults, sets = _read(self, source)
        self._raise(faults, source)
        for images in sets:
            images.check()
        return _Lazy(
            {
                name: partial(self._task, name, column, images, source)
                for images in sets
                for name, column in images.part.labels.items()
            }
        )

    def _task(self, name: str, column: Column, images: _Images, source: DataSource) -> TaskData:
        self._ask((name,))
        _refuse(images.part, column)
        self._raise(_label_faults(images.part, column), source)
        if column.kind == "segmentation":
            return self._segmentation(name, column, images, source)
        train, test = images.halves(column.tensor(images.rows))
        kind: TaskType
        notes: list[str] = []
        match column.kind:
            case "regression":
                kind = Regression.of(train)
            case "multilabel":
                kind = MultiLabel()
            case _:
                balanced, note = self._balanced(name, column, train)
                classes = max(1, len(column.names))
                weighted = column.name in self.weighted
                weights = Classification.inverse_shares(train, classes) if weighted else ()
                kind, notes = Classification(balanced, weights), [note]
                notes += ["in the loss each class weighs as much as another"] * weighted
        task = Task(name, kind, max(1, len(column.names)), classes=column.names)
        told = tuple(filter(None, (*notes, *column.notes(train, test))))
        return TaskData(task, images.set, train, test, told)

    def _balanced(self, task: str, column: Column, train: Tensor) -> tuple[bool, str]:
        """Return whether classes count alike whatever their size, and a note on it."""
        if chosen := self._choices.of("metric", column.name):
            return chosen[-1] == BALANCED, ""
        counts = train[train != MISSING].bincount()
        counts = counts[counts > 0]
        if not len(counts) or counts.max() <= _UNEVEN * counts.min():
            return False, ""
        return True, (
            f"its largest class has {int(counts.max()):,} training images and its smallest "
            f"{int(counts.min()):,}, so all classes count alike (--metric {task}=accuracy)"
        )

    def _masks(
        self, images: _Images, column: Column, source: DataSource
    ) -> tuple[Sequence[_Fault], Tensor, Tensor]:
        return _read_masks(images, column, column.name in self.binary, source)

    def _segmentation(
        self, name: str, column: Column, images: _Images, source: DataSource
    ) -> TaskData:
        faults, masks, present = self._masks(images, column, source)
        self._raise(faults, source)
        notes = [f"{len(faults):,} masks that cannot be used count as missing"] if faults else []
        levels = _levels(masks, present)
        if levels == [0, VOID]:
            # A mask of one class and unlabelled pixels makes no sense: 255 is white here.
            white = (masks == VOID).to(torch.uint8)
            masks, levels = torch.where(present[:, None, None], white, VOID), [0, 1]
            notes.append("masks are black and white: white is class 1")
        elif VOID in levels:
            notes.append(f"pixels of {VOID} count as unknown")
        classes = [level for level in levels if level != VOID]
        if column.name not in self.exact:
            _check_far_apart(images.part, column, levels)
        if not 2 <= len(classes) <= _MOST_CLASSES:
            raise UserError(
                f"'{images.part.table.path}', column '{printable(column.name)}' makes no task: its "
                f"masks hold {len(classes)} different values, where 2 to {_MOST_CLASSES} classes "
                "are meant"
            )
        if classes != list(range(len(classes))):
            places = torch.full((256,), VOID, dtype=torch.uint8)
            places[classes] = torch.arange(len(classes), dtype=torch.uint8)
            # In pieces, because an index takes eight bytes per pixel.
            masks = torch.cat([places[part.long()] for part in torch.split(masks, _PIECE)])
        names = tuple(str(level) for level in classes)
        task = Task(name, Segmentation(), len(classes), classes=names)
        return TaskData(task, images.set, *images.halves(masks), tuple(notes))

    def _ask(self, tasks: Collection[str]) -> None:
        """Raise `UserError` with all that can be read in two ways: splits, and labels of tasks."""
        lines = []
        for part in self._parts:
            path = part.table.path
            lines += [f"'{path}': {part.asked(doubt)}" for doubt in part.splits.doubts]
            for name, doubts in part.doubts.items():
                column = printable(part.labels[name].name)
                if name in tasks:
                    lines += [f"'{path}', column '{column}': {part.asked(d)}" for d in doubts]
        if len(lines) == 1:
            raise UserError(lines[0])
        if lines:
            raise UserError(
                f"'{self.path}' can be read in several ways; choose one for each of these",
                *(f"  {line}" for line in lines),
            )

    def _raise(self, faults: Sequence[_Fault], source: DataSource) -> None:
        """Raise `UserError` with all faults that must not be skipped."""
        left = [f for f in faults if not (f.image and source.skip_bad_images)]
        if not left:
            return
        for part in self._parts:
            part.check_any_there(left)
        several = len(self._parts) > 1
        left = list(dict.fromkeys(left))
        left.sort(key=lambda f: (f.table, f.row))
        tables = {part.name: part.table for part in self._parts}
        lines = [
            f"  {f'{f.table}, ' if several else ''}{tables[f.table].spots([f.row])}: {f.text}"
            for f in left[:_MOST_FAULTS]
        ]
        if len(left) > _MOST_FAULTS:
            lines.append(f"  and {len(left) - _MOST_FAULTS:,} more")
        images = sum(f.image for f in left)
        fix = "fix the table"
        if images:
            which = "1 image" if images == 1 else f"{images:,} images"
            fix = f"fix what is said below, or pass --skip-bad-images to do without {which}"
        count = "1 fault" if len(left) == 1 else f"{len(left):,} faults"
        raise UserError(f"'{self.path}' has {count}; {fix}", *lines)

    # ------------------------------------------------------------------------------ roles

    @cached_property
    def _parts(self) -> tuple[_Part, ...]:
        """The tables with the roles of their columns. Raises where the roles are not clear."""
        whole = Path(self.path)
        paths = (
            [whole] if whole.exists() else [Path(piece.strip()) for piece in self.path.split(",")]
        )
        if len({os.path.realpath(path) for path in paths}) < len(paths):
            raise UserError(f"'{self.path}' names a table twice")
        wanted = Wanted(self.image, self.folders, self.exact, self.folded)
        tables = [table for path in paths for table in read_source(path, wanted)]
        self._check_knobs(tables)
        names = [table.name for table in tables]
        if not all(names):
            if any(names):
                raise UserError(f"'{self.path}': domains are joined with nothing: name them alone")
            names = _table_names(paths)
        parts = [self._roles(name, table) for name, table in zip(names, tables, strict=True)]
        counts = Counter(label for part in parts for label in part.labels)
        if len(parts) == 1:
            return tuple(parts)
        return tuple(part.beside([c for c in part.labels if counts[c] > 1]) for part in parts)

    def _check_knobs(self, tables: Sequence[Table]) -> None:
        known = {name for table in tables for name in (*table.columns, *table.knobs)}
        trees = any(table.knobs for table in tables)
        if trees and (self.image or self.root or self.suffix):
            raise UserError(
                f"'{self.path}' is a folder whose folders are the labels: image=, root= and "
                "suffix= are for tables"
            )
        kinds = (column for kind in _KINDS for column in getattr(self, kind))
        split = "" if self.split == NONE else self.split
        sets = (column for group in self.onehot for column in group.split("="))
        named = (
            "" if any(table.pictures for table in tables) else self.image,
            split,
            self.group,
            *kinds,
            *self.binary,
            *self.weighted,
            *sets,
            *self._choices.columns(),
        )
        for column in filter(None, named):
            if column not in known:
                raise unknown(f"column of '{self.path}'", column, known)

    def _roles(self, name: str, table: Table) -> _Part:
        """Return a table with the roles of its columns: images, splits and labels."""
        asked = self.image if self.image in table.columns else ""
        naming, pictures, paths = None, table.pictures, []
        others = dict(table.columns)
        if pictures is None:
            naming = find_images(table, asked, self.root, self.suffix)
            paths = naming.paths(table)
            pictures = Files(paths, naming.root(table))
            del others[naming.column]
        else:
            others = {c: cells for c, cells in others.items() if not names_files(cells)}
        splits = read_splits(others, paths, self.split, self.test, table.told)
        labels: dict[str, Column] = {}
        doubts: dict[str, Sequence[Doubt]] = {}
        for column, cells in others.items():
            if column in (*splits.columns, self.group) or not nameable(column):
                continue
            kind = next((k for k in _KINDS if column in getattr(self, k)), None)
            if column in table.declared and kind in (None, "classification"):
                order = table.declared[column]
                labels[column] = Declared(column, cells, "classification", True, order=order)
                doubts[column] = ()
                continue
            read = read_column(column, cells, self._choices, kind)
            inferred = kind or ("classification" if read.codes else infer_kind(read.cells))
            labels[column] = Column(column, read.cells, inferred, kind is not None, read.notes)
            doubts[column] = read.doubts
        groups = without_missing(table.columns[self.group]) if self.group in others else None
        part = _Part(name, table, pictures, naming, splits, labels, doubts, groups)
        for group in self.onehot:
            self._join(part, group.split("="), labels, doubts)
        return part

    def _join(
        self,
        part: _Part,
        columns: Sequence[str],
        labels: dict[str, Column],
        doubts: dict[str, Sequence[Doubt]],
    ) -> None:
        """Add the multi-label task of several columns, where the table has them."""
        if not set(columns) <= labels.keys():
            return
        flags = {}
        for column in columns:
            flags[column], odd = read_flags(labels[column].cells)
            if odd is not None:
                cell = printable(str(labels[column].cells[odd]), 30)
                where = part.table.spots([part.table.numbers[odd]])
                raise UserError(
                    f"'{part.table.path}', column '{printable(column)}': '{cell}' "
                    f"({where}) is neither true nor false, so it is no label of "
                    f"[{','.join(columns)}]: give columns of 0 and 1, or yes and no"
                )
        told = tuple(note for column in columns for note in labels[column].told)
        joined = OneHot.of(flags, told)
        labels[joined.name] = joined
        doubts[joined.name] = [doubt for column in columns for doubt in doubts[column]]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _table_names(paths: Sequence[Path]) -> list[str]:
    """Return short, distinct names of tables: those of the files, or of their folders."""
    for names in ([p.stem for p in paths], [Path(os.path.realpath(p)).parent.name for p in paths]):
        if len(set(names)) == len(names) and all(map(nameable, names)):
            return names
    if len(paths) == 1:
        return ["table"]
    raise UserError(
        "tables that are joined need names of their own, of the files or of their folders, "
        f"without any of {' '.join(RESERVED)}: rename one of {', '.join(map(str, paths))}"
    )


def _refuse(part: _Part, column: Column) -> None:
    if column.refusal:
        where = f"'{part.table.path}', column '{printable(column.name)}'"
        raise UserError(f"{where} makes no task: {column.refusal}")


def _label_faults(part: _Part, column: Column) -> list[_Fault]:
    return [part.fault(row, text, image=False) for row, text in column.faults.items()]


# ---------------------------------------------------------------------------------- files


def _masks_of(
    part: _Part, cells: Sequence[Cell], rows: Sequence[int]
) -> tuple[dict[int, str], list[_Fault]]:
    """Return the real path of the mask that each row names, and what is wrong with the others.

    A mask lies below the first of the part's roots that has it.
    """
    found: dict[int, str] = {}
    faults = []
    for row in rows:
        cell, why = cells[row], "has no mask"
        for root in part.roots if isinstance(cell, str) else ():
            try:
                found[row] = root.locate(str(cell))
                break
            except ValueError as error:
                if why == "has no mask":
                    why = f"mask '{printable(str(cell))}' {error}"
        else:
            faults.append(part.fault(row, why))
    return found, faults


def _test_rows(part: _Part) -> tuple[set[int], list[_Fault], Sequence[str]]:
    """Return the rows of the test set, what is wrong with the others, and notes."""
    table = part.table
    count = len(table.numbers)
    splits = part.splits
    if splits.parts is None:
        # Chosen by the hash of its path, an image keeps its part when the table is sorted. Few
        # images change it when the table grows.
        test = part.first_of(max(1, count // _TEST_SHARE))
        which = "folder" if table.knobs else "column"
        note = (
            f"no split {which}: {len(test):,} of {count:,} images were drawn as test set by the "
            f"hashes of their {part.pictures.hashed}, the same at every seed"
        )
        return test, [], [note]
    faults = [part.fault(row, text, image=False) for row, text in (splits.faults or {}).items()]
    test = {row for row, found in enumerate(splits.parts) if found == "test"}
    return test, [*faults, *_crossing(part, test)], splits.notes


def _crossing(part: _Part, test: Collection[int]) -> list[_Fault]:
    """Return a fault for each group that a split column puts on both sides."""
    if part.groups is None:
        return []
    trained = {part.group(row): row for row in part.drawn if row not in test}
    both = {part.group(row): row for row in test if part.group(row) in trained}
    return [
        part.fault(
            row,
            f"group '{printable(str(part.groups[row]))}' is in the test set here, and in the "
            f"training pool in {part.table.spots([part.table.numbers[trained[group]]])}",
            image=False,
        )
        for group, row in both.items()
    ]


@dataclass(frozen=True, eq=False)
class _Listed:
    """The image files that a part names, not yet read, the training pool first.

    `rows` are their positions in the table, `test` those of the test set.
    """

    part: _Part
    rows: Sequence[int]
    files: Sequence[ImageSource]
    test: Collection[int]
    notes: Sequence[str]

    @cached_property
    def seen(self) -> str:
        """The identity of the files."""
        return identity(self.files)


def _list(
    part: _Part, first: dict[ImageSource, tuple[_Part, int, bool]]
) -> tuple[list[_Fault], _Listed]:
    """Return the faults of a part's rows, and the files of the other rows.

    `first` says where each file first occurs, in any table, and whether it is a test image there.
    The files of this table are added to it.
    """
    test, faults, told = _test_rows(part)
    faults += [_Fault(part.name, row, text, image=False) for row, text in part.table.faults]
    # The training pool first, so that both halves are pieces of one mapped file. In the order of
    # the draw, so that a seed's images are the same if the table is sorted.
    order = sorted(part.drawn, key=test.__contains__)
    rows, shared, crossing = [], 0, 0
    files: list[ImageSource] = []
    for row in order:
        try:
            path = part.pictures.locate(row)
        except ValueError as error:
            faults.append(part.fault(row, str(error)))
            continue
        its_part, its_row, tested = first.setdefault(path, (part, row, row in test))
        if its_part is part and its_row != row:
            one, other = sorted((row, its_row))
            where = part.table.spots([part.table.numbers[one]])
            what = f"stands in {where} already (several labels of one image go into one cell)"
            if not part.naming:
                what = f"is the same file as {where}: delete one of them"
            text = f"{part.pictures.shown(other)}{what}"
            faults.append(part.fault(other, text, image=False))
            continue
        shared += its_part is not part
        crossing += tested != (row in test)
        rows.append(row)
        files.append(path)
    naming = [part.naming.note] if part.naming and part.naming.note else []
    notes = [*naming, *part.table.notes, *told]
    if shared:
        notes.append(f"{shared:,} of its images are those of another table too")
    if crossing:
        notes.append(
            f"{crossing:,} of them are test images of one table and training images of the other, "
            "so a shared network sees test images in training: write a split column into both"
        )
    return faults, _Listed(part, rows, files, test, notes)


@lru_cache(maxsize=2)
def _read(folder: Folder, source: DataSource) -> tuple[Sequence[_Fault], Sequence[_Images]]:
    """Return all faults of rows and images, and the images of each table."""
    faults: list[_Fault] = []
    listed: list[_Listed] = []
    first: dict[ImageSource, tuple[_Part, int, bool]] = {}
    for part in folder._parts:
        wrong, files = _list(part, first)
        faults += wrong
        listed.append(files)
    form = _form(listed, folder, source)
    found = []
    for files in listed:
        read = read_rows(
            files.files, form.read, form.how, form.shape, source.cache, seen=files.seen
        )
        for at, why in read.bad.items():
            row = files.rows[at]
            faults.append(files.part.fault(row, f"{files.part.pictures.shown(row)}{why}"))
        skipped = [f for f in faults if f.image and f.table == files.part.name]
        rows = [files.rows[at] for at in read.kept]
        notes = [*files.notes, *form.notes, _skipped(files.part.table, skipped)]
        found.append(_images(files.part, rows, files.test, read.rows, notes, form.reading))
    return faults, found


def _images(
    part: _Part,
    rows: Sequence[int],
    test: Collection[int],
    pixels: Tensor,
    notes: Sequence[str],
    reading: Reading,
) -> _Images:
    count = sum(row not in test for row in rows)
    train, held_out = pixels[:count], pixels[count:]
    known = {hash(image.tobytes()) for image in held_out.numpy()}
    leaked = sum(hash(image.tobytes()) in known for image in train.numpy())
    leak = f"training images that equal a test image, pixel for pixel: {leaked:,}" if leaked else ""
    told = tuple(filter(None, (*notes, leak)))
    # Streams are keyed by this name, so that of a single table's file has no part in it.
    name = part.name if part.joined else "images"
    groups = None
    if part.groups:
        order = {group: at for at, group in enumerate(dict.fromkeys(map(part.group, part.drawn)))}
        groups = torch.tensor([order[part.group(row)] for row in rows[:count]])
        told = (*told, f"images of one of the {len(order):,} groups stay on one side of all splits")
    images = ImageSet(
        name, train, held_out, scarce=True, notes=told, groups=groups, reading=reading
    )
    return _Images(part, rows, images)


def _skipped(table: Table, faults: Sequence[_Fault]) -> str:
    if not faults:
        return ""
    count = "1 bad image was" if len(faults) == 1 else f"{len(faults):,} bad images were"
    return f"{count} skipped ({table.spots(sorted({f.row for f in faults}))})"


def _form(listed: Sequence[_Listed], folder: Folder, source: DataSource) -> Form:
    """Return how all images are read, from what their headers say."""
    headers = [
        read_rows(part.files, read_header, "header", (6,), source.cache, np.float32, part.seen).rows
        for part in listed
    ]
    every = torch.cat(headers).int()
    return form_of(every, folder.path, folder.size, folder.bits, folder.background)


# ---------------------------------------------------------------------------------- masks


@lru_cache(maxsize=8)
def _read_masks(
    images: _Images, column: Column, binary: bool, source: DataSource
) -> tuple[Sequence[_Fault], Tensor, Tensor]:
    """Return the faults of a column's masks, the masks, and which images have one.

    Masks are uint8 `[N, H, W]`, and the last value is bool `[N]`. An image without a mask has
    `VOID` in every pixel.
    """
    part, (_, height, width) = images.part, images.set.image
    given = [row for row in images.rows if column.cells[row] is not None]
    located, faults = _masks_of(part, without_missing(column.cells), given)
    rows, files = list(located), list(located.values())
    side = height, width
    read = read_rows(
        files,
        partial(read_mask, side=side, binary=binary),
        ["mask", *side, binary],
        side,
        source.cache,
    )
    for at, why in read.bad.items():
        cell = printable(str(column.cells[rows[at]]))
        faults.append(part.fault(rows[at], f"mask '{cell}' {why}"))
    present = torch.zeros(len(images.rows), dtype=torch.bool)
    places = {row: place for place, row in enumerate(images.rows)}
    present[[places[rows[at]] for at in read.kept]] = True
    if present.all():
        return faults, read.rows, present  # mapped from the cache, in the images' order
    masks = torch.full((len(present), *side), VOID, dtype=torch.uint8)
    masks[present] = read.rows
    return faults, masks, present


def _check_far_apart(part: _Part, column: Column, levels: Sequence[int]) -> None:
    """Raise `UserError` where masks hold values as a blurred black and white one does."""
    dark = [level for level in levels if 0 < level <= _BLUR]
    bright = [level for level in levels if VOID - _BLUR <= level < VOID]
    if (dark and bright) or len(levels) > _MOST_CLASSES + 1:
        shown = ", ".join(map(str, levels[:4]))
        name = printable(column.name)
        raise UserError(
            f"'{part.table.path}', column '{name}': its masks hold {len(levels)} different values "
            f"({shown}, … {levels[-1]}), as compression or smooth resizing leaves them: say "
            f"folder@binary={name}:… if they are black and white, or folder@exact={name}:… if "
            "each value is a class"
        )


def _levels(masks: Tensor, present: Tensor) -> list[int]:
    """Return the different values of the masks that are present, sorted."""
    counts = torch.zeros(256, dtype=torch.int64)
    for part, there in zip(*(torch.split(t, _PIECE) for t in (masks, present)), strict=True):
        counts += torch.bincount(part[there].flatten(), minlength=256)
    return [int(level) for level in counts.nonzero()[:, 0]]
