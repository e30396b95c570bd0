"""SVHN with two label columns: the digit, and how bright it is.

Real data of Netzer et al. 2011 (Reading Digits in Natural Images with Unsupervised Feature
Learning): house numbers seen from the street, cropped around one digit. The easier images published
as an extra training set are left out.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.contracts import Dataset, DataSource, UserError
from bench.files import read_bytes
from bench.tasks import ImageSet, TaskData, classification_tasks

from ._bins import QUARTERS, mean_level, quarters
from ._files import locate, one_line

#: The most bytes of a file, also unpacked; the training part has 226 MB.
_MOST_BYTES = 2**28
#: Of MATLAB's format: the bytes before the first variable, kinds of elements, and of numbers.
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}


@dataclass(frozen=True)
class HouseNumbers:
    """One part of SVHN: images uint8 `[N, 3, 32, 32]` and digits int64 `[N]`."""

    images: Tensor
    digits: Tensor


def load_house_numbers(source: DataSource) -> tuple[HouseNumbers, HouseNumbers]:
    """Return the training and the test part of SVHN, checked.

    Files lie where torchvision puts them, in the root itself. Raises `UserError` where there is no
    root, a file is missing or broken, or a download fails.
    """
    from torchvision.datasets import SVHN as TORCHVISION  # here, because it takes seconds

    names = [TORCHVISION.split_list[part][1] for part in ("train", "test")]

    def fetch(root: Path) -> None:
        for part in ("train", "test"):
            TORCHVISION(root, part, download=True)  # checks the MD5

    get = "put its two files there"
    folder = locate(source, "SVHN", ".", names, get, fetch, megabytes=246)
    train, test = (_read(folder / name) for name in names)
    return train, test


def _read(path: Path) -> HouseNumbers:
    """Return the contents of a MATLAB file: `X` uint8 `[32, 32, 3, N]`, `y` `[N, 1]` of 1 to 10."""
    try:
        content = _variables(read_bytes(path, _MOST_BYTES))
        images, labels = content["X"], content["y"].ravel()
    except Exception as error:  # a broken file may raise almost anything
        reason = f"{type(error).__name__}: {one_line(error)}"
    else:
        if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)) or not len(labels):
            reason = "its images are not uint8 [32, 32, 3, N], or not as many as its labels"
        elif not np.isin(labels, np.arange(1, 11)).all():
            reason = "it has labels other than 1 to 10"
        else:
            images = np.ascontiguousarray(images.transpose(3, 2, 0, 1))
            digits = labels.astype(np.int64) % 10  # 10 stands for the digit 0
            return HouseNumbers(torch.from_numpy(images), torch.from_numpy(digits))
    raise UserError(f"'{path}' is no SVHN file ({reason}): delete it and run again with --download")


def _variables(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the variables `X` and `y` of a MATLAB file of format 5.

    Nothing is unpacked that is larger than SVHN can be. scipy reads this format too, but unpacks
    everything first, and damaged files can crash the process in it. Raises where it is no such
    file: `ValueError`, or whatever numpy, struct and zlib raise.
    """
    if content[124:_HEADER] != b"\0\1IM":
        raise ValueError("it is not in MATLAB's format 5")
    found: dict[str, NDArray[Any]] = {}
    whole, at, left = memoryview(content), _HEADER, _MOST_BYTES
    while at < len(whole):
        kind, body, at = _element(whole, at)
        if kind == _COMPRESSED:
            unpack = zlib.decompressobj()
            body = memoryview(unpack.decompress(body, left))
            left -= len(body)
            if unpack.unconsumed_tail or left <= 0:
                raise ValueError(f"it unpacks to over {_MOST_BYTES:,} bytes")
            kind, body, _ = _element(body, 0)
        if kind != _MATRIX:
            continue
        _, _, after = _element(body, 0)  # flags
        _, shape, after = _element(body, after)
        _, name, after = _element(body, after)
        if (known := bytes(name).decode("latin1")) in ("X", "y"):
            number, values, _ = _element(body, after)
            if number not in _NUMBERS:
                raise ValueError(f"its '{known}' is text: it has labels other than 1 to 10")
            array = np.frombuffer(values, _NUMBERS[number])
            found[known] = array.reshape(np.frombuffer(shape, "<i4").tolist(), order="F")
    return found


def _element(content: memoryview, at: int) -> tuple[int, memoryview, int]:
    """Return the kind and the content of an element of a MATLAB file, and where the next one is."""
    kind, size = struct.unpack_from("<II", content, at)
    start = at + 8
    if kind >> 16:  # a small one: its kind and size share four bytes, its content has the others
        kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
    if start + size > len(content):
        raise ValueError("it is cut short")
    end = max(start + size, at + 8)
    return kind, content[start : start + size], end + (0 if kind == _COMPRESSED else -end % 8)


class SVHN(Dataset):
    """House numbers (Netzer et al. 2011): 32 × 32 RGB images, 73,257 and 26,032."""

    name = "svhn"
    summary = "digits of house numbers: which digit, how bright"
    needs = "--root DIR, --download to fetch it (246 MB)"
    images = "73,257 + 26,032, 32 × 32 RGB"
    tasks: ClassVar = {
        "digit": "which digit, 10 classes",
        "brightness": "quarter of the training set's mean brightness, 4 classes",
    }
    pairs: ClassVar = (
        (
            ("digit", "brightness"),
            "none",
            "how light a house number is says nothing about its digit",
        ),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return both tasks on the same images `[N, 3, 32, 32]`."""
        train, test = load_house_numbers(source)
        images = ImageSet(self.name, train.images, test.images)
        levels = quarters(mean_level(train.images), mean_level(test.images))
        return classification_tasks(
            images,
            {
                "digit": (10, train.digits, test.digits),
                "brightness": (QUARTERS, *levels),
            },
        )
