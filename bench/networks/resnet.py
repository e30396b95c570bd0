"""Residual networks (He et al. 2016) with group normalisation."""

import torch
from torch import Tensor, nn

from bench.networks.encoder import Encoder, Shape, he_initialised, norm, scaled


class _Residual(nn.Module):
    """The basic block of He et al. 2016: two 3 × 3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = norm(outputs)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet8(image: Shape, width: float = 1.0) -> Encoder:
    """A stem and three residual blocks of 16, 32 and 64 channels (He et al. 2016, n = 1)."""
    a, b, c = (scaled(channels, width) for channels in (16, 32, 64))
    stem = nn.Sequential(nn.Conv2d(image[0], a, 3, padding=1, bias=False), norm(a), nn.ReLU())
    blocks = [_Residual(a, a, 1), _Residual(a, b, 2), _Residual(b, c, 2)]
    return he_initialised(Encoder([stem, *blocks], image))


def resnet18(image: Shape, width: float = 1.0) -> Encoder:
    """ResNet-18 (He et al. 2016) of torchvision's blocks, at any width, trained from scratch.

    Images under 64 pixels get a 3 × 3 stem without pooling, as is usual for CIFAR.
    """
    from torchvision.models.resnet import BasicBlock, conv1x1  # a second to import

    def layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        shortcut = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), norm(outputs))
        return nn.Sequential(
            BasicBlock(inputs, outputs, stride, shortcut, norm_layer=norm),
            BasicBlock(outputs, outputs, norm_layer=norm),
        )

    a, b, c, d = (scaled(channels, width) for channels in (64, 128, 256, 512))
    if min(image[1:]) < 64:
        conv = nn.Conv2d(image[0], a, 3, padding=1, bias=False)
        stem = nn.Sequential(conv, norm(a), nn.ReLU())
    else:
        conv = nn.Conv2d(image[0], a, 7, 2, padding=3, bias=False)
        stem = nn.Sequential(conv, norm(a), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
    layers = [layer(a, a, 1), layer(a, b, 2), layer(b, c, 2), layer(c, d, 2)]
    return he_initialised(Encoder([stem, *layers], image))
