"""What is learned and from what: tasks and labelled images.

A task is a task type (see `bench.task_types`) with a name and a number of outputs; `TaskData` ties
a task to images and labels. Nothing here trains.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError, shortened
from bench.networks import Shape
from bench.task_types import Classification, Metric, TaskType

Expectation = Literal["positive", "none", "negative"]
Decay = Literal["none", "linear", "cosine"]
#: Channel statistics of a larger pool come from a sample of this many bytes.
_COUNTED_BYTES = 2**30
#: Number of values counted at once; each takes eight bytes meanwhile.
_COUNTED_AT_ONCE = 2**22


def _plain(metric: str) -> str:
    """Return the name of a metric without what typing on a command line may change."""
    return metric.casefold().replace("-", " ").replace("_", " ")


@dataclass(frozen=True)
class Task:
    """One thing to learn.

    `outputs` is the number of classes or of output channels. `weight` is the task's share in the
    loss at the start, before a strategy's weighting; `decay` says how it falls to 0 over the steps.
    The harness divides the weights of every step by their sum. An auxiliary task is a task that is
    not `scored`. `classes` are the names of the classes or labels in the order of the outputs, if
    any. They are for people to read and affect no number. `metric` is the one that gains are
    computed in; if it is empty, it is the first of the type.
    """

    name: str
    type: TaskType
    outputs: int
    weight: float = 1.0
    scored: bool = True
    classes: tuple[str, ...] = ()
    decay: Decay = "none"
    metric: str = ""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of its type, the one that gains are computed in first."""
        return tuple(sorted(self.type.metrics, key=lambda metric: metric.name != self.metric))

    def by(self, metric: str) -> "Task":
        """Return the task with gains in another metric. Raises `UserError` where it has none such.

        `macro-f1` is the name of macro F1 too. Without a name the task is as it was.
        """
        if not metric:
            return self
        known = {_plain(each.name): each.name for each in self.type.metrics}
        if _plain(metric) not in known:
            raise UserError(
                f"task '{self.name}' has no metric '{shortened(metric)}': give one of "
                f"{', '.join(known.values())}, for this task alone as --metric '{self.name}=NAME'"
            )
        return replace(self, metric=known[_plain(metric)])

    def weight_at(self, progress: float) -> float:
        """Return the weight after a fraction `progress` of the steps; at 1 it is 0 if it decays."""
        match self.decay:
            case "none":
                return self.weight
            case "linear":
                return self.weight * (1 - progress)
            case "cosine":
                return self.weight * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Reading:
    """How image files were read, beside their size and channels: see `bench.images.read_image`."""

    bits: int = 16
    background: str = ""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one source: `train` is the pool that seeds draw from, `test` is never trained on.

    Both are uint8 `[N, C, H, W]`. `name` keys the streams of the subset and of the data order, so
    two tasks on the same images name the same set. Tensors may be mapped from a file.

    `drawn` is the number of training images that a seed draws where the set fixes it, as a planted
    world does; otherwise the recipe decides. `scarce` is set where the pool is what a user happens
    to have. A recipe that asks for too many images then gets fewer (see `data.split_sizes`),
    instead of an error. `notes` are what a user must know about how the set was read.

    `groups` has the group of each training image, int64 `[N]`, where images of one group (frames of
    a video, say) must not be trained on and validated on. `reading` is how the files were read, if
    there were any.
    """

    name: str
    train: Tensor
    test: Tensor
    drawn: int | None = None
    scarce: bool = False
    notes: tuple[str, ...] = ()
    groups: Tensor | None = None
    reading: Reading | None = None

    def __post_init__(self) -> None:
        if self.groups is not None and len(self.groups) != len(self.train):
            raise ValueError(f"image set '{self.name}': {len(self.groups)} groups of its images")
        for part in (self.train, self.test):
            if part.dtype != torch.uint8 or part.dim() != 4:
                raise ValueError(f"image set '{self.name}': images are uint8 [N, C, H, W]")

    @property
    def image(self) -> Shape:
        """Shape (C, H, W) of one image."""
        return tuple(self.train.shape[1:])

    @cached_property
    def channel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over the training pool, `[C]` each.

        Counted in integers, so that they are the same on every machine. Where the pool is larger
        than a gigabyte, they are over evenly spaced images.
        """
        levels = np.arange(256)
        found = []
        sample = self.train[:: self.train.numel() // _COUNTED_BYTES + 1]
        images_at_once = max(1, _COUNTED_AT_ONCE // math.prod(self.image[1:]))
        for channel in range(self.train.shape[1]):
            counts = np.zeros(256, dtype=np.int64)
            for part in torch.split(sample[:, channel], images_at_once):
                counts += np.bincount(part.numpy().ravel(), minlength=256)
            mean = (counts * levels).sum() / counts.sum()
            variance = (counts * (levels - mean) ** 2).sum() / counts.sum()
            found.append((mean, max(variance, 1.0) ** 0.5))
        mean, deviation = torch.tensor(found, dtype=torch.float32).unbind(1)
        return mean, deviation


@dataclass(frozen=True, eq=False)
class TaskData:
    """A task with its images and labels (`None` where the type makes targets from images).

    `notes` are what a user must know about the labels.
    """

    task: Task
    images: ImageSet
    train_labels: Tensor | None = field(default=None)
    test_labels: Tensor | None = field(default=None)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for labels, images in (
            (self.train_labels, self.images.train),
            (self.test_labels, self.images.test),
        ):
            if labels is not None and len(labels) != len(images):
                raise ValueError(
                    f"task '{self.task.name}': {len(labels)} labels for {len(images)} images"
                )

    @cached_property
    def known(self) -> tuple[Tensor, Tensor]:
        """Which images of the training pool and of the test set are labelled, bool `[N]` each."""
        parts = (self.images.train, self.train_labels), (self.images.test, self.test_labels)
        train, test = (
            torch.ones(len(images), dtype=torch.bool)
            if labels is None
            else self.task.type.known(labels)
            for images, labels in parts
        )
        return train, test

    @cached_property
    def floor(self) -> dict[str, float]:
        """Every metric on the test set of who knows the training labels and sees no image.

        Empty where there is nothing to know.
        """
        if self.train_labels is None or self.test_labels is None:
            return {}
        return self.task.type.floor(self.train_labels, self.test_labels, self.task.outputs)


def classification_tasks(
    images: ImageSet, columns: Mapping[str, tuple[int, Tensor, Tensor]]
) -> dict[str, TaskData]:
    """Return one classification task per label column, all on the same images.

    `columns` maps a task's name to its number of classes, and to its labels of the training pool
    and of the test set, int64 `[N]` each.
    """
    return {
        name: TaskData(Task(name, Classification(), classes), images, train, test)
        for name, (classes, train, test) in columns.items()
    }


def split_placebo(name: str) -> tuple[str, str]:
    """Return the task behind `task~placebo`, and its placebo type: empty if it is no placebo."""
    base, _, placebo = name.partition("~")
    return base, placebo


@dataclass(frozen=True)
class Pair:
    """Tasks of one data set that are compared alone and together, and the expected outcome.

    `expect` is a hypothesis declared before any run; `why` is its reason in a sentence.
    """

    dataset: str
    tasks: tuple[str, ...]
    expect: Expectation | None = None
    why: str = ""

    @property
    def name(self) -> str:
        """The name users type: `dataset:task+task`."""
        return f"{self.dataset}:{'+'.join(self.tasks)}"

    @property
    def targets(self) -> tuple[str, ...]:
        """The tasks that are scored: all but placebos."""
        return tuple(task for task in self.tasks if not split_placebo(task)[1])

    @property
    def placebo(self) -> str:
        """How a partner was made to hold nothing to transfer; empty where all tasks are real."""
        return next((made for task in self.tasks if (made := split_placebo(task)[1])), "")
