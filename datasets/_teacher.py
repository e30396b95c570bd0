"""What worlds of teachers share: how noise is written as pixels, and how a student is scored.

The inputs of such a world are independent standard normals. An image holds them in steps of a
`STEPS`-th of a standard deviation, and a teacher reads the numbers that the harness makes of its
pixels: what rounding does to the inputs is the same for teacher and student, so that the teacher
is exact.
"""

import torch
from torch import Generator, Tensor

from bench.kinds import Metric, Regression
from bench.networks import Shape
from bench.tasks import ImageSet, Task, TaskData

#: Grey levels to a standard deviation; 256 of them cut off one number in 16,000.
STEPS = 32


def noise_images(count: int, image: Shape, generator: Generator) -> Tensor:
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
    name: str, kind: ExcessRisk, images: ImageSet, answers: tuple[Tensor, Tensor], noise: Generator
) -> TaskData:
    """Return the task of a teacher with these answers in the pool and in the test set, `[N]` each.

    `noise` draws what the labels of the pool carry: independent normals of variance 1.
    """
    train, test = answers
    noisy = train + torch.randn(len(train), generator=noise)
    return TaskData(Task(name, kind, 1), images, noisy, test)
