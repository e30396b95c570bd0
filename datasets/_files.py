"""Collections of files: their location, their lists, and bad files. Not a data set itself.

All bad files of a collection are reported at once. If the user asks for it, their examples are left
out and counted instead.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.contracts import DataSource, UserError
from bench.files import leads_out, read_bytes
from bench.images import Row, read_image, read_rows

#: The networks need images of at least 16 pixels per side.
_LEAST_SIDE = 16
#: Number of bad files that are named; the others are counted.
_NAMED = 8
#: What no link may do.
_OUT = "leads out of the folder of --root"
#: The most bytes of a list; the longest there is, CelebA's, has 27 MB.
_MOST_LIST = 2**26


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
    """Return the folder of a collection under the root, with all files and folders in `needed`.

    `fetch` downloads the collection, of that many `megabytes`, into the root where torchvision can.
    `get` is an imperative that names another way to get it. Raises `UserError` where there is no
    root, something is missing or lies outside the root, or the download fails.
    """
    path = _located(source, collection, folder, needed, get, fetch, megabytes)
    for name in needed:
        if source.root is not None and leads_out(path / name, source.root):
            raise UserError(
                f"{collection}: '{path / name}' {_OUT}: pass the folder that it leads to as "
                "--root, or copy what is there"
            )
    return path


def _located(
    source: DataSource,
    collection: str,
    folder: str,
    needed: Sequence[str],
    get: str,
    fetch: Callable[[Path], object] | None,
    megabytes: int,
) -> Path:
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
    """Return an error's message without line breaks."""
    return " ".join(str(error).split())


def read_text(path: Path) -> str:
    """Return the text of a list. Raises `UserError` where it cannot be read."""
    try:
        return read_bytes(path, _MOST_LIST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"'{path}' cannot be read ({why}): fetch the collection again") from error


def read_lines(path: Path, words: int) -> list[list[str]]:
    """Return the words of every line of a list, where the first word is a file name.

    Raises `UserError` where the file is not such a list, or a name leads to another folder.
    """
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
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
    """One file per example, which `read` turns into a row of `shape` and `dtype`.

    `read` and `how` are as for `bench.images.read_rows`.
    """

    files: Sequence[Path]
    read: Callable[[Path], Row]
    how: object
    shape: tuple[int, ...]
    dtype: type[np.uint8] | type[np.float32] = np.uint8


def pictures(files: Sequence[Path], side: int) -> Column:
    """Return a column of RGB images, stretched to a square, uint8 `[3, side, side]`.

    They are read as stored, so that they match maps of their pixels.
    """
    read = partial(read_image, side=(side, side), mode="RGB", upright=False)
    return Column(files, read, ["picture", side], (3, side, side))


@dataclass(frozen=True, eq=False)
class Examples:
    """The rows `[n, ...]` of each column, and the examples' positions in the list, int64 `[n]`."""

    rows: Mapping[str, Tensor]
    kept: Tensor


def read_examples(
    source: DataSource, collection: str, parts: Mapping[str, Mapping[str, Column]]
) -> tuple[list[Examples], tuple[str, ...]]:
    """Read the examples of every part, column by column; return them and notes for the user.

    With `source.skip_bad_images` an example with a bad file is left out. Without it, raises a
    `UserError` that names bad files of all parts. Raises one too where nothing is left of a part.
    """
    examples, notes, told = [], [], []
    for part, columns in parts.items():
        found = {
            name: read_rows(
                c.files,
                partial(_inside, source.root, c.read),
                c.how,
                c.shape,
                source.cache,
                c.dtype,
            )
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
            # Where all rows are wanted, they stay as they are, mapped from the cache.
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


def _inside(root: Path | None, read: Callable[[Path], Row], path: Path) -> Row:
    """Read a file, unless a link in its path leads out of the root."""
    if root is not None and leads_out(path, root):
        raise ValueError(_OUT)
    return read(path)


def _positions(read: Sequence[int], kept: Tensor) -> Tensor:
    """Return the positions of the examples `kept` in a column's rows, which are those of `read`."""
    return torch.searchsorted(torch.tensor(read), kept)
