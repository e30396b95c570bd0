"""What worlds of teachers share: how noise is written as pixels, and how a student is scored.

The inputs of such a world are independent standard normals. An image holds them in steps of a
`STEPS`-th of a standard deviation, and a teacher reads the numbers that the harness makes of its
pixels: what rounding does to the inputs is the same for teacher and student, so that the teacher
is exact.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from bench.contracts import stream
from bench.networks import Shape
from bench.task_types import Metric, Regression
from bench.tasks import ImageSet, Task, TaskData

#: Grey levels to a standard deviation; 256 of them cut off one number in 16,000.
STEPS = 32


def _noise_images(count: int, image: Shape, generator: Generator) -> Tensor:
    """Return images of independent standard normals, uint8 `[N, C, H, W]`."""
    normal = torch.randn(count, *image, generator=generator)
    return (128 + STEPS * normal).round().clamp(0, 255).byte()


def inputs(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Return what a network is shown of the training pool and of the test set, `[N, C, H, W]`.

    The statistics are those of the pool, as in all of the harness.
    """
    mean, deviation = (part.view(-1, 1, 1) for part in images.channel_statistics)
    train, test = ((part.float() - mean) / deviation for part in (images.train, images.test))
    return train, test


class ExcessRisk(Regression):
    """A teacher's number; scored by the mean squared distance to what the teacher says.

    Training labels `[N]` carry noise, test labels none: the error on them is what a student could
    still gain, its risk in excess of the noise. It is in units of the noise's variance, σ² = 1.
    """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The excess risk alone."""
        return (Metric("excess risk", "σ²", higher_is_better=False),)

    def scores(self, measured: Tensor) -> dict[str, float]:
        """Return the mean squared error."""
        return {"excess risk": self.example_scores(measured).double().mean().item()}

    def example_scores(self, measured: Tensor) -> Tensor:
        """Return the squared error of each example."""
        return (measured[:, 0] - measured[:, 1]).square()


def taught(
    world: str,
    task: Task,
    image: Shape,
    counts: tuple[int, int],
    drawn: int,
    answer: Callable[[Tensor], Tensor],
) -> TaskData:
    """Return a task on images of noise of its own, as a teacher labels them.

    `counts` are the images of the training pool and of the test set, of which a seed draws `drawn`
    to train on. `answer` is the teacher: inputs `[N, C, H, W]` to numbers `[N]`. The labels of the
    pool carry independent normals of variance 1 beside. The names of world and task key all draws.
    """
    pool, test = (
        _noise_images(count, image, stream(0, world, part, task.name))
        for part, count in zip(("train", "test"), counts, strict=True)
    )
    images = ImageSet(f"{world}/{task.name}", pool, test, drawn=drawn)
    train, tested = (answer(x) for x in inputs(images))
    noise = torch.randn(len(train), generator=stream(0, world, "noise", task.name))
    return TaskData(task, images, train + noise, tested)
