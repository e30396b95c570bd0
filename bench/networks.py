"""Encoders in stages, heads and decoders.

An encoder is a list of stages, so that a strategy can share the first k of them or stitch between
them. All widths scale with one factor, which is how the `slim` anchor is made.

Normalisation is GroupNorm with one group (layer normalisation over channel, height and width)
wherever there is any. It mixes no two images and keeps no running state, so a task's result does
not depend on which other task's images share its batch, training and evaluation compute the same
function, lanes can run side by side, and every width divides into one group. Batch normalisation
has none of the four.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from bench.errors import UserError, unknown

Shape = tuple[int, ...]


class Encoder(nn.Module):
    """Images `[N, C, H, W]` to features, stage by stage.

    `features` is the shape of the features of one image: `(F,)` or `(F, h, w)`.
    """

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


#: Builds an encoder from the shape of an image (C, H, W) and the width factor.
EncoderBuilder = Callable[[Shape, float], Encoder]


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(1, channels)


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def linear(image: Shape, width: float = 1.0) -> Encoder:
    """One linear feature of all pixels, without an intercept: the narrowest trunk there is.

    With linear heads, what tasks share is one direction. No `width` below 1 makes it narrower.
    """
    feature = nn.Linear(math.prod(image), _scaled(1, width), bias=False)
    return Encoder([nn.Sequential(nn.Flatten(), feature)], image)


def mlp(image: Shape, width: float = 1.0) -> Encoder:
    """One layer of 64 rectified linear units on all pixels: a perceptron with a hidden layer."""
    layer = nn.Linear(math.prod(image), _scaled(64, width))
    return Encoder([nn.Sequential(nn.Flatten(), layer, nn.ReLU())], image)


class _MaxPool(nn.Module):
    """Maxima of 2 × 2 pixels, as `nn.MaxPool2d(2)`."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return nn.functional.max_pool2d(x, 2)
        # Without a gradient nobody asks where the maxima are: to note that down takes four times
        # as long as to find them. The values are the same.
        height, width = (side - side % 2 for side in x.shape[2:])
        rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
        return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def lenet(image: Shape, width: float = 1.0) -> Encoder:
    """Two convolutions and one linear layer: the network of MultiMNIST studies.

    The sizes (10 and 20 channels, 50 features) follow Sener & Koltun 2018; no normalisation.
    """
    a, b, f = _scaled(10, width), _scaled(20, width), _scaled(50, width)
    pooled = [((side - 4) // 2 - 4) // 2 for side in image[1:]]
    if min(pooled) < 1:
        raise UserError(
            f"lenet needs images of at least 16 × 16 pixels, got {image[1]} × {image[2]}"
        )
    return Encoder(
        [
            # Pooling before rectifying is the same function at a quarter of the rectifier's cost.
            nn.Sequential(nn.Conv2d(image[0], a, 5), _MaxPool(), nn.ReLU()),
            nn.Sequential(nn.Conv2d(a, b, 5), _MaxPool(), nn.ReLU()),
            nn.Sequential(nn.Flatten(), nn.Linear(b * pooled[0] * pooled[1], f), nn.ReLU()),
        ],
        image,
    )


def _he_initialised(encoder: Encoder) -> Encoder:
    """Draw the convolutions as He et al. 2015 do for networks of rectifiers."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return encoder


class _Residual(nn.Module):
    """The basic block of He et al. 2016: two 3 × 3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = _norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = _norm(outputs)
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
    a, b, c = (_scaled(channels, width) for channels in (16, 32, 64))
    stem = nn.Sequential(nn.Conv2d(image[0], a, 3, padding=1, bias=False), _norm(a), nn.ReLU())
    blocks = [_Residual(a, a, 1), _Residual(a, b, 2), _Residual(b, c, 2)]
    return _he_initialised(Encoder([stem, *blocks], image))


def resnet18(image: Shape, width: float = 1.0) -> Encoder:
    """ResNet-18 (He et al. 2016) of torchvision's blocks, at any width, trained from scratch.

    Images under 64 pixels get a 3 × 3 stem without pooling, as is usual for CIFAR.
    """
    from torchvision.models.resnet import BasicBlock, conv1x1  # a second to import

    def layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        shortcut = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), _norm(outputs))
        return nn.Sequential(
            BasicBlock(inputs, outputs, stride, shortcut, norm_layer=_norm),
            BasicBlock(outputs, outputs, norm_layer=_norm),
        )

    a, b, c, d = (_scaled(channels, width) for channels in (64, 128, 256, 512))
    if min(image[1:]) < 64:
        conv = nn.Conv2d(image[0], a, 3, padding=1, bias=False)
        stem = nn.Sequential(conv, _norm(a), nn.ReLU())
    else:
        conv = nn.Conv2d(image[0], a, 7, 2, padding=3, bias=False)
        stem = nn.Sequential(conv, _norm(a), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
    layers = [layer(a, a, 1), layer(a, b, 2), layer(b, c, 2), layer(c, d, 2)]
    return _he_initialised(Encoder([stem, *layers], image))


NETWORKS: dict[str, EncoderBuilder] = {
    "linear": linear,
    "mlp": mlp,
    "lenet": lenet,
    "resnet8": resnet8,
    "resnet18": resnet18,
}


def encoder_builder(network: str, width: float, image: Shape) -> Callable[[], Encoder]:
    """Return a function that builds the named encoder for images of shape (C, H, W)."""
    if network not in NETWORKS:
        raise unknown("network", network, NETWORKS)
    return partial(NETWORKS[network], image, width)


class ClassificationHead(nn.Module):
    """Features to class logits `[N, classes]`: average pooling where spatial, then linear."""

    def __init__(self, features: Shape, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features[0], classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `[N, classes]`."""
        if features.ndim == 4:
            # As `AdaptiveAvgPool2d`, bit for bit, but its gradient comes out channels-last too. A
            # rectifier before it would take several times as long to mask another layout.
            features = features.permute(0, 2, 3, 1).flatten(1, 2).mean(1)
        logits: Tensor = self.linear(features)
        return logits


class DenseHead(nn.Module):
    """Features to an image-sized map `[N, outputs, H, W]`: the decoder of an autoencoder.

    A vector of features is first laid out on a grid of a quarter of the image's side. Blocks of
    nearest-neighbour doubling and a 3 × 3 convolution follow; the last doubling is a sub-pixel
    convolution (Shi et al. 2016), which works on the coarser grid: a convolution at full resolution
    would cost a multiple of a small trunk, and the decoder's work is billed.
    """

    def __init__(self, features: Shape, image: Shape, outputs: int, channels: int = 8) -> None:
        super().__init__()
        self.height, self.width = image[1:]
        self.lay_out: nn.Module = nn.Identity()
        grid = features
        if len(features) == 1:
            grid = (channels, -(-self.height // 4), -(-self.width // 4))
            self.lay_out = nn.Sequential(
                nn.Linear(features[0], math.prod(grid)), nn.Unflatten(1, grid), nn.ReLU()
            )
        inputs, *sides = grid
        # How often the grid doubles until it covers the image, which may be longer one way.
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
            blocks.append(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, features: Tensor) -> Tensor:
        """Return a map `[N, outputs, H, W]`."""
        y: Tensor = self.blocks(self.lay_out(features))
        return y[:, :, : self.height, : self.width]
