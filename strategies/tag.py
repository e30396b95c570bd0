"""TAG (Fifty et al. 2021): how far a step for one task alone lowers the losses of the others.

Before a step a trial step is taken for one task i, θ' = θ − α ∇L_i(θ), and the losses of all tasks
on the same batch are looked at again. The effect on task j is Z = 1 − L_j(θ') / L_j(θ), the share
of its loss that the step took away. The trial is then forgotten, and the network descends the plain
mean of the losses: it learns as it would without being watched.

The paper measures all tasks every ten steps. Here each step measures one task, in turns, so every
step costs the same: a forward and a backward pass and another forward pass on top of its own. The
authors' trial steps move shared parameters alone. Here they move all, which the losses of other
tasks cannot tell from it. The diagonal holds the effect of a task's step on itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import EffectsOfSteps, Trial, Weighting
from bench.tasks import Task


class _Tag(EffectsOfSteps):
    sums: Tensor

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(tasks, tasks))
        self._counts = [0] * tasks
        self._next = 0

    def look_ahead(self, trial: Trial) -> None:
        source, self._next = self._next, (self._next + 1) % len(self._counts)
        start = [p.detach().requires_grad_() for p in trial.parameters]
        before = trial.losses(start)
        gradients = torch.autograd.grad(before[source], start, allow_unused=True)
        with torch.no_grad():
            moved = [
                p if g is None else p - trial.rate * g
                for p, g in zip(start, gradients, strict=True)
            ]
            self.sums[source] += 1 - trial.losses(moved) / before
        self._counts[source] += 1

    def effects(self) -> Tensor:
        counts = torch.tensor(self._counts, dtype=self.sums.dtype, device=self.sums.device)
        found = self.sums / counts[:, None]  # 0 / 0 is NaN
        self.sums.zero_()
        self._counts = [0] * len(self._counts)
        return found

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * weights).sum()


@dataclass(frozen=True)
class Tag(Weighting):
    """Descend the mean of the losses, and measure what a step for each task does to the others."""

    name = "tag"
    summary = "equal weights, measuring what a step for each task does to the losses of the others"
    paper = "Fifty et al. 2021, Efficiently Identifying Task Groupings for Multi-Task Learning"
    measures_effects = True

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the mean, which looks ahead."""
        return _Tag(len(tasks))
