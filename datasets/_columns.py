"""From the cells of a column to labels: its task type, classes and tensors. Not a data set itself.

A task type is inferred from the cells alone, so that the same table gives the same tasks
everywhere:

- paths of image files: segmentation, each file a map of classes;
- lists, or cells with `|` or `;` in them: multi-label;
- whole numbers, at most 20 different ones, each 5 times on average: classification;
- other numbers: regression; a column counts as numeric if nine tenths of its cells are numbers;
- everything else: classification.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Literal, Self

import torch
from torch import Tensor

from bench.images import SUFFIXES
from bench.task_types import MISSING

from ._tables import Cell, number, printable

KindName = Literal["classification", "multilabel", "regression", "segmentation"]

_SEPARATORS = "|;"
_FEW = 20
_REPEATED = 5
_MOSTLY = 0.9
#: Numbers are kept in 32 bits. Larger ones are refused. So are numbers whose rounding in 32 bits
#: exceeds this share of their range.
_LARGEST = 1e30
_FINE = 0.001
_EPSILON = torch.finfo(torch.float32).eps


def only_one(columns: Sequence[str], usual: Collection[str]) -> str:
    """Return the one of some columns, or the one of them with a usual name; empty where none is."""
    for names in (columns, [name for name in columns if name.casefold() in usual]):
        if len(names) == 1:
            return names[0]
    return ""


def names_files(cells: Sequence[Cell]) -> bool:
    """Return whether almost all cells of a column are paths of image files, by their endings."""
    present = [cell for cell in cells if cell is not None]
    named = sum(isinstance(cell, str) and cell.lower().endswith(SUFFIXES) for cell in present)
    return named > 0 and named >= _MOSTLY * len(present)


def infer_kind(cells: Sequence[Cell]) -> KindName:
    """Return the task type of a column."""
    if names_files(cells):
        return "segmentation"
    if any(isinstance(cell, tuple) for cell in cells):
        return "multilabel"
    texts = [cell for cell in cells if isinstance(cell, str)]
    values = [value for text in texts if (value := number(text)) is not None]
    if not values or len(values) < _MOSTLY * len(texts):
        separated = any(sign in text for text in texts for sign in _SEPARATORS)
        return "multilabel" if separated else "classification"
    different = len(set(texts))
    few = different <= _FEW and different * _REPEATED <= len(texts)
    if few and (len(values) < len(texts) or all(value.is_integer() for value in values)):
        return "classification"
    return "regression"


@dataclass(frozen=True, eq=False)
class Column:
    """A label column: its cells, one per table row, and its task type, inferred or set.

    `told` are notes on how its cells were read.
    """

    name: str
    cells: Sequence[Cell]
    kind: KindName
    set_by_user: bool = False
    told: tuple[str, ...] = ()

    @cached_property
    def labels(self) -> Sequence[tuple[str, ...] | None]:
        """The labels of each row of a multi-label column; None where they are missing."""
        texts = [cell for cell in self.cells if isinstance(cell, str)]
        sign = next((s for s in _SEPARATORS if any(s in text for text in texts)), None)
        return [
            tuple(filter(None, (part.strip() for part in cell.split(sign))))
            if isinstance(cell, str) and sign
            else (cell,)
            if isinstance(cell, str)
            else cell
            for cell in self.cells
        ]

    @cached_property
    def classes(self) -> Mapping[str, int]:
        """The class of each different cell: sorted, as numbers where all are numbers.

        Two spellings of a number, `3` and `3.0`, are one class.
        """
        texts = {_text(cell) for cell in self.cells if cell is not None}
        if all(number(text) is not None for text in texts):
            values = {text: Decimal(text) for text in texts}  # floats would merge long numbers
            places = {value: place for place, value in enumerate(sorted(set(values.values())))}
            return {text: places[value] for text, value in values.items()}
        return {text: index for index, text in enumerate(sorted(texts))}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the classes or labels, in order; empty where a task type has none."""
        if self.kind == "multilabel":
            return tuple(sorted({label for row in self.labels for label in row or ()}))
        if self.kind == "classification":
            numbers = all(number(text) is not None for text in self.classes)
            names: dict[int, str] = {}
            for text in sorted(self.classes, key=lambda text: (len(text), text)):
                whole = numbers and (value := Decimal(text)) == value.to_integral_value()
                names.setdefault(self.classes[text], f"{value:.0f}" if whole else text)
            return tuple(names[index] for index in range(len(names)))
        return ()

    @property
    def unheld(self) -> frozenset[str]:
        """The classes that no cell has, which a column does not know unless they are declared."""
        return frozenset()

    @cached_property
    def faults(self) -> Mapping[int, str]:
        """What is wrong with single cells, by their position."""
        found = {}
        if self.kind == "regression":
            for position, cell in enumerate(self.cells):
                if cell is not None and number(_text(cell)) is None:
                    shown = printable(_text(cell))
                    comma = number(shown.replace(",", ".")) is not None
                    fix = f"write {shown.replace(',', '.')}" if comma else ""
                    fix = (
                        f" ({fix or f'missing={self.name}={shown} if it means that there is none'})"
                    )
                    found[position] = f"{printable(self.name)}: '{shown}' is no number{fix}"
        return found

    @cached_property
    def refusal(self) -> str:
        """Why the column cannot be a task; empty if it can."""
        present = [cell for cell in self.cells if cell is not None]
        count = len(present)
        if not present:
            return "it is empty"
        if self.kind == "segmentation":
            return ""
        if self.kind == "regression":
            values = {value for cell in present if (value := number(_text(cell))) is not None}
            if len(values) < 2:
                return "it has one value only" if values else "none of its cells is a number"
            largest = max(map(abs, values))
            if largest > _LARGEST:
                return "its numbers are too large: divide all of them by one number"
            if largest * _EPSILON > _FINE * (max(values) - min(values)):
                return (
                    "its numbers differ too little for their size: subtract the smallest from all "
                    "of them"
                )
            whole = all(value.is_integer() for value in values)
            if whole and not self.set_by_user and len(values) > 0.95 * count:
                return (
                    f"it has {len(values):,} different whole numbers in {count:,} rows, as an id "
                    f"has; if it is a quantity, say regression={self.name}"
                )
            return ""
        different = len(self.names)
        if different < (1 if self.kind == "multilabel" else 2):
            return "it has one value only" if different else "no image has a label"
        if different * 2 > count:
            what = "labels" if self.kind == "multilabel" else "values"
            return f"it has {different:,} different {what} in {count:,} rows, as an id has"
        return ""

    @property
    def summary(self) -> str:
        """A description in a few words."""
        if self.refusal:
            return f"no task: {self.refusal}"
        name = "multi-label" if self.kind == "multilabel" else self.kind
        what = "labels" if self.kind == "multilabel" else "classes"
        return f"{name}, {len(self.names)} {what}" if self.names else name

    def tensor(self, rows: Sequence[int]) -> Tensor:
        """Return the labels of these rows, in the form of the task type (not for segmentation)."""
        if self.kind == "classification":
            found = [MISSING] * len(rows)
            for at, row in enumerate(rows):
                if (cell := self.cells[row]) is not None:
                    found[at] = self.classes[_text(cell)]
            return torch.tensor(found, dtype=torch.int64)
        if self.kind == "regression":
            values = [self.cells[row] for row in rows]
            numbers = [math.nan if v is None else number(_text(v)) for v in values]
            return torch.tensor([math.nan if v is None else v for v in numbers])
        places = {name: place for place, name in enumerate(self.names)}
        targets = torch.zeros(len(rows), len(places))
        for at, row in enumerate(rows):
            labels = self.labels[row]
            if labels is None:
                targets[at] = math.nan
                continue
            for label in labels:
                targets[at, places[label]] = 1
        return targets

    def notes(self, train: Tensor, test: Tensor) -> list[str]:
        """Return what a user must know about the labels of the training pool and the test set."""
        if not self.names:
            return [*self.told]
        counts = [_occurrences(part, len(self.names)) for part in (train, test)]
        where: dict[str, list[str]] = {}
        for name, trained, tested in zip(self.names, *counts, strict=True):
            if name in self.unheld:
                continue
            if not trained and not tested:
                where.setdefault("in no image that could be read", []).append(name)
            elif not trained:
                where.setdefault("only among the test images", []).append(name)
            elif trained == 1:
                where.setdefault("once among the training images", []).append(name)
            elif not tested:
                where.setdefault("only among the training images", []).append(name)
        occurring = [
            f"{_listed(names)} occur{'s' if len(names) == 1 else ''} {place}"
            for place, names in where.items()
        ]
        if self.unheld:
            absent = [name for name in self.names if name in self.unheld]
            count = f"{len(absent):,} of the {len(self.names):,} classes"
            has = "has" if len(absent) == 1 else "have"
            occurring.append(f"{count} {has} no image here: {_listed(absent)}")
        return [*self.told, *occurring]


