"""Images with label maps in `.npy` files, as MTAN's authors release them. Not a data set itself.

Liu et al. 2019 (MTAN) published NYUv2 and Cityscapes in this form, and LibMTL (Lin & Zhang 2023)
reads the same files. They are `<part>/<quantity>/<i>.npy` for i = 0, 1, …, of the parts `train` and
`val`. All are floats:

- `image`, `[H, W, 3]` in 0..1;
- `label`, `[H, W]`, whole numbers, −1 where there is none;
- `depth`, `[H, W, 1]`, 0 where it is not known;
- `normal`, `[H, W, 3]` in −1..1, three zeros where it is not known.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.contracts import Dataset, DataSource, UserError
from bench.files import open_regular, read_array
from bench.images import Row
from bench.task_types import VOID, Depth
from bench.tasks import ImageSet, Task, TaskData

from ._files import Column, check_side, locate, read_examples

#: The training pool and the test set.
_PARTS = ("train", "val")
#: How far a value may lie outside its range, because the files were resized as floats.
_SLACK = 0.01
#: Bytes of the widest values that are told by their type, and more than a header has.
_WIDEST = 16
_HEADER = 2**12
#: So many numbers may be missing between the files of a folder, beside as many as there are.
_MOST_MISSING = 1000


@dataclass(frozen=True)
class Layout:
    """The maps of a release: their size in pixels and the number of classes.

    Each square of `shrink` × `shrink` pixels becomes one pixel. Raises `ValueError` where such
    squares do not fill the maps.
    """

    height: int
    width: int
    classes: int
    shrink: int = 1

    def __post_init__(self) -> None:
        if self.shrink < 1 or self.height % self.shrink or self.width % self.shrink:
            raise ValueError(
                f"shrink must divide {self.height} and {self.width}, and {self.shrink} does not"
            )
        check_side(min(self.size))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width after shrinking."""
        return self.height // self.shrink, self.width // self.shrink


def _read(path: Path, shape: tuple[int, ...]) -> Row:
    """Return an array of numbers as float64. Raises `ValueError` where the file holds none."""
    most = math.prod(shape) * _WIDEST + _HEADER
    with open_regular(path, most) as file:
        values: Row = read_array(file, os.fstat(file.fileno()).st_size)
    if values.dtype.kind not in "fiu" or values.shape != shape:
        raise ValueError(
            f"its shape is {values.shape} of {values.dtype}, and should be {shape} of floats"
        )
    return values.astype(np.float64)


def _check_range(values: Row, low: float, high: float) -> None:
    # Written so that NaN fails.
    if not (values.min() >= low - _SLACK and values.max() <= high + _SLACK):
        raise ValueError(
            f"its values lie in {values.min():g}..{values.max():g}, and should in {low:g}..{high:g}"
        )


def _middles(values: Row, layout: Layout) -> Row:
    """Return the middle pixel of each square, because labels cannot be averaged."""
    middle = slice(layout.shrink // 2, None, layout.shrink)
    found: Row = values[middle, middle]
    return found


def _read_image(path: Path, layout: Layout) -> Row:
    """Return uint8 `[3, h, w]`, each pixel the mean of a square."""
    values = _read(path, (layout.height, layout.width, 3))
    _check_range(values, 0, 1)
    height, width = layout.size
    squares = values.reshape(height, layout.shrink, width, layout.shrink, 3)
    pixels: Row = np.round(255 * squares.mean((1, 3)).clip(0, 1))
    return pixels.astype(np.uint8).transpose(2, 0, 1)


def _read_label(path: Path, layout: Layout) -> Row:
    """Return uint8 `[h, w]`, `VOID` where there is no class."""
    values = _middles(_read(path, (layout.height, layout.width)), layout)
    if strange := set(np.unique(values).tolist()) - set(range(-1, layout.classes)):
        last = layout.classes - 1
        raise ValueError(f"there is no class {min(strange):g}: they are 0 to {last}, or -1")
    return np.where(values < 0, VOID, values).astype(np.uint8)


def _read_depth(path: Path, layout: Layout) -> Row:
    """Return float32 `[h, w]`, NaN where it is not known."""
    values = _middles(_read(path, (layout.height, layout.width, 1)), layout)[..., 0]
    known = (values > 0) & (values <= np.finfo(np.float32).max)  # so that NaN is not known either
    return np.where(known, values, np.nan).astype(np.float32)


def _read_normal(path: Path, layout: Layout) -> Row:
    """Return unit vectors, float32 `[3, h, w]`, NaN where they are not known."""
    values = _middles(_read(path, (layout.height, layout.width, 3)), layout)
    _check_range(values, -1, 1)
    length = np.linalg.norm(values, axis=2, keepdims=True)
    units = values / np.where(length > 0, length, np.nan)
    return units.astype(np.float32).transpose(2, 0, 1)


@dataclass(frozen=True)
class _Quantity:
    """A folder of a part: how its files are read, and the shape of a row without its size."""

    folder: str
    read: Callable[..., Row]
    channels: tuple[int, ...]
    dtype: type[np.uint8] | type[np.float32]


_IMAGES = _Quantity("image", _read_image, (3,), np.uint8)
_QUANTITIES = {
    "segmentation": _Quantity("label", _read_label, (), np.uint8),
    "depth": _Quantity("depth", _read_depth, (), np.float32),
    "normals": _Quantity("normal", _read_normal, (3,), np.float32),
}


def _columns(part: Path, quantities: Mapping[str, _Quantity], layout: Layout) -> dict[str, Column]:
    """Return the columns of one part, each with as many files as the longest has."""
    found = {
        int(path.stem)
        for quantity in quantities.values()
        for path in (part / quantity.folder).glob("*.npy")
        if re.fullmatch("[0-9]{1,18}", path.stem)
    }
    if not found:
        raise UserError(f"'{part}' holds no files 0.npy, 1.npy, …: unpack the release again")
    if max(found) > 2 * len(found) + _MOST_MISSING:
        raise UserError(
            f"'{part}' holds {max(found)}.npy and only {len(found):,} numbers in all: "
            "unpack the release again"
        )
    return {
        name: Column(
            [part / quantity.folder / f"{number}.npy" for number in range(max(found) + 1)],
            partial(quantity.read, layout=layout),
            [quantity.folder, *astuple(layout)],
            (*quantity.channels, *layout.size),
            quantity.dtype,
        )
        for name, quantity in quantities.items()
    }


def load_maps(
    source: DataSource, dataset: Dataset, collection: str, layout: Layout, get: str
) -> dict[str, TaskData]:
    """Return the tasks of a data set, all on the same images `[N, 3, h, w]`.

    Its folder under the root has its name. `get` is an imperative that tells a user how to get it.
    Raises `UserError` with the fix where files are missing or broken.
    """
    quantities = {"images": _IMAGES} | {task: _QUANTITIES[task] for task in dataset.tasks}
    needed = [f"{part}/{q.folder}" for part in _PARTS for q in quantities.values()]
    folder = locate(source, collection, dataset.name, needed, get)
    parts = {part: _columns(folder / part, quantities, layout) for part in _PARTS}
    (train, test), notes = read_examples(source, collection, parts)
    images = ImageSet(dataset.name, train.rows["images"], test.rows["images"], notes=notes)
    outputs = {"segmentation": layout.classes, "depth": 1, "normals": 3}
    found = {}
    for name, kind in dataset.task_types.items():
        labels = train.rows[name]
        kind = kind.of(labels, kind.unit) if isinstance(kind, Depth) else kind
        found[name] = TaskData(Task(name, kind, outputs[name]), images, labels, test.rows[name])
    return found
