"""Branching (partial sharing): the first stages of an encoder are shared, the rest are per task.

It interpolates between separate networks and one: `branch@0` is `single`, and with all stages
shared it is `hard`. Both match bit for bit on a CPU. The copies of a stage start from the same
weights, because every call of the encoder's builder returns the same draw. Learned branchings (Lu
et al. 2017; Guo et al. 2020) search for the split, which is a knob here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from bench.contracts import EncoderFactory, MultiTaskNetwork, Sharing, UserError
from bench.networks import Encoder, in_turn, read

from ._split_point import the_only


class _Branched(MultiTaskNetwork):
    def __init__(
        self, stem: nn.Sequential, branches: list[nn.Module], heads: list[nn.Module]
    ) -> None:
        super().__init__()
        self.stem = stem
        self.branches = nn.ModuleList(branches)
        self.heads = nn.ModuleList(heads)

    def forward(self, images: Sequence[Tensor | None]) -> list[Tensor | None]:
        return self._outputs(images, {})

    def split_point(self, images: Sequence[Tensor | None]) -> tuple[Tensor, list[Tensor | None]]:
        stems: dict[int, list[Tensor]] = {}
        outputs = self._outputs(images, stems, seen=1)
        return the_only(stems)[-1], outputs

    def _outputs(
        self, images: Sequence[Tensor | None], stems: dict[int, list[Tensor]], seen: int = 0
    ) -> list[Tensor | None]:
        """Return the outputs; heads see the last `seen` of the activations, or all if it is 0."""
        outputs: list[Tensor | None] = []
        for x, branch, head in zip(images, self.branches, self.heads, strict=True):
            if x is None:
                outputs.append(None)
                continue
            if id(x) not in stems:
                stems[id(x)] = [x, *in_turn(self.stem, x)]
            stem = stems[id(x)]
            activations = [*stem[1:], *in_turn(cast(nn.Sequential, branch), stem[-1])]
            outputs.append(read(head, activations[-seen:]))
        return outputs

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.stem.parameters())


@dataclass(frozen=True)
class Branch(Sharing):
    """The first stages shared, the rest task-specific."""

    name = "branch"
    summary = "the first stages of the encoder shared, a copy of the rest for each task"
    paper = "Caruana 1997; Vandenhende et al. 2020, Branched Multi-Task Networks"

    shared: int = 1
    """Number of shared stages: 0 shares nothing, and all of them are hard sharing."""

    def __post_init__(self) -> None:
        if self.shared < 0:
            raise ValueError(f"shared is a number of stages of at least 0, not {self.shared}")

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return the branched network. Raises `UserError` where the encoder has too few stages."""
        encoders = [new_encoder() for _ in heads]
        stages = len(encoders[0].stages)
        if self.shared > stages:
            raise UserError(
                f"{self.name} shares {self.shared} stages, but the network has {stages}: give "
                f"a number from 0 to {stages}"
            )
        return _Branched(
            nn.Sequential(*encoders[0].stages[: self.shared]),
            [nn.Sequential(*encoder.stages[self.shared :]) for encoder in encoders],
            [head(encoder) for head, encoder in zip(heads, encoders, strict=True)],
        )
