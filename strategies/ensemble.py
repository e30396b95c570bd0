"""An ensemble of single-task networks at the cost of one: what else equal compute could buy.

Nothing is shared between tasks. Each task has several networks. They are trained in turn, one per
step, each on its own loss. So a step costs as much as one network per task, and each of K members
gets 1/K of the steps. A prediction is the mean of the members' outputs (for classes, of the
logits). The first member is the draw that other arms start from; the others shuffle its entries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from bench.contracts import EncoderFactory, MultiTaskNetwork, Sharing
from bench.networks import Encoder, read

from ._redraw import redrawn

#: Each is a whole network.
_MOST = 64


class _Member(nn.Sequential):
    """An encoder and a head."""

    def forward(self, x: Tensor) -> Tensor:
        encoder, head = self
        return read(head, cast(Encoder, encoder).activations(x))


class _Ensemble(MultiTaskNetwork):
    def __init__(self, networks: list[nn.ModuleList]) -> None:
        super().__init__()
        #: The members of each task.
        self.networks = nn.ModuleList(networks)
        self._members = len(networks[0])
        #: The member of each task that was trained last.
        self._turns = [-1] * len(networks)

    def forward(self, images: Sequence[Tensor | None]) -> list[Tensor | None]:
        outputs: list[Tensor | None] = []
        for task, (x, networks) in enumerate(zip(images, self.networks, strict=True)):
            if x is None:
                outputs.append(None)
                continue
            if self.training and torch.is_grad_enabled():  # a second look sees that of the step
                self._turns[task] = (self._turns[task] + 1) % self._members
            members = cast(nn.ModuleList, networks)
            asked = [self._turns[task]] if self.training else range(self._members)
            outputs.append(torch.stack([members[k](x) for k in asked]).mean(0))
        return outputs

    def shared_parameters(self) -> list[nn.Parameter]:
        return []


@dataclass(frozen=True)
class Ensemble(Sharing):
    """Several networks per task, trained in turn, with averaged outputs."""

    name = "ensemble"
    summary = "several networks per task, trained in turn; nothing is shared between tasks"
    paper = "Hansen & Salamon 1990, Neural Network Ensembles"

    members: int = 2
    """Networks per task."""

    def __post_init__(self) -> None:
        if not 1 <= self.members <= _MOST:
            raise ValueError(f"members is a number from 1 to {_MOST}, not {self.members}")

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return as many networks per task as there are members."""

        def networks(head: Callable[[Encoder], nn.Module]) -> nn.ModuleList:
            members = []
            for member in range(self.members):
                encoder = new_encoder()
                network = _Member(encoder, head(encoder))
                members.append(redrawn(network) if member else network)
            return nn.ModuleList(members)

        return _Ensemble([networks(head) for head in heads])
