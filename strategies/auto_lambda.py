"""Auto-Lambda (Liu et al. 2022): weights under which a step helps the target on other images.

The rule: with θ' = θ − α ∇θ Σ_t λ_t L_t(θ) a step that is tried out, λ descends the loss of the
primary tasks at θ' on a second batch; then the real step is taken with the new λ. The gradient,
−α ∇L_t(θ) · ∇L'(θ') for task t, is taken as the paper does by a finite difference along
d = ∇L'(θ'): (L_t(θ + ε d) − L_t(θ − ε d)) / 2ε with ε = 0.01 / |d|. That costs two forward and
backward passes and two forward passes a step beside its own, all of which are billed. The primary
tasks are those that are scored: the target of auxiliary tasks, else all.

What is descended is the weighted mean: λ over its sum. No gradient goes through that division, so
all tasks that help may gain beside those that do not; through it, the target, whose own head no
other task trains, would take all (seen). log λ is learned, so that λ is positive; the authors learn
λ itself, from 0.1 and without a bound. The step that is tried is a plain gradient step at the run's
rate; the authors add momentum and weight decay. log λ has an Adam of its own at a constant rate, as
theirs has. A rate of 1e-4 at λ = 0.1, theirs, moves λ by a thousandth a step, over tens of
thousands of steps; here runs have hundreds, and the default moves it by a hundredth.

The second batch comes from `held_out` of the run's own training images, which the network then does
not train on: that is what the method costs in data. The authors draw it from all training images in
another order, which is `held_out=0`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from bench.contracts import LookAhead, Range, Trial, Weighting, tuned
from bench.tasks import Task

from ._mean import shares

#: Length of the finite difference's step, in parameters.
_LENGTH = 0.01


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients, zero where a parameter has no part in the loss."""
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _moved(start: Sequence[Tensor], along: Sequence[Tensor], by: Tensor | float) -> list[Tensor]:
    return [p.detach() + by * d for p, d in zip(start, along, strict=True)]


def meta_gradient(trial: Trial, weights: Tensor, primary: Tensor) -> Tensor:
    """Return the gradient by the weights `[T]` of the primary loss after a step with them.

    `primary` `[T]` weighs the losses of the second batch.
    """
    start = [p.detach().requires_grad_() for p in trial.parameters]
    step = _gradients((trial.losses(start) * weights.detach()).sum(), start)
    ahead = [p.requires_grad_() for p in _moved(start, step, -trial.rate)]
    along = _gradients((trial.second(ahead) * primary).sum(), ahead)
    with torch.no_grad():
        length = torch.stack([d.square().sum() for d in along]).sum().sqrt()
        size = _LENGTH / length.clamp_min(torch.finfo(length.dtype).tiny)
        up, down = (trial.losses(_moved(start, along, by)) for by in (size, -size))
        return -trial.rate * (up - down) / (2 * size)


class _AutoLambda(LookAhead):
    primary: Tensor

    def __init__(self, primary: Sequence[float], rate: float) -> None:
        super().__init__()
        #: log λ, [T]. It never has a gradient when the run's optimizer takes its step.
        self.logits = nn.Parameter(torch.zeros(len(primary)))
        self.register_buffer("primary", torch.tensor(primary))
        self._optimizer = torch.optim.Adam([self.logits], lr=rate)

    def look_ahead(self, trial: Trial) -> None:
        weights = shares(self.logits.detach().softmax(0), trial.weights)
        gradient = meta_gradient(trial, weights, shares(self.primary, trial.weights))
        # As λ_t = exp(logit), and not through the division by the sum.
        self.logits.grad = weights * gradient
        self._optimizer.step()
        self.logits.grad = None

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * shares(self.logits.detach().softmax(0), weights)).sum()


@dataclass(frozen=True)
class AutoLambda(Weighting):
    """Learn the weights by what a step with them does to the target's loss on other images."""

    name = "auto-lambda"
    summary = "weights learned by the target's loss on held-out training images after a trial step"
    paper = "Liu et al. 2022, Auto-Lambda: Disentangling Dynamic Task Relationships"
    # The images that are held out are not trained on, whatever the partner weighs.
    exact_null = False

    held_out: float = 0.2
    """Share of the training images that second batches come from; 0: all, and none is held out."""

    rate: float = tuned(0.01, Range(1e-3, 0.1, log=True))
    """Learning rate of log λ."""

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is at least 0 and below 1, not {self.held_out}")
        if not 0 <= self.rate < inf:
            raise ValueError(f"rate is a number of at least 0, not {self.rate}")

    @property
    def second_batch(self) -> float:
        """Return the share that is held out."""
        return self.held_out

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the weighted mean; its parameters are the logits of the weights."""
        scored = any(task.scored for task in tasks)
        return _AutoLambda([float(task.scored or not scored) for task in tasks], self.rate)
