"""Residual adapters (Rebuffi et al. 2017): small linear maps per task in a shared encoder.

The rule: after every stage, task t's activation becomes x + A_t x. A_t is a 1 × 1 convolution, or a
linear map where the stage's output is a vector. A_t starts at 0, where the network is that of hard
sharing. This is the series form of 2017 without its batch normalisation, applied to stages instead
of single convolutions. The parallel form of Rebuffi et al. 2018 needs input and output of one size,
which stages do not have. In the paper the encoder is trained on a large set beforehand and then
fixed; here it is trained together with the adapters. All stages but the first run once per task,
even where tasks share their images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import EncoderFactory, MultiTaskNetwork, Sharing
from bench.networks import Encoder, Shape

from ._modulated import ModulatedEncoder


class _Adapter(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = shape[0]
        self.map: nn.Conv2d | nn.Linear = (
            nn.Conv2d(channels, channels, 1, bias=False)
            if len(shape) == 3
            else nn.Linear(channels, channels, bias=False)
        )
        nn.init.zeros_(self.map.weight)

    def forward(self, x: Tensor) -> Tensor:
        adapted: Tensor = x + self.map(x)
        return adapted


@dataclass(frozen=True)
class Adapters(Sharing):
    """One encoder with residual adapters for each task."""

    name = "adapters"
    summary = "one encoder, with a residual 1 × 1 convolution per task after every stage"
    paper = "Rebuffi et al. 2017, Learning Multiple Visual Domains with Residual Adapters"

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return the adapted encoder, which starts as that of hard sharing."""
        return ModulatedEncoder(new_encoder, heads, _Adapter)
