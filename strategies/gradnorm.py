"""GradNorm (Chen et al. 2018): balance the tasks' gradient norms, with longer ones for slow tasks.

The rule: let G_t be the norm of the gradient of w_t L_t at the last shared layer. Let r_t be L_t
over its value at the first step, divided by its mean over the tasks. Descend Σ_t
|G_t − mean(G) r_t^α| over the weights w alone, with the second term of each difference held
constant. Then divide w so that it sums to the number of tasks. The network descends the weighted
losses, here divided to give a mean.

G_t is w_t times the norm of the gradient of L_t, so the derivative with respect to w needs no
second backward pass. The gradients at one layer cost a pass through the heads per task. w is the
softmax of logits, which keeps it positive and its sum fixed. It is trained with the run's optimizer
and rate; the paper trains w itself at its own rate and divides afterwards. Others take the
gradients at all shared parameters, which costs a backward pass of the encoder per task.

The last shared layer is the last of the shared parameters that is a matrix or a kernel. Where
nothing is shared, or with one task, the weights stay equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from bench.contracts import Range, Weighting, tuned
from bench.tasks import Task

from ._mean import shares

_TINY = 1e-8


class _GradNorm(nn.Module):
    first: Tensor

    def __init__(self, tasks: int, layer: nn.Parameter, alpha: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(tasks))
        self.alpha = alpha
        self._layer = [
            layer
        ]  # in a list, so that it is not registered as a parameter of this module
        self._begun = False
        self.register_buffer("first", torch.ones(tasks))

    def _norm(self, loss: Tensor) -> Tensor:
        """Return the norm of a loss's gradient at the layer; 0 where there is none."""
        (gradient,) = torch.autograd.grad(loss, self._layer, retain_graph=True, allow_unused=True)
        if gradient is None:
            return loss.new_zeros(())
        norm: Tensor = torch.linalg.vector_norm(gradient)
        return norm

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        if not self._begun:
            self.first, self._begun = losses.detach().clamp_min(_TINY), True
        norms = torch.stack([self._norm(loss) for loss in losses.unbind()])
        factors = len(losses) * self.logits.softmax(0)
        rates = losses.detach() / self.first
        rates = rates / rates.mean().clamp_min(_TINY)
        goals = (factors * norms).mean() * rates**self.alpha
        own = (factors * norms - goals.detach()).abs().sum()
        network = (losses * shares(factors.detach(), weights)).sum()
        # The second term contributes only a gradient: the value is the weighted mean.
        return network + own - own.detach()


class _Equal(nn.Module):
    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * weights).sum()


@dataclass(frozen=True)
class GradNorm(Weighting):
    """Train the weights so that the tasks' gradients have similar norms."""

    name = "gradnorm"
    summary = "weights are trained so that the tasks' gradients have similar norms"
    paper = "Chen et al. 2018, GradNorm"

    alpha: float = tuned(1.5, Range(0.1, 3, log=True))
    """How much longer the gradients of slower tasks are made; 0 makes all equal."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < inf:
            raise ValueError(f"alpha is a number of at least 0, not {self.alpha}")

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the weighted mean; its parameters are the logits of the weights."""
        layers = [parameter for parameter in shared if parameter.dim() > 1]
        return _GradNorm(len(tasks), layers[-1], self.alpha) if layers else _Equal()
