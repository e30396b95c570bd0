"""Uncertainty weighting (Kendall et al. 2018): divide by each task's learned noise level.

The rule: with s_t = log σ_t², descend Σ_t exp(−s_t) L_t + s_t / 2 over the network and over s,
which starts at 0. At its optimum task t weighs 1 / (2 L_t).

The paper halves exp(−s) for regression and not for classification. That shifts s by log 2 and
affects only its starting point; here all task types start at equal weights. The network descends Σ
exp(−s_t) L_t divided by Σ exp(−s_t), which keeps the paper's direction at the scale of a mean.
Undivided, it grows as the losses fall. s descends the paper's objective, with the run's optimizer
and rate, without weight decay. Liebel & Körner 2018 replace s / 2 with log(1 + σ²).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import Weighting
from bench.tasks import Task

from ._mean import shares


class _Uncertainty(nn.Module):
    def __init__(self, tasks: int) -> None:
        super().__init__()
        #: s = log σ² of each task, [T].
        self.log_variances = nn.Parameter(torch.zeros(tasks))

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        precisions = torch.exp(-self.log_variances)
        network = (losses * shares(precisions.detach(), weights)).sum()
        own = (precisions * losses.detach() + self.log_variances / 2).sum()
        # The second term contributes only a gradient: the value is the weighted mean.
        return network + own - own.detach()


@dataclass(frozen=True)
class Uncertainty(Weighting):
    """Weigh each loss by its learned precision."""

    name = "uncertainty"
    summary = "losses weighted by their learned precision"
    paper = "Kendall et al. 2018, Multi-Task Learning Using Uncertainty to Weigh Losses"

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the weighted mean; its parameters are the logarithms of the variances."""
        return _Uncertainty(len(tasks))
