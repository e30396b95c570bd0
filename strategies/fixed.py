"""Fixed weights, one per task, chosen by hand or by a search. The scalarisation baseline.

With `--tune`, `fixed` without weights is that search; given weights stay as they are.

The rule: the loss is Σ w_t L_t / Σ w_t, with the tasks in the pair's order, a target before its
auxiliary tasks. The weights multiply the tasks' own (1 unless a component says otherwise). Others
leave the sum undivided, which changes the learning rate of the encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from bench.contracts import Range, UserError, Weighting, tuned
from bench.tasks import Task

from ._mean import shares


class _Fixed(nn.Module):
    factors: Tensor

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("factors", torch.tensor(factors))

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * shares(self.factors, weights)).sum()


@dataclass(frozen=True)
class Fixed(Weighting):
    """The weighted mean of the losses, with user-given weights."""

    name = "fixed"
    summary = "weights given by hand, in the pair's order: fixed@0.7/0.3"
    paper = (
        "Xin et al. 2022, Do Current Multi-Task Optimization Methods in Deep Learning Even Help?"
    )

    weights: tuple[float, ...] = tuned((0.5, 0.5), Range(0.1, 0.9))
    """One weight per task; only their ratios matter."""

    def __post_init__(self) -> None:
        if not self.weights[:1] > (0,) or not all(0 <= weight < inf for weight in self.weights):
            raise ValueError(
                "weights are numbers of at least 0, the first above 0, not "
                + "/".join(f"{weight:g}" for weight in self.weights)
            )

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the weighted mean. Raises `UserError` unless there is one weight per task."""
        if len(tasks) != len(self.weights):
            names = ", ".join(task.name for task in tasks)
            raise UserError(
                f"{self.name} has {len(self.weights)} weights for {len(tasks)} tasks ({names}): "
                "give one per task"
            )
        return _Fixed(self.weights)
