"""The one training loop. It knows no strategy by name, and no step waits for the device.

A training state is one network in training, in one phase after another. A step is the same whatever
the strategy: the forward pass, the losses of the phase's tasks, the backward pass, the optimizer.
The backward pass is either that of the combined loss, or one per task with an aggregation of the
gradients. A method that asks for it gets a look ahead or a second look.

The scale of losses: the weights of a step's tasks are divided by their sum. Where all tasks have
equal gradients, the encoder receives what single-task training gives it, whatever the strategy.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.contracts import EffectsOfSteps, LookAhead, MultiTaskNetwork, SecondLook, Trial
from bench.errors import UserError
from bench.networks import Encoder, Shape
from bench.randomness import seeded, stream
from bench.spec.experiment import DenseHeadName, Precision, Recipe
from bench.spec.registry import Strategy, parse_network
from bench.tasks import Task, TaskData
from bench.train.batches import Batch, Batches
from bench.train.optimizer import AdamW


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the rate of a step: a linear rise, then a half cosine down to zero at `steps`."""
    rise = max(1, round(recipe.warmup * steps))
    if step < rise:
        return recipe.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def build_encoder(network: str, image: Shape, width: float = 1.0) -> Encoder:
    """Return a fresh encoder of a network, named as users do, for images of shape (C, H, W).

    Raises `UserError` where the network does not suit the images, or has no such width.
    """
    plugin = parse_network(network)
    if width != 1 and not plugin.widths:
        raise UserError(f"network {network} has one width, and {width:g} times that was asked for")
    return plugin.build(image, width)


def build_network(
    strategy: Strategy,
    data: Sequence[TaskData],
    network: str,
    width: float,
    seed: int,
    dense_head: DenseHeadName = "decoder",
) -> MultiTaskNetwork:
    """Return a freshly drawn network on torch's default device.

    The encoder and each head are drawn from their own streams, so that adding a task moves no other
    weight. Raises `ValueError` where images differ in shape.
    """
    tasks, sets = [d.task for d in data], [d.images.name for d in data]
    return network_for(strategy, tasks, sets, _image_of(data), network, width, seed, dense_head)


def network_for(
    strategy: Strategy,
    tasks: Sequence[Task],
    sets: Sequence[str],
    image: Shape,
    network: str,
    width: float,
    seed: int,
    dense_head: DenseHeadName = "decoder",
) -> MultiTaskNetwork:
    """Return the same for tasks without their data, on images of shape (C, H, W).

    `sets` names each task's set of images.
    """
    return _network_and_encoders(strategy, tasks, sets, image, network, width, seed, dense_head)[0]


def _image_of(data: Sequence[TaskData]) -> Shape:
    """Return the one shape of all images. Raises `ValueError` where there are several."""
    image = data[0].images.image
    if any(d.images.image != image for d in data):
        shapes = ", ".join(f"{d.task.name} {d.images.image}" for d in data)
        raise ValueError(f"the images of one run must have one shape, got {shapes}")
    return image


def _network_and_encoders(
    strategy: Strategy,
    tasks: Sequence[Task],
    sets: Sequence[str],
    image: Shape,
    network: str,
    width: float,
    seed: int,
    dense_head: DenseHeadName,
) -> tuple[MultiTaskNetwork, frozenset[int]]:
    """Return a freshly drawn network, and the identities of its encoders' parameters."""
    base, encoders = width, list[Encoder]()

    def encoder(width: float = 1.0) -> Encoder:
        with seeded(seed, "init", "trunk"):
            encoders.append(build_encoder(network, image, base * width))
            return encoders[-1]

    def head_of(task: Task) -> Callable[[Encoder], nn.Module]:
        def head(encoder: Encoder) -> nn.Module:
            with seeded(seed, "init", "head", task.name):
                make = partial(task.type.chosen_head, dense_head)
                return make(encoder.features, image, task.outputs)

        return head

    with seeded(seed, "init", "strategy"):
        built = strategy.sharing.build(encoder, [head_of(task) for task in tasks])
        built.keep_apart(sets)
    return built, frozenset(id(p) for encoder in encoders for p in encoder.parameters()) & {
        id(p) for p in built.parameters()
    }


