"""Up to 100,000 runs are planned, resumed, reported and listed in bounded time and memory.

Run with `pytest -n 0 -s -m slow tests/benchmarks/test_size.py`. The records are synthetic
(`bench/speed/synthesis.py`). Each command is a process of its own, in processor time and at its
largest memory.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.contracts import DataSource
from bench.launch import launchers
from bench.launch.cluster import Cluster
from bench.plan.plan import make_plan
from bench.spec.experiment import load_experiment
from bench.speed.synthesis import fill, finish
from bench.store.store import Store
from bench.train.job import Job

pytestmark = pytest.mark.slow

RUNS, ROWS = 20_384, 1_904


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds of processor time, and mebibytes."""

    seconds: float
    megabytes: float


def cost(arguments: Sequence[str], folder: Path) -> Cost:
    """Return what a command took itself. What its workers take does not depend on the folder."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "bench.speed.child", "command"),
                *(*arguments, "--results", str(folder)),
            ],
            stdout=out,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        out.seek(0)
        *_, said = out.read().splitlines()
    found = Cost(usage.ru_utime + usage.ru_stime, json.loads(said)["bytes"] / 2**20)
    print(f"{' '.join(arguments)}: {found.seconds:.1f} s, {found.megabytes:.0f} MiB")
    return found


@pytest.fixture(scope="module", name="large")
def _large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    assert fill(folder, pairs=28, strategies=34, seeds=14) == RUNS
    return folder


def test_a_report_of_twenty_thousand_runs_takes_a_minute_and_a_gigabyte(large: Path) -> None:
    found = cost(["report"], large)
    table = (large / "reports" / "large" / "table.csv").read_text("utf-8")
    assert table.count("method") >= ROWS
    assert found.seconds < 60
    assert found.megabytes < 1000


def test_what_a_large_experiment_needs_is_told_in_ten_seconds(large: Path) -> None:
    assert cost(["power"], large).seconds < 10


def test_a_large_experiment_is_checked_in_ten_seconds(large: Path) -> None:
    cost(["baseline", "set", "large", "--no-time"], large)
    found = cost(["check", "--baseline", "large", "--time", "off"], large)
    assert found.seconds < 10
    assert found.megabytes < 1000


def test_a_small_run_does_not_mind_a_large_folder(large: Path, tmp_path: Path) -> None:
    small = "run -p creatures:species+kin -s hard --seeds 1 --budget 2steps --train-size 50"
    asked = [*small.split(), "--validation-size", "10", "--workers", "1", "--name", "small"]
    alone, beside, resumed = (cost(asked, folder) for folder in (tmp_path, large, large))
    assert beside.seconds < alone.seconds + 5
    assert resumed.seconds < 10


#: An experiment of 21 runs a seed, which is to have about 10,000 runs, or 100,000.
PLANNED = """
pair = ["creatures:species+kin", "creatures:species+shape", "creatures:kin+hue"]
strategy = ["hard", "hard+pcgrad", "cross-stitch"]
seeds = {}
budget = "20steps"
network = "lenet"
train-size = 1000
validation-size = 200
device = "cpu"
"""
SEEDS = (476, 4762)


@dataclass(frozen=True)
class Planned:
    """The file of an experiment, its runs, and a results folder in which all are finished."""

    file: Path
    jobs: Sequence[Job]
    folder: Path


@pytest.fixture(scope="module", name="planned", params=SEEDS)
def _planned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Planned:
    folder = tmp_path_factory.mktemp("planned")
    file = folder / "large.toml"
    file.write_text(PLANNED.format(request.param))
    store = Store(folder / "results")
    plan = make_plan(load_experiment(str(file), {}), DataSource(), store, lambda _: None)
    assert finish(store.root, plan.jobs) == 21 * request.param
    return Planned(file, plan.jobs, store.root)


def _bounded(found: Cost, runs: int) -> None:
    """Check what a command took for so many runs: what it begins with, and a little for each."""
    assert found.seconds < 60 + 5e-3 * runs
    assert found.megabytes < 1000 + 0.03 * runs


def test_many_runs_are_planned(planned: Planned, tmp_path: Path) -> None:
    asked = ["run", str(planned.file), "--dry-run", "--yes"]
    _bounded(cost(asked, tmp_path), len(planned.jobs))


def test_an_experiment_of_many_runs_is_resumed(planned: Planned) -> None:
    asked = ["run", str(planned.file), "--yes", "--workers", "1"]
    _bounded(cost(asked, planned.folder), len(planned.jobs))
    lost = planned.jobs[len(planned.jobs) // 2].key
    record = planned.folder / "runs" / lost[:2] / lost / "run.json"
    record.unlink()
    _bounded(cost(asked, planned.folder), len(planned.jobs))
    assert record.is_file()


def test_the_jobs_of_many_runs_are_listed(planned: Planned, tmp_path: Path) -> None:
    desk = launchers().found["desk"](how="queued", pack="10m")
    assert isinstance(desk, Cluster)
    desk.use(tmp_path)
    desk._submitted(planned.jobs, 1, 64)
    _bounded(cost(["status"], tmp_path), len(planned.jobs))
