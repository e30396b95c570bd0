"""Labelled photographs in the files of CIFAR-10 and CIFAR-100. Not a data set itself.

The files are Python 2 pickles, and unpickling runs whatever a file names. So nothing that they name
is ever run here. The few numpy names that pickled arrays need all map to a class that remembers its
arguments. Any other name is refused. The pixels are taken from the remembered arguments after those
have been checked.
"""

import io
import pickle
import pickletools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import DataSource, UserError
from bench.files import UnfitFileError, read_bytes

from ._files import locate, one_line

_IMAGE = (3, 32, 32)
#: The most bytes of a file, of which the largest has 155 MB, and steps of its pickle, of which it
#: has a quarter of a million.
_MOST_BYTES = 2**28
_MOST_STEPS = 1_000_000
#: The names in pickled arrays, as numpy 1 and numpy 2 write them. `_codecs.encode` precedes the
#: bytes where Python 3 wrote a pickle that Python 2 can read.
_NUMPY = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


@dataclass(frozen=True)
class Photographs:
    """One part of a collection: images uint8 `[N, 3, 32, 32]`, label columns int64 `[N]` each."""

    images: Tensor
    labels: Mapping[str, Tensor]

    def only(self, column: str, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the images of the given classes of a column, and their positions in `classes`."""
        hits = self.labels[column][:, None] == torch.tensor(classes)
        chosen = hits.any(1)
        return self.images[chosen], hits[chosen].byte().argmax(1)


def load_cifar(
    source: DataSource, collection: str, columns: Mapping[str, int], megabytes: int
) -> tuple[Photographs, Photographs]:
    """Return the training and the test part of a collection, checked.

    `collection` is the name of torchvision's loader, which knows the files and their archive.
    `columns` maps each label column in the files to its number of classes. `megabytes` is the size
    of a download. Raises `UserError` where there is no root or a download fails. It also does where
    a file is missing, broken or asks for a name that no such file needs.
    """
    from torchvision import datasets  # here, because importing it takes seconds
    from torchvision.datasets.utils import download_and_extract_archive

    loader = getattr(datasets, collection)
    parts = [[name for name, _ in files] for files in (loader.train_list, loader.test_list)]

    def fetch(root: Path) -> None:
        # Checks the archive's MD5; an archive that is already there is not fetched again.
        download_and_extract_archive(loader.url, root, filename=loader.filename, md5=loader.tgz_md5)

    names = [*parts[0], *parts[1]]
    get = f"put its {len(names)} files into '{loader.base_folder}' there"
    folder = locate(source, collection, loader.base_folder, names, get, fetch, megabytes)
    train, test = (
        _joined([_read(folder / name, collection, columns) for name in part]) for part in parts
    )
    return train, test


_Part = tuple[NDArray[np.uint8], dict[str, list[int]]]


def _joined(parts: Sequence[_Part]) -> Photographs:
    images = np.concatenate([images for images, _ in parts])  # a copy, which torch may write to
    labels = {
        column: torch.tensor([label for _, labels in parts for label in labels[column]])
        for column in parts[0][1]
    }
    return Photographs(torch.from_numpy(images).view(-1, *_IMAGE), labels)


class _UnfitError(Exception):
    """What is wrong with a file, as a clause."""


def _read(path: Path, collection: str, columns: Mapping[str, int]) -> _Part:
    """Return the images `[N, 3072]` and the label columns of a file. Raises `UserError`."""
    try:
        content = _unpickled(read_bytes(path, _MOST_BYTES))
        images = _pixels(content["data"])
        labels = {
            column: _labels(content[column], column, len(images), classes)
            for column, classes in columns.items()
        }
    except (_UnfitError, UnfitFileError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    except Exception as error:  # a broken pickle may raise almost anything
        reason = f"{type(error).__name__}: {one_line(error)}"
    else:
        return images, labels
    raise UserError(
        f"'{path}' is no {collection} file ({reason}): delete it and run again with --download"
    )


def _unpickled(content: bytes) -> Any:
    """Return what a pickle holds. Raises `_UnfitError` where it would take more memory than it has.

    A pickle may claim more bytes than follow, or a place in a table of any length; both are
    reserved before anything is read. An empty object takes one byte in it and 200 in memory.
    """
    try:
        for steps, (step, argument, _) in enumerate(pickletools.genops(content)):
            if steps > _MOST_STEPS or ("PUT" in step.name and int(argument or 0) > steps + 1):
                raise _UnfitError("it holds more objects than its images and labels")
    except ValueError as error:
        raise _UnfitError(f"truncated, or no pickle: {one_line(error)}") from None
    return _Unpickler(io.BytesIO(content), encoding="latin1").load()


class _Remembered:
    """A stand-in for the numpy names in a pickle: it keeps its arguments and does nothing."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Reads dicts, lists, numbers, text and arrays, the last as `_Remembered`; runs nothing."""

    def find_class(self, module: str, name: str) -> type[_Remembered]:
        """Return the stand-in. Raises `_UnfitError` for a name that arrays do not need."""
        if (module, name) not in _NUMPY:
            asked = ascii(f"{module}.{name}")  # escaped, because a terminal obeys control sequences
            raise _UnfitError(f"it asks for {asked}, which was not run")
        return _Remembered


def _pixels(array: _Remembered) -> NDArray[np.uint8]:
    """Return the images `[N, 3072]` that a pickled array holds."""
    _, shape, dtype, by_column, content = array.state
    if isinstance(content, _Remembered):
        content = content.arguments[0]
    if isinstance(content, str):  # Python 2 had no bytes type
        content = content.encode("latin1")
    width = int(np.prod(_IMAGE))
    if dtype.arguments[0] != "u1" or len(shape) != 2 or shape[1] != width or not shape[0]:
        raise _UnfitError(f"its images are not uint8 [N, {width}]")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_column else "C")


def _labels(labels: object, column: str, count: int, classes: int) -> list[int]:
    if not isinstance(labels, list) or len(labels) != count:
        raise _UnfitError(f"its '{column}' is not a list of one label an image")
    if not all(type(label) is int and 0 <= label < classes for label in labels):
        raise _UnfitError(f"its '{column}' has labels other than 0 to {classes - 1}")
    return labels
