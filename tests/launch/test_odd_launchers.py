"""What comes from a launcher is checked: its fault is one line, and what came before is kept."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import DataSource
from bench.errors import LauncherError
from bench.launch import Event, Finished, Launcher, WorkerPool, launchers
from bench.plan.plan import make_plan
from bench.spec.experiment import Experiment
from bench.store.store import Store
from tests.conftest import toy_jobs

FAULTS = {
    "none": "yields no events: TypeError",
    "number": "yields no events: TypeError: 'int' object is not iterable",
    "list": "yields a str, which is no event",
    "junk": "yields a str, which is no event",
    "raise": "failed: RuntimeError: planted",
    "exit": "failed: SystemExit: 0",
    "base": "failed: PlantedError",
    "stop": "failed: RuntimeError: generator raised StopIteration",
    "twice": "was not running",
    "begun-twice": "which is not or no longer to be begun",
    "unbegun": "was not running",
    "foreign": "which is not or no longer to be begun",
    "no-job": "began a str",
    "nothing": "its scores of examples are no arrays of numbers by task",
    "half": "ended without ",
    "other": "its record is that of ",
    "no-record": "its record is a dict",
    "path": "in its record key: String should match pattern",
    "no-text": "its record cannot be written: ",
    "partial": "in its record ",
    "objects": "its scores of examples are no arrays of numbers by task",
}


def _note_all(events: Iterator[Event], came: list[object]) -> None:
    for event in events:
        came.append(event)


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_of_a_launcher_is_one_line_and_what_came_before_stands(
    tmp_path: Path, how: str
) -> None:
    jobs = toy_jobs(tmp_path, "hard", "toy:row+column")
    came: list[object] = []
    with WorkerPool(f"odd@{how}") as pool, pytest.raises(LauncherError) as caught:
        _note_all(pool.run(jobs, 1), came)
    kept = [event.record.key for event in came if isinstance(event, Finished)]
    assert FAULTS[how] in str(caught.value)
    assert str(caught.value).startswith("launcher 'odd' ")
    assert "\n" not in str(caught.value)
    assert kept == ([] if how in ("none", "number", "list") else [jobs[0].key])


@pytest.mark.parametrize("how", ["begin", "close"])
def test_a_launcher_that_cannot_begin_or_be_closed_is_named(tmp_path: Path, how: str) -> None:
    words = {"begin": "cannot begin", "close": "cannot be closed"}[how]
    said = f"^launcher 'odd' {words}: RuntimeError: planted$"
    with pytest.raises(LauncherError, match=said), WorkerPool(f"odd@{how}") as pool:
        pool.begin(1)
    with pytest.raises(ZeroDivisionError), WorkerPool("odd@close"):
        raise ZeroDivisionError  # what went wrong first is told


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("nothing", "answers check_dataset 0 times"),
        ("none", "does not answer check_dataset: TypeError"),
        ("two", "answers check_dataset 2 times"),
        ("raise", "does not answer check_dataset: RuntimeError: planted"),
        ("other", "answers check_dataset with a str"),
    ],
)
def test_an_answer_that_is_none_is_the_launchers_fault(
    tmp_path: Path, how: str, words: str
) -> None:
    asked = Experiment(pair=("toy:row+column",), strategy=("hard",), budget="5steps", seeds=1)
    with WorkerPool(f"forgetful@{how}") as pool, pytest.raises(LauncherError, match=words):
        make_plan(asked, DataSource(), Store(tmp_path), lambda _: None, pool.ask)


def test_a_launcher_that_cannot_say_whom_it_suits_hurts_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(workers: int) -> bool:
        raise RuntimeError("planted")

    odd: type[Launcher] = launchers().found["odd"]
    monkeypatch.setattr(odd, "suits", fails)
    assert WorkerPool(None, 0).in_process
    assert not WorkerPool("odd", 1).in_process
    for most in (0, -1, "many", 1.5):
        monkeypatch.setattr(odd, "most_workers", most)
        with pytest.raises(LauncherError, match="workers at most"):
            WorkerPool("odd", 4)


def test_a_command_with_an_odd_launcher_ends_with_6_and_goes_on_with_a_sound_one(
    bench: Callable[..., Any], toy_experiment: Path, tmp_path: Path
) -> None:
    done = bench("run", toy_experiment, "--launcher", "odd@path")
    assert done.returncode == 6, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: launcher 'odd' has no sound result of ")
    assert line.endswith("; 1 of 14 runs are finished and kept")
    assert "Traceback" not in done.stderr
    records = list((tmp_path / "results").rglob("run.json"))
    assert len(records) == 1
    assert not list(tmp_path.glob("x*"))
    again = bench("run", toy_experiment, "--workers", 0)
    assert again.returncode == 0, again.stderr
    assert "13 runs to train (1 are finished already)" in again.stderr
    report = json.loads((tmp_path / "results/reports/toy/gains.json").read_text())
    assert all(row["failed"] == 0 for row in report["rows"])
