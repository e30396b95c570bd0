"""Colourisation as an auxiliary task (Zhang et al. 2016): an image's colours from its grey version.

The encoder sees the image's luminance (0.299 R + 0.587 G + 0.114 B) in all three channels. A
decoder predicts the standardised RGB values, with the mean squared error per pixel and channel. The
paper predicts a distribution over 313 bins of a and b in Lab space, reweighted towards rare
colours. Squared errors need no bins, but tend to the greyish means that the paper sets out to
avoid. The grey images are those that the seed has drawn. They pass through the encoder in addition
to the target's images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from bench.contracts import UserError
from bench.tasks import ImageSet, Task, TaskData

from ._pixels import pixels
from ._pretext import changed_set, shuffled
from ._weighted import WeightedAuxiliary


def greyed(images: Tensor) -> Tensor:
    """Return the luminance of images uint8 `[N, 3, H, W]` in all three channels."""
    out = torch.empty_like(images)
    for part, colours in zip(torch.split(out, 4096), torch.split(images, 4096), strict=True):
        red, green, blue = colours.int().unbind(1)
        part[:] = ((299 * red + 587 * green + 114 * blue + 500) // 1000)[:, None]
    return out


@lru_cache(maxsize=8)
def _grey_set(images: ImageSet) -> ImageSet:
    """Return the grey images. The pool is copied once."""
    return changed_set(images, greyed(images.train))


@dataclass(frozen=True)
class Colourisation(WeightedAuxiliary):
    """Predict the colours of an image from its grey version."""

    name = "colourisation"
    summary = "auxiliary task: a decoder predicts the colours of the grey image"
    paper = "Zhang et al. 2016, Colorful Image Colorization"

    placebo: bool = False
    """Ask for the colours of another image: the same cost, and nothing to learn from it."""

    def tasks(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the task on grey versions. Raises `UserError` where the images have no colour."""
        images = target.images
        if images.image[0] != 3:
            raise UserError(f"{self.name} needs images in colour; those of '{images.name}' are not")
        task = Task(self.name, pixels(images), 3)
        labels = shuffled(images.train, self.name) if self.placebo else images.train
        return [TaskData(task, _grey_set(images), labels, images.test[:0])]
