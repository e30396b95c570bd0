"""The file of a trained network: safetensors, with all that it takes to build the network again.

Nothing of a file is run or believed. Its header has a bounded length, its metadata a schema, and
the tensors have to be those of the network that the metadata describe.
"""

import importlib.util
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json
from torch import Tensor

from bench.errors import UserError, message_of, missing_package
from bench.files import MOST_WEIGHTS, UnfitFileError, clause, open_regular
from bench.spec.experiment import DenseHeadName, Precision
from bench.store.records import Count, Key, Number, Seed

#: The metadata of a file of ours stand under this name.
_OURS = "bench"
#: Bytes that say how long the header is.
_LENGTH = 8
#: The longest header in bytes, and the longest text in it, in signs.
_MOST_HEADER = 2**24
_MOST_TEXT = 10_000
#: The most numbers in a line of an image, over all channels: there is a mean for each.
_MOST_LINE = 2**18

Text = Annotated[str, Field(max_length=_MOST_TEXT)]
Side = Annotated[int, Field(ge=1, le=2**14)]
#: In pixels from 0 to 255, or in whatever unit a network expects.
Positive = Annotated[float, Field(gt=0, le=1e100)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SavedTask(_Part):
    """A task of a saved network, in the network's order.

    `type` is the class of its task type, made with `knobs`. `images` names its image set: tasks of
    one set look at the same images. `mean` and `deviation` standardise these images, one number per
    channel, of pixels from 0 to 255.
    """

    name: Text
    type: Text
    knobs: dict[Text, bool | int | float | Text] = {}
    outputs: Annotated[int, Field(ge=1, le=2**20)]
    classes: Annotated[tuple[Text, ...], Field(max_length=2**20)] = ()
    scored: bool = True
    images: Text
    mean: tuple[Number, ...]
    deviation: tuple[Positive, ...]


class SavedRun(_Part):
    """The run that trained a saved network, and how it scored on the test set, by task and metric.

    `data` is the data set without its path; None of the scores is where it was no number.
    """

    key: Key
    data: Text
    strategy: Text
    seed: Seed
    steps: tuple[Count, ...]
    budget: Text
    scores: dict[Text, dict[Text, Number | None]] = {}


class Saved(_Part):
    """What a file says of its network: all that it takes to build it, and where it comes from.

    `sharing` is the component of the strategy that builds it. `image` is the shape (C, H, W) of an
    image; files are read with `bits` and `background`, see `bench.images.read_image`. `plugins` are
    what it needs that does not come with the package. `made` are the versions that made it.
    """

    format: Literal[1] = 1
    sharing: Text
    network: Text
    width: Annotated[float, Field(gt=0, le=64)] = 1.0
    dense_head: DenseHeadName = "decoder"
    image: tuple[Side, Side, Side]
    bits: Annotated[int, Field(ge=8, le=16)] = 16
    background: Literal["", "white", "black"] = ""
    precision: Precision = "fp32"
    tasks: Annotated[tuple[SavedTask, ...], Field(min_length=1, max_length=2**10)]
    run: SavedRun
    plugins: tuple[Text, ...] = ()
    made: dict[Text, Text] = {}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len({task.name for task in self.tasks}) < len(self.tasks):
            raise ValueError("a network has each task once")
        if self.image[0] * self.image[2] > _MOST_LINE:
            raise ValueError(f"a line of an image has up to {_MOST_LINE:,} numbers")
        for task in self.tasks:
            if not len(task.mean) == len(task.deviation) == self.image[0]:
                raise ValueError(f"'{task.name}' has a mean and a deviation per channel")
            if len(task.classes) > task.outputs:
                raise ValueError(f"'{task.name}' has no more classes than outputs")
        return self

    @property
    def scored(self) -> tuple[SavedTask, ...]:
        """The tasks that it is for; the others only helped to train it."""
        return tuple(task for task in self.tasks if task.scored)


def check_package() -> None:
    """Raise `UserError` where the package is missing that files are written and read with."""
    if importlib.util.find_spec("safetensors") is None:
        raise missing_package(
            "a file of trained weights (--save-weights)", "safetensors", "weights"
        )


def to_bytes(saved: Saved, tensors: dict[str, Tensor]) -> bytes:
    """Return the content of a file. The tensors are on the CPU and contiguous."""
    check_package()
    from safetensors.torch import save

    # One entry: several would come in no fixed order, and the same run gives the same bytes.
    content: bytes = save(tensors, {_OURS: saved.model_dump_json()})
    return content


def read_saved(path: Path) -> Saved:
    """Return what a file says of its network, without its tensors.

    Raises `UserError` where it cannot be read, or is not a file that `--save-weights` wrote.
    """
    try:
        return _header(path)
    except UnfitFileError as error:
        why = str(error.strerror)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        why = f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
    except ValueError as error:
        why = str(error)
    raise UserError(f"{path} holds no network that --save-weights wrote: {clause(why)}")


def _header(path: Path) -> Saved:
    with open_regular(path, MOST_WEIGHTS) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(_LENGTH), "little")
        if size < _LENGTH or length > size - _LENGTH:
            raise ValueError("it is too short to be safetensors")
        if length > _MOST_HEADER:
            raise ValueError(f"its header has {length:,} bytes, over {_MOST_HEADER:,}")
        header = from_json(file.read(length))
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    ours = metadata.get(_OURS) if isinstance(metadata, dict) else None
    if not isinstance(ours, str):
        raise ValueError(f"its metadata have no text '{_OURS}'")
    return Saved.model_validate_json(ours)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, whose header `read_saved` has checked."""
    check_package()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is no file of safetensors: {clause(message_of(error))}") from None
    return found
