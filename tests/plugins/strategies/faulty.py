"""Strategies that go wrong, for the tests of what the harness does then."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor, nn

from bench.contracts import Weighting
from bench.tasks import Task


class _Fault(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.steps = 0

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        self.steps += 1
        loss = (losses * weights).sum()
        if self.how == "wait":
            return loss * (loss.item() > 0)
        if self.how == "early" and not losses.is_meta:
            raise RuntimeError("planted early fault")
        if self.how == "random":
            return loss * (1 + torch.rand((), device=loss.device))
        if self.how == "periodic" and not losses.is_meta and self.steps % 2:
            torch.ones(400, 400) @ torch.ones(400, 400)
        if losses.is_meta or self.steps < 100:  # it behaves while it is priced
            return loss
        match self.how:
            case "raise":
                raise RuntimeError("planted fault")
            case "memory":
                raise torch.OutOfMemoryError("planted")
            case "crowded":
                beside = [c.cmdline() for c in psutil.Process(os.getppid()).children()]
                if sum("spawn_main" in " ".join(words) for words in beside) > 1:
                    raise MemoryError("planted")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "diverge":
                return loss * float("nan")
        return loss


@dataclass(frozen=True)
class Faulty(Weighting):
    """Goes wrong in its hundredth step, which a run reaches and its pricing does not."""

    name = "faulty"
    summary = "goes wrong on purpose"
    paper = "none"

    how: str = "raise"

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the fault."""
        return _Fault(self.how)
