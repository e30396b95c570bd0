"""The harness's training step against other libraries', in turns, thread for thread.

Run with `pytest -n 0 tests/benchmarks`; needs `pip install -e '.[peers]'`. What is asked for here
is that sharing's own methods cost no more than elsewhere; how much less stands in `bench speed`.
"""

import statistics
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.speed import peers
from bench.speed.loops import Workload, harness
from bench.speed.settings import load
from tests.benchmarks.evidence import shown_over

SETTINGS = load("full")


@pytest.mark.parametrize("library", ["LibMTL", "TorchJD"])
@pytest.mark.parametrize("method", SETTINGS.methods, ids=lambda method: method.label)
@pytest.mark.benchmark(timer=time.process_time, warmup=False, disable_gc=True)
def test_a_step_costs_no_more_than_another_librarys(
    benchmark: BenchmarkFixture, library: str, method: object
) -> None:
    try:
        peers.found(library)
    except peers.AbsentError as error:
        pytest.skip(f"{library}: {error}")
    assert isinstance(method, type(SETTINGS.methods[0]))
    work = Workload.of(SETTINGS, SETTINGS.networks[0], method, "fp32")
    ours, theirs = harness(work), {"LibMTL": peers.libmtl, "TorchJD": peers.torchjd}[library](work)
    for warm in (ours, theirs, ours, theirs):
        warm(4)
    others: list[float] = []

    def turn() -> None:
        began = time.process_time()
        theirs(8)
        others.append(time.process_time() - began)

    benchmark.pedantic(ours, args=(8,), setup=turn, rounds=16)
    assert benchmark.stats is not None
    ratios = [a / b for a, b in zip(benchmark.stats.stats.data, others, strict=True)]
    ratio = 1 / statistics.median(ratios)
    benchmark.extra_info[f"{library} over the harness"] = ratio
    print(f"\n{method.label}: a step of {library} takes {ratio:.2f} times the harness's")
    assert not shown_over(ratios, 1)
