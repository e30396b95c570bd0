"""Rotation as an auxiliary task (Gidaris et al. 2018): by how many quarter turns was it rotated?

The paper shows the network all four rotations of every image in each batch. Here each image has one
rotation, drawn once. So a step of the auxiliary task costs one pass of the encoder, and the images
on the device double instead of growing fivefold. The rotated images are those that the seed has
drawn, in the same order. They pass through the encoder in addition to the target's images.

Mirroring an image swaps the quarter turns left and right but not their labels: with
`augment = "crop+flip"` a quarter of the labels are wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import UserError
from bench.tasks import TaskData

from ._pretext import which_change
from ._weighted import WeightedAuxiliary


def rotated(images: Tensor, turns: Tensor) -> Tensor:
    """Return images `[N, C, S, S]`, each turned counter-clockwise by `turns` `[N]` quarters."""
    out = torch.empty_like(images)
    for turn in range(4):
        chosen = turns == turn
        out[chosen] = torch.rot90(images[chosen], turn, (2, 3))
    return out


@dataclass(frozen=True)
class Rotation(WeightedAuxiliary):
    """Predict by how many quarter turns an image was rotated."""

    name = "rotation"
    summary = "auxiliary task: by how many quarter turns was the image rotated?"
    paper = "Gidaris et al. 2018, Unsupervised Representation Learning by Predicting Rotations"

    placebo: bool = False
    """Shuffle the labels among the images: the same cost, and nothing to learn from it."""

    def tasks(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the rotation of the target's images. Raises `UserError` unless they are square."""
        _, height, width = target.images.image
        if height != width:
            raise UserError(
                f"{self.name} needs square images; those of '{target.images.name}' are "
                f"{height} × {width}"
            )
        return [which_change(target.images, self.name, 4, rotated, self.placebo)]
