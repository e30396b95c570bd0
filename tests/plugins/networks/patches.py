"""A user's variant of ConvNeXt, with a knob: patches, and blocks of depthwise convolutions."""

from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Network
from bench.networks import Encoder, Shape


class _Block(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels),
            nn.GroupNorm(1, channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.GELU(),
            nn.Conv2d(2 * channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.steps(x)
        return y


@dataclass(frozen=True)
class Patches(Network):
    """Three stages: patches of 2 × 2, and two blocks."""

    name = "patches"
    summary = "a small ConvNeXt for tests"
    paper = "Liu et al. 2022, A ConvNet for the 2020s"

    kernel: int = 3

    def build(self, image: Shape, width: float) -> Encoder:
        """Return the stages."""
        channels = max(1, round(8 * width))
        blocks = [_Block(channels, self.kernel) for _ in range(2)]
        return Encoder([nn.Conv2d(image[0], channels, 2, 2), *blocks], image)
