"""Cuts a model of another library into stages, and takes its batch statistics out.

A stage ends where the model's features do, at modules that the library names. The model's forward
pass is traced around these modules (`torch.fx`), so whatever it does between them is in a stage
too. The stages in turn compute what the model does.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.errors import UserError
from bench.networks.encoder import group_norm

#: Stages of a transformer, whose blocks all have one size.
_GROUPS = 4


class _Features(nn.Module):
    """The method of a model that computes its features."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model = model
        self._method = method

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = getattr(self.model, self._method)(x)
        return found


class _Tracer(fx.Tracer):
    """Follows the forward pass down to some modules, and takes all others as they are."""

    def __init__(self, ends: Iterable[str]) -> None:
        super().__init__()
        paths = [end.split(".") for end in ends]
        self._opened = {".".join(p[:depth]) for p in paths for depth in range(1, len(p))}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is called as it is."""
        return module_qualified_name not in self._opened


def pieces(model: nn.Module, method: str, ends: Sequence[str], rest: bool) -> list[nn.Module]:
    """Return what a method of a model computes, cut after each of the modules `ends`.

    What follows the last of them is part of the last piece, if `rest`; otherwise it is left out.
    Raises `UserError` where more than one tensor passes a cut, or where what is computed depends on
    values.
    """
    ends = [f"model.{end}" for end in ends]
    root = _Features(model, method)
    try:
        graph = _Tracer(ends).trace(root)
    except fx.proxy.TraceError:
        raise UserError("what it computes depends on its images, so it has no stages") from None
    nodes = list(graph.nodes)
    places = {str(n.target): i for i, n in enumerate(nodes) if n.op == "call_module"}
    cuts = sorted(places[end] for end in ends if end in places)
    (output,) = (n for n in nodes if n.op == "output")
    if rest and cuts and isinstance(last := output.args[0], fx.Node):
        cuts[-1] = max(cuts[-1], nodes.index(last))
    (before,), found, start = (n for n in nodes if n.op == "placeholder"), [], 0
    for cut in cuts:
        inside = [n for n in nodes[start : cut + 1] if n.op != "placeholder"]
        found.append(_piece(root, before, inside))
        before, start = nodes[cut], cut + 1
    return found


def _piece(root: nn.Module, before: fx.Node, nodes: Sequence[fx.Node]) -> nn.Module:
    """Return a module that computes the last of some nodes from the one before them."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {before: graph.placeholder("x")}
    for node in nodes:
        if any(each not in copies for each in node.all_input_nodes):
            raise UserError("its stages pass on more than one tensor, so that nothing can branch")
        copies[node] = graph.node_copy(node, lambda each: copies[each])
    graph.output(copies[nodes[-1]])
    return fx.GraphModule(root, graph)


class _Tokens(nn.Module):
    """A stage on tokens `[N, T, D]`, which others see as maps.

    Inside the network a map is `[N, D, T, 1]`, so that its channels are where those of images are.
    After the last stage it is `[N, D, h, w]`, without the tokens that belong to no place.
    """

    def __init__(self, stage: nn.Module, first: bool, grid: tuple[int, int] | None) -> None:
        super().__init__()
        self.stage, self._first, self._grid = stage, first, grid

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.stage(x if self._first else x.flatten(2).transpose(1, 2))
        if self._grid is None:
            return y.transpose(1, 2).unsqueeze(3)
        places = y[:, -math.prod(self._grid) :].transpose(1, 2)
        return places.reshape(*places.shape[:2], *self._grid)


class _ChannelsLast(nn.Module):
    """A stage on maps `[N, h, w, C]`, which others see as `[N, C, h, w]`."""

    def __init__(self, stage: nn.Module, first: bool) -> None:
        super().__init__()
        self.stage, self._first = stage, first

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.stage(x if self._first else x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


@torch.no_grad()
def staged(
    parts: Sequence[nn.Module],
    image: Sequence[int],
    prefix: int,
    channels_last: bool,
    apart: bool = False,
) -> list[nn.Module]:
    """Join pieces to stages: those whose features have one size, or a quarter of all blocks.

    `prefix` tokens of a transformer belong to no place of the image. If `apart`, every piece is a
    stage.
    """
    device = next(parts[0].parameters()).device
    x, shapes = torch.zeros(1, *image, device=device), []
    for part in parts:
        x = part(x)
        shapes.append(x.shape[1:])
    keys: list[Any] = list(range(len(parts)))
    if tokens := len(shapes[-1]) == 2:
        keys = [place * _GROUPS // len(parts) for place in range(len(parts))]
    elif not apart:
        keys = [shape[:2] if channels_last else shape[1:] for shape in shapes]
    places = [list(group) for _, group in groupby(range(len(parts)), key=lambda i: keys[i])]
    stages: list[nn.Module] = [
        parts[group[0]] if len(group) == 1 else nn.Sequential(*(parts[i] for i in group))
        for group in places
    ]
    if tokens:
        grid = _grid(shapes[-1][0] - prefix, image)
        last = len(stages) - 1
        return [_Tokens(s, n == 0, grid if n == last else None) for n, s in enumerate(stages)]
    if channels_last:
        return [_ChannelsLast(stage, number == 0) for number, stage in enumerate(stages)]
    return stages


def _grid(patches: int, image: Sequence[int]) -> tuple[int, int]:
    """Return the sides of the grid that an image was cut into so many patches by."""
    height = round(math.sqrt(patches * image[1] / image[2]))
    width = patches // max(1, height)
    if height * width != patches:
        raise UserError(f"its {patches} tokens are no grid of an image of {image[1]} × {image[2]}")
    return height, width


class _FrozenStatistics:
    """A batch normalisation that stays in evaluation mode: its mean and variance are constants."""

    def train(self, mode: bool = True) -> Any:
        """Stay in evaluation mode."""
        return super().train(False)  # type: ignore[misc]


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch normalisations of a model."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def freeze_statistics(model: nn.Module) -> None:
    """Make the statistics of every batch normalisation constants. Scale and shift are trained."""
    for module in batch_norms(model):
        kind = type(module)
        module.__class__ = type(f"Frozen{kind.__name__}", (_FrozenStatistics, kind), {})
        module.eval()


def replace_by_group_norm(model: nn.Module) -> None:
    """Put GroupNorm with one group in the place of every batch normalisation.

    It keeps scale and shift. What a normalisation does besides, such as timm's activation, stays.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                new = group_norm(child.num_features)
                new.eps = child.eps
                if child.affine:
                    new.weight, new.bias = child.weight, child.bias
                after = [getattr(child, part) for part in ("drop", "act") if hasattr(child, part)]
                setattr(parent, name, nn.Sequential(new, *after) if after else new)


def without_dropout(model: nn.Module) -> None:
    """Switch off whatever drops features or whole paths at random.

    It would draw from the strategy's stream, and train another function than the one that is
    scored.
    """
    for module in model.modules():
        kind = type(module).__name__
        if "Drop" in kind or kind == "StochasticDepth":
            for rate in {"p", "drop_prob"} & vars(module).keys():
                setattr(module, rate, 0.0)
