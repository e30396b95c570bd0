"""Auto-Lambda (Liu et al. 2022): weights under which a step helps the target on other images.

The rule: try out a step, θ' = θ − α ∇θ Σ_t λ_t L_t(θ). On a second batch, λ descends the loss of
the primary tasks at θ'. Then the real step is taken with the new λ. For task t the gradient is −α
∇L_t(θ) · ∇L'(θ'). As in the paper, it is a finite difference along d = ∇L'(θ'): (L_t(θ + ε
d) − L_t(θ − ε d)) / 2ε with ε = 0.01 / |d|. On top of the step itself, that costs two forward and
backward passes and two forward passes per step, all of which are billed. The primary tasks are
those that are scored: the target of auxiliary tasks, otherwise all.

The network descends the weighted mean: λ over its sum. No gradient goes through that division, so
every task that helps may gain relative to those that do not. With a gradient through it, the target
would take all the weight, as seen in practice: no other task trains its head. log λ is learned, so
that λ is positive; the authors learn λ itself, from 0.1 and without a bound.

The trial step is a plain gradient step at the run's learning rate; the authors add momentum and
weight decay. As in the paper, an Adam optimizer of its own updates log λ at a constant rate. The
authors' rate of 1e-4 at λ = 0.1 moves λ by a thousandth per step, over tens of thousands of steps.
Runs here have hundreds of steps, and the default moves λ by a hundredth per step.

The second batch comes from the share `held_out` of the run's own training images. The network then
does not train on them, which is the method's cost in data. The authors draw it from all training
images in another order, which is `held_out=0`.
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
    """Return the gradients, zero for a parameter that the loss does not depend on."""
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
        # Differentiates λ_t = exp(logit), but not the division by the sum.
        self.logits.grad = weights * gradient
        self._optimizer.step()
        self.logits.grad = None

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * shares(self.logits.detach().softmax(0), weights)).sum()


@dataclass(frozen=True)
class AutoLambda(Weighting):
    """Learn the weights by the effect of a step with them on the target's loss on other images."""

    name = "auto-lambda"
    summary = "weights learned by the target's loss on held-out training images after a trial step"
    paper = "Liu et al. 2022, Auto-Lambda: Disentangling Dynamic Task Relationships"
    # The held-out images are not trained on, whatever the partner's weight.
    exact_null = False

    held_out: float = 0.2
    """Share of the training images held out for second batches; 0 draws these from all images."""

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
