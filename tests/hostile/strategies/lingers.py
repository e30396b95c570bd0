"""A plugin that leaves a thread and a handler that never end, and prints."""

import atexit
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Weighting
from bench.tasks import Task


class _Mean(nn.Module):
    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * weights).sum()


threading.Thread(target=time.sleep, args=[3600]).start()
atexit.register(time.sleep, 3600)
print("planted words")


@dataclass(frozen=True)
class Lingers(Weighting):
    """Is listed, if it can be."""

    name = "lingers"
    summary = "wrong on purpose"
    paper = "none"

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the mean loss."""
        return _Mean()
