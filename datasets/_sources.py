"""From what a user names to tables: whatever form the images and their labels have. No data set.

| path | form |
|---|---|
| a CSV, TSV or Parquet file | a table, `_tables.py` and `_arrow.py` |
| a folder with `state.json` or `dataset_dict.json` | a data set of Hugging Face, `_arrow.py` |
| a folder with Parquet files | one table in parts, `_arrow.py` |
| any other folder | its folders are classes, splits or domains, `_trees.py` |
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.contracts import UserError

from ._arrow import PARQUET, is_saved, parquet_files, read_parquet, read_parts, read_saved
from ._tables import CSV, Table, read_csv
from ._trees import read_tree


@dataclass(frozen=True)
class Wanted:
    """What the user said of the form: the column of images, and what the folders at the top are.

    `exact` and `folded` name columns whose spellings are kept apart, or not.
    """

    image: str = ""
    folders: str = ""
    exact: Collection[str] = ()
    folded: Collection[str] = ()


def read_source(path: Path, wanted: Wanted) -> list[Table]:
    """Return the tables of a path: one, unless its folders are domains.

    Raises `UserError` where there is none, or it can be read in several ways.
    """
    ends = path.suffix.lower()
    if path.is_dir() and ends not in CSV + PARQUET:
        tables = _of_folder(path, wanted)
    elif wanted.folders:
        raise UserError(f"'{path}' is no folder, so folders={wanted.folders} says nothing of it")
    else:
        tables = [_of_file(path, ends, wanted)]
    if not all(table.numbers for table in tables):
        raise UserError(f"'{path}' has no rows{'' if path.is_dir() else ' below its header'}")
    return tables


def _of_file(path: Path, ends: str, wanted: Wanted) -> Table:
    try:
        if ends in CSV:
            return read_csv(path)
        if ends in PARQUET:
            path.stat()
            return read_parquet(path, wanted.image)
        there = path.exists()
    except FileNotFoundError:
        raise UserError(f"there is no table '{path}': give the path of a CSV or Parquet") from None
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror or error}") from None
    if not there:
        raise UserError(f"there is no folder or table '{path}': give the path of one")
    raise UserError(
        f"'{path}' is no table that can be read: save or unpack it as .csv, .tsv or .parquet, with "
        "a column of image paths, or give the path of a folder"
    )


def _of_folder(path: Path, wanted: Wanted) -> list[Table]:
    if not wanted.folders:
        try:
            if is_saved(path):
                return [read_saved(path, wanted.image)]
            if files := parquet_files(path):
                return [read_parts(path, files, wanted.image)]
            tables = sorted(p.name for p in path.iterdir() if p.suffix.lower() in (".csv", ".tsv"))
        except OSError as error:
            raise UserError(f"cannot read '{path}': {error.strerror or error}") from None
        if tables:
            raise UserError(
                f"'{path}' has a table in it: name it, as in {path / tables[0]}:TASK+TASK, or say "
                "folder@folders=classes:… if the names of the folders are the labels"
            )
    return read_tree(path, wanted.folders, wanted.exact, wanted.folded)
