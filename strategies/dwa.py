"""Dynamic weight average (Liu et al. 2019): a task whose loss falls slowly weighs more.

The rule: the weight of task t is the softmax over the tasks of r_t / τ. r_t is the ratio of its
mean losses in the last two epochs, r_t = L_t(e − 1) / L_t(e − 2). In the first two epochs all weigh
the same. The paper multiplies the softmax by the number of tasks; here the weights sum to 1. An
epoch is a fixed number of steps, the knob `epoch`, because a run's budget may not allow two passes
over the data. Some implementations use the losses of single batches for r, which are mostly noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import Range, Weighting, tuned
from bench.tasks import Task

from ._mean import shares

_TINY = 1e-8


class _Dynamic(nn.Module):
    factors: Tensor
    total: Tensor
    last: Tensor

    def __init__(self, tasks: int, temperature: float, epoch: int) -> None:
        super().__init__()
        self.temperature, self.epoch, self.steps = temperature, epoch, 0
        self.register_buffer("factors", torch.full((tasks,), 1 / tasks))
        #: Sums of the losses in this epoch and in the one before, [T] each.
        self.register_buffer("total", torch.zeros(tasks))
        self.register_buffer("last", torch.zeros(tasks))

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        if self.steps and self.steps % self.epoch == 0:
            if self.steps > self.epoch:
                ratios = self.total / self.last.clamp_min(_TINY)
                self.factors = (ratios / self.temperature).softmax(0)
            self.last, self.total = self.total, torch.zeros_like(self.total)
        self.total = self.total + losses.detach()
        self.steps += 1
        return (losses * shares(self.factors, weights)).sum()


@dataclass(frozen=True)
class DynamicWeightAverage(Weighting):
    """Weigh each loss by how slowly it falls."""

    name = "dwa"
    summary = "a task whose loss falls slowly weighs more"
    paper = "Liu et al. 2019, End-to-End Multi-Task Learning with Attention"

    temperature: float = tuned(2.0, Range(0.25, 16, log=True))
    """Softness of the weights: a large value makes them equal."""

    epoch: int = 20
    """Number of steps per epoch, whose mean losses are compared."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature is a number above 0, not {self.temperature}")
        if self.epoch < 1:
            raise ValueError(f"epoch is a number of steps of at least 1, not {self.epoch}")

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the weighted mean, which remembers two epochs of losses."""
        return _Dynamic(len(tasks), self.temperature, self.epoch)
