"""The harness's training step against a hand-written loop, in turns, in process time of one thread.

Run with `pytest -n 0 tests/benchmarks`. A ratio is robust where a time is not: both loops train the
same network on the same images with the same optimizer, and take turns block by block. They are
those of table 1 of `bench speed`.
"""

import statistics
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.speed.loops import Workload, by_hand, harness
from bench.speed.settings import load
from tests.benchmarks.evidence import shown_over

SETTINGS = load("full")


@pytest.mark.parametrize(("network", "steps", "rounds"), [(0, 8, 30), (1, 2, 16)])
@pytest.mark.benchmark(timer=time.process_time, warmup=False, disable_gc=True)
def test_a_step_costs_at_most_what_is_allowed_over_a_hand_written_one(
    benchmark: BenchmarkFixture, network: int, steps: int, rounds: int
) -> None:
    chosen = SETTINGS.networks[network]
    work = Workload.of(SETTINGS, chosen, SETTINGS.methods[0], "fp32")
    ours, theirs = harness(work), by_hand(work)
    for warm in (ours, theirs, ours, theirs):
        warm(steps)
    others: list[float] = []

    def turn() -> None:
        began = time.process_time()
        theirs(steps)
        others.append(time.process_time() - began)

    benchmark.pedantic(ours, args=(steps,), setup=turn, rounds=rounds)
    assert benchmark.stats is not None
    ratios = [a / b for a, b in zip(benchmark.stats.stats.data, others, strict=True)]
    ratio = statistics.median(ratios)
    benchmark.extra_info["ratio to hand-written"] = ratio
    print(f"\n{chosen.label}: a step costs {ratio:.3f} times a hand-written one")
    assert not shown_over(ratios, SETTINGS.step_goal)
