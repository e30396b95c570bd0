"""Tasks whose target is a different image from the one that the network sees."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.task_types import Reconstruction
from bench.tasks import ImageSet


@dataclass(frozen=True)
class Pixels(Reconstruction):
    """An image as the target; labels uint8 `[N, C, H, W]`, outputs `[N, C, H, W]`.

    The `mean` and `deviation` of each channel standardise the labels, as they do the input images.
    """

    name: ClassVar[str] = "pixels"

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def targets(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return the standardised labels, whatever the images are."""
        if labels is None:
            raise ValueError(f"a {self.name} task needs labels")
        channels = zip(labels.float().unbind(1), self.mean, self.deviation, strict=True)
        return torch.stack([(channel - mean) / scale for channel, mean, scale in channels], dim=1)


def pixels(images: ImageSet) -> Pixels:
    """Return the task type whose targets are images of a set."""
    mean, deviation = (tuple(values.tolist()) for values in images.channel_statistics)
    return Pixels(mean, deviation)
