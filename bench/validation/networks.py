"""The contract of a network, as checks.

A network is tried on small images that are drawn in memory, alone and in a hard sharing of two
tasks: on the same images and on different ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from bench.contracts import Network
from bench.errors import UserError
from bench.networks import Encoder, Shape
from bench.randomness import seeded, stream
from bench.spec.budget import TOLERANCE
from bench.spec.experiment import Recipe
from bench.spec.registry import default_strategy, parse_network, spelling
from bench.tasks import TaskData
from bench.train.loop import TrainingState
from bench.train.pricing import count, count_flops
from bench.validation.checks import (
    COUNTED,
    RECIPE,
    SEED,
    InapplicableError,
    ViolationError,
    check_documented,
    check_spelled,
)
from bench.validation.components import drawn_tasks, same_bits, state_of, trained_steps

_CPU = torch.device("cpu")
#: Sides of the images that a network is tried on: the first that it takes.
_SIDES = (16, 32, 64, 224)
_BATCH = 4


@dataclass(frozen=True)
class Tried:
    """A network under test."""

    plugin: Network

    @property
    def name(self) -> str:
        """Its canonical spelling."""
        return spelling(self.plugin)

    @cached_property
    def image(self) -> Shape:
        """The shape of the smallest images that it takes. Raises `UserError` if it takes none."""
        for side in _SIDES:
            try:
                with torch.device("meta"):
                    self.plugin.build((3, side, side), 1.0)
            except UserError:
                if side == _SIDES[-1]:
                    raise
            else:
                break
        return (3, side, side)

    def encoder(self, width: float = 1.0) -> Encoder:
        """Return it built, the same draw at each call."""
        with seeded(SEED, "init"):
            return self.plugin.build(self.image, width)

    def images(self, what: str = "images") -> Tensor:
        """Return a batch of images, `[N, C, H, W]`."""
        return torch.randn(_BATCH, *self.image, generator=stream(SEED, "validation", what))

    @property
    def recipe(self) -> Recipe:
        """A recipe with it."""
        return RECIPE.model_copy(update={"network": self.name})

    @cached_property
    def tasks(self) -> Mapping[str, tuple[TaskData, TaskData]]:
        """Two tasks on the same images, and two on different ones."""
        return drawn_tasks(self.image)

    def trained(self, data: Sequence[TaskData]) -> tuple[TrainingState, list[Tensor]]:
        """Train hard sharing for a few steps; return the state, and its losses by phase."""
        return trained_steps(default_strategy(), data, self.recipe)


def documented(tried: Tried) -> None:
    """It has a docstring, a summary and a source."""
    check_documented(type(tried.plugin), ("summary", "paper"))


def knobs(tried: Tried) -> None:
    """It has one spelling, whether its defaults are named or not."""
    check_spelled(tried.plugin, tried.name, lambda text: spelling(parse_network(text)))


def stages(tried: Tried) -> None:
    """Its stages map a tensor to one, of the shapes that it says, and together are the network."""
    encoder, x = tried.encoder(), tried.images()
    if not isinstance(encoder, Encoder) or not encoder.stages:
        raise ViolationError("build returns no Encoder with a stage: `Encoder(stages, image)`")
    encoder.eval()
    y = x
    for number, (stage, shape) in enumerate(zip(encoder.stages, encoder.stage_shapes, strict=True)):
        y = stage(y)
        if y.shape != (_BATCH, *shape) or len(shape) not in (1, 3):
            raise ViolationError(
                f"stage {number + 1} gives {list(y.shape)} for {_BATCH} images: give [N, C, h, w] "
                "or [N, F], of the same shape for every batch"
            )
    if not torch.equal(y, encoder(x)):
        raise ViolationError(
            "its stages in turn are not the network: strategies share, branch and stitch stages"
        )


def repeats(tried: Tried) -> None:
    """The same seed gives the same weights and the same features twice."""
    first, second, x = tried.encoder().eval(), tried.encoder().eval(), tried.images()
    if not (same_bits(state_of(first), state_of(second)) and torch.equal(first(x), second(x))):
        raise ViolationError(
            "the same seed gave another network: draw from torch's global generator alone"
        )


def evaluates(tried: Tried) -> None:
    """Training and evaluation compute the same function, and a forward pass changes nothing."""
    if tried.plugin.mixes_images:
        raise InapplicableError("it says that it mixes the images of a batch")
    encoder, x = tried.encoder(), tried.images()
    before = encoder.eval()(x)
    kept, drawn = state_of(encoder), torch.get_rng_state()
    during = encoder.train()(x)
    encoder(tried.images("others"))
    why = "without batch statistics, running averages or dropout, or training differs from its test"
    if not torch.equal(before, during):
        raise ViolationError(f"in training it computes something else: build it {why}")
    if not same_bits(kept, state_of(encoder)):
        raise ViolationError(f"a forward pass changes its state: build it {why}")
    if not torch.equal(drawn, torch.get_rng_state()):
        raise ViolationError(f"a forward pass draws random numbers: build it {why}")


def separates(tried: Tried) -> None:
    """The features of an image depend on no other image of its batch."""
    if tried.plugin.mixes_images:
        raise InapplicableError("it says that it mixes the images of a batch")
    encoder, x = tried.encoder().train(), tried.images()
    alone, together = encoder(x[:1]), encoder(x)[:1]
    if not torch.allclose(alone, together, rtol=1e-3, atol=1e-4):
        raise ViolationError(
            "the features of an image depend on the others of its batch: use group or layer "
            "normalisation, or declare mixes_images = True"
        )


def widths(tried: Tried) -> None:
    """A narrower network has no more parameters, and a wider one has more."""
    if not tried.plugin.widths:
        raise InapplicableError("it says that it has one width")
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in tried.plugin.build(tried.image, width).parameters())
            for width in (0.5, 1.0, 2.0)
        ]
    if not sizes[0] <= sizes[1] < sizes[2]:
        raise ViolationError(
            f"at half, full and double width it has {sizes} parameters: scale its channels with "
            "`width`, or declare widths = False"
        )


def reaches(tried: Tried) -> None:
    """A gradient reaches every parameter that is trained."""
    encoder, draw = tried.encoder(), stream(SEED, "validation", "noise")
    trained = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    for p in trained.values():  # modules that start at zero let no gradient through
        p.data += 0.05 * torch.randn(p.shape, generator=draw)
    found = torch.autograd.grad(
        encoder(tried.images()).square().sum(), [*trained.values()], allow_unused=True
    )
    for name, gradient in zip(trained, found, strict=True):
        if gradient is None or not bool(gradient.abs().sum() > 0):
            raise ViolationError(
                f"no gradient reaches '{name}': leave out what the features do not depend on, or "
                "set requires_grad = False"
            )


def prices(tried: Tried) -> None:
    """A step is counted without data, and a real one has the same FLOPs and parameters."""
    data = tried.tasks["tasks on the same images"]
    (price,) = count(default_strategy(), data, tried.recipe, 1.0)
    with seeded(SEED, "strategy"):
        state = TrainingState(default_strategy(), data, tried.recipe, 1.0, SEED, _CPU)
        batch = next(iter(state.batches()))
        real = sum(count_flops(state, batch) for _ in range(COUNTED)) / COUNTED
    if abs(real / price.flops - 1) > TOLERANCE["flop"] or state.parameters != price.parameters:
        raise ViolationError(
            f"a step costs {real:.4g} FLOPs and has {state.parameters} parameters; without data "
            f"these are {price.flops:.4g} and {price.parameters}: build the same on the meta device"
        )


def trains(tried: Tried) -> None:
    """A few steps move it, all losses stay finite, and a second time they are the same bits."""
    for words, data in tried.tasks.items():
        state, losses = tried.trained(data)
        if not all(loss.isfinite().all() for loss in losses):
            raise ViolationError(f"{words}: a loss is not finite after a few steps")
        again, those = tried.trained(data)
        if not all(map(torch.equal, losses, those)) or not same_bits(
            state_of(state.network), state_of(again.network)
        ):
            raise ViolationError(
                f"{words}: the same seed gave other losses or weights: keep no state outside what "
                "build returns"
            )


def null(tried: Tried) -> None:
    """A partner of weight 0 changes no bit of the target."""
    x = tried.images()
    for words, (target, partner) in tried.tasks.items():
        silent = replace(partner, task=replace(partner.task, weight=0.0))
        beside, _ = tried.trained([target, silent])
        alone, _ = tried.trained([target])
        with torch.no_grad():
            (ours, _), (theirs,) = beside.network.eval()([x, None]), alone.network.eval()([x])
        if not torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs)):
            raise ViolationError(
                f"{words}: a partner of weight 0 changes the target: keep no state that a forward "
                "pass moves, and draw nothing in one"
            )


NETWORK_CHECKS: Sequence[Callable[[Tried], None]] = (
    documented,
    knobs,
    stages,
    repeats,
    evaluates,
    separates,
    widths,
    reaches,
    prices,
    trains,
    null,
)
#: The checks that later ones depend on.
NETWORK_GATES = (stages,)


def tried_network(text: str) -> Tried:
    """Return a network, named as users type it, ready to be tried. Raises `UserError`."""
    plugin = parse_network(text)
    plugin.prepare(download=False)
    return Tried(plugin)
