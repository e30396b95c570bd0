"""Gradient cosine gate (Du et al. 2018): auxiliary gradients count if they agree with the target's.

The rule: let g be the gradient of the scored tasks on the shared parameters, and a that of an
auxiliary task. Add a to g where cos(g, a) ≥ 0 and drop it elsewhere. The paper's weighted form adds
max(0, cos) · a instead. Each auxiliary task has its own gate, and its head always learns.

The rows come weighted, with weights that sum to 1. What is left after the gates is divided by the
weights of what was let through. So the target alone drives the encoder as single-task training
does. The paper leaves the sum as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator
from bench.tasks import Task


@dataclass(frozen=True)
class CosineGate(Aggregation):
    """Drop the auxiliary gradients that point away from the target's."""

    name = "cosine-gate"
    summary = "auxiliary gradients that conflict with the target's are dropped"
    paper = "Du et al. 2018, Adapting Auxiliary Losses Using Gradient Similarity"

    needs_auxiliary = True

    soft: bool = False
    """Weigh gradients that agree by their cosine, the paper's weighted form."""

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the aggregator."""

        def merge(gradients: Tensor, losses: Tensor, weights: Tensor) -> Tensor:
            target = torch.zeros_like(gradients[0])
            weight = torch.zeros_like(weights[0])
            for task, row, share in zip(tasks, gradients, weights, strict=True):
                if task.scored:
                    target, weight = target + row, weight + share
            direction = target
            for task, row, share in zip(tasks, gradients, weights, strict=True):
                if not task.scored:
                    gate = self._gate(target, row)
                    direction, weight = direction + gate * row, weight + gate * share
            return direction / weight.clamp_min(torch.finfo(weight.dtype).tiny)

        return merge

    def _gate(self, target: Tensor, row: Tensor) -> Tensor:
        dot = target @ row
        if not self.soft:
            return (dot >= 0).to(dot.dtype)
        lengths: Tensor = torch.linalg.vector_norm(target) * torch.linalg.vector_norm(row)
        return (dot / lengths.clamp_min(torch.finfo(dot.dtype).tiny)).clamp_min(0)
