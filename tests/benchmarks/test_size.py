"""A results folder of 20,000 runs is reported, planned from and listed in bounded time and memory.

Run with `pytest -n 0 -s -m slow tests/benchmarks/test_size.py`. The records are synthetic
(`tests/synthesis.py`). Each command is a process of its own, in processor time and at its largest
memory.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.synthesis import fill

pytestmark = pytest.mark.slow

RUNS, ROWS = 20_384, 1_904


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds of processor time, and megabytes."""

    seconds: float
    megabytes: float


def cost(arguments: Sequence[str], folder: Path) -> Cost:
    """Return what a command took, its children included."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments, "--results", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    found = Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
    print(f"{' '.join(arguments)}: {found.seconds:.1f} s, {found.megabytes:.0f} MB")
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
