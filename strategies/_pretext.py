"""Tasks that are made from the images alone: a change of each image, and which change it was."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from bench.contracts import stream
from bench.task_types import Classification
from bench.tasks import ImageSet, Task, TaskData

#: Changes are drawn once for an image, whatever the seed of a run.
_SEED = 0

#: Images uint8 `[N, C, H, W]` and the change of each, int64 `[N]`, to changed images.
Change = Callable[[Tensor, Tensor], Tensor]


def changed_set(images: ImageSet, train: Tensor) -> ImageSet:
    """Return the set with other pixels in its training pool, and without a test set.

    It keeps the name, which keys the streams of subset and order: a run draws the same images of
    both, in one order, and sees no other through an auxiliary task. The
    statistics that standardise them are those of the changed images.
    """
    return replace(images, train=train, test=images.test[:0])


@lru_cache(maxsize=8)
def _changed(images: ImageSet, name: str, classes: int, change: Change) -> tuple[ImageSet, Tensor]:
    """Return the changed images and what was done to each. A copy of the pool, made once."""
    draw = stream(_SEED, "auxiliary", name, images.name)
    labels = torch.randint(0, classes, (len(images.train),), generator=draw)
    return changed_set(images, change(images.train, labels)), labels


@lru_cache(maxsize=8)
def shuffled(labels: Tensor, name: str) -> Tensor:
    """Return the labels of a placebo: those of other images, `[N, ...]`."""
    order = torch.randperm(len(labels), generator=stream(_SEED, "auxiliary", name, "placebo"))
    return labels[order]


def which_change(
    images: ImageSet, name: str, classes: int, change: Change, placebo: bool
) -> TaskData:
    """Return the task to tell which of `classes` changes was made to an image."""
    made, labels = _changed(images, name, classes, change)
    if placebo:
        labels = shuffled(labels, name)
    return TaskData(Task(name, Classification(), classes), made, labels, labels[:0])