@dataclass(frozen=True, eq=False)
class OneHot(Column):
    """Columns of true and false as one multi-label column; a single label may be missing.

    `flags` has the cells of each column, by its name. `cells` are the sets of labels that hold.
    """

    flags: Mapping[str, Sequence[bool | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, flags: Mapping[str, Sequence[bool | None]], told: tuple[str, ...]) -> Self:
        """Return the column of some flags."""
        rows = list(zip(*flags.values(), strict=True))
        cells = [
            tuple(n for n, f in zip(flags, row, strict=True) if f) if set(row) != {None} else None
            for row in rows
        ]
        if all(len(cell) == 1 for cell in cells if cell is not None):
            told = (*told, "exactly one of the labels holds in every row, as in one class column")
        return cls(f"[{','.join(flags)}]", cells, "multilabel", True, told, flags)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in the order of the user."""
        return tuple(self.flags)

    def tensor(self, rows: Sequence[int]) -> Tensor:
        """Return the labels of these rows, float `[N, L]`, NaN where one is missing."""
        values = [
            [math.nan if flags[row] is None else float(bool(flags[row])) for row in rows]
            for flags in self.flags.values()
        ]
        return torch.tensor(values).T.contiguous()


@dataclass(frozen=True, eq=False)
class Declared(Column):
    """A column whose classes are given: the names of folders, or what a file says of itself.

    `order` has them all, also those that no cell holds, so that several columns may share them.
    """

    order: Sequence[str] = ()

    @cached_property
    def classes(self) -> Mapping[str, int]:
        """The class of each name."""
        return {name: place for place, name in enumerate(self.order)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, in their order."""
        return tuple(self.order)

    @cached_property
    def refusal(self) -> str:
        """Why the column cannot be a task; empty if it can."""
        present = {cell for cell in self.cells if cell is not None}
        if len(present) > 1:
            return ""
        one = f"all of its images are of one class, '{printable(str(*present))}'"
        return one if present else "no image has a label"

    @cached_property
    def unheld(self) -> frozenset[str]:
        """The classes that no cell has."""
        return frozenset(self.order) - set(filter(None, self.cells))


def _text(cell: str | tuple[str, ...]) -> str:
    return cell if isinstance(cell, str) else "|".join(cell)


def _occurrences(labels: Tensor, classes: int) -> list[int]:
    if labels.dim() == 2:
        return [int(count) for count in (labels == 1).sum(0)]
    counts = Counter(labels.tolist())
    return [counts[index] for index in range(classes)]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{printable(name, 20)}'" for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
