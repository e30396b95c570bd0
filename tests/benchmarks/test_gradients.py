"""What looking at the tasks' gradients adds to a run of the default experiment, in turns.

Both sides train the very same run, the one looking and the other not, and take turns. What is held
is the median time of the looks over that of the training steps, both process time of one thread;
the difference of the whole runs, which is printed beside it, is that small that noise hides it.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import bench.train.run
from bench.contracts import DataSource
from bench.plan.plan import make_plan
from bench.spec.experiment import load_experiment
from bench.store.store import Store
from bench.train.batches import Batches
from bench.train.run import execute
from tests.benchmarks.evidence import shown_over

#: What looks may cost, as a share of the training steps' time.
ALLOWED = 0.01
ROUNDS = 10


@pytest.mark.parametrize("strategy", ["hard", "hard+pcgrad", "cross-stitch"])
@pytest.mark.benchmark(timer=time.process_time, warmup=False, disable_gc=True)
def test_looking_at_gradients_costs_under_a_hundredth_of_the_default_training(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, strategy: str
) -> None:
    asked = {"strategy": (strategy,), "seeds": 1, "device": "cpu"}
    experiment = load_experiment("default", {**asked, "pair": ("creatures:species+kin",)})
    jobs = make_plan(experiment, DataSource(), Store(tmp_path), lambda _: None).jobs
    (job,) = (job for job in jobs if job.spec.strategy == strategy)
    spent = [0.0]

    def timed(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any) -> Any:
            began = time.process_time()
            result = original(*arguments)
            spent[-1] += time.process_time() - began
            return result

        monkeypatch.setattr(owner, name, call)

    timed(bench.train.run, "_gradients")
    timed(Batches, "probe")
    points, shares, blind = bench.train.run._probed_points, [], []

    def no_points(*_: Any) -> Sequence[int]:
        return ()

    def turn() -> None:
        monkeypatch.setattr(bench.train.run, "_probed_points", no_points)
        began = time.process_time()
        execute(job)
        blind.append(time.process_time() - began)
        monkeypatch.setattr(bench.train.run, "_probed_points", points)
        spent.append(0.0)

    def look() -> None:
        record, _ = execute(job)
        assert record.ledger is not None
        assert any(point.cosines for point in record.curve)
        shares.append(spent[-1] / record.ledger.used["s"])

    turn()
    look()
    benchmark.pedantic(look, setup=turn, rounds=ROUNDS)
    assert benchmark.stats is not None
    whole = [a / b - 1 for a, b in zip(benchmark.stats.stats.data, blind[1:], strict=True)]
    share = statistics.median(shares[1:])
    benchmark.extra_info["share of the training steps"] = share
    print(
        f"\n{strategy}, {sum(job.spec.steps)} steps: looks take {share:.2%} of their time; "
        f"whole runs differ by {statistics.median(whole):+.2%}"
    )
    assert not shown_over(shares[1:], ALLOWED)
