"""Strategies that go wrong, for the tests of what the harness does then."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from bench.contracts import Weighting, stream
from bench.tasks import Task

#: More seeds than any test asks for, those of tuning among them.
_SEEDS = range(-50, 50)


class _Fault(nn.Module):
    def __init__(self, how: str, armed: bool) -> None:
        super().__init__()
        self.how = how
        self.armed = armed
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
        if not self.armed or self.steps < 100:
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
            case "hold":
                while Path(os.environ["BENCH_TEST_HOLD"]).exists():
                    time.sleep(0.01)
        return loss


@dataclass(frozen=True)
class Faulty(Weighting):
    """Goes wrong in the hundredth step of a run, and in no step that is priced or timed.

    A run hands torch's global generator to its strategy's own stream; nothing else does. That
    tells a run from pricing, which may take any number of steps. `hold` leaves seed 0 alone and
    waits there while the file exists that BENCH_TEST_HOLD names.
    """

    name = "faulty"
    summary = "goes wrong on purpose"
    paper = "none"

    how: str = "raise"

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the fault, armed in a run."""
        named = "faulty" if self == Faulty() else f"faulty@how={self.how}"
        keys = {stream(seed, "strategy", f"hard+{named}").initial_seed(): seed for seed in _SEEDS}
        seed = keys.get(torch.initial_seed())
        return _Fault(self.how, armed=seed == 1 if self.how == "hold" else seed is not None)
