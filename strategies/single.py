"""Single-task learning: nothing is shared. One end of the sharing dial, and the usual anchor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from bench.contracts import EncoderFactory, MultiTaskNetwork, Sharing
from bench.networks import Encoder, read


class _SeparateNetworks(MultiTaskNetwork):
    def __init__(self, encoders: list[Encoder], heads: list[nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Sequence[Tensor | None]) -> list[Tensor | None]:
        return [
            None if x is None else read(head, cast(Encoder, encoder).activations(x))
            for x, encoder, head in zip(images, self.encoders, self.heads, strict=True)
        ]

    def shared_parameters(self) -> list[nn.Parameter]:
        return []


@dataclass(frozen=True)
class Single(Sharing):
    """One network per task."""

    name = "single"
    summary = "one network per task, nothing shared"
    paper = "none: the baseline"
    single_task = True

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return as many separate networks as there are tasks."""
        encoders = [new_encoder() for _ in heads]
        return _SeparateNetworks(encoders, [h(e) for h, e in zip(heads, encoders, strict=True)])
