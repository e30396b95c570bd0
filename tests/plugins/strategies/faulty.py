"""Strategies that go wrong, for the tests of what the harness does then."""

import atexit
import os
import re
import signal
import subprocess
import sys
import threading
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


class PlantedExit(BaseException):
    """An exception that `except Exception` does not catch."""


class SpeechlessError(Exception):
    """An exception whose message cannot be read."""

    def __str__(self) -> str:
        raise PlantedExit("planted")

    __repr__ = __str__


def _write_pids(*pids: int) -> None:
    """Say which processes hang, all at once."""
    path = Path(os.environ["BENCH_TEST_HANG"])
    path.with_suffix(".new").write_text(" ".join(map(str, pids)))
    path.with_suffix(".new").rename(path)


class _Fault(nn.Module):
    def __init__(self, how: str, when: str, armed: bool) -> None:
        super().__init__()
        self.how, self.when, self.armed = how, when, armed
        self.steps = 0

    def _fires(self, losses: Tensor) -> bool:
        match self.when:
            case "count":
                return losses.is_meta
            case "time":
                return not losses.is_meta and not self.armed
            case _:
                return self.armed and self.steps >= 100

    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        self.steps += 1
        loss = (losses * weights).sum()
        if self.how == "wait":
            return loss * (loss.item() > 0)
        if self.how == "random":
            return loss * (1 + torch.rand((), device=loss.device))
        if self.how == "periodic" and not losses.is_meta and self.steps % 2:
            torch.ones(400, 400) @ torch.ones(400, 400)
        if not self._fires(losses):
            return loss
        match self.how:
            case "raise":
                raise RuntimeError("planted fault")
            case "memory":
                raise torch.OutOfMemoryError("planted")
            case "allocate":
                torch.empty(2**50)
            case "crowded":
                beside = [c.cmdline() for c in psutil.Process(os.getppid()).children()]
                if sum("resource_tracker" not in " ".join(words) for words in beside) > 1:
                    raise MemoryError("planted")
            case "exit":
                sys.exit(0)
            case "base":
                raise PlantedExit("planted")
            case "generator":
                raise GeneratorExit("planted")
            case "quit":
                os._exit(0)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                _write_pids(os.getpid())
                while True:
                    time.sleep(1)
            case "speechless":
                raise SpeechlessError
            case "bytes":
                raise RuntimeError("planted \ud800 fault")
            case "fork" if self.steps == 100:
                os.fork()
            case "flee" if os.fork():
                os._exit(0)
            case "spawn":
                _write_pids(os.getpid(), subprocess.Popen(["sleep", "3600"]).pid)
                # The pattern takes for ever, and lets no other thread run meanwhile.
                re.match(r"(a+)+$", 64 * "a" + "b")
            case "thread" if self.steps == 100:
                threading.Thread(target=time.sleep, args=[3600]).start()
                atexit.register(time.sleep, 3600)
            case "print":
                print("planted words")
            case "diverge":
                return loss * float("nan")
            case "hold":
                while Path(os.environ["BENCH_TEST_HOLD"]).exists():
                    time.sleep(0.01)
        return loss


@dataclass(frozen=True)
class Faulty(Weighting):
    """Goes wrong `how` in the hundredth step of a run, or earlier: `when` it is priced.

    In a first step without data (`count`) or in a first one that is timed (`time`). A run hands
    torch's global generator to its strategy's own stream; nothing else does. That tells a run from
    pricing, which may take any number of steps. `hold` leaves seed 0 alone and waits there while
    the file exists that BENCH_TEST_HOLD names. `hang` never ends, and writes the number of its
    process into the file that BENCH_TEST_HANG names. `spawn` does too, without letting any thread
    run, and has a child.
    """

    name = "faulty"
    summary = "goes wrong on purpose"
    paper = "none"

    how: str = "raise"
    when: str = "run"

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return the fault, armed in a run."""
        from bench.spec.registry import spelling

        named = f"hard+{spelling(self)}"
        keys = {stream(seed, "strategy", named).initial_seed(): seed for seed in _SEEDS}
        seed = keys.get(torch.initial_seed())
        armed = seed == 1 if self.how == "hold" else seed is not None
        return _Fault(self.how, self.when, armed)
