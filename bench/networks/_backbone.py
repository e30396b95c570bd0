"""What the models of other libraries share: weights, batch normalisation, frozen stages."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.contracts import Network, UserError
from bench.networks._stages import (
    batch_norms,
    freeze_statistics,
    pieces,
    replace_by_group_norm,
    staged,
    without_dropout,
)
from bench.networks._statistics import separate_statistics
from bench.networks._weights import load_weights, read_weights
from bench.networks.encoder import Encoder, Shape

#: The weights that a library has published for a model.
DEFAULT = "default"
_NORMS = ("auto", "frozen", "group", "per-task")


@dataclass(frozen=True)
class Layout:
    """How a model is cut: the modules at which features end, and the method that computes them.

    What the method does after the last of them belongs to the encoder, if `rest`. `prefix` tokens
    belong to no place of an image; `channels_last` are maps `[N, h, w, C]`. Stages are the parts up
    to each end, if `apart`; otherwise parts whose maps have one size are a stage together.
    """

    ends: Sequence[str]
    method: str = "forward"
    rest: bool = False
    prefix: int = 0
    channels_last: bool = False
    apart: bool = False


@dataclass(frozen=True)
class Backbone(Network):
    """A model of another library, without its classifier.

    It comes in one width. Dropout and stochastic depth are switched off. The policy for batch
    normalisation is one for all arms.
    """

    widths: ClassVar[bool] = False
    #: Models that are looked for on a machine for a user's photographs, the best first: on a
    #: `cpu`, and on an `accelerator`.
    favourites: ClassVar[Mapping[str, Sequence[str]]] = {}

    model: str = ""
    """Name of the model."""

    weights: str | None = None
    """File of pretrained weights (safetensors or torch's), or `default`: those of the library."""

    norm: str = "auto"
    """Batch normalisation: `frozen` statistics of the weights, replaced by `group` normalisation,
    or statistics of each batch, `per-task`. `auto` is `frozen` with weights, and `group` without.
    """

    frozen: int = 0
    """Number of stages, from the first, whose weights stay as they are."""

    def __post_init__(self) -> None:
        if self.norm not in _NORMS:
            raise ValueError(f"norm is one of {', '.join(_NORMS)}, not {self.norm}")
        if self.norm == "frozen" and self.weights is None:
            raise ValueError("norm=frozen needs weights: without them it has no statistics")
        if self.frozen < 0:
            raise ValueError(f"frozen is a number of stages of at least 0, not {self.frozen}")
        if self.frozen and self.weights is None:
            raise ValueError("frozen stages need weights: without them they have learned nothing")

    @classmethod
    def pretrained(cls, device: str, download: bool) -> str | None:
        """Return the first favourite whose published weights are here."""
        named = cls.favourites.get(device if device == "cpu" else "accelerator", ())
        for model in named:
            try:
                if cls(model=model, weights=DEFAULT).files:
                    return f"{cls.name}:{model}@weights={DEFAULT}"
            except UserError:
                continue
        return f"{cls.name}:{named[0]}@weights={DEFAULT}" if named and download else None

    @abstractmethod
    def made(self, image: Shape) -> nn.Module:
        """Return the model, freshly drawn, for images of this shape, at the size of its weights.

        Raises `UserError` where the library has no such model.
        """

    @abstractmethod
    def layout(self, model: nn.Module) -> Layout:
        """Return how a model is cut. Raises `UserError` where it cannot be."""

    @abstractmethod
    def heads(self, model: nn.Module) -> Sequence[str]:
        """Return the names of the modules that classify."""

    @abstractmethod
    def published(self, download: bool) -> Path | None:
        """Return the file of the library's own weights; None where it is not on this machine.

        It is fetched if `download`. Raises `UserError` where there are none, or no connection.
        """

    def resized(self, model: nn.Module, image: Shape) -> None:
        """Fit a model with its weights to images of another size, where that takes something."""

    def renamed(self, model: nn.Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of a file under the names of the model, as far as the library knows."""
        return given

    @property
    def mixes_images(self) -> bool:  # type: ignore[override]
        """Whether batches are normalised by their own statistics."""
        return self.norm == "per-task"

    @property
    def _spelled(self) -> str:
        return f"{self.name}:{self.model}"

    @property
    def _statistics_frozen(self) -> bool:
        return self.norm == "frozen" or (self.norm == "auto" and self.weights is not None)

    @property
    def _policy(self) -> str:
        if self.mixes_images:
            return (
                "takes the statistics of each batch, and running ones in evaluation, each task's "
                "apart; tasks whose features are the same, on the same images, share them"
            )
        if self._statistics_frozen:
            return "keeps the statistics of its weights"
        return "is replaced by GroupNorm with one group"

    @property
    def files(self) -> Mapping[str, Path]:
        """The file of weights."""
        if self.weights is None:
            return {}
        path = self.published(False) if self.weights == DEFAULT else Path(self.weights)
        if path is None:
            raise UserError(
                f"the weights of {self._spelled} are not on this machine: fetch them with "
                "--download, or give a file with weights=PATH"
            )
        return {"weights": path}

    def prepare(self, download: bool) -> Sequence[str]:
        """Find the weights, and say how many were loaded and what becomes of batch statistics."""
        if self.weights == DEFAULT and download:
            self.published(True)
        model = self.made((3, 224, 224))
        lines = [f"weights: {self._loaded(model)}"] if self.weights else ["drawn anew, no weights"]
        if batch_norms(model):
            lines.append(f"batch normalisation {self._policy}, in all arms")
        if self.frozen:
            lines.append(f"the first {self.frozen} stages are frozen, in all arms")
        return lines

    def _loaded(self, model: nn.Module) -> str:
        """Put the weights into a model; return what to say of it."""
        path, heads = self.files["weights"], self.heads(model)
        given = self.renamed(model, read_weights(path))
        return load_weights(model, given, heads, path.name)

    def build(self, image: Shape, width: float) -> Encoder:
        """Return the stages. Raises `UserError` where the model does not suit the images."""
        model = self.made(image)
        on_meta = next(model.parameters()).is_meta
        if self.weights is not None and not on_meta:
            self._loaded(model)
        self.resized(model, image)
        without_dropout(model)
        if self.mixes_images:
            separate_statistics(batch_norms(model))
        else:
            (freeze_statistics if self._statistics_frozen else replace_by_group_norm)(model)
        layout = self.layout(model.eval())
        try:
            parts = pieces(model, layout.method, layout.ends, layout.rest)
            stages = staged(parts, image, layout.prefix, layout.channels_last, layout.apart)
            encoder = Encoder(stages, image).train()
        except UserError as error:
            raise UserError(f"{self._spelled} cannot be used: {error}") from None
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:
            size = " × ".join(map(str, image))
            raise UserError(f"{self._spelled} cannot take images of {size}: {error}") from error
        if self.frozen > len(stages):
            raise UserError(f"{self._spelled} has {len(stages)} stages, and not {self.frozen}")
        encoder.drawn = self.weights is None
        for stage in encoder.stages[: self.frozen]:
            stage.requires_grad_(False)
            if self.mixes_images:
                freeze_statistics(stage)
        return encoder
