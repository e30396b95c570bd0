"""The base class of encoders: a list of stages whose widths scale with one factor."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


class Encoder(nn.Module):
    """Maps images `[N, C, H, W]` to features, stage by stage.

    `features` is the shape of the features of one image: `(F,)` or `(F, h, w)`.
    """

    #: Whether its weights are a random draw, so that another draw would do as well. Those of a
    #: pretrained network are not.
    drawn = True

    def __init__(self, stages: list[nn.Module], image: Shape) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        #: Shape (C, H, W) of one image.
        self.image = image
        with torch.no_grad():
            shapes = []
            x = torch.zeros(1, *image, device=next(self.parameters()).device)
            for stage in self.stages:
                x = stage(x)
                shapes.append(tuple(x.shape[1:]))
        #: Shape of one image's activation after each stage.
        self.stage_shapes: list[Shape] = shapes

    @property
    def features(self) -> Shape:
        """Shape of the features of one image."""
        return self.stage_shapes[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of images `[N, C, H, W]`."""
        for stage in self.stages:
            x = stage(x)
        return x

    def activations(self, x: Tensor) -> list[Tensor]:
        """Return the activation of images `[N, C, H, W]` after each stage; the last: features."""
        return in_turn(self.stages, x)


def in_turn(stages: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Return the activation after each of some stages, which begin with `x`."""
    found = []
    for stage in stages:
        x = stage(x)
        found.append(x)
    return found


def group_norm(channels: int) -> nn.GroupNorm:
    """Return the normalisation for this number of channels: one group, see `bench.networks`."""
    return nn.GroupNorm(1, channels)


def scaled(channels: int, width: float) -> int:
    """Return a number of channels scaled by a width factor, at least one."""
    return max(1, round(channels * width))


def he_initialised(encoder: Encoder) -> Encoder:
    """Draw the convolutions as in He et al. 2015 for networks of rectifiers."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return encoder
