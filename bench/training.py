"""The one training loop. It knows no strategy by name and waits for the device nowhere in a step.

A lane is one network in training. Its step is the same whatever the strategy: forward, losses,
either one backward pass of the combined loss or one a task and a merge, the optimiser, and for a
method that asks for it a second look at the losses.

The scale of losses: the weights of a run's tasks are divided by their sum. Where all tasks have
equal gradients, the trunk receives what single-task training gives it, whatever the strategy.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts import MultiTaskNetwork, SecondLook
from bench.data import Batch, Batches
from bench.networks import Encoder, encoder_builder
from bench.randomness import seeded, stream
from bench.registry import Strategy
from bench.spec import Recipe
from bench.tasks import TaskData


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the rate of a step: a linear rise, then a half cosine down to zero at `steps`."""
    rise = max(1, round(recipe.warmup * steps))
    if step < rise:
        return recipe.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def build_network(
    strategy: Strategy, data: Sequence[TaskData], network: str, width: float, seed: int
) -> MultiTaskNetwork:
    """Return a freshly drawn network on torch's default device.

    The trunk and each head are drawn from streams of their own, so that adding a task moves no
    other weight.
    """
    image = data[0].images.image
    if any(d.images.image != image for d in data):
        shapes = ", ".join(f"{d.task.name} {d.images.image}" for d in data)
        raise ValueError(f"the images of one run must have one shape, got {shapes}")
    base = width

    def trunk(width: float = 1.0) -> Encoder:
        with seeded(seed, "init", "trunk"):
            return encoder_builder(network, base * width, image)()

    def head_of(d: TaskData) -> Callable[[Encoder], nn.Module]:
        def head(trunk: Encoder) -> nn.Module:
            with seeded(seed, "init", "head", d.task.name):
                return d.task.kind.head(trunk.features, image, d.task.outputs)

        return head

    with seeded(seed, "init", "strategy"):
        return strategy.sharing.build(trunk, [head_of(d) for d in data])


def _add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to a parameter's gradient, laid out in memory as the parameter is.

    A backward pass does the same. The fused optimiser walks both in memory order: with another
    layout it would silently pair wrong entries.
    """
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    else:
        parameter.grad.add_(gradient)


class Lane:
    """One network in training: all the state that its steps change."""

    def __init__(
        self,
        strategy: Strategy,
        data: Sequence[TaskData],
        recipe: Recipe,
        width: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self.tasks = [d.task for d in data]
        self.device = device
        self.recipe = recipe
        if device.type == "meta":
            with device:
                self.network = build_network(strategy, data, recipe.network, width, seed)
                self._shared = self.network.shared_parameters()
                self._combine = strategy.weighting.build(self.tasks, self._shared)
        else:
            self.network = build_network(strategy, data, recipe.network, width, seed)
            self.network.to(device).to(memory_format=torch.channels_last)
            self._shared = self.network.shared_parameters()
            self._combine = strategy.weighting.build(self.tasks, self._shared).to(device)
        self._second_look = self._combine if isinstance(self._combine, SecondLook) else None
        self._losses = [
            d.task.kind.loss_of_known if d.known[0].all() else d.task.kind.loss for d in data
        ]
        weights = torch.tensor([task.weight for task in self.tasks])
        self._weights = (weights / weights.sum()).to(device)
        generator = stream(seed, "strategy", strategy.name)
        merging = strategy.merging
        self._merge = None if merging is None else merging.build(self.tasks, generator)
        shared = {id(p) for p in self._shared}
        self._own = [p for p in self.network.parameters() if id(p) not in shared]
        groups: list[dict[str, Any]] = [{"params": list(self.network.parameters())}]
        if weighting := list(self._combine.parameters()):
            # A weight of a loss is no weight of a network: decay would pull it to a value.
            groups.append({"params": weighting, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=device.type != "meta",
        )

    @property
    def shares(self) -> bool:
        """Whether several tasks train some of the same parameters."""
        return len(self.tasks) > 1 and bool(self._shared)

    @property
    def parameters(self) -> int:
        """Number of the network's parameters, auxiliary heads included."""
        return sum(p.numel() for p in self.network.parameters())

    def _losses_of(self, batch: Batch) -> list[Tensor]:
        outputs = self.network(batch.images)
        return [
            loss(output, target)
            for loss, output, target in zip(self._losses, outputs, batch.targets, strict=True)
        ]

    def step(self, batch: Batch) -> Tensor:
        """Take one step and return the losses `[T]`, on the device and detached."""
        each = self._losses_of(batch)
        losses = torch.stack(each)
        self.optimizer.zero_grad(set_to_none=True)
        if self._merge is None or not self._shared:
            self._combine(losses, self._weights).backward()
        else:
            self._merged_backward(each)
        self.optimizer.step()
        if self._second_look is not None:
            with torch.no_grad():
                self._second_look.look_again(torch.stack(self._losses_of(batch)))
        return losses.detach()

    def _merged_backward(self, losses: Sequence[Tensor]) -> None:
        assert self._merge is not None
        parameters = [*self._shared, *self._own]
        rows = []
        # Not the rows of their stack: the pass of one would go through the network of all.
        for task, (loss, weight) in enumerate(zip(losses, self._weights.unbind(), strict=True)):
            last = task == len(losses) - 1
            gradients = torch.autograd.grad(
                loss * weight, parameters, retain_graph=not last, allow_unused=True
            )
            rows.append(
                torch.cat(
                    [
                        (torch.zeros_like(p) if g is None else g).reshape(-1)
                        for p, g in zip(self._shared, gradients, strict=False)
                    ]
                )
            )
            for p, g in zip(self._own, gradients[len(self._shared) :], strict=True):
                if g is not None:
                    _add_gradient(p, g)
        direction = self._merge(torch.stack(rows))
        pieces = torch.split(direction, [p.numel() for p in self._shared])
        for p, piece in zip(self._shared, pieces, strict=True):
            _add_gradient(p, piece.view_as(p))

    def gramian(self, batch: Batch) -> Tensor:
        """Return the inner products `[T, T]` of the tasks' gradients on the shared parameters.

        Each gradient is that of the task's own loss, unweighted, in evaluation mode. Nothing of the
        lane changes: no gradient is written, no weighting or merge is asked, nothing is drawn.
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
        # Parameter by parameter: side by side, the rows would be as large as all of them again.
        for p, each in zip(self._shared, zip(*gradients, strict=True), strict=True):
            rows = torch.stack([torch.zeros_like(p) if g is None else g for g in each]).flatten(1)
            total += rows @ rows.T
        return total

    def train(self, batches: Batches, steps: int, pauses: Sequence[int]) -> Iterator[Tensor]:
        """Take `steps` steps; at each count in `pauses` yield the losses `[n, T]` since the last.

        `pauses` ascends and ends at `steps`. The learning rate is annealed over `steps`.
        """
        source = iter(batches)
        start = 0
        for stop in pauses:
            losses = torch.empty(stop - start, len(self.tasks), device=self._weights.device)
            for row, batch in enumerate(islice(source, stop - start)):
                rate = learning_rate(self.recipe, start + row, steps)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                losses[row] = self.step(batch)
            start = stop
            yield losses
