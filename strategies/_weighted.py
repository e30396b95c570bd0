"""What auxiliary tasks have in common: a weight in the loss. No part itself."""

from dataclasses import dataclass
from math import inf

from bench.contracts import Auxiliary


@dataclass(frozen=True)
class WeightedAuxiliary(Auxiliary):
    """An auxiliary task whose weight is a knob."""

    weight: float = 1.0
    """Weight of the auxiliary loss; the target's is 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < inf:
            raise ValueError(f"weight is a number of at least 0, not {self.weight}")
