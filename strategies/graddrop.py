"""GradDrop (Chen et al. 2020): where the signs of a coordinate differ, draw one and drop the other.

The rule, for each coordinate: the purity P = ½ (1 + Σ_t g_t / Σ_t |g_t|) is the chance that the
positive gradients are kept and the negative dropped, else the other way round; the direction is the
sum of what is kept, and of a part `leak` of what is dropped. Rows come with weights that sum to 1,
so equal gradients give the encoder what single-task training gives it. The paper applies it to
the gradients of activations at one layer, with signs taken from the activations and summed over the
batch; at the shared parameters, as here, LibMTL and TorchJD apply it too. The paper's function of P
is the identity, and its leak one a task.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator, Range, tuned
from bench.tasks import Task


@dataclass(frozen=True)
class GradDrop(Aggregation):
    """Gradient sign dropout."""

    name = "graddrop"
    summary = "where signs differ, one is drawn for each coordinate and the rest dropped"
    paper = "Chen et al. 2020, Just Pick a Sign"

    leak: float = tuned(0.0, Range(0, 1))
    """How much of what is dropped stays."""

    def __post_init__(self) -> None:
        if not 0 <= self.leak <= 1:
            raise ValueError(f"leak is a part between 0 and 1, not {self.leak}")

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the merge.

        One number a parameter is drawn at each step, where the parameters are: from the device's
        global generator, which is the strategy's own stream too.
        """

        def merge(gradients: Tensor, losses: Tensor, weights: Tensor) -> Tensor:
            total = gradients.sum(0)
            # Where all are zero there is nothing to keep, so the NaN there decides nothing.
            purity = (1 + total / gradients.abs().sum(0)) / 2
            positive = purity > torch.rand_like(purity)
            kept = gradients.where((gradients > 0) == positive, 0).sum(0)
            return kept + self.leak * (total - kept)

        return merge
