"""From names to tensors: loads data sets once per process and makes their placebos.

All runs of a process share what is loaded, so nothing may change it in place; that is checked.
"""

import hashlib
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from bench.contracts import DataSource
from bench.images import content_digest, tensor_version, values_digest
from bench.randomness import stream
from bench.spec.registry import dataset_identity, parse_dataset
from bench.tasks import TaskData, split_placebo

#: Placebos and fixed parts of data are drawn at this seed, whatever the run's seed.
_FIXED_SEED = 0


#: Bytes of a tensor up to which its values are compared, which finds every change. Of a larger one
#: the version is, which torch raises where it writes itself.
_COMPARED = 2**22
#: What has been loaded and still lives, by identity: a task, the tensor, and its mark.
_marks: dict[int, tuple[str, weakref.ref[Tensor], int | str]] = {}


class ChangedDataError(RuntimeError):
    """Images or labels were changed in place, which would ruin the data of all later runs."""


def _mark(tensor: Tensor) -> int | str:
    """Return what tells whether a tensor is still as it was."""
    return values_digest(tensor) if tensor.nbytes <= _COMPARED else tensor_version(tensor)


def check_unchanged() -> None:
    """Forget all data that is loaded if some of it is no longer as it was, and say so.

    Raises `ChangedDataError` then. The next run loads them anew.
    """
    for task, known, mark in list(_marks.values()):
        tensor = known()
        if tensor is not None and _mark(tensor) != mark:
            forget_data()
            raise ChangedDataError(
                f"images or labels of '{task}' were changed in place, and other runs read them "
                "too: change a copy"
            )


def forget_data() -> None:
    """Load data sets anew from now on."""
    _load.cache_clear()
    task_data.cache_clear()
    _marks.clear()


@lru_cache(maxsize=8)
def _load(dataset: str, source: DataSource) -> Mapping[str, TaskData]:
    return parse_dataset(dataset).load(source)


@lru_cache(maxsize=64)
def task_data(dataset: str, name: str, source: DataSource) -> TaskData:
    """Return the data of `task` or `task~placebo`, loaded once per process.

    Raises `UserError` where the data set cannot be loaded.
    """
    base, placebo = split_placebo(name)
    data = _load(dataset, source)[base]
    for tensor in (data.images.train, data.images.test, data.train_labels, data.test_labels):
        if tensor is not None and id(tensor) not in _marks:
            _marks[id(tensor)] = base, weakref.ref(tensor), _mark(tensor)
            weakref.finalize(tensor, _marks.pop, id(tensor), None)
    if not placebo:
        return data
    task = replace(data.task, name=name, scored=False)
    draw = stream(_FIXED_SEED, "placebo", dataset_identity(dataset), name)
    match placebo:
        case "none":
            return replace(data, task=replace(task, weight=0.0))
        case "shuffled":
            labels = [
                None if part is None else part[_shuffled(known, draw)]
                for part, known in zip(
                    (data.train_labels, data.test_labels), data.known, strict=True
                )
            ]
            return replace(data, task=task, train_labels=labels[0], test_labels=labels[1])
        case "noise":
            parts = [
                torch.randint(0, 256, part.shape, dtype=torch.uint8, generator=draw)
                for part in (data.images.train, data.images.test)
            ]
            name = f"{data.images.name}~noise"
            images = replace(data.images, name=name, train=parts[0], test=parts[1])
            return replace(data, task=task, images=images)
        case _:
            raise ValueError(f"unknown placebo '{placebo}'")


def _shuffled(known: Tensor, draw: torch.Generator) -> Tensor:
    """Return an order that permutes only the images with a label, bool `known` `[N]`.

    The images without a label stay without. So a pair trains on the same images with the placebo as
    without it.
    """
    order, places = torch.arange(len(known)), known.nonzero()[:, 0]
    order[places] = places[torch.randperm(len(places), generator=draw)]
    return order


def fingerprint(data: Sequence[TaskData]) -> str:
    """Return the SHA-256 of all that a run can read of its data: images, labels and tasks."""
    total = hashlib.sha256()
    for d in data:
        task = (d.task.name, d.task.type, d.task.outputs, d.task.weight, d.images.name)
        total.update(repr((*task, d.images.drawn)).encode())
        for tensor in (d.images.train, d.images.test, d.train_labels, d.test_labels):
            total.update(b"-" if tensor is None else content_digest(tensor).encode())
    return total.hexdigest()
