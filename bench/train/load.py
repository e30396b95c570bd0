"""From names to tensors: loads data sets once per process and makes their placebos."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from bench.contracts import DataSource
from bench.images import content_digest
from bench.randomness import stream
from bench.spec.registry import parse_dataset
from bench.tasks import TaskData, split_placebo

#: Placebos and fixed parts of data are drawn at this seed, whatever the run's seed.
_FIXED_SEED = 0


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
    if not placebo:
        return data
    task = replace(data.task, name=name, scored=False)
    draw = stream(_FIXED_SEED, "placebo", dataset, name)
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
