"""The head of DeepLab: atrous spatial pyramid pooling (Chen et al. 2018), without skip connections.

It is the head of DeepLabv3 (Chen et al. 2017), in which the parallel convolutions of the 2018 paper
got normalisation and a view of the whole image. It sees a task's last map alone. So there is no
link to an early map, as the decoder of DeepLabv3+ has one; `fpn` is a head on several maps.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.networks.encoder import Shape, group_norm
from bench.networks.heads import laid_out

#: Channels of each branch: those of the paper, or the encoder's, if there are fewer.
_MOST, _FEWEST = 256, 32
#: The smallest rate in pixels of the image: 6 on a map of a sixteenth of its side, as in the paper,
#: and 12 on one of an eighth.
_REACH = 96


def atrous_rates(sides: Sequence[int], image: Sequence[int]) -> tuple[int, int, int]:
    """Return three rates for a map of these sides, whose image has those: 1, 2 and 3 times one.

    On a small map they are lower, and the largest is at most its shorter side. Further out a kernel
    would meet nothing but padding.
    """
    stride = max(-(-whole // side) for whole, side in zip(image, sides, strict=True))
    unit = max(1, min(_REACH // stride, min(sides) // 3))
    return unit, 2 * unit, 3 * unit


class Bilinear(nn.Module):
    """Resizes maps `[N, C, h, w]` to `[N, C, H, W]` by bilinear interpolation.

    It gives what `interpolate(…, mode="bilinear")` does, by products with two fixed matrices. torch
    adds up the gradient of its own operator in no fixed order on a GPU, so that runs would not
    repeat. The products count as FLOPs, because they are executed.
    """

    down: Tensor
    across: Tensor

    def __init__(self, sides: Sequence[int], image: Sequence[int]) -> None:
        super().__init__()
        for name, source, target in zip(("down", "across"), sides, image, strict=True):
            self.register_buffer(name, _weights(source, target), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the resized maps."""
        count, channels, height, width = x.shape
        y = x.permute(0, 2, 3, 1).reshape(count * height, width, channels)
        y = torch.bmm(self.across.expand(len(y), -1, -1), y).reshape(count, height, -1)
        y = torch.bmm(self.down.expand(count, -1, -1), y)
        return y.view(count, len(self.down), len(self.across), channels).permute(0, 3, 1, 2)


def _weights(source: int, target: int) -> Tensor:
    """Return the weights `[target, source]` of linear interpolation between centres of pixels."""
    places = ((torch.arange(target) + 0.5) * (source / target) - 0.5).clamp(0, source - 1)
    return (1 - (places[:, None] - torch.arange(source)).abs()).clamp(min=0)


def _branch(inputs: int, outputs: int, kernel: int, rate: int = 1) -> nn.Sequential:
    padding = rate * (kernel // 2)
    layer = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=rate, bias=False)
    return nn.Sequential(layer, group_norm(outputs), nn.ReLU())


class DeepLabHead(nn.Module):
    """Maps features to an image-sized map `[N, outputs, H, W]`.

    A 1 × 1 convolution, three dilated 3 × 3 convolutions and the mean over the map stand side by
    side. A 1 × 1, a 3 × 3 and a 1 × 1 convolution follow, and bilinear interpolation to the size of
    the image. Each convolution but the last has a normalisation and a rectifier. Normalisation is
    GroupNorm with one group, where the paper has batch normalisation. There is no dropout. A vector
    of features is first laid out on a grid of a quarter of the image's side.
    """

    def __init__(self, features: Shape, image: Shape, outputs: int) -> None:
        super().__init__()
        channels = min(_MOST, max(_FEWEST, features[0]))
        self.lay_out, (inputs, *sides) = laid_out(features, image, channels)
        rates = atrous_rates(sides, image[1:])
        branches = [_branch(inputs, channels, 1)]
        branches += [_branch(inputs, channels, 3, rate) for rate in rates]
        self.branches = nn.ModuleList(branches)
        self.whole = _branch(inputs, channels, 1)
        self.merge = nn.Sequential(
            _branch(channels * (len(branches) + 1), channels, 1),
            _branch(channels, channels, 3),
            nn.Conv2d(channels, outputs, 1),
        )
        self.resize = Bilinear(sides, image[1:])

    def forward(self, features: Tensor) -> Tensor:
        """Return a map `[N, outputs, H, W]`."""
        x = self.lay_out(features)
        seen = [branch(x) for branch in self.branches]
        seen.append(self.whole(x.mean((2, 3), keepdim=True)).expand_as(seen[0]))
        y: Tensor = self.resize(self.merge(torch.cat(seen, dim=1)))
        return y
