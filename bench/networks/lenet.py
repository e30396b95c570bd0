"""LeNet, as used in studies of MultiMNIST."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import Network, UserError
from bench.networks.encoder import Encoder, Shape, scaled


class _MaxPool(nn.Module):
    """Maxima of 2 × 2 pixels, as `nn.MaxPool2d(2)`."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return nn.functional.max_pool2d(x, 2)
        # Without a gradient the positions of the maxima are not needed. Recording them takes four
        # times as long as finding the maxima. The values are the same.
        height, width = (side - side % 2 for side in x.shape[2:])
        rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
        return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


@dataclass(frozen=True)
class LeNet(Network):
    """Two convolutions and one linear layer: the network of MultiMNIST studies.

    The sizes (10 and 20 channels, 50 features) follow Sener & Koltun 2018; no normalisation.
    """

    name = "lenet"
    summary = "two convolutions and one linear layer: the network of MultiMNIST studies"
    paper = "Sener & Koltun 2018, Multi-Task Learning as Multi-Objective Optimization"
    suits = 0

    def build(self, image: Shape, width: float) -> Encoder:
        """Return three stages. Raises `UserError` where images would shrink to nothing."""
        a, b, f = scaled(10, width), scaled(20, width), scaled(50, width)
        pooled = [((side - 4) // 2 - 4) // 2 for side in image[1:]]
        if min(pooled) < 1:
            raise UserError(
                f"lenet needs images of at least 16 × 16 pixels, got {image[1]} × {image[2]}"
            )
        return Encoder(
            [
                # Pooling before rectifying is the same function at a quarter of the rectifier's
                # cost.
                nn.Sequential(nn.Conv2d(image[0], a, 5), _MaxPool(), nn.ReLU()),
                nn.Sequential(nn.Conv2d(a, b, 5), _MaxPool(), nn.ReLU()),
                nn.Sequential(nn.Flatten(), nn.Linear(b * pooled[0] * pooled[1], f), nn.ReLU()),
            ],
            image,
        )
