"""Cross-stitch networks (Misra et al. 2016): one encoder per task, mixed after every stage.

The rule: after stage l, x_t ← Σ_s α_l[t, s] x_s, with α learned, one value per channel. Here α
starts at `own` on the diagonal and at (1 − own) / (T − 1) off it. The paper starts the encoders
from single-task networks trained beforehand. Here they are trained from scratch, because all arms
have one budget, and all start from the same draw as the other arms. α learns at the network's own
rate; the paper gives it a higher one. For tasks on different images, every encoder sees the images
of every task, because stitching mixes activations of one image. That cost is part of the price.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import EncoderFactory, MultiTaskNetwork, Range, Sharing, tuned
from bench.networks import Encoder, read


class _Stitched(MultiTaskNetwork):
    def __init__(self, encoders: list[Encoder], heads: list[nn.Module], own: float) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.heads = nn.ModuleList(heads)
        tasks = len(heads)
        device = next(encoders[0].parameters()).device
        mix = torch.full((tasks, tasks), (1 - own) / max(1, tasks - 1), device=device)
        mix.fill_diagonal_(own if tasks > 1 else 1.0)
        #: α of each stage: [T, T, channels].
        self.stitches = nn.ParameterList(
            nn.Parameter(mix[:, :, None].repeat(1, 1, shape[0]))
            for shape in encoders[0].stage_shapes
        )

    def _activations(self, images: Tensor) -> list[list[Tensor]]:
        """Return the mixed activations of every task after each stage, for a batch of images."""
        activations = [images] * len(self.encoders)
        found = []
        for level, stitch in enumerate(self.stitches):
            own = [
                encoder.stages[level](x)  # type: ignore[operator, index]
                for encoder, x in zip(self.encoders, activations, strict=True)
            ]
            alpha = stitch.view(*stitch.shape, *[1] * (own[0].dim() - 2))
            activations = [
                sum((a * x for a, x in zip(row[1:], own[1:], strict=True)), start=row[0] * own[0])
                for row in alpha
            ]
            found.append(activations)
        return [list(own) for own in zip(*found, strict=True)]

    def forward(self, images: Sequence[Tensor | None]) -> list[Tensor | None]:
        found: dict[int, list[list[Tensor]]] = {}
        outputs: list[Tensor | None] = []
        for task, (x, head) in enumerate(zip(images, self.heads, strict=True)):
            if x is None:
                outputs.append(None)
                continue
            if id(x) not in found:
                found[id(x)] = self._activations(x)
            outputs.append(read(head, found[id(x)][task]))
        return outputs

    def shared_parameters(self) -> list[nn.Parameter]:
        return [*self.encoders.parameters(), *self.stitches.parameters()]


@dataclass(frozen=True)
class CrossStitch(Sharing):
    """One encoder per task, with learned linear mixes between them."""

    name = "cross-stitch"
    summary = "one encoder per task, activations mixed after every stage"
    paper = "Misra et al. 2016, Cross-stitch Networks for Multi-task Learning"
    exact_null = False  # the partners' encoders feed the target's, whatever the partners' weight

    own: float = tuned(0.9, Range(0.5, 1))
    """Initial weight of a task's own activation."""

    def __post_init__(self) -> None:
        if not 0 <= self.own <= 1:
            raise ValueError(f"own is a weight between 0 and 1, not {self.own}")

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return one encoder per task, stitched together."""
        encoders = [new_encoder() for _ in heads]
        built = [head(t) for head, t in zip(heads, encoders, strict=True)]
        return _Stitched(encoders, built, self.own)
