"""Parts that break one promise each, for the tests of what finds it."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.contracts import (
    Aggregation,
    Aggregator,
    EncoderFactory,
    MultiTaskNetwork,
    Range,
    Sharing,
    Weighting,
    tuned,
)
from bench.networks import Encoder
from bench.tasks import Task


class _OneTrunk(MultiTaskNetwork):
    def __init__(self, encoder: Encoder, heads: list[nn.Module], how: str) -> None:
        super().__init__()
        self.encoder, self.heads, self.how = encoder, nn.ModuleList(heads), how

    def forward(self, images: Sequence[Tensor | None]) -> list[Tensor | None]:
        outputs = [
            None if x is None else head(self.encoder(x))
            for x, head in zip(images, self.heads, strict=True)
        ]
        if self.how == "wrong-shape":
            return [None if y is None else y[:, :1] for y in outputs]
        return outputs

    def shared_parameters(self) -> list[nn.Parameter]:
        return [] if self.how == "unshared" else list(self.encoder.parameters())


@dataclass(frozen=True)
class WrongShape(Sharing):
    """Its outputs have one column, whatever the task."""

    name = "wrong-shape"
    summary = "wrong on purpose"
    paper = "none"

    _kept: ClassVar[dict[object, Encoder]] = {}

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return one encoder."""
        shared = self.encoder(new_encoder)
        return _OneTrunk(shared, [head(shared) for head in heads], self.name)

    def encoder(self, new_encoder: EncoderFactory) -> Encoder:
        """Return the encoder."""
        return new_encoder()


@dataclass(frozen=True)
class Unshared(WrongShape):
    """It hides its shared parameters from aggregation methods."""

    name = "unshared"


@dataclass(frozen=True)
class Keeps(WrongShape):
    """All its networks have one encoder."""

    name = "keeps"

    def encoder(self, new_encoder: EncoderFactory) -> Encoder:
        """Return the encoder that was built first."""
        new = new_encoder()
        key = (next(new.parameters()).device, tuple(new.stage_shapes))
        return self._kept.setdefault(key, new)


class _Mean(nn.Module):
    steps: ClassVar[int] = 0

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        match self.how:
            case "waits":
                weights = weights * (losses[0].item() >= 0)
            case "copies":
                weights = weights * torch.tensor([1.0, 1.0]).to(weights.device)
            case "fetches":
                weights = weights * (losses.cpu().sum() >= 0)
            case "mixes":
                weights = weights * torch.tensor([1.0, 1.0])
            case "not-a-number":
                losses = losses / (losses.detach() * 0) * 0
            case "mispriced" if not losses.is_meta:
                torch.ones(400, 400) @ torch.ones(400, 400)
            case "unseeded":
                weights = torch.cat([weights[:1], weights[1:] * random.random()])
            case "counts":
                _Mean.steps += 1
                weights = torch.cat([weights[:1], weights[1:] * _Mean.steps])
            case "loud":
                weights = torch.ones_like(weights)
        return (losses * weights).sum() / weights.sum()


@dataclass(frozen=True)
class Waits(Weighting):
    """It reads a loss in every step."""

    name = "waits"
    summary = "wrong on purpose"
    paper = "none"

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the fault."""
        return _Mean(self.name)


@dataclass(frozen=True)
class Copies(Waits):
    """It moves a table to the device in every step."""

    name = "copies"


@dataclass(frozen=True)
class Fetches(Waits):
    """It moves its losses to the host in every step."""

    name = "fetches"


@dataclass(frozen=True)
class Mixes(Waits):
    """It leaves a table on the host."""

    name = "mixes"


@dataclass(frozen=True)
class NotANumber(Waits):
    """Its loss is NaN."""

    name = "not-a-number"


@dataclass(frozen=True)
class Mispriced(Waits):
    """It works where it is not priced."""

    name = "mispriced"


@dataclass(frozen=True)
class Unseeded(Waits):
    """It draws from a generator that nobody has seeded."""

    name = "unseeded"


@dataclass(frozen=True)
class Counts(Waits):
    """It remembers the steps of all runs of the process."""

    name = "counts"


@dataclass(frozen=True)
class Loud(Waits):
    """It gives a task of weight 0 a weight."""

    name = "loud"


@dataclass(frozen=True)
class Silent(Waits):
    summary = ""
    name = "silent"


@dataclass(frozen=True)
class Unreadable(Waits):
    """Its default cannot be typed."""

    name = "unreadable"

    level: int = 0.5  # type: ignore[assignment]


@dataclass(frozen=True)
class Summed(Aggregation):
    """It makes equal gradients longer."""

    name = "summed"
    summary = "wrong on purpose"
    paper = "none"

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the sum times the number of tasks."""
        return lambda gradients, losses, weights: gradients.sum(0) * len(gradients)


@dataclass(frozen=True)
class Sound(Waits):
    """Nothing is wrong with it."""

    name = "sound"


@dataclass(frozen=True)
class Refuses(Waits):
    """It is to be searched where it cannot be."""

    name = "refuses"

    share: float = tuned(0.5, Range(0, 2))

    def __post_init__(self) -> None:
        if self.share > 1:
            raise ValueError("share is at most 1")


@dataclass(frozen=True)
class Grows(WrongShape):
    """What it searches decides how many weights are trained."""

    name = "grows"

    spare: int = tuned(1, Range(1, 4))

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return one encoder, with weights that no task uses."""
        network = super().build(new_encoder, heads)
        network.spare = nn.Parameter(torch.zeros(self.spare))
        return network
