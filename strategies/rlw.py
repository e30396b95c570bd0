"""Random loss weighting (Lin et al. 2022): new weights at every step.

The rule: the weights are the softmax of independent standard normal draws, new at each step. They
sum to 1 as they are; the authors' code multiplies them by the number of tasks. The tasks' own
weights multiply them. The draws come from torch's global generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import Weighting
from bench.tasks import Task

from ._mean import shares


class _Random(nn.Module):
    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        factors = torch.randn_like(weights).softmax(0)
        return (losses * shares(factors, weights)).sum()


@dataclass(frozen=True)
class RandomLossWeighting(Weighting):
    """Weights that carry no information: a baseline for methods whose weights claim to."""

    name = "rlw"
    summary = "random weights at every step"
    paper = "Lin et al. 2022, Reasonable Effectiveness of Random Weighting"

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the randomly weighted mean."""
        return _Random()
