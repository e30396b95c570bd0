"""Shared by the worlds of teachers: writing noise as pixels, and scoring a student.

The inputs of such a world are independent standard normals. An image holds them in steps of 1 /
`STEPS` of a standard deviation. A teacher reads the numbers that the harness makes of its pixels.
Rounding thus changes the inputs of teacher and student alike, so the teacher is exact.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from bench.contracts import stream
from bench.networks import Shape
from bench.task_types import Metric, Regression
from bench.tasks import ImageSet, Task, TaskData

#: Grey levels per standard deviation; a range of 256 cuts off one number in 16,000.
STEPS = 32


def _noise_images(count: int, image: Shape, generator: Generator) -> Tensor:
    """Return images of independent standard normals, uint8 `[N, C, H, W]`."""
    normal = torch.randn(count, *image, generator=generator)
    return (128 + STEPS * normal).round().clamp(0, 255).byte()


def inputs(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Return a network's inputs for the training pool and the test set, `[N, C, H, W]`.

    They are standardised with the statistics of the pool, as everywhere in the harness.
    """
    mean, deviation = (part.view(-1, 1, 1) for part in images.channel_statistics)
    train, test = ((part.float() - mean) / deviation for part in (images.train, images.test))
    return train, test


class ExcessRisk(Regression):
    """A teacher's number; scored by the mean squared distance to the teacher's answer.

    Training labels `[N]` carry noise, test labels none. So the error on test labels is what a
    student could still gain, its risk in excess of the noise. The unit is the noise's variance, σ²
    = 1.
    """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Only the excess risk."""
        return (Metric("excess risk", "σ²", higher_is_better=False),)

    def scores(self, measured: Tensor) -> dict[str, float]:
        """Return the mean squared error."""
        return {"excess risk": self.example_scores(measured).double().mean().item()}

    def example_scores(self, measured: Tensor) -> Tensor:
        """Return the squared error of each example."""
        return (measured[:, 0] - measured[:, 1]).square()


def noise_set(world: str, name: str, image: Shape, counts: tuple[int, int], drawn: int) -> ImageSet:
    """Return noise images for a training pool and a test set of `counts`.

    A seed draws `drawn` of the pool to train on. The two names key all draws.
    """
    pool, test = (
        _noise_images(count, image, stream(0, world, part, name))
        for part, count in zip(("train", "test"), counts, strict=True)
    )
    return ImageSet(f"{world}/{name}", pool, test, drawn=drawn)


def labelled(
    world: str, task: Task, images: ImageSet, answer: Callable[[Tensor], Tensor]
) -> TaskData:
    """Return a task on noise images, labelled by a teacher.

    `answer` is the teacher: it maps inputs `[N, C, H, W]` to numbers `[N]`. The labels of the pool
    carry added independent normals of variance 1, which the names of world and task key.
    """
    train, tested = (answer(x) for x in inputs(images))
    noise = torch.randn(len(train), generator=stream(0, world, "noise", task.name))
    return TaskData(task, images, train + noise, tested)


def taught(
    world: str,
    task: Task,
    image: Shape,
    counts: tuple[int, int],
    drawn: int,
    answer: Callable[[Tensor], Tensor],
) -> TaskData:
    """Return a task on noise images of its own: see `noise_set` and `labelled`."""
    return labelled(world, task, noise_set(world, task.name, image, counts, drawn), answer)
