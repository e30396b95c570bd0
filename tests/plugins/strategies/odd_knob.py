"""A plugin with a knob that nobody could type."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from bench.contracts import Weighting
from bench.tasks import Task


@dataclass(frozen=True)
class OddKnob(Weighting):
    """Has a dictionary for a knob."""

    name = "odd-knob"
    summary = "cannot be set"
    paper = "none"

    factors: dict[str, float] = field(default_factory=dict)

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return nothing of use."""
        return nn.Identity()
