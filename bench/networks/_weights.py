"""Reads files of weights, and puts them into a model.

No code of a file is run: it is safetensors, or a file of torch's that is read with `weights_only`.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.errors import UserError, message_of
from bench.files import MOST_WEIGHTS, open_regular

#: What surrounds the tensors in files of training scripts.
_WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema")
#: Names that an error lists of each kind.
_NAMED = 4


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, in its order. Raises `UserError` where it has none."""
    try:
        with open_regular(path, MOST_WEIGHTS) as file:
            if path.suffix == ".safetensors":
                return _safetensors(path)
            found = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read the weights {path}: {error.strerror or error}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        why = message_of(error).partition("\n")[0]
        raise UserError(f"{path} is no file of weights that can be read safely: {why}") from None
    for wrapper in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    tensors = found if isinstance(found, Mapping) else {}
    tensors = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path} has no tensors by name: save a model's state_dict()")
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise UserError(
            f"{path} needs the package safetensors: pip install 'mtl-sharing-bench[timm]'"
        ) from None
    try:
        found: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is no file of safetensors: {message_of(error)}") from None
    return found


def _weighty(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the counters of batch normalisation, which affect no number here."""
    return {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}


def load_weights(
    model: nn.Module, given: Mapping[str, Tensor], heads: Sequence[str], where: str
) -> str:
    """Copy weights into a model; return how many, and how they were assigned.

    Tensors are assigned by name. Those of the `heads`, which are replaced anyway, may differ or be
    missing. Where no name is the model's, but all shapes in their order are, the order decides: the
    same network, written down by another library. Raises `UserError` with the names that are
    missing, unexpected, or of another shape.
    """
    own, given = _weighty(model.state_dict()), _weighty(given)
    shapes = ([tensor.shape for tensor in state.values()] for state in (own, given))
    if not own.keys() & given.keys() and next(shapes) == next(shapes):
        _copy(own, dict(zip(own, given.values(), strict=True)))
        return f"all {len(own)} tensors of {where} by their order, since no name is the model's"
    problems = {
        "missing": [name for name in own if name not in given],
        "unexpected": [name for name in given if name not in own],
        "of another shape": [n for n in own if n in given and own[n].shape != given[n].shape],
    }
    body = {
        what: [name for name in names if not name.startswith(tuple(f"{head}." for head in heads))]
        for what, names in problems.items()
    }
    if any(body.values()):
        told = "; ".join(f"{what}: {_some(names)}" for what, names in body.items() if names)
        raise UserError(f"the weights of {where} are none of this model: {told}")
    fit = {n: t for n, t in given.items() if n in own and own[n].shape == t.shape}
    _copy(own, fit)
    return f"{len(fit)} of {len(own)} tensors of {where} by name" + (
        "" if len(fit) == len(own) else ", all but the classifier's"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


@torch.no_grad()
def _copy(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    for name, tensor in given.items():
        own[name].copy_(tensor)
