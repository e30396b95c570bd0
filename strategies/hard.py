"""Hard parameter sharing (Caruana 1997): one encoder, one head per task.

Tasks on the same images share one forward pass of the encoder. Different images pass through it one
batch after another, not concatenated. So a task's features are bit-for-bit the same, whatever else
is trained with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import EncoderFactory, MultiTaskNetwork, Sharing
from bench.networks import Encoder, read

from ._split_point import the_only


class _OneTrunk(MultiTaskNetwork):
    def __init__(self, encoder: Encoder, heads: list[nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Sequence[Tensor | None]) -> list[Tensor | None]:
        return self._outputs(images, {})

    def split_point(self, images: Sequence[Tensor | None]) -> tuple[Tensor, list[Tensor | None]]:
        found: dict[int, list[Tensor]] = {}
        outputs = self._outputs(images, found, seen=1)
        return the_only(found)[-1], outputs

    def _outputs(
        self, images: Sequence[Tensor | None], found: dict[int, list[Tensor]], seen: int = 0
    ) -> list[Tensor | None]:
        """Return the outputs; heads see the last `seen` of the activations, or all if it is 0."""
        outputs: list[Tensor | None] = []
        for x, head in zip(images, self.heads, strict=True):
            if x is None:
                outputs.append(None)
                continue
            if id(x) not in found:
                found[id(x)] = self.encoder.activations(x)
            outputs.append(read(head, found[id(x)][-seen:]))
        return outputs

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.encoder.parameters())


@dataclass(frozen=True)
class Hard(Sharing):
    """One encoder for all tasks."""

    name = "hard"
    summary = "one encoder for all tasks, one head per task"
    paper = "Caruana 1997, Multitask Learning"
    default = True

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return one encoder with all heads on it."""
        shared = new_encoder()
        return _OneTrunk(shared, [head(shared) for head in heads])
