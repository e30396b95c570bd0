"""Single-task learning under another name: an A/A arm, whose gain over single-task learning is 0.

It starts from other initial weights, a shuffle of those that the seed has drawn. With its anchor it
has in common what any arms of a seed share: the images and their order. `bench calibrate` asks how
often the harness still reports a difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from bench.contracts import EncoderFactory, MultiTaskNetwork
from bench.networks import Encoder

from ._redraw import redrawn
from .single import Single


@dataclass(frozen=True)
class Renamed(Single):
    """One network per task, from other initial weights."""

    name = "renamed"
    summary = "single under another name, from other initial weights: no gain is true (A/A)"
    paper = "none: a placebo"
    single_task = False
    exact_null = False

    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return as many separate networks as there are tasks."""
        return redrawn(super().build(new_encoder, heads))
