"""Collections of files: where they lie, what lists say, which files are bad. No data set itself.

All bad files of a collection are told at once, or their examples are left out and counted, as the
user says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.contracts import DataSource, UserError
from bench.images import Row, read_image, read_rows

#: The networks need images of 16 pixels a side.
_LEAST_SIDE = 16
#: Bad files that are named; the others are counted.
_NAMED = 8


def check_side(side: int) -> None:
    """Raise `ValueError` where images would be too small for the networks."""
    if side < _LEAST_SIDE:
        raise ValueError(f"side must be {_LEAST_SIDE} pixels or more, not {side}")


def locate(
    source: DataSource,
    collection: str,
    folder: str,
    needed: Sequence[str],
    get: str,
    fetch: Callable[[Path], object] | None = None,
    megabytes: int = 0,
) -> Path:
    """Return the folder of a collection under the root, where all files and folders `needed` are.

    `fetch` downloads it into the root, that many `megabytes`, where torchvision can. `get` is an
    imperative that says how else a user comes by it. Raises `UserError` where there is no root,
    something is missing, or the download fails.
    """
    flag = f"--download to fetch it (about {megabytes} MB)"
    if source.root is None:
        also = f", and {flag}" if fetch else f"; {get}"
        raise UserError(f"{collection} is real data and needs a folder: pass --root DIR{also}")
    path = source.root / folder

    def missing() -> str | None:
        return next((name for name in needed if not (path / name).exists()), None)

    if not (first := missing()):
        return path
    if fetch is None:
        raise UserError(
            f"{collection} is not in '{path}' ({first} is missing) and cannot be downloaded from "
            f"here: pass the right --root DIR, or {get}"
        )
    if not source.download:
        raise UserError(
            f"{collection} is not in '{path}' ({first} is missing): pass the right --root DIR, or "
            f"{flag}"
        )
    try:
        fetch(source.root)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{collection} could not be downloaded into '{source.root}' ({one_line(error)}): check "
            f"the network and that the folder can be written, or {get}"
        ) from error
    if first := missing():
        raise UserError(
            f"{collection} in '{path}' is not whole after the download ({first} is missing): "
            "delete the folder and run again with --download"
        )
    return path


def one_line(error: Exception) -> str:
    """Return what an error says, without line breaks."""
    return " ".join(str(error).split())


def read_lines(path: Path, words: int) -> list[list[str]]:
    """Return the words of every line of a list, the first being the name of a file.

    Raises `UserError` where it is no such list, or a name leads to another folder.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' cannot be read ({error}): fetch the collection again") from error
    lines = [line.split() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        if len(line) != words:
            raise UserError(
                f"'{path}' is no list of {words} words a line (line {number} has {len(line)}): "
                "fetch the collection again"
            )
        if "/" in line[0] or "\\" in line[0]:
            raise UserError(
                f"'{path}' names '{line[0]}' (line {number}), which is no name of a file: "
                "fetch the collection again"
            )
    if not lines:
        raise UserError(f"'{path}' is empty: fetch the collection again")
    return lines


def numbers(path: Path, words: Sequence[str], allowed: Sequence[int]) -> Tensor:
    """Return words of a list as int64 `[N]`. Raises `UserError` where one is not in `allowed`."""
    known = {str(number): number for number in allowed}
    if strange := next((word for word in words if word not in known), None):
        values = ", ".join(known) if len(known) < 4 else f"{allowed[0]} to {allowed[-1]}"
        raise UserError(
            f"'{path}' has '{strange}' where it should have one of {values}: "
            "fetch the collection again"
        )
    return torch.tensor([known[word] for word in words])


@dataclass(frozen=True)
class Column:
    """One file of every example. `read` makes of it a row of `shape` and `dtype`.

    `read` and `how` are as for `bench.images.read_rows`.
    """

    files: Sequence[Path]
    read: Callable[[Path], Row]
    how: object
    shape: tuple[int, ...]
    dtype: type[np.uint8] | type[np.float32] = np.uint8


def pictures(files: Sequence[Path], side: int) -> Column:
    """Return a column of RGB images, stretched to a square, uint8 `[3, side, side]`.

    They are read as they are stored, because maps of their pixels are.
    """
    read = partial(read_image, side=(side, side), mode="RGB", upright=False)
    return Column(files, read, ["picture", side], (3, side, side))


@dataclass(frozen=True, eq=False)
class Examples:
    """The rows `[n, ...]` of each column, and which examples of the list they are, int64 `[n]`."""

    rows: Mapping[str, Tensor]
    kept: Tensor


def read_examples(
    source: DataSource, collection: str, parts: Mapping[str, Mapping[str, Column]]
) -> tuple[list[Examples], tuple[str, ...]]:
    """Read the examples of every part, column by column; return them and notes for the user.

    An example with a bad file is left out if `source.skip_bad_images`. Raises `UserError` that
    names bad files of all parts if not, or where nothing is left of a part.
    """
    examples, notes, told = [], [], []
    for part, columns in parts.items():
        found = {
            name: read_rows(c.files, c.read, c.how, c.shape, source.cache, c.dtype)
            for name, c in columns.items()
        }
        told += [
            f"'{columns[name].files[index]}' {reason}"
            for name, rows in found.items()
            for index, reason in rows.bad.items()
        ]
        count = len(next(iter(columns.values())).files)
        bad = {index for rows in found.values() for index in rows.bad}
        kept = torch.tensor([index for index in range(count) if index not in bad])
        if bad:
            notes.append(
                f"{collection}: {len(bad):,} of {count:,} examples of '{part}' are left out, "
                "because a file of theirs is missing or cannot be read"
            )
        rows = {}
        for name, column in found.items():
            # All rows as they are, mapped from the cache, where they are all wanted.
            whole = len(kept) == len(column.kept)
            rows[name] = column.rows if whole else column.rows[_positions(column.kept, kept)]
        examples.append(Examples(rows, kept))
    if told and not source.skip_bad_images:
        more = f"; and {len(told) - _NAMED:,} more" if len(told) > _NAMED else ""
        raise UserError(
            f"{collection} has bad files: {'; '.join(told[:_NAMED])}{more}: fetch them again, or "
            "pass --skip-bad-images to leave their examples out"
        )
    for part, left in zip(parts, examples, strict=True):
        if not len(left.kept):
            raise UserError(
                f"{collection} has no example of '{part}' whose files can be read: "
                "fetch the collection again"
            )
    return examples, tuple(notes)


def _positions(read: Sequence[int], kept: Tensor) -> Tensor:
    """Return where in a column's rows, which are those of `read`, the examples in `kept` stand."""
    return torch.searchsorted(torch.tensor(read), kept)
