"""Timing in turns: blocks of all sides alternate, so a slow minute affects all of them alike."""

import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

from bench.fork_server import workers_environment

#: The number of rounds that an interval needs, and the number that is enough.
_LEAST, _MOST = 4, 30


@dataclass(frozen=True)
class Ratio:
    """How many times as long one side takes as another, with its 95 % interval."""

    value: float
    low: float
    high: float


def ratio(longer: Sequence[float], shorter: Sequence[float]) -> Ratio:
    """Return the geometric mean of paired ratios, with a t interval of the logarithms.

    Both hold seconds of the same rounds, at least two.
    """
    from scipy import stats

    logs = [math.log(a / b) for a, b in zip(longer, shorter, strict=True)]
    mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * error
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def in_turns(blocks: Mapping[str, Callable[[], float]], seconds: float) -> dict[str, list[float]]:
    """Take every block in turn, over and over for about `seconds`, and return the times of each.

    Blocks return their own seconds. Every other round is in reverse order. The first round is a
    warm-up.
    """
    order = list(blocks)
    for name in order:
        blocks[name]()
    began, taken = time.perf_counter(), {name: list[float]() for name in order}
    for done in range(1, _MOST + 1):
        for name in order:
            taken[name].append(blocks[name]())
        order.reverse()
        if done >= _LEAST and (time.perf_counter() - began) * (done + 1) / done > seconds:
            break
    return taken


def own_process(worker: bool = False) -> ProcessPoolExecutor:
    """Return a fresh process to submit work to, set up like the harness's workers or plainly.

    So no side runs with another's settings: threads, allocator, the handling of denormals.
    """
    # Not fork: torch's threads do not survive it.
    process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with workers_environment() if worker else nullcontext():
        process.submit(int).result()  # it starts when it gets its first task
    return process