def passes_in(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which a network's forward pass uses a given precision.

    In `bf16` torch's autocast decides which operators compute in bfloat16; the caller must widen
    the result. On the meta device nothing is computed, in any precision.
    """
    if precision == "fp32" or device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def _widened(tensor: Tensor) -> Tensor:
    """Return a tensor of reduced precision as float32, and any other as it is."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to a parameter's gradient, in the parameter's own memory layout.

    A backward pass does the same. The fused optimizer walks both in memory order: with another
    layout it would silently pair the wrong entries.
    """
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    else:
        parameter.grad.add_(gradient)


class TrainingState:
    """One network in training: all the state that its steps change.

    It starts in the first phase of its strategy's schedule.
    """

    def __init__(
        self,
        strategy: Strategy,
        data: Sequence[TaskData],
        recipe: Recipe,
        width: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self._data = data
        #: All tasks of the network, in its order.
        self.tasks = [d.task for d in data]
        self.phases = strategy.schedule.phases(self.tasks)
        self.device = device
        self.recipe = recipe
        self._strategy, self._seed = strategy, seed
        with device if device.type == "meta" else nullcontext():
            self.network, self._encoders = _network_and_encoders(
                strategy,
                self.tasks,
                [d.images.name for d in data],
                _image_of(data),
                recipe.network,
                width,
                seed,
                recipe.dense_head,
            )
        if device.type != "meta":
            self.network.to(device).to(memory_format=torch.channels_last)
        #: What the network itself keeps as it is, whatever the phase.
        self._kept = {id(p) for p in self.network.parameters() if not p.requires_grad}
        self.enter(0)

    def enter(self, number: int) -> None:
        """Begin a phase: the network stays as it is, all else is made afresh for its tasks."""
        phase, strategy = self.phases[number], self._strategy
        self._places = phase.tasks
        self.trained = [self._data[place] for place in phase.tasks]
        tasks = [d.task for d in self.trained]
        shared = [p for p in self.network.shared_parameters() if id(p) not in self._kept]
        for p in shared:
            p.requires_grad_(not phase.frozen)
        self._shared = [] if phase.frozen else shared
        with self.device if self.device.type == "meta" else nullcontext():
            self._combine = strategy.weighting.build(tasks, self._shared)
        if self.device.type != "meta":
            self._combine.to(self.device)
        self._look_ahead = self._combine if isinstance(self._combine, LookAhead) else None
        self._second_look = self._combine if isinstance(self._combine, SecondLook) else None
        self._losses = [
            d.task.type.loss_of_known if d.known[0].all() else d.task.type.loss
            for d in self.trained
        ]
        (self._weights,) = self._weights_over(1)
        #: Weights `[T]` of the mean of losses that the last watched step descended: its derivative
        #: by each loss. None before one, and where gradients are aggregated.
        self.task_weights: Tensor | None = None
        generator = stream(self._seed, "strategy", strategy.name)
        aggregation = strategy.aggregation
        self._aggregate = None if aggregation is None else aggregation.build(tasks, generator)
        self._on_features = aggregation is not None and aggregation.on_features
        common = {id(p) for p in shared} | self._kept
        self._own = [p for p in self.network.parameters() if id(p) not in common]
        # Weight decay is for the network: it would pull the weight of a loss to some value.
        self.optimizer = AdamW(
            self.network.parameters(),
            self._combine.parameters(),
            self.recipe.learning_rate,
            self.recipe.weight_decay,
            self._encoders,
            self.recipe.encoder_rate or 1.0,
        )
        if self._look_ahead is not None and self.recipe.encoder_rate is not None:
            raise UserError(
                f"{strategy.weighting.name} tries steps out at one learning rate: leave "
                "encoder-rate out"
            )
        self.optimizer.zero_grad()  # left over from the previous phase

    def _weights_over(self, steps: int) -> Tensor:
        """Return the tasks' weights in each step of the phase, `[steps, T]` with rows of sum 1."""
        tasks = [d.task for d in self.trained]
        changing = any(task.decay != "none" for task in tasks)
        moments = range(steps) if changing else range(1)
        each = [[task.weight_at(step / steps) for task in tasks] for step in moments]
        weights = torch.tensor(each, dtype=torch.float32)
        # A phase whose tasks all weigh 0 descends nothing.
        total = weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        return (weights / total).to(self.device).expand(steps, -1)

    def batches(self, resident: bool = True) -> Batches:
        """Return the batches of the phase, from the start."""
        second = self._strategy.weighting.second_batch
        return Batches(self.trained, self.recipe, self._seed, self.device, resident, second)

    @property
    def shares(self) -> bool:
        """Whether several tasks train the same parameters in this phase."""
        return len(self.trained) > 1 and bool(self._shared)

    def effects(self) -> Tensor | None:
        """Return what the phase's method has measured since the last call; None if it does not."""
        combine = self._combine
        return combine.effects() if isinstance(combine, EffectsOfSteps) else None

    @property
    def parameters(self) -> int:
        """Number of the network's parameters, auxiliary heads included."""
        return sum(p.numel() for p in self.network.parameters())

    def _images(self, batch: Batch) -> list[Tensor | None]:
        """Return the images of all the network's tasks, None for a task that is not trained now."""
        images: list[Tensor | None] = [None] * len(self.tasks)
        for place, x in zip(self._places, batch.images, strict=True):
            images[place] = x
        return images

    def _losses_at(self, outputs: Sequence[Tensor | None], batch: Batch) -> list[Tensor]:
        return [
            loss(_widened(cast(Tensor, outputs[place])), target)
            for loss, place, target in zip(self._losses, self._places, batch.targets, strict=True)
        ]

    def _losses_of(self, batch: Batch) -> list[Tensor]:
        with self._precision():
            outputs = self.network(self._images(batch))
        return self._losses_at(outputs, batch)

    def _precision(self) -> AbstractContextManager[None]:
        return passes_in(self.recipe.precision, self.device)

    def _trial(self, batch: Batch) -> Trial:
        own = {n: p.detach() for n, p in self.network.named_parameters() if p.requires_grad}

        def losses_at(batch: Batch, parameters: Sequence[Tensor]) -> Tensor:
            values = dict(zip(own, parameters, strict=True))
            with self._precision():
                outputs = functional_call(self.network, values, (self._images(batch),))
            return torch.stack(self._losses_at(outputs, batch))

        return Trial(
            parameters=[*own.values()],
            losses=partial(losses_at, batch),
            second=partial(losses_at, batch.second or batch),
            weights=self._weights,
            rate=self.optimizer.rate,
        )

    def step(self, batch: Batch, watch: bool = False) -> Tensor:
        """Take one step and return the losses `[T]` of the phase, on the device and detached.

        If `watch`, `task_weights` are those of this step.
        """
        if self._look_ahead is not None:
            with self.network.looking():
                self._look_ahead.look_ahead(self._trial(batch))
        self.optimizer.zero_grad()
        if self._aggregate is None or not self._shared:
            losses = torch.stack(self._losses_of(batch))
            if watch:
                # The last of several calls counts: a weighting may ask for gradients of its own.
                losses.register_hook(self._watch)  # type: ignore[no-untyped-call]
            self._combine(losses, self._weights).backward()
        else:
            losses = self._aggregated_backward(batch)
        self.optimizer.step()
        if self._second_look is not None:
            with torch.no_grad(), self.network.looking():
                self._second_look.look_again(torch.stack(self._losses_of(batch)))
        return losses.detach()

    def _watch(self, derivative: Tensor) -> None:
        self.task_weights = derivative.detach()

    def _aggregated_backward(self, batch: Batch) -> Tensor:
        """Write the aggregated gradients of a step; return the losses `[T]`."""
        assert self._aggregate is not None
        meeting: list[Tensor] = [*self._shared]
        if self._on_features:
            images = self._images(batch)
            self.network.attend_to(images)
            with self._precision():
                features, outputs = self.network.split_point(images)
            meeting, losses = [features], self._losses_at(outputs, batch)
        else:
            losses = self._losses_of(batch)
        rows = []
        # Not rows of stacked losses: the backward pass of one would go through all tasks' networks.
        for task, (loss, weight) in enumerate(zip(losses, self._weights.unbind(), strict=True)):
            last = task == len(losses) - 1
            gradients = torch.autograd.grad(
                loss * weight, [*meeting, *self._own], retain_graph=not last, allow_unused=True
            )
            rows.append(
                torch.cat(
                    [
                        _widened(torch.zeros_like(p) if g is None else g).reshape(-1)
                        for p, g in zip(meeting, gradients, strict=False)
                    ]
                )
            )
            for p, g in zip(self._own, gradients[len(meeting) :], strict=True):
                if g is not None:
                    _add_gradient(p, g)
        found = torch.stack(losses).detach()
        direction = self._aggregate(torch.stack(rows), found, self._weights)
        pieces = torch.split(direction, [p.numel() for p in meeting])
        if self._on_features:
            torch.autograd.backward(meeting, [pieces[0].view_as(meeting[0]).to(meeting[0].dtype)])
        else:
            for parameter, piece in zip(self._shared, pieces, strict=True):
                _add_gradient(parameter, piece.view_as(parameter))
        return found

    def gramian(self, batch: Batch) -> Tensor:
        """Return the inner products `[T, T]` of the tasks' gradients on the shared parameters.

        Each gradient is that of the task's own loss, unweighted, in evaluation mode. The state does
        not change: no gradient is written, no weighting or aggregation is called, nothing is drawn.
        """
        was_training = self.network.training
        self.network.eval()
        losses = self._losses_of(batch)
        gradients = [
            torch.autograd.grad(
                loss, self._shared, retain_graph=task < len(losses) - 1, allow_unused=True
            )
            for task, loss in enumerate(losses)
        ]
        self.network.train(was_training)
        total = torch.zeros(len(losses), len(losses), device=self.device)
        # Parameter by parameter: concatenated rows would need as much memory again as all of them.
        for p, each in zip(self._shared, zip(*gradients, strict=True), strict=True):
            rows = torch.stack([torch.zeros_like(p) if g is None else g for g in each]).flatten(1)
            total += rows @ rows.T
        return total

    def train(self, batches: Batches, steps: int, pauses: Sequence[int]) -> Iterator[Tensor]:
        """Take `steps` steps; at each count in `pauses` yield the losses `[n, T]` since the last.

        `pauses` is ascending and ends at `steps`. `steps` is the number of steps of the phase: the
        learning rate is annealed over them. T counts the phase's tasks.
        """
        source, weights = iter(batches), self._weights_over(steps)
        start = 0
        for stop in pauses:
            losses = torch.empty(stop - start, len(self.trained), device=self._weights.device)
            for row, batch in enumerate(islice(source, stop - start)):
                self.optimizer.rate = learning_rate(self.recipe, start + row, steps)
                self._weights = weights[start + row]
                losses[row] = self.step(batch, watch=start + row + 1 == stop)
            start = stop
            yield losses
