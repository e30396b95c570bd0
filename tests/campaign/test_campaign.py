"""The campaign finds what it is to find: its own checks fail where something is wrong."""

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from bench.store.store import Store
from tests.campaign import checks, shim
from tests.campaign.faults import faults
from tests.campaign.scenarios import SCENARIOS
from tests.campaign.shim import Moment, Plan
from tests.campaign.table import faults_told, places, table
from tests.conftest import plain_record

ROOT = Path(__file__).parents[2]
needs_shim = pytest.mark.skipif(bool(shim.missing()), reason=shim.missing())


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder of three records, and what lies beside them in a campaign."""
    store = Store(tmp_path / "results")
    for key, score in (("aa1", 50.0), ("bb2", 60.0), ("cc3", 70.0)):
        store.save(plain_record(key, score, 1.0), {"t": np.array([0, 1, 1], np.uint8)})
    return tmp_path / "results"


def _rescored(path: Path) -> None:
    path.write_text(path.read_text().replace("60.0", "60.000000000000007"))


def _halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _without_examples(path: Path) -> None:
    next(path.parent.glob("*.npz")).write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [_rescored, _halved, _without_examples, Path.unlink], ids=lambda d: d.__name__
)
def test_a_damaged_record_is_lost_and_differs(
    results: Path, damage: Callable[[Path], object]
) -> None:
    reference, before = checks.Reference.of(results), checks.records(results)
    assert not checks.lost(before, checks.records(results))
    assert not checks.differing(results, reference)
    damage(results / "runs/bb/bb2/run.json")
    (lost,) = checks.lost(before, checks.records(results))
    assert lost.startswith("bb2 ")
    assert [line[:3] for line in checks.differing(results, reference)] == ["bb2"]


def test_measured_times_may_differ_and_files_may_not_be_left(results: Path) -> None:
    reference = checks.Reference.of(results)
    path = results / "runs/aa/aa1/run.json"
    path.write_text(path.read_text().replace('"s": 1.0', '"s": 2.0'))
    assert not checks.differing(results, reference)
    (results.parent / "tmp").mkdir()
    (results / "runs/aa/.run.json-1-00000000.part").touch()
    (results.parent / "tmp" / "socket").touch()
    left = checks.left(results, results.parent / "tmp", reference)
    assert left == ["runs/aa/.run.json-1-00000000.part", "socket"]


def test_a_report_that_differs_is_told(results: Path) -> None:
    report = results / "reports/one/gains.json"
    report.parent.mkdir(parents=True)
    report.write_text('{"gain": 1.0}')
    reference = checks.Reference.of(results)
    assert not checks.differing(results, reference)
    report.write_text('{"gain": 1.5}')
    assert checks.differing(results, reference) == ["reports/one/gains.json"]


def test_the_table_counts_what_went_wrong() -> None:
    fine = {"number": 0, "title": "a", "group": "EIO", "kills": False, "reached": True, "code": 2}
    fine |= {"where": "calls on: price"}
    fine |= {what: [] for what in ("wrong", "lost", "differing", "orphans", "left")}
    bad = {**fine, "number": 1, "lost": ["bb2 is gone"], "orphans": ["7", "8"]}
    lines = table([fine, bad, {**fine, "reached": False}]).splitlines()
    assert "| EIO | 2 | 1 | 1 | 0 | 2 | 0 | 0 |" in lines
    assert "| **all kills** | 0 | 0 | 0 | 0 | 0 | 0 | 0 |" in lines
    assert "| calls on: price | 2 | 1 | 1 | 0 | 2 | 0 | 0 |" in places([fine, bad])
    assert faults_told([fine, bad]).splitlines()[1] == "    lost: bb2 is gone"


def test_the_same_seed_gives_the_same_faults() -> None:
    counts = {
        (one.name, state): {("record", call): 3 for call in shim.CALLS}
        for one in SCENARIOS
        for state in one.states
    }
    seconds = dict.fromkeys(counts, 1.0)

    def order(seed: int) -> list[str]:
        return [str(fault) for fault in islice(faults(seed, counts, seconds, disks=True), 60)]

    assert order(0) == order(0)
    assert order(0) != order(1)


_WRITER = """
import os, sys
for number in range(3):
    with open("results/.part", "wb") as file:
        file.write(b"content")
        file.flush()
        os.fsync(file.fileno())
    os.replace("results/.part", f"results/{number}")
"""


@needs_shim
@pytest.mark.parametrize("signals", [False, True], ids=["error", "kill"])
@pytest.mark.parametrize("call", ["create", "write", "fsync", "rename"])
def test_a_fault_happens_at_the_call_that_was_chosen(
    tmp_path: Path, call: str, signals: bool
) -> None:
    (tmp_path / "results").mkdir()
    library = shim.build(tmp_path)
    plan = Plan.new(tmp_path / "plan")
    number = 9 if signals else errno.ENOSPC
    Moment("folder", call, "before", 2).arm(plan, number, signals=signals)
    done = subprocess.run(
        [sys.executable, "-c", _WRITER],
        cwd=tmp_path,
        env={**shim.environment(library), "CAMPAIGN_PLAN": str(tmp_path / "plan")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert plan.fired
    assert done.returncode == (-9 if signals else 1)
    assert signals or f"[Errno {number}]" in done.stderr
    assert sorted(path.name for path in (tmp_path / "results").glob("[0-9]")) == ["0"]
    assert plan.calls()["folder", call] >= 2  # closing a file writes again


@pytest.mark.slow
@needs_shim
def test_a_short_campaign_is_survived(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.campaign", "--minutes", "5", "--most", "40"]
    command += ["--seed", str(random.randrange(10**6)), "--out", str(tmp_path / "outcomes")]
    others = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    done = subprocess.run(
        command, cwd=ROOT, env=others, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "| **all disk faults** |" in done.stdout
    assert shutil.which("cc")
