"""Tasks made from the images alone: change each image and predict which change it was."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from bench.contracts import stream
from bench.task_types import Classification
from bench.tasks import ImageSet, Task, TaskData

#: Each image's change is drawn once, whatever the seed of a run.
_SEED = 0

#: Maps images uint8 `[N, C, H, W]` and the change of each, int64 `[N]`, to changed images.
Change = Callable[[Tensor, Tensor], Tensor]


def changed_set(images: ImageSet, train: Tensor) -> ImageSet:
    """Return the set with other pixels in its training pool, and without a test set.

    It keeps the name, which keys the streams of subset and order. So a run draws the same images
    from both sets, in the same order, and an auxiliary task shows it no others. The changed images
    are standardised with their own statistics.
    """
    return replace(images, train=train, test=images.test[:0])


@lru_cache(maxsize=8)
def _changed(images: ImageSet, name: str, classes: int, change: Change) -> tuple[ImageSet, Tensor]:
    """Return the changed images and the change of each. The pool is copied once."""
    draw = stream(_SEED, "auxiliary", name, images.name)
    labels = torch.randint(0, classes, (len(images.train),), generator=draw)
    return changed_set(images, change(images.train, labels)), labels


@lru_cache(maxsize=8)
def shuffled(labels: Tensor, name: str) -> Tensor:
    """Return the labels of a placebo: labels that belong to other images, `[N, ...]`."""
    order = torch.randperm(len(labels), generator=stream(_SEED, "auxiliary", name, "placebo"))
    return labels[order]


def which_change(
    images: ImageSet, name: str, classes: int, change: Change, placebo: bool
) -> TaskData:
    """Return the task of predicting which of `classes` changes was made to an image."""
    made, labels = _changed(images, name, classes, change)
    if placebo:
        labels = shuffled(labels, name)
    return TaskData(Task(name, Classification(), classes), made, labels, labels[:0])
