"""Encoders in stages, heads and decoders.

An encoder is a list of stages, so that a strategy can share the first k of them or stitch between
them. All widths scale with one factor, which is how the `slim` anchor is made.

All normalisation is GroupNorm with one group (layer normalisation over channel, height and width).
It does not mix images and keeps no running state. This has four consequences:

- A task's result does not depend on which other task's images share its batch.
- Training and evaluation compute the same function.
- Training states can run side by side.
- Every width divides into one group.

Batch normalisation has none of these properties.
"""

from collections.abc import Callable
from functools import partial

from bench.errors import unknown
from bench.networks.encoder import Encoder, EncoderBuilder, Shape
from bench.networks.heads import ClassificationHead, DenseHead
from bench.networks.lenet import lenet
from bench.networks.mlp import linear, mlp
from bench.networks.resnet import resnet8, resnet18

__all__ = ["NETWORKS", "ClassificationHead", "DenseHead", "Encoder", "Shape", "encoder_builder"]

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
