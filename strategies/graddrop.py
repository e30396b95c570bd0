"""GradDrop (Chen et al. 2020): where the signs of a coordinate differ, draw one and drop the other.

The rule, for each coordinate: the purity is P = ½ (1 + Σ_t g_t / Σ_t |g_t|). With probability P the
positive gradients are kept and the negative dropped, otherwise the reverse. The direction is the
sum of what is kept and a fraction `leak` of what is dropped. Rows come with weights that sum to 1,
so equal gradients give the encoder what single-task training gives it.

The paper applies the rule to the gradients of activations at one layer. It takes the signs from the
activations and sums over the batch. Here it is applied at the shared parameters, as in LibMTL and
TorchJD. The paper's function of P is the identity, and it has one leak per task.
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
    """The fraction of a dropped gradient that is kept."""

    def __post_init__(self) -> None:
        if not 0 <= self.leak <= 1:
            raise ValueError(f"leak is a part between 0 and 1, not {self.leak}")

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the aggregator.

        At each step one number per parameter is drawn on the parameters' device, from its global
        generator. That generator is the strategy's own stream too.
        """

        def merge(gradients: Tensor, losses: Tensor, weights: Tensor) -> Tensor:
            total = gradients.sum(0)
            # Where all gradients are zero there is nothing to keep, so the NaN has no effect.
            purity = (1 + total / gradients.abs().sum(0)) / 2
            positive = purity > torch.rand_like(purity)
            kept = gradients.where((gradients > 0) == positive, 0).sum(0)
            return kept + self.leak * (total - kept)

        return merge
