"""Encoders without convolutions: one linear feature, and one hidden layer."""

import math
from dataclasses import dataclass

from torch import nn

from bench.contracts import Network
from bench.networks.encoder import Encoder, Shape, scaled


@dataclass(frozen=True)
class Linear(Network):
    """One linear feature of all pixels, without an intercept: the narrowest encoder there is.

    With linear heads, what tasks share is one direction. No width below 1 makes it narrower.
    """

    name = "linear"
    summary = "one linear feature of all pixels, without an intercept: the narrowest encoder"
    paper = "none: what the planted linear worlds are learned with"

    def build(self, image: Shape, width: float) -> Encoder:
        """Return one stage."""
        feature = nn.Linear(math.prod(image), scaled(1, width), bias=False)
        return Encoder([nn.Sequential(nn.Flatten(), feature)], image)


@dataclass(frozen=True)
class Mlp(Network):
    """One layer of 64 rectified linear units on all pixels: a perceptron with a hidden layer."""

    name = "mlp"
    summary = "one layer of 64 rectified linear units on all pixels"
    paper = "Rumelhart, Hinton & Williams 1986, Learning Representations by Back-propagating Errors"

    def build(self, image: Shape, width: float) -> Encoder:
        """Return one stage."""
        layer = nn.Linear(math.prod(image), scaled(64, width))
        return Encoder([nn.Sequential(nn.Flatten(), layer, nn.ReLU())], image)
