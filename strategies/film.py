"""Feature-wise linear modulation by task (Perez et al. 2018): a scale and a shift per channel.

The rule: after every stage, channel c of task t becomes γ_tc x_c + β_tc. At first γ = 1 and β = 0,
where the network is that of hard sharing. The paper predicts γ and β from a question and modulates
before the rectifiers inside residual blocks. Here the condition is the task, so γ and β are
parameters. They stand after each stage, which any encoder has. All stages but the first run once
per task, even where tasks share their images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import EncoderFactory, MultiTaskNetwork, Sharing
from bench.networks import Encoder, Shape

from ._modulated import ModulatedEncoder


class _ScaleAndShift(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        each = (shape[0], *[1] * (len(shape) - 1))
        #: γ and β, [C] or [C, 1, 1] each.
        self.scale = nn.Parameter(torch.ones(each))
        self.shift = nn.Parameter(torch.zeros(each))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


@dataclass(frozen=True)
class Film(Sharing):
    """One encoder whose channels are scaled and shifted per task."""

    name = "film"
    summary = "one encoder, whose channels are scaled and shifted per task after every stage"
    paper = "Perez et al. 2018, FiLM: Visual Reasoning with a General Conditioning Layer"

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return the modulated encoder, which starts as that of hard sharing."""
        return ModulatedEncoder(new_encoder, heads, _ScaleAndShift)
