"""Which column of a table names its images, and how a cell becomes a path. Not a data set itself.

A cell is the path of a file (`images/3.jpg`), its name (`3.jpg`, in `images/`) or an id (`3`, for
`images/3.jpg`). What the user does not say with `image=`, `root=` and `suffix=` is looked up.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
#: Cells of a column that is looked at for the reason why it names no images.
_LOOKED_AT = 20
#: A column names files if so many of its cells do.
_NAMED = 0.5


@dataclass(frozen=True)
class Naming:
    """The column of images, the folder its cells start from (`''` is the table's) and a suffix.

    `others` has the names of the files of ids that have another suffix.
    """

    column: str
    folder: str = ""
    suffix: str = ""
    note: str = ""
    others: Mapping[str, str] = field(default_factory=dict)

    def paths(self, table: Table) -> list[str | None]:
        """Return the path of each row's image, relative to the folder; None where it has none."""
        cells = without_missing(table.columns[self.column])
        if _of_windows(cells):
            cells = [cell.replace("\\", "/") if isinstance(cell, str) else cell for cell in cells]
        return [None if cell is None else self._path(_text(cell)) for cell in cells]

    def _path(self, text: str) -> str:
        ends = self.suffix and text.lower().endswith(self.suffix.lower())
        return text if ends else self.others.get(text, text + self.suffix)

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
        f"'{table.path}': no column holds paths of image files{_why(table, candidates)}; say which "
        "one does with folder@image=COLUMN:..., and with root=DIR,suffix=.jpg if it holds ids of "
        f"files in another folder (columns: {columns})"
    )


def _why(table: Table, candidates: Mapping[str, Sequence[Cell]]) -> str:
    """Return what may be the reason that no column names images, with a fix; empty if unknown."""
    if len(table.columns) == 1:
        return ", and there is one column: separate columns by a comma, a semicolon or a tab"
    root = Root(table.base)
    for column, cells in candidates.items():
        texts = [cell for cell in cells if isinstance(cell, str)][:_LOOKED_AT]
        if "://" in texts[0]:
            return f" ('{printable(column)}' has web addresses: download them, and name the files)"
        near = [Path(root.near(text)) for text in texts]
        if not near[0].name:
            continue
        there = f"'{printable(column)}' has '{printable(texts[0])}', and there is '{near[0]}'"
        same = all(text == path.stem for text, path in zip(texts, near, strict=True))
        if same and len({path.parent for path in near}) == 1:
            return f" ({there}: say root={near[0].parent})"
        return f" ({there}: write the paths of the files)"
    return ""


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
    others: dict[tuple[str, str, str], dict[str, str]] = {}
    for folder, files in _folders(table.base, root):
        for column, cells in columns.items():
            texts = [cell for cell in cells if isinstance(cell, str)]
            ends = _ends(files, suffix, bare=names_files(cells))
            for end in ends:
                rest = _with_other_ends(texts, end, ends, files)
                named = sum(text + end in files for text in texts)
                if named and named + len(rest) >= _NAMED * len(texts):
                    found[column, folder, end] = named / len(texts)
                    others[column, folder, end] = rest
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
    rest = others[column, folder, end]
    note += f", and {len(rest):,} end otherwise" if rest else ""
    note += " (image=, root= and suffix= say otherwise)"
    return Naming(column, folder, end, note, rest)


def _with_other_ends(
    ids: Sequence[str], end: str, ends: Sequence[str], files: Collection[str]
) -> dict[str, str]:
    """Return the files of the ids that have none with one suffix, and one with another."""
    rest: dict[str, str] = {}
    for text in ids:
        if text + end not in files:
            there = [text + other for other in ends if text + other in files]
            if len(there) == 1:
                rest[text] = there[0]
    return rest


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
