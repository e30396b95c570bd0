"""Tables of labels: cells by column, with spreadsheet row numbers; and CSV. No data set.

Whatever a user's images come in becomes a table: see `_sources.py`. A cell is a text, a tuple of
texts (a Parquet list), or None where it is blank. What else means that a value is missing is for
`_readings.py` to say.
"""

import csv
import io
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from bench.clean import printable as clean
from bench.contracts import UserError
from bench.files import read_bytes
from bench.images import SUFFIXES, Embedded

Cell = str | tuple[str, ...] | None

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: The line with which Excel states the delimiter.
_STATED = re.compile(r"sep=([^\r\n])\r?\n", re.IGNORECASE)
#: Endings of tables as text, in lower case.
CSV = (".csv", ".tsv", ".txt")
#: Rows that are named; the others are counted.
_NAMED = 5
#: Number of records used to choose the delimiter.
_SAMPLE = 50
#: The most bytes of a file, and what it may hold: memory is taken by the cell.
MOST_BYTES = 2**28
_MOST_ROWS = 2**22
_MOST_CELLS = 2**25


class Pictures(ABC):
    """Where the images of a table's rows are, where none of its columns names files."""

    #: What the draw of a test set hashes.
    hashed: str = "paths"

    @abstractmethod
    def key(self, row: int) -> str:
        """Return what a row's image is known by, wherever the data lie and however sorted."""

    @abstractmethod
    def locate(self, row: int) -> str | Embedded:
        """Return where a row's image is. Raises a `ValueError` that says what is wrong with it."""

    @abstractmethod
    def shown(self, row: int) -> str:
        """Return a row's image in words and a blank; empty where the row is called by its image."""


@dataclass(frozen=True)
class Told:
    """What names of folders or files say of the splits: a word for each row, or none."""

    words: Sequence[str]
    by: str


@dataclass(frozen=True, eq=False)
class Table:
    """The rows that a file or a folder has: their cells by column, all columns equally long.

    `numbers` are the row numbers; the header of a table is row 1. `faults` says what is wrong with
    a row, as (number, text). `declared` has the classes of columns whose classes are not inferred,
    in order; all that their cells hold is among them. `pictures` has the images where no column
    names them. `told` are splits that names say. `knobs` are names that knobs may give beside the
    columns'. `spot` names a row by its number, and `name` the whole.
    """

    path: Path
    numbers: Sequence[int]
    columns: Mapping[str, Sequence[Cell]]
    faults: Sequence[tuple[int, str]]
    declared: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pictures: Pictures | None = None
    told: Told | None = None
    notes: tuple[str, ...] = ()
    knobs: tuple[str, ...] = ()
    spot: Callable[[int], str] | None = None
    name: str = ""

    @property
    def base(self) -> Path:
        """The folder that paths start from."""
        return self.path if self.path.is_dir() else self.path.parent

    def spots(self, numbers: Sequence[int], most: int = _NAMED) -> str:
        """Return rows by name, the first few of many."""
        shown = [self.spot(number) if self.spot else str(number) for number in numbers[:most]]
        more = f" and {len(numbers) - most:,} more" if len(numbers) > most else ""
        return f"{'' if self.spot else 'row '}{', '.join(shown)}{more}"


def printable(text: str, longest: int = 60) -> str:
    """Return a user's text in a form fit for one screen line: short, without control characters."""
    shown = clean(" ".join(text.split()))
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def check_size(path: Path, rows: int, cells: int = 0) -> None:
    """Raise `UserError` where a table is larger than any that is meant."""
    if rows > _MOST_ROWS or cells > _MOST_CELLS:
        raise UserError(
            f"'{path}' has over {_MOST_ROWS:,} rows or {_MOST_CELLS:,} cells: split it, or leave "
            "out columns that are no task"
        )


def number(text: str) -> float | None:
    """Return the number in a cell, or None. `1_000`, `inf` and `0x10` are not numbers."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def _cell(text: str) -> str | None:
    return text.strip() or None


def named(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Return the position of each column by its name; a column without a name is left out."""
    positions: dict[str, int] = {}
    for position, name in enumerate(header):
        if name.lower().endswith(SUFFIXES):
            raise UserError(
                f"'{path}' has no header: its first row names an image ('{printable(name)}'); "
                "write the names of the columns above it"
            )
        if name in positions:
            raise UserError(f"'{path}' has two columns '{printable(name)}': rename one of them")
        if name:
            positions[name] = position
    return positions


def read_csv(path: Path) -> Table:
    """Read a table as text. Raises `UserError` where it is none, and `OSError`."""
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"'{path}' is not UTF-8: save it as 'CSV UTF-8'") from None
    stated = _STATED.match(text)
    text, delimiter = (text[stated.end() :], stated[1]) if stated else (text, _delimiter(text))
    # Line endings stay as they are, because a quoted cell may contain some.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records: list[list[str]] = []
    cells = 0
    try:
        for record in reader:
            cells += len(record)
            check_size(path, len(records), cells)
            records.append(record)
    except csv.Error as error:
        raise UserError(f"'{path}' is no CSV: line {reader.line_num}: {error}") from None
    header = [name.strip() for name in records[0]] if records else []
    positions = named(path, header)
    numbers: list[int] = []
    faults: list[tuple[int, str]] = []
    rows: list[list[str]] = []
    for number, record in enumerate(records[1:], start=3 if stated else 2):
        if not any(cell.strip() for cell in record):
            continue  # a blank line, or one that a spreadsheet has filled with delimiters
        if [cell.strip() for cell in record] == header:
            faults.append((number, "repeats the header: delete this row"))
            continue
        if len(record) != len(header):
            faults.append((number, f"has {len(record)} cells where the header has {len(header)}"))
            continue
        numbers.append(number)
        rows.append(record)
    columns = {name: [_cell(row[at]) for row in rows] for name, at in positions.items()}
    _check_header(path, columns)
    return Table(path, numbers, columns, faults)


def _check_header(path: Path, columns: Mapping[str, Sequence[Cell]]) -> None:
    """Raise `UserError` where the name of a column is one of its cells: it has no header then."""
    for name, cells in columns.items():
        if number(name) is None and name in cells:
            raise UserError(
                f"'{path}' has no header: its first row has '{printable(name)}', as rows below it "
                "do; write the names of the columns above it"
            )


def _delimiter(text: str) -> str:
    """Return the delimiter that splits the first records most alike and into the most cells.

    Cells may hold the other delimiters, as `red;round` does, so the header alone would mislead.
    """

    def fitness(delimiter: str) -> tuple[float, int]:
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            sample = list(islice(reader, _SAMPLE))
        except csv.Error:
            return 0.0, 0
        widths = [len(record) for record in sample if record]
        width = widths[0] if widths else 0
        alike = sum(w == width for w in widths) / max(1, len(widths))
        return (alike if width > 1 else 0.0), width

    return max(",;\t", key=fitness)


def cell_of(value: Any) -> Cell:
    """Return a value of Python as a cell."""
    if isinstance(value, list):
        return tuple(str(part) for part in value if part is not None)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return _cell(str(value))
