"""Multi-gate mixture of experts (Ma et al. 2018): encoders shared by all, mixed by a gate per task.

The rule: the features of task t are Σ_k g_tk(x) f_k(x), with experts f_k and the gate g_t = softmax
of a linear map of the input. Here experts are encoders. The gate sees the image averaged to at most
8 × 8 and starts at equal shares. The first expert is the draw that other arms start from. The
others shuffle its entries, because identical experts behind equal gates would stay identical.

Each expert costs a pass of an encoder, which the budget bills: two at full width cost as much as
two networks. `width` narrows them: at 1 / √K all K cost about as much as one at full width. Experts
of another width have their own draw. The paper's experts are single layers below the tasks' towers,
eight of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import EncoderFactory, MultiTaskNetwork, Sharing
from bench.networks import Encoder

from ._redraw import redrawn

#: Largest side of the image that gates see.
_SIDE = 8
#: Experts, each a whole encoder, and how many times wider than the network one may be.
_MOST = 64
_WIDEST = 16


class _Gate(nn.Module):
    """Maps images `[N, C, H, W]` to shares of the experts `[N, K]`."""

    def __init__(self, channels: int, side: int, experts: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(side)
        self.linear = nn.Linear(channels * side * side, experts)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: Tensor) -> Tensor:
        shares: Tensor = self.linear(self.pool(images).flatten(1)).softmax(1)
        return shares


class _Mixture(MultiTaskNetwork):
    def __init__(
        self, experts: list[Encoder], gates: list[nn.Module], heads: list[nn.Module]
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.gates = nn.ModuleList(gates)
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Sequence[Tensor | None]) -> list[Tensor | None]:
        features: dict[int, Tensor] = {}  # [K, N, ...] of each batch of images
        outputs: list[Tensor | None] = []
        for x, gate, head in zip(images, self.gates, self.heads, strict=True):
            if x is None:
                outputs.append(None)
                continue
            if id(x) not in features:
                features[id(x)] = torch.stack([expert(x) for expert in self.experts])
            experts = features[id(x)]
            shares = gate(x).T.reshape(*experts.shape[:2], *[1] * (experts.dim() - 2))
            outputs.append(head((shares * experts).sum(0)))
        return outputs

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.experts.parameters())


@dataclass(frozen=True)
class Mmoe(Sharing):
    """Encoders shared by all tasks, mixed by a gate per task."""

    name = "mmoe"
    summary = "several encoders shared by all tasks, mixed by a gate per task"
    paper = "Ma et al. 2018, Modeling Task Relationships with Multi-gate Mixture-of-Experts"

    experts: int = 2
    """Number of encoders."""

    width: float = 1.0
    """Width of each encoder, as a multiple of the run's width."""

    def __post_init__(self) -> None:
        if not 1 <= self.experts <= _MOST:
            raise ValueError(f"experts is a number from 1 to {_MOST}, not {self.experts}")
        if not 0 < self.width <= _WIDEST:
            raise ValueError(f"width is a number above 0 and up to {_WIDEST}, not {self.width}")

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return the experts, a gate per task and all heads."""
        first = new_encoder(self.width)
        experts = [first, *(redrawn(new_encoder(self.width)) for _ in range(self.experts - 1))]
        channels, *sides = first.image
        gates: list[nn.Module] = [_Gate(channels, min(_SIDE, *sides), self.experts) for _ in heads]
        return _Mixture(experts, gates, [head(first) for head in heads])
