"""MTAN (Liu et al. 2019): one encoder; each task picks features from its stages by attention.

The rule: with p_l the encoder's activation after stage l, task t has â_l = a_l ⊙ p_l, with the mask
a_l = sigmoid(h(g([p_l; f(â_(l−1))]))). Its features are â of the last stage. g and h are 1 × 1
convolutions with normalisation, and g has a rectifier after it. f is a 3 × 3 convolution that
brings the previous stage's picked features to this one's shape. The first mask sees p_1 alone.

The paper's g sees the first layer of a stage and masks its last; stages here expose only their
output. f resamples its input to this stage's size before it convolves, where the paper pools after
it. Where a stage's output is a vector, the maps are linear, and f averages over the image first.
Normalisation is GroupNorm with one group, as in the encoders, where the paper has batch
normalisation. The paper trains with dynamic weight average: `mtan+dwa`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from bench.contracts import EncoderFactory, MultiTaskNetwork, Sharing
from bench.networks import Encoder, Shape, read


def _pointwise(inputs: int, shape: Shape) -> nn.Module:
    """Return a linear map from `inputs` channels to those of `shape`, with normalisation."""
    layer = nn.Conv2d(inputs, shape[0], 1) if len(shape) == 3 else nn.Linear(inputs, shape[0])
    return nn.Sequential(layer, nn.GroupNorm(1, shape[0]))


def _bridge(before: Shape, after: Shape) -> nn.Module:
    """Return f, which maps a stage's picked features to the channels and size of the next stage."""
    layers: list[nn.Module]
    if len(after) == 3:
        layers = [nn.Conv2d(before[0], after[0], 3, padding=1)]
        if before[1:] != after[1:]:
            layers.insert(0, nn.Upsample(after[1:]))  # nearest neighbours, up or down
    else:
        layers = [nn.Linear(before[0], after[0])]
        if len(before) == 3:
            layers = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers]
    return nn.Sequential(*layers, nn.GroupNorm(1, after[0]), nn.ReLU())


class _Attention(nn.Module):
    """The masks of one task."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.bridges = nn.ModuleList(_bridge(before, after) for before, after in pairwise(shapes))
        self.masks = nn.ModuleList(
            nn.Sequential(
                _pointwise(shape[0] * (2 if level else 1), shape),
                nn.ReLU(),
                _pointwise(shape[0], shape),
                nn.Sigmoid(),
            )
            for level, shape in enumerate(shapes)
        )

    def forward(self, activations: Sequence[Tensor]) -> list[Tensor]:
        """Return what a task picks of the encoder's activations after each stage."""
        picked: list[Tensor] = [self.masks[0](activations[0]) * activations[0]]
        for p, bridge, mask in zip(activations[1:], self.bridges, self.masks[1:], strict=True):
            picked.append(mask(torch.cat([p, bridge(picked[-1])], dim=1)) * p)
        return picked


class _Attended(MultiTaskNetwork):
    def __init__(self, encoder: Encoder, heads: list[nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.attentions = nn.ModuleList(_Attention(encoder.stage_shapes) for _ in heads)
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Sequence[Tensor | None]) -> list[Tensor | None]:
        activations: dict[int, list[Tensor]] = {}
        outputs: list[Tensor | None] = []
        for x, attention, head in zip(images, self.attentions, self.heads, strict=True):
            if x is None:
                outputs.append(None)
                continue
            if id(x) not in activations:
                activations[id(x)] = self.encoder.activations(x)
            outputs.append(read(head, attention(activations[id(x)])))
        return outputs

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.encoder.parameters())


@dataclass(frozen=True)
class Mtan(Sharing):
    """One encoder with attention modules for each task."""

    name = "mtan"
    summary = "one encoder; each task picks features from its stages by attention"
    paper = "Liu et al. 2019, End-to-End Multi-Task Learning with Attention"

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return one encoder, an attention module per stage and task, and all heads."""
        shared = new_encoder()
        return _Attended(shared, [head(shared) for head in heads])
