"""Heads: from the features of an encoder to the output of one task."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from bench.networks.encoder import Shape


class PyramidHead(nn.Module):
    """The base of heads that see the activations after all stages, and not the features alone."""


def read(head: nn.Module, activations: Sequence[Tensor]) -> Tensor:
    """Return the output of a head, given a task's activations after each stage.

    A `PyramidHead` sees all of them, and any other head the last, which are the features.
    """
    seen = activations if isinstance(head, PyramidHead) else activations[-1]
    output: Tensor = head(seen)
    return output


class ClassificationHead(nn.Module):
    """Maps features to class logits `[N, classes]`: average pooling where spatial, then linear."""

    def __init__(self, features: Shape, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features[0], classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `[N, classes]`."""
        if features.ndim == 4:
            # Like `AdaptiveAvgPool2d`, bit for bit, but its gradient is channels-last too. With
            # another layout, a rectifier before it would take several times as long to mask it.
            features = features.permute(0, 2, 3, 1).flatten(1, 2).mean(1)
        logits: Tensor = self.linear(features)
        return logits


def laid_out(features: Shape, image: Shape, channels: int) -> tuple[nn.Module, Shape]:
    """Return a module that makes a map of features, and the shape of one image's map.

    A map stays as it is. A vector is laid out on a grid of a quarter of the image's side.
    """
    if len(features) == 3:
        return nn.Identity(), features
    grid = (channels, *(-(-side // 4) for side in image[1:]))
    linear = nn.Linear(features[0], math.prod(grid))
    return nn.Sequential(linear, nn.Unflatten(1, grid), nn.ReLU()), grid


class DenseHead(nn.Module):
    """Maps features to an image-sized map `[N, outputs, H, W]`: the decoder of an autoencoder.

    A vector of features is first laid out on a grid of a quarter of the image's side. Blocks of
    nearest-neighbour doubling and a 3 × 3 convolution follow. The last doubling is a sub-pixel
    convolution (Shi et al. 2016), which works on the coarser grid. A convolution at full resolution
    would cost several times as much as a small encoder, and the decoder's compute is billed. Where
    the features cover the image already, a 3 × 3 and a 1 × 1 convolution are all.
    """

    def __init__(self, features: Shape, image: Shape, outputs: int, channels: int = 8) -> None:
        super().__init__()
        self.height, self.width = image[1:]
        self.lay_out, (inputs, *sides) = laid_out(features, image, channels)
        # The number of doublings until the grid covers the image, which may not be square.
        doublings = max(
            (-(-whole // side) - 1).bit_length()
            for whole, side in zip(image[1:], sides, strict=True)
        )
        blocks: list[nn.Module] = []
        for _ in range(doublings - 1):
            convolution = nn.Conv2d(inputs, channels, 3, padding=1)
            blocks += [nn.Upsample(scale_factor=2), convolution, nn.ReLU()]
            inputs = channels
        if doublings:
            blocks += [nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2)]
        else:
            blocks += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            blocks.append(nn.Conv2d(channels, outputs, 1))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, features: Tensor) -> Tensor:
        """Return a map `[N, outputs, H, W]`."""
        y: Tensor = self.blocks(self.lay_out(features))
        return y[:, :, : self.height, : self.width]
