"""Residual networks (He et al. 2016) with group normalisation, or without any."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Network
from bench.networks.encoder import Encoder, Shape, group_norm, he_initialised, scaled

#: Makes the normalisation of so many channels.
Norm = Callable[[int], nn.Module]


def _no_norm(channels: int) -> nn.Module:
    return nn.Identity()


_NORMS: Mapping[str, Norm] = {"group": group_norm, "none": _no_norm}


#: Fewer channels than this are subsampled before they are projected.
_FEW = 8


class _Subsampled(nn.Conv2d):
    """A strided 1 × 1 convolution on the pixels that it reads, so without a stride of its own.

    With few channels in the layout of channels last, the strided one writes past its memory in its
    backward pass: seen with torch 2.14 (oneDNN 3.12) on a processor with AVX2 and no AVX-512.
    """

    def forward(self, x: Tensor) -> Tensor:
        down, across = self.stride
        return functional.conv2d(x[..., ::down, ::across], self.weight)


def _projection(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    """Return the 1 × 1 convolution of a shortcut."""
    kind = _Subsampled if inputs < _FEW and stride > 1 else nn.Conv2d
    return kind(inputs, outputs, 1, stride, bias=False)


class _Residual(nn.Module):
    """The basic block of He et al. 2016: two 3 × 3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = norm(outputs)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else _projection(inputs, outputs, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


@dataclass(frozen=True)
class _ResNet(Network):
    """What residual networks have in common: their normalisation."""

    norm: str = "group"
    """`group`, which is GroupNorm with one group, or `none`."""

    def __post_init__(self) -> None:
        if self.norm not in _NORMS:
            raise ValueError(f"norm is one of {', '.join(_NORMS)}, not {self.norm}")


@dataclass(frozen=True)
class ResNet8(_ResNet):
    """A stem and three residual blocks of 16, 32 and 64 channels (He et al. 2016, n = 1)."""

    name = "resnet8"
    summary = "a stem and three residual blocks of 16, 32 and 64 channels"
    paper = "He et al. 2016, Deep Residual Learning for Image Recognition"
    suits = 2_000

    def build(self, image: Shape, width: float) -> Encoder:
        """Return four stages: the stem and the blocks."""
        norm = _NORMS[self.norm]
        a, b, c = (scaled(channels, width) for channels in (16, 32, 64))
        stem = nn.Sequential(nn.Conv2d(image[0], a, 3, padding=1, bias=False), norm(a), nn.ReLU())
        blocks = [_Residual(a, a, 1, norm), _Residual(a, b, 2, norm), _Residual(b, c, 2, norm)]
        return he_initialised(Encoder([stem, *blocks], image))


@dataclass(frozen=True)
class ResNet18(_ResNet):
    """ResNet-18 (He et al. 2016) of torchvision's blocks, at any width, trained from scratch.

    Images under 64 pixels get a 3 × 3 stem without pooling, as is usual for CIFAR.
    """

    name = "resnet18"
    summary = "ResNet-18 at any width, trained from scratch"
    paper = "He et al. 2016, Deep Residual Learning for Image Recognition"

    def build(self, image: Shape, width: float) -> Encoder:
        """Return five stages: the stem and the layers."""
        norm = _NORMS[self.norm]
        a, b, c, d = (scaled(channels, width) for channels in (64, 128, 256, 512))
        if min(image[1:]) < 64:
            conv = nn.Conv2d(image[0], a, 3, padding=1, bias=False)
            stem = nn.Sequential(conv, norm(a), nn.ReLU())
        else:
            conv = nn.Conv2d(image[0], a, 7, 2, padding=3, bias=False)
            stem = nn.Sequential(conv, norm(a), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
        sizes = (a, a, 1), (a, b, 2), (b, c, 2), (c, d, 2)
        return he_initialised(Encoder([stem, *(_layer(*size, norm) for size in sizes)], image))


def _layer(inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Sequential:
    """Return a layer of ResNet-18: two of torchvision's blocks."""
    from torchvision.models.resnet import BasicBlock  # a second to import

    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(_projection(inputs, outputs, stride), norm(outputs))
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride, shortcut, norm_layer=norm),
        BasicBlock(outputs, outputs, norm_layer=norm),
    )
