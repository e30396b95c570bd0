"""The models of torchvision: `torchvision:resnet50`, with the weights of a file or its own."""

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.contracts import Normalisation, UserError
from bench.networks._backbone import Backbone, Layout
from bench.networks.encoder import Shape

#: By stride: which of the layers 2, 3 and 4 dilate instead of striding.
_DILATED: Mapping[int, tuple[bool, ...]] = {
    32: (),
    16: (False, False, True),
    8: (False, True, True),
}
#: What classifies, by the names that torchvision uses.
_HEADS = ("fc", "classifier", "heads", "head")
#: Seconds until a server that does not answer is given up.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Torchvision(Backbone):
    """A model of `torchvision.models`, such as `resnet50`, `convnext_tiny` or `vit_b_16`."""

    name = "torchvision"
    summary = "a model of torchvision: ResNet, ConvNeXt, EfficientNet, MobileNet, ViT and others"
    paper = "TorchVision maintainers 2016, TorchVision: PyTorch's Computer Vision library"
    models = "torchvision.models"
    favourites: ClassVar[Mapping[str, Sequence[str]]] = {
        "accelerator": ("resnet50", "resnet18"),
        "cpu": ("mobilenet_v3_large", "resnet18"),
    }

    stride: int = 32
    """Pixels of the image per step of the last map. At 8 or 16 the last layers of a ResNet dilate
    instead of striding (Yu et al. 2017), as label maps ask for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride not in _DILATED:
            raise ValueError(f"stride is one of 8, 16 and 32, not {self.stride}")

    def made(self, image: Shape) -> nn.Module:
        """Return the model. Raises `UserError` where there is none, or images are not in colour."""
        from torchvision.models import get_model

        if image[0] != 3:
            raise UserError(f"torchvision's models take images of 3 channels, not {image[0]}")
        options: dict[str, Any] = {}
        if self.model.startswith("vit_"):
            options["image_size"] = image[1]
            if image[1] != image[2]:
                raise UserError(f"{self.name}:{self.model} takes square images alone")
        if dilated := _DILATED[self.stride]:
            options["replace_stride_with_dilation"] = dilated
        try:
            found: nn.Module = get_model(self.model, weights=None, **options)
        except ValueError as error:
            raise UserError(f"{self.name} has no such model: {error}") from None
        except (TypeError, NotImplementedError):
            if not dilated:
                raise
            raise self._undilated() from None
        if dilated and not hasattr(found, "layer4"):  # some models ignore what they do not know
            raise self._undilated()
        return found

    def _undilated(self) -> UserError:
        return UserError(
            f"{self.name}:{self.model} has no stride of {self.stride}: ResNets with bottleneck "
            "blocks have, such as resnet50"
        )

    def layout(self, model: nn.Module) -> Layout:
        """Return the layers of a ResNet, the blocks of a ViT, or the parts of `features`."""
        if hasattr(model, "layer4"):
            ends = ["relu", "layer1", "layer2", "layer3", "layer4"]
            return Layout(ends, apart=self.stride < 32)
        layers = getattr(getattr(model, "encoder", None), "layers", None)
        if isinstance(layers, nn.Module):
            blocks = [f"encoder.layers.{name}" for name, _ in layers.named_children()]
            # The normalisation after the last block is part of it.
            return Layout([*blocks[:-1], "encoder.ln"], prefix=1)
        if isinstance(features := getattr(model, "features", None), nn.Sequential):
            parts = [f"features.{name}" for name, _ in features.named_children()]
            return Layout(parts, channels_last=hasattr(model, "permute"))
        raise UserError(
            "its stages are not known; those of ResNet, ConvNeXt, EfficientNet, MobileNet, ViT and "
            "whatever has `features` are"
        )

    def heads(self, model: nn.Module) -> Sequence[str]:
        """Return the last module."""
        return [name for name in _HEADS if hasattr(model, name)]

    def renamed(self, model: nn.Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Interpolate the positions of a ViT where they are those of another image size."""
        place = "encoder.pos_embedding"
        if place not in given or given[place].shape == model.state_dict()[place].shape:
            return given
        from torchvision.models.vision_transformer import interpolate_embeddings

        side, patch = model.image_size, model.patch_size
        resampled: dict[str, Tensor] = interpolate_embeddings(side, patch, given)
        return resampled

    @property
    def normalisation(self) -> Normalisation | None:
        """What its weights were trained on; None without weights."""
        if self.weights is None:
            return None
        shown = self._published().transforms()
        return Normalisation(tuple(shown.mean), tuple(shown.std))

    def _published(self) -> Any:
        from torchvision.models import get_model_weights

        try:
            return get_model_weights(self.model).DEFAULT
        except (ValueError, AttributeError) as error:
            raise UserError(f"{self.name}:{self.model} has no weights: {error}") from None

    def published(self, download: bool) -> Path | None:
        """Return the file in torch's cache."""
        url: str = self._published().url
        path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
        if not path.is_file() and download:
            path.parent.mkdir(parents=True, exist_ok=True)
            prefix = re.search(r"-([0-9a-f]{8,})\.", path.name)
            with impatient():
                try:
                    hashed = prefix[1] if prefix else None
                    torch.hub.download_url_to_file(url, str(path), hashed, progress=False)
                except (OSError, RuntimeError) as error:
                    raise UserError(f"cannot download {url}: {error}") from None
        return path if path.is_file() else None


@contextmanager
def impatient() -> Iterator[None]:
    """Give up on a server that does not answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
