"""Which column of a table names its images, and how a cell becomes a path. Not a data set itself.

A cell is the path of a file (`images/3.jpg`), its name (`3.jpg`, in `images/`) or an id (`3`, for
`images/3.jpg`). What the user does not say with `image=`, `root=` and `suffix=` is looked up.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contracts import UserError
from bench.images import SUFFIXES

from ._columns import names_files, only_one
from ._readings import without_missing
from ._root import Root
from ._tables import Cell, Table, printable

#: What the column of images is called, where several columns hold paths of image files.
_USUAL = ("image", "images", "path", "file", "filename", "file_name", "image_path", "filepath")
#: What a column of ids is called, and the folder of images beside a table of masks, say.
_IDS = ("id", "image_id", "imageid", "img_id", "image", "img", "name", "file", "filename", "key")
_FOLDERS = ("images", "image", "imgs", "img", "photos", "pictures", "jpegimages", "data")
#: Folders beside a table, and files of each, that are looked through.
_MOST_FOLDERS = 200
_MOST_FILES = 2**21
#: A column names files if so many of its cells do.
_NAMED = 0.5


@dataclass(frozen=True)
class Naming:
    """The column of images, the folder its cells start from (`''` is the table's) and a suffix."""

    column: str
    folder: str = ""
    suffix: str = ""
    note: str = ""

    def paths(self, table: Table) -> list[str | None]:
        """Return the path of each row's image, relative to the folder; None where it has none."""
        cells = without_missing(table.columns[self.column])
        if _of_windows(cells):
            cells = [cell.replace("\\", "/") if isinstance(cell, str) else cell for cell in cells]
        return [None if cell is None else self._path(_text(cell)) for cell in cells]

    def _path(self, text: str) -> str:
        ends = self.suffix and text.lower().endswith(self.suffix.lower())
        return text if ends else text + self.suffix

    def root(self, table: Table) -> Root:
        """Return the folder that no path leads out of."""
        what = f"'{self.folder}'" if self.folder else "the table's folder"
        return Root(table.base / self.folder, what)


def _of_windows(cells: Sequence[Cell]) -> bool:
    """Return whether all paths have `\\` between folders, and none has `/` or begins with it."""
    paths = [cell for cell in cells if isinstance(cell, str)]
    parted = ["\\" in path and not path.startswith("\\") and ":" not in path for path in paths]
    return bool(paths) and all(parted) and not any("/" in path for path in paths)


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else "|".join(cell or ())


def find_images(table: Table, image: str = "", root: str = "", suffix: str = "") -> Naming:
    """Return how a table names its images. Raises `UserError` where that is not clear.

    `image`, `root` and `suffix` are what the user said; the folder may be an absolute path.
    """
    if root and not (table.base / root).is_dir():
        raise UserError(f"'{table.path}': root={root} is no folder")
    if suffix:
        suffix = suffix if suffix.startswith(".") else f".{suffix}"
    present = {name: without_missing(cells) for name, cells in table.columns.items()}
    column = image or _of_paths(table, present)
    if column and names_files(present[column]):
        if root or not _elsewhere(table, present[column]):
            return Naming(column, root, suffix)
        return _probed(table, {column: present[column]}, root, "") or Naming(column)
    if column and root and suffix:
        return Naming(column, root, suffix)
    candidates = {column: present[column]} if column else _like_ids(present)
    found = _probed(table, candidates, root, suffix)
    if found:
        return found
    if column and (root or suffix):
        return Naming(column, root, suffix)
    columns = ", ".join(printable(name) for name in table.columns)
    raise UserError(
        f"'{table.path}': no column holds paths of image files; say which one does with "
        "folder@image=COLUMN:..., and with root=DIR,suffix=.jpg if it holds ids of files in "
        f"another folder (columns: {columns})"
    )


def _of_paths(table: Table, present: Mapping[str, Sequence[Cell]]) -> str:
    """Return the column that holds paths of image files; empty where none does."""
    found = [name for name, cells in present.items() if names_files(cells)]
    if only := only_one(found, _USUAL):
        return only
    if found:
        raise UserError(
            f"'{table.path}': {' and '.join(found)} all hold paths of image files; say which one "
            "has the images with folder@image=COLUMN:..."
        )
    return ""


def _elsewhere(table: Table, cells: Sequence[Cell]) -> bool:
    """Return whether the cells are bare names of files, and the first of them are not here."""
    names = [cell for cell in cells if isinstance(cell, str)][:20]
    if any("/" in name or "\\" in name for name in names):
        return False
    return not any((table.base / name).exists() for name in names)


def _like_ids(present: Mapping[str, Sequence[Cell]]) -> dict[str, Sequence[Cell]]:
    """Return the columns that may hold ids: almost all their cells are different."""
    found = {}
    for name, cells in present.items():
        texts = [cell for cell in cells if isinstance(cell, str)]
        if texts and len(set(texts)) > 0.9 * len(cells):
            found[name] = cells
    order = sorted(found, key=lambda name: (name.casefold() not in _IDS, name))
    return {name: found[name] for name in order}


def _probed(
    table: Table, columns: Mapping[str, Sequence[Cell]], root: str, suffix: str
) -> Naming | None:
    """Return the column and the folder beside the table whose files it names, if one does.

    Raises `UserError` where several folders would do.
    """
    found: dict[tuple[str, str, str], float] = {}
    for folder, files in _folders(table.base, root):
        for column, cells in columns.items():
            texts = [cell for cell in cells if isinstance(cell, str)]
            for end in _ends(files, suffix, bare=names_files(cells)):
                share = sum(text + end in files for text in texts) / max(1, len(texts))
                if share >= _NAMED:
                    found[column, folder, end] = share
    if not found:
        return None
    usual = {k: s for k, s in found.items() if Path(k[1]).name.casefold() in _FOLDERS}
    best = usual or found
    folders = {folder for _, folder, _ in best}
    if len(folders) > 1:
        shown = " or ".join(f"root={folder or '.'}" for folder in sorted(folders))
        raise UserError(f"'{table.path}': several folders hold the images of its rows: say {shown}")
    column, folder, end = max(best, key=lambda key: best[key])
    first = next(cell for cell in columns[column] if isinstance(cell, str))
    shown = printable(os.path.join(folder, first + end))  # noqa: PTH118
    note = f"column '{printable(column)}' names the images: '{shown}' is the first"
    return Naming(column, folder, end, f"{note} (image=, root= and suffix= say otherwise)")


def _folders(base: Path, root: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the folder of images that the user named, or those beside a table, with their files."""
    names = [root] if root else ["", *sorted(p.name for p in base.iterdir() if p.is_dir())]
    for name in names[:_MOST_FOLDERS]:
        try:
            files = set(os.listdir(base / name)[:_MOST_FILES])  # noqa: PTH208
        except OSError:
            continue
        if files:
            yield name, files


def _ends(files: set[str], suffix: str, bare: bool) -> list[str]:
    """Return the suffixes that a cell may lack: those of the image files that there are."""
    if suffix or bare:
        return [suffix]
    ends = {Path(name).suffix for name in files}
    return sorted(end for end in ends if end.lower() in SUFFIXES)
