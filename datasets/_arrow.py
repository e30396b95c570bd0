"""Tables in Arrow's formats: Parquet, and what Hugging Face's `datasets` saves. Not a data set.

Images may be in the table themselves: as plain bytes, or as Hugging Face's image feature, bytes
with the name that their file had. A table may be cut into several files. What the files say of
their classes (`ClassLabel`) becomes the names of the classes. Nothing but these files is read, and
no code of theirs is run. Hugging Face's own package is not needed.
"""

import json
import os
import re
import struct
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from bench.contracts import UserError
from bench.errors import missing_package
from bench.files import DocumentError, open_regular, read_document

from ._columns import only_one
from ._pictures import Copied
from ._root import Root
from ._splits import says_split, told_by
from ._tables import MOST_BYTES, Cell, Table, Told, cell_of, check_size, named, printable

PARQUET = (".parquet", ".pq")
#: What a column of images is called, where there are several.
_USUAL = ("image", "img", "images", "picture", "photo")
#: The most bytes of a file with images in it, and of the labels of a table when unpacked.
_MOST_FILE = 2**34
_MOST_UNPACKED = 2**29
_MOST_PAGE = 2**24
_MOST_FILES = 10_000
#: Rows that are unpacked at once: of images, and of labels.
_FEW, _MANY = 64, 2**14
#: Files of one table lie at most so many folders below the one that the user names.
_DEEPEST = 3


# ---------------------------------------------------------------------------------- files


@dataclass(frozen=True, eq=False)
class _File(ABC):
    """A file of a table; `name` is its path in the folder, and `split` that of all its rows."""

    path: Path
    name: str
    split: str

    @cached_property
    @abstractmethod
    def schema(self) -> Any:
        """Its columns, as pyarrow has them."""

    @abstractmethod
    def batches(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """Yield record batches with these columns, in this order, of about so many rows each."""

    def check(self, labels: Sequence[str], images: str) -> None:  # noqa: B027
        """Raise `UserError` where it holds more than is meant; labels and images are columns."""


class _Parquet(_File):
    """A Parquet file."""

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            from pyarrow import parquet
        except ImportError:
            raise UserError(
                f"'{self.path}' is Parquet, which needs pyarrow: pip install "
                "'mtl-sharing-bench[parquet]', or -e '.[parquet]' in a checkout, or save the table "
                "as CSV"
            ) from None
        with _read(self.path, "Parquet") as file:
            yield parquet.ParquetFile(file)

    @cached_property
    def schema(self) -> Any:
        """Its columns, as pyarrow has them."""
        with self._open() as file:
            return _named(file.schema_arrow)

    def check(self, labels: Sequence[str], images: str) -> None:
        """Raise `UserError` where it holds more than is meant, before any of it is unpacked."""
        with self._open() as file:
            about = file.metadata
            check_size(self.path, about.num_rows, about.num_rows * len(labels))
            sizes: Counter[str] = Counter()
            for group in map(about.row_group, range(about.num_row_groups)):
                for column in map(group.column, range(group.num_columns)):
                    name = column.path_in_schema.partition(".")[0]
                    sizes[name] += column.total_uncompressed_size
        size = sum(sizes.values()) - sizes[images]
        if size > _MOST_UNPACKED:
            raise UserError(f"'{self.path}' unpacks to {size:,} bytes, over {_MOST_UNPACKED:,}")

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """Yield record batches with these columns, in this order, of about so many rows each."""
        with self._open() as file:
            for batch in file.iter_batches(batch_size=rows, columns=[*columns]):
                yield batch.select([*columns])


class _Stream(_File):
    """A file of record batches, as `datasets` saves them."""

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Iterator[Any]]]:
        """Yield its columns, and the messages that follow, none of which is unpacked yet."""
        try:
            from pyarrow import ipc
        except ImportError:
            what = f"'{self.path.parent}', a data set of Hugging Face,"
            raise missing_package(what, "pyarrow", "hf") from None
        with _read(self.path, "Arrow file") as file:
            messages = iter(ipc.MessageReader.open_stream(file))
            yield ipc.read_schema(next(messages)), messages

    @cached_property
    def schema(self) -> Any:
        """Its columns, as pyarrow has them."""
        with self._open() as (schema, _):
            return _named(schema)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """Yield record batches with these columns, in this order, of as many rows as they have."""
        from pyarrow import ipc

        with self._open() as (schema, messages):
            for message in messages:
                if message.type != "record batch" or _is_packed(message.metadata.to_pybytes()):
                    raise UserError(
                        f"'{self.path}' is compressed or has dictionaries, as datasets saves none: "
                        "load it and save it again with save_to_disk"
                    )
                batch = ipc.read_record_batch(message, schema).select([*columns])
                batch.validate(full=True)  # pyarrow would believe offsets that lead elsewhere
                yield batch


