"""Encoders without convolutions: one linear feature, and one hidden layer."""

import math

from torch import nn

from bench.networks.encoder import Encoder, Shape, scaled


def linear(image: Shape, width: float = 1.0) -> Encoder:
    """One linear feature of all pixels, without an intercept: the narrowest encoder there is.

    With linear heads, what tasks share is one direction. No `width` below 1 makes it narrower.
    """
    feature = nn.Linear(math.prod(image), scaled(1, width), bias=False)
    return Encoder([nn.Sequential(nn.Flatten(), feature)], image)


def mlp(image: Shape, width: float = 1.0) -> Encoder:
    """One layer of 64 rectified linear units on all pixels: a perceptron with a hidden layer."""
    layer = nn.Linear(math.prod(image), scaled(64, width))
    return Encoder([nn.Sequential(nn.Flatten(), layer, nn.ReLU())], image)
