"""Tables of labels as CSV or Parquet: cells by column, with spreadsheet row numbers. No data set.

A cell is a text, a tuple of texts (a Parquet list), or None where it is blank. What else means that
a value is missing is for `_readings.py` to say.
"""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bench.clean import printable as clean
from bench.contracts import UserError
from bench.files import open_regular, read_bytes
from bench.images import SUFFIXES

Cell = str | tuple[str, ...] | None

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CSV = (".csv", ".tsv", ".txt")
_PARQUET = (".parquet", ".pq")
#: Number of records used to choose the delimiter.
_SAMPLE = 50
#: The most bytes of a file, also unpacked, and what it may hold: memory is taken by the cell.
_MOST_BYTES = 2**28
_MOST_UNPACKED = 2**29
_MOST_ROWS = 2**22
_MOST_CELLS = 2**25


@dataclass(frozen=True, eq=False)
class Table:
    """The cells of a file by column, all columns equally long.

    `numbers` are the row numbers; the header is row 1. `faults` says what is wrong with a row, as
    (number, text).
    """

    path: Path
    numbers: Sequence[int]
    columns: Mapping[str, Sequence[Cell]]
    faults: Sequence[tuple[int, str]]


def read_table(path: Path) -> Table:
    """Read a table. Raises `UserError` where the file is not one."""
    suffix = path.suffix.lower()
    if suffix not in _CSV + _PARQUET:
        raise UserError(
            f"'{path}' is no table: give the path of a .csv, .tsv or .parquet file with a column "
            "of image paths"
        )
    try:
        table = _read_csv(path) if suffix in _CSV else _read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"there is no table '{path}': give the path of a CSV or Parquet") from None
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror or error}") from None
    if not table.numbers:
        raise UserError(f"'{path}' has no rows below its header")
    return table


def printable(text: str, longest: int = 60) -> str:
    """Return a user's text in a form fit for one screen line: short, without control characters."""
    shown = clean(" ".join(text.split()))
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _check_size(path: Path, rows: int, cells: int) -> None:
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


def _named(path: Path, header: Sequence[str]) -> dict[str, int]:
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


def _read_csv(path: Path) -> Table:
    try:
        text = read_bytes(path, _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"'{path}' is not UTF-8: save it as 'CSV UTF-8'") from None
    # Line endings stay as they are, because a quoted cell may contain some.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    records: list[list[str]] = []
    cells = 0
    try:
        for record in reader:
            cells += len(record)
            _check_size(path, len(records), cells)
            records.append(record)
    except csv.Error as error:
        raise UserError(f"'{path}' is no CSV: line {reader.line_num}: {error}") from None
    header = [name.strip() for name in records[0]] if records else []
    positions = _named(path, header)
    numbers: list[int] = []
    faults: list[tuple[int, str]] = []
    rows: list[list[str]] = []
    for number, record in enumerate(records[1:], start=2):
        if not any(cell.strip() for cell in record):
            continue  # a blank line, or one that a spreadsheet has filled with delimiters
        if len(record) != len(header):
            faults.append((number, f"has {len(record)} cells where the header has {len(header)}"))
            continue
        numbers.append(number)
        rows.append(record)
    columns = {name: [_cell(row[at]) for row in rows] for name, at in positions.items()}
    return Table(path, numbers, columns, faults)


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


def _read_parquet(path: Path) -> Table:
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"'{path}' is Parquet, which needs pyarrow: pip install 'mtl-sharing-bench[parquet]', "
            "or -e '.[parquet]' in a checkout, or save the table as CSV"
        ) from None
    with open_regular(path, _MOST_BYTES) as file:
        try:
            # What it says of itself, before any of it is unpacked.
            about = parquet.ParquetFile(file).metadata
            _check_size(path, about.num_rows, about.num_rows * about.num_columns)
            size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
            if size > _MOST_UNPACKED:
                raise UserError(f"'{path}' unpacks to {size:,} bytes, over {_MOST_UNPACKED:,}")
            table = parquet.read_table(file)
            names = [name.strip() for name in table.column_names]
            columns = [[_parquet_cell(v) for v in column.to_pylist()] for column in table.columns]
        except UserError:
            raise
        except Exception as error:  # damaged bytes may raise almost anything, also as they are read
            reason = printable(str(error), 200)
            raise UserError(f"'{path}' is no Parquet that can be read: {reason}") from None
    cells = {name: columns[at] for name, at in _named(path, names).items()}
    return Table(path, range(2, table.num_rows + 2), cells, ())


def _parquet_cell(value: Any) -> Cell:
    if isinstance(value, list):
        return tuple(str(part) for part in value if part is not None)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return _cell(str(value))