def _is_packed(about: bytes) -> bool:
    """Return whether what a message of a record batch says of itself names a compression.

    The few bytes of a packed one may hold gigabytes. It is a flatbuffer: a table has the distance
    of each of its fields, 0 for one that is not there, in a list that lies before it.
    """

    def number(code: str, at: int) -> int:
        return int(struct.unpack_from(f"<{code}", about, at)[0])

    def field(table: int, place: int) -> int:
        fields = table - number("i", table)
        at = 4 + 2 * place
        distance = number("H", fields + at) if at < number("H", fields) else 0
        return table + distance if distance else 0

    header = field(number("I", 0), 2)
    return field(header + number("I", header), 3) != 0


@contextmanager
def _read(path: Path, what: str) -> Iterator[BinaryIO]:
    """Open a file; whatever is raised while it is read becomes a `UserError`."""
    try:
        file = open_regular(path, _MOST_FILE)
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror or error}") from None
    with file:
        try:
            yield file
        except UserError:
            raise
        except MemoryError:  # it may claim to hold more than it does
            raise UserError(
                f"'{path}' does not fit into memory: is it whole? If so, save it in smaller parts"
            ) from None
        except Exception as error:  # damaged bytes may raise almost anything, also as they are read
            reason = printable(str(error), 200) or "it ends at once"
            raise UserError(f"'{path}' is no {what} that can be read: {reason}") from None


# ---------------------------------------------------------------------------------- tables


def read_parquet(path: Path, image: str = "") -> Table:
    """Read one Parquet file. `image` is the column of images, if the user named it."""
    return _table(path, [_Parquet(path, path.name, "")], image)


def parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder and of the folders in it, in order."""
    found: list[Path] = []
    level = [folder]
    for _ in range(_DEEPEST):
        below: list[Path] = []
        for above in level:
            with os.scandir(above) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        below.append(above / entry.name)
                    elif entry.name.lower().endswith(PARQUET):
                        found.append(above / entry.name)
        if max(len(found), len(below)) > _MOST_FILES:
            break
        level = below
    return sorted(found)


def read_parts(folder: Path, files: Sequence[Path], image: str = "") -> Table:
    """Read the Parquet files of a folder as one table; their names may say their splits."""
    if len(files) > _MOST_FILES:
        raise UserError(f"'{folder}' has over {_MOST_FILES:,} Parquet files: join some of them")
    root = Root(folder, "the folder")
    parts = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            real = root.locate(name)
        except ValueError as error:
            raise UserError(f"'{path}' {error}") from None
        words = [re.split("[-_.]", path.stem)[0], *reversed(name.split("/")[:-1])]
        parts.append(_Parquet(Path(real), name, next(filter(says_split, words), "")))
    return _table(folder, parts, image)


def _table(
    path: Path,
    files: Sequence[_File],
    image: str,
    features: Mapping[str, Any] | None = None,
    by: str = "the names of the files",
) -> Table:
    """Return the rows of files that are one table. `features` say what its columns are.

    `by` says in words what names the splits.
    """
    first = files[0]
    for other in files[1:]:
        if other.schema.names != first.schema.names:
            raise UserError(
                f"'{path}': '{other.name}' has other columns than '{first.name}': name the folder "
                "of files that are one table, or one of the files"
            )
    raw = {name: first.schema.names[at] for name, at in named(path, _stripped(first)).items()}
    kinds = {name: first.schema.field(first.schema.names.index(raw[name])).type for name in raw}
    features = _features(first.schema) if features is None else features
    pictured = _image_column(path, kinds, image)
    labels = [name for name, kind in kinds.items() if _may_be_labels(kind)]
    if pictured and not labels:
        raise UserError(
            f"'{path}' has images in its column '{printable(pictured)}', and no column of labels"
        )
    for file in files:
        file.check([raw[name] for name in labels], raw.get(pictured, ""))
        if not pictured and file.path.stat().st_size > MOST_BYTES:
            raise UserError(f"cannot read '{file.path}': it has over {MOST_BYTES:,} bytes")
    columns: dict[str, list[Any]] = {name: [] for name in labels}
    counts = []
    for file in files:
        counts.append(0)
        for batch in file.batches([raw[name] for name in labels], _MANY):
            counts[-1] += batch.num_rows
            check_size(path, sum(counts), sum(counts) * len(labels))
            for values, cells in zip(batch.columns, columns.values(), strict=True):
                cells += _plain(file.path, values.to_pylist)
    numbers = range(2, sum(counts) + 2)
    faults: list[tuple[int, str]] = []
    declared: dict[str, Sequence[str]] = {}
    cells_of: dict[str, Sequence[Cell]] = {}
    for name, read in columns.items():
        classes, of_lists = _classes(features.get(raw[name]))
        if classes and not of_lists:
            declared[name] = classes
        cells_of[name] = (
            _named_classes(name, read, classes, numbers, faults)
            if classes
            else [cell_of(value) for value in read]
        )
    pictures = None
    notes: tuple[str, ...] = ()
    if pictured:
        pictures, paths, notes = _pictures(path, files, pictured, raw[pictured], sum(counts))
        if pictures is None:
            cells_of[pictured] = paths
    starts = [0, *accumulate(counts)]

    def spot(number: int) -> str:
        at = bisect_right(starts, number - 2) - 1
        return f"row {number - starts[at]} of {files[at].name}"

    return Table(
        path,
        numbers,
        cells_of,
        faults,
        declared=declared,
        pictures=pictures,
        told=_told(path, files, counts, by),
        notes=notes,
        spot=spot if len(files) > 1 else None,
    )


def _named(schema: Any) -> Any:
    """Return a schema whose names are text. Damaged ones raise here, where the file is known."""
    list(schema.names)  # which decodes them
    return schema


def _stripped(file: _File) -> list[str]:
    return [name.strip() for name in file.schema.names]


def _told(path: Path, files: Sequence[_File], counts: Sequence[int], by: str) -> Told | None:
    """Return the splits that the names of the files say."""
    silent = [file.name for file in files if not file.split]
    if silent and len(silent) < len(files):
        spoken = next(file.name for file in files if file.split)
        raise UserError(
            f"'{path}': '{spoken}' is named after a split, and '{silent[0]}' after none: rename it "
            "(train, validation or test comes first), or move it away"
        )
    if silent:
        return None
    words = [file.split for file, count in zip(files, counts, strict=True) for _ in range(count)]
    return told_by(words, by)


# ---------------------------------------------------------------------------------- columns


def _may_be_labels(kind: Any) -> bool:
    """Return whether a column of this type may have labels: no bytes, and nothing deeply nested."""
    from pyarrow import types

    if _is_list(kind):
        kind = kind.value_type
    return not (_is_bytes(kind) or types.is_nested(kind) or hasattr(kind, "storage_type"))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return any(is_one(kind) for is_one in (types.is_list, types.is_large_list))


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    return any(
        is_one(kind) for is_one in (types.is_binary, types.is_large_binary, types.is_binary_view)
    )


def _has_images(kind: Any) -> bool:
    """Return whether a column of this type has images: bytes, or bytes with a path."""
    from pyarrow import types

    if not types.is_struct(kind):
        return _is_bytes(kind)
    parts = {part.name: part.type for part in kind}
    return parts.keys() == {"bytes", "path"} and _is_bytes(parts["bytes"])


def _image_column(path: Path, kinds: Mapping[str, Any], image: str) -> str:
    """Return the column that holds images themselves; empty where none does."""
    found = [name for name, kind in kinds.items() if _has_images(kind)]
    if image in kinds:
        return image if image in found else ""
    if only := only_one(found, _USUAL):
        return only
    if found:
        raise UserError(
            f"'{path}': {' and '.join(map(printable, found))} all hold bytes; say which one has "
            "the images with folder@image=COLUMN:..."
        )
    return ""


def _pictures(
    path: Path, files: Sequence[_File], name: str, raw: str, rows: int
) -> tuple[Copied | None, Sequence[Cell], tuple[str, ...]]:
    """Return the images of a column, or the paths of their files; and what a user must know."""
    first = next((value for value in _values(files, raw) if value), None)
    if isinstance(first, dict) and not first["bytes"]:
        cells = [cell_of(value["path"]) if value else None for value in _values(files, raw)]
        if len(cells) != rows:
            raise UserError(f"'{path}' is damaged: its columns are not equally long")
        return None, cells, (f"column '{printable(name)}' has paths of images, and no bytes",)
    note = f"the images are in column '{printable(name)}' itself (image=COLUMN says otherwise)"
    return Copied(path, rows, partial(_bytes, files, raw)), (), (note,)


def _plain(path: Path, convert: Callable[[], Any]) -> Any:
    """Return values as Python's own. Raises `UserError` where they are no values, such as texts."""
    try:
        return convert()
    except Exception as error:  # damaged bytes may raise almost anything
        raise UserError(f"'{path}' is damaged: {printable(str(error), 200)}") from None


def _values(files: Sequence[_File], column: str) -> Iterator[Any]:
    """Yield the value of each row of a column, one at a time: they may be large."""
    for file in files:
        for batch in file.batches([column], _FEW):
            for value in batch.column(0):
                yield _plain(file.path, value.as_py)


def _bytes(files: Sequence[_File], column: str) -> Iterator[bytes | None]:
    """Yield the bytes of each row's image, or None where there are none."""
    for content in _values(files, column):
        yield content["bytes"] if isinstance(content, dict) else content


