"""What is learned and from what: tasks, their kinds, and labelled images.

A kind says how outputs become a loss and a score; a task is a kind with a name and a number of
outputs; `TaskData` ties a task to images and labels. Nothing here trains.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.networks import ClassificationHead, DenseHead, Shape

Expectation = Literal["positive", "none", "negative"]


@dataclass(frozen=True)
class Metric:
    """A score's name, unit and direction. `scale` turns a mean over examples into the unit."""

    name: str
    unit: str
    higher_is_better: bool
    scale: float = 1.0


class TaskKind(ABC):
    """How the outputs of a head become a loss and scores."""

    name: ClassVar[str]
    #: The metric that gains are computed in. It is the mean of `example_scores`, times its scale.
    metric: ClassVar[Metric]

    @abstractmethod
    def head(self, features: Shape, image: Shape, outputs: int) -> nn.Module:
        """Return a fresh head for features of the given shape."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar."""

    @abstractmethod
    def example_scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return one score an example, `[N]`, before the metric's scale."""

    def example_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return one loss an example, `[N]`."""
        return torch.stack(
            [self.loss(o[None], t[None]) for o, t in zip(outputs, targets, strict=True)]
        )

    def targets(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return the targets of a batch: its labels, unless the kind makes them from images."""
        if labels is None:
            raise ValueError(f"a {self.name} task needs labels")
        return labels


class Classification(TaskKind):
    """One class an image; labels `[N]` int64, outputs `[N, classes]`."""

    name = "classification"
    metric = Metric("accuracy", "%", higher_is_better=True, scale=100.0)

    def head(self, features: Shape, image: Shape, outputs: int) -> nn.Module:
        """Return a linear head."""
        return ClassificationHead(features, outputs)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy in nats."""
        return F.cross_entropy(outputs, targets)

    def example_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of each example, in nats."""
        return F.cross_entropy(outputs, targets, reduction="none")

    def example_scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return 1 where the class is right, else 0."""
        return (outputs.argmax(1) == targets).float()


class Reconstruction(TaskKind):
    """The image itself, `[N, C, H, W]`: what an autoencoder learns.

    The loss is the mean squared error per pixel and channel, so that its weight does not depend
    on the size of the image.
    """

    name = "reconstruction"
    metric = Metric("mse", "squared intensity", higher_is_better=False)

    def head(self, features: Shape, image: Shape, outputs: int) -> nn.Module:
        """Return a decoder."""
        return DenseHead(features, image, outputs)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error per pixel and channel."""
        return F.mse_loss(outputs, targets)

    def example_scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error of each image."""
        return (outputs - targets).square().flatten(1).mean(1)

    def targets(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return the images."""
        return images


@dataclass(frozen=True)
class Task:
    """One thing to learn.

    `outputs` is the number of classes or of output channels. `weight` is the task's share in the
    loss before a strategy's weighting; the harness divides the weights of a run by their sum.
    An auxiliary task is a task that is not `scored`.
    """

    name: str
    kind: TaskKind
    outputs: int
    weight: float = 1.0
    scored: bool = True


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one source: `train` is the pool that seeds draw from, `test` is never trained on.

    Both are uint8 `[N, C, H, W]`. `name` keys the streams of the subset and of the data order, so
    two tasks on the same images name the same set.
    """

    name: str
    train: Tensor
    test: Tensor

    def __post_init__(self) -> None:
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

        Counted in integers, so that they are the same on every machine.
        """
        levels = np.arange(256)
        found = []
        for channel in range(self.train.shape[1]):
            counts = np.zeros(256, dtype=np.int64)
            for part in torch.split(self.train[:, channel], 4096):
                counts += np.bincount(part.numpy().ravel(), minlength=256)
            mean = (counts * levels).sum() / counts.sum()
            variance = (counts * (levels - mean) ** 2).sum() / counts.sum()
            found.append((mean, max(variance, 1.0) ** 0.5))
        mean, deviation = torch.tensor(found, dtype=torch.float32).unbind(1)
        return mean, deviation


@dataclass(frozen=True, eq=False)
class TaskData:
    """A task with its images and labels (`None` where the kind makes targets from images)."""

    task: Task
    images: ImageSet
    train_labels: Tensor | None = field(default=None)
    test_labels: Tensor | None = field(default=None)

    def __post_init__(self) -> None:
        for labels, images in (
            (self.train_labels, self.images.train),
            (self.test_labels, self.images.test),
        ):
            if labels is not None and len(labels) != len(images):
                raise ValueError(
                    f"task '{self.task.name}': {len(labels)} labels for {len(images)} images"
                )


def classification_tasks(
    images: ImageSet, columns: Mapping[str, tuple[int, Tensor, Tensor]]
) -> dict[str, TaskData]:
    """Return one classification task a label column, all on the same images.

    `columns` maps a task's name to its number of classes and to its labels of the training pool and
    of the test set, int64 `[N]` each.
    """
    return {
        name: TaskData(Task(name, Classification(), classes), images, train, test)
        for name, (classes, train, test) in columns.items()
    }


@dataclass(frozen=True)
class Pair:
    """Tasks of one data set that are compared alone and together, and what is expected of them.

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
