"""FAMO (Liu et al. 2023): make all losses fall at the same relative rate.

The rule: with z = softmax(ξ), task t weighs z_t / L_t, divided by the sum. This is the gradient of
Σ_t c z_t log L_t with c = 1 / Σ z_t / L_t, so the weights sum to 1 as in the paper. After the step,
δ_t = log L_t before − log L_t after, on the same batch. ξ descends z · δ plus γ |ξ|² / 2 with Adam,
so a task whose loss fell less than others gets more weight. This is Algorithm 1 as in the authors'
code. The second look costs one forward pass per step and is billed. Variants save it by comparing
the losses of two batches, which adds their noise. The losses' lowest values are taken as 0.

ξ has its own optimizer, with the rate and γ of the authors' code (0.025 and 0.01), not annealed.
The reason is that its gradient is known only after the run's optimizer has taken its step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from bench.contracts import Range, SecondLook, Weighting, tuned
from bench.tasks import Task

from ._mean import shares

_TINY = 1e-8


class _Famo(SecondLook):
    def __init__(self, tasks: int, rate: float, decay: float) -> None:
        super().__init__()
        #: ξ, [T]. It never has a gradient when the run's optimizer takes its step.
        self.logits = nn.Parameter(torch.zeros(tasks))
        self._optimizer = torch.optim.Adam([self.logits], lr=rate, weight_decay=decay)

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        self._before = losses.detach().clamp_min(_TINY)
        factors = self.logits.detach().softmax(0) / self._before
        return (losses * shares(factors, weights)).sum()

    def look_again(self, losses: Tensor) -> None:
        fall = self._before.log() - losses.clamp_min(_TINY).log()
        z = self.logits.softmax(0)
        # The gradient of z · δ with respect to ξ.
        self.logits.grad = z * (fall - (z * fall).sum())
        self._optimizer.step()
        self.logits.grad = None


@dataclass(frozen=True)
class Famo(Weighting):
    """Weigh the losses so that all fall at the same relative rate."""

    name = "famo"
    summary = "makes all losses fall at the same relative rate; a second forward pass per step"
    paper = "Liu et al. 2023, FAMO: Fast Adaptive Multitask Optimization"

    rate: float = 0.025
    """Learning rate of the weights' logits."""

    decay: float = tuned(0.01, Range(1e-4, 0.1, log=True))
    """γ, which pulls the logits back to 0."""

    def __post_init__(self) -> None:
        if not (0 <= self.rate < inf and 0 <= self.decay < inf):
            raise ValueError(f"rate and decay are at least 0, not {self.rate} and {self.decay}")

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the weighted mean, which learns from the effect of each step."""
        return _Famo(len(tasks), self.rate, self.decay)