# ---------------------------------------------------------------------------------- classes


def _features(schema: Any) -> Mapping[str, Any]:
    """Return what Hugging Face's packages wrote into a file about its columns; empty if nothing."""
    text = (schema.metadata or {}).get(b"huggingface", b"")
    try:
        found = json.loads(text[:_MOST_PAGE])["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _classes(feature: Any) -> tuple[Sequence[str], bool]:
    """Return the names of the classes of a column, if it has some, and whether cells are lists."""
    lists = False
    if isinstance(feature, list) and len(feature) == 1:
        feature, lists = feature[0], True
    elif isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
        feature, lists = feature["feature"], True
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return (), lists
    names = feature.get("names")
    texts = [str(name) for name in names] if isinstance(names, list) else []
    return (texts if len(set(texts)) == len(texts) else ()), lists


def _named_classes(
    column: str,
    values: Sequence[Any],
    classes: Sequence[str],
    numbers: Sequence[int],
    faults: list[tuple[int, str]],
) -> list[Cell]:
    """Return the names of the classes that cells number; -1 is a missing one."""
    known: dict[int | str, str] = {
        **dict(enumerate(classes)),
        **dict(zip(classes, classes, strict=True)),
    }
    cells: list[Cell] = []
    for number, value in zip(numbers, values, strict=True):
        parts = value if isinstance(value, list) else [value]
        strange = [part for part in parts if part not in known and part not in (None, -1)]
        if strange:
            what = f"'{printable(str(strange[0]), 30)}' is none of its {len(classes):,} classes"
            faults.append((number, f"{printable(column)}: {what}"))
        found = tuple(known[part] for part in parts if part in known)
        cells.append(found if isinstance(value, list) else (found[0] if found else None))
    return cells


# ---------------------------------------------------------------------------------- saved


class _Page(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Splits(_Page):
    splits: tuple[str, ...]


class _Name(_Page):
    filename: str


class _State(_Page):
    files: tuple[_Name, ...] = Field(alias="_data_files")
    indices: tuple[_Name, ...] | None = Field(None, alias="_indices_data_files")


class _About(_Page):
    features: dict[str, Any] | None = None


def is_saved(folder: Path) -> bool:
    """Return whether `datasets` has saved a data set, or several splits, in a folder."""
    pages = ("state.json", "dataset_info.json")
    several = (folder / "dataset_dict.json").is_file()
    return several or all((folder / name).is_file() for name in pages)


def read_saved(folder: Path, image: str = "") -> Table:
    """Read what `save_to_disk` of Hugging Face's `datasets` wrote into a folder."""
    root = Root(folder, "the folder")
    if not (folder / "dataset_dict.json").is_file():
        return _table(folder, _streams(root, folder, "", ""), image, _described(root, ""))
    splits = _page(root, "dataset_dict.json", _Splits).splits
    if not splits:
        raise UserError(f"'{folder}' has no splits: save it again with save_to_disk")
    files = [file for split in splits for file in _streams(root, folder, f"{split}/", split)]
    if strange := [split for split in splits if not says_split(split)]:
        raise UserError(
            f"'{folder}': its split '{printable(strange[0])}' is none of train, validation and "
            "test: name the folder of one split, or save these alone"
        )
    about = _described(root, f"{splits[0]}/")
    return _table(folder, files, image, about, "the names of its splits")


def _streams(root: Root, folder: Path, above: str, split: str) -> list[_File]:
    """Return the files of a data set in a folder, from what it says of itself."""
    state = _page(root, f"{above}state.json", _State)
    if state.indices:
        raise UserError(
            f"'{folder}' was saved by an old version of datasets, with its rows in another order: "
            "load it and save it again with save_to_disk"
        )
    names = [above + part.filename for part in state.files]
    if not names:
        raise UserError(f"'{folder}' has no rows: save it again with save_to_disk")
    try:
        return [_Stream(Path(root.locate(name)), name, split) for name in names]
    except ValueError as error:
        raise UserError(f"'{folder}': a file that its state.json names {error}") from None


def _described(root: Root, above: str) -> Mapping[str, Any] | None:
    """Return what a data set says of its columns; None where its files alone say it."""
    try:
        root.locate(f"{above}dataset_info.json")
    except ValueError:
        return None
    about: _About = _page(root, f"{above}dataset_info.json", _About)
    return about.features


def _page(root: Root, name: str, model: type[Any]) -> Any:
    """Read a page of JSON. Raises `UserError` where it is none, or leads out of the folder."""
    try:
        return read_document(Path(root.locate(name)), model, _MOST_PAGE)
    except (OSError, ValueError, DocumentError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"'{root.folder / name}' of a Hugging Face data set cannot be read ({why}): "
            "save it again with save_to_disk"
        ) from None
