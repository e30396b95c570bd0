"""Whatever a plugin does where it runs or is imported, the command goes on, ends, and says so."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.cli.app import main
from bench.contracts import DataSource
from bench.launch import Finished, WorkerPool
from bench.launch.packs import Pack, write_document
from bench.launch.worker import RequestError, Worker
from bench.spec.guarded import deadly
from bench.spec.registry import parse_strategy
from bench.store.records import Record
from bench.train.evaluation import evaluate
from bench.train.job import Job
from bench.train.load import ChangedDataError, check_unchanged, task_data
from bench.validation import validate
from tests.conftest import PLUGINS, toy_jobs

HOSTILE = Path(__file__).parents[1] / "hostile"
LONG = {"budget": "120steps"}


def _records(jobs: tuple[Job, ...], workers: int, launcher: str | None = None) -> list[Record]:
    with WorkerPool(launcher, workers) as pool:
        events = list(pool.run(jobs, pool.workers or 1))
    return [event.record for event in events if isinstance(event, Finished)]


def _of(strategy: str, folder: Path, workers: int = 1) -> Record:
    """Return the record of a strategy's own run beside its anchors, which are sound."""
    records = _records(toy_jobs(folder, strategy, "toy:row+column", **LONG), workers)
    (own,) = [r for r in records if r.spec.strategy == parse_strategy(strategy).name]
    assert all(record.status == "ok" for record in records if record is not own)
    return own


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_step_that_forks_gives_one_result(tmp_path: Path, workers: int) -> None:
    own = _of("hard+faulty@fork", tmp_path, workers)
    assert own.status == "ok"
    assert own.scores == _of("hard+faulty@none", tmp_path).scores


def test_a_process_that_goes_on_as_its_own_child_is_lost(tmp_path: Path) -> None:
    own = _of("hard+faulty@flee", tmp_path)
    assert (own.status, own.reason) == ("failed", "its process ended with exit code 0")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("how", "reason"),
    [("speechless", "SpeechlessError"), ("bytes", "RuntimeError: planted ? fault")],
)
def test_a_reason_that_cannot_be_read_or_written_is_told_as_far_as_it_can(
    tmp_path: Path, how: str, reason: str, workers: int
) -> None:
    own = _of(f"hard+faulty@{how}", tmp_path, workers)
    assert (own.status, own.reason) == ("failed", reason)
    assert Record.model_validate_json(own.model_dump_json()) == own


def _gone(pids: list[int]) -> bool:
    alive = [p for pid in pids if psutil.pid_exists(pid) for p in [psutil.Process(pid)]]
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where processes that hang write their numbers."""
    monkeypatch.setenv("BENCH_TEST_HANG", str(tmp_path / "hung"))
    return tmp_path / "hung"


def test_a_job_that_a_scheduler_ends_records_no_run_as_failed(hung: Path, tmp_path: Path) -> None:
    """It asks all processes of the job to end, and submitit lets the job itself ignore that."""
    asked = toy_jobs(tmp_path, "hard+faulty@hang", "toy:row+column", **LONG)
    path = tmp_path / "launch/desk-1/0.json"
    path.parent.mkdir(parents=True)
    hanging = tuple(job for job in asked if "hang" in job.spec.strategy)
    write_document(path, Pack(folder=str(tmp_path), together=1, jobs=hanging))
    program = (
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "from bench.launch.packs import execute; execute(sys.argv[1])"
    )
    job = subprocess.Popen([sys.executable, "-c", program, str(path)])
    try:
        _wait_until(hung.exists)
        for process in (*psutil.Process(job.pid).children(recursive=True), job):
            process.send_signal(signal.SIGTERM)
        assert job.wait(300) == 1
    finally:
        job.kill()
    assert not list(tmp_path.glob("runs/*/*/run.json"))


def test_a_killed_command_takes_a_worker_that_lets_no_thread_run_and_its_children_with_it(
    hung: Path, toy_experiment: Path, tmp_path: Path
) -> None:
    text = toy_experiment.read_text().replace('"hard"', '"faulty@spawn"')
    toy_experiment.write_text(text.replace("12steps", "120steps"))
    command = subprocess.Popen(
        [sys.executable, "-m", "bench", "run", str(toy_experiment), "-q"], cwd=tmp_path
    )
    _wait_until(hung.exists)
    pids = [int(pid) for pid in hung.read_text().split()]
    assert len(pids) == 2
    assert not _gone(pids)
    command.kill()
    command.wait()
    _wait_until(lambda: _gone(pids))


def test_a_worker_that_is_stopped_takes_what_it_has_started_with_it(
    hung: Path, tmp_path: Path
) -> None:
    jobs = toy_jobs(tmp_path, "hard+faulty@spawn", "toy:row+column", **LONG)
    (job,) = [job for job in jobs if "faulty" in job.spec.strategy]
    with WorkerPool() as pool:
        events = pool.run([job], 1)
        next(events)
        _wait_until(hung.exists)
    _wait_until(lambda: _gone([int(pid) for pid in hung.read_text().split()]))


def test_an_answer_that_cannot_be_made_again_costs_one_request() -> None:
    worker = Worker(0)
    try:
        worker.send(ChangedDataError)  # a class is sent by its name and called: here it is sound
        assert [type(item) for item in worker.answers()] == [ChangedDataError]
        worker.send(eval, _UNREADABLE.strip())
        with pytest.raises(RequestError, match="its answer cannot be read: SystemExit: 0"):
            list(worker.answers())
        assert worker.stopped
    finally:
        worker.stop()


#: Makes what ends the process in which it is made again. As a text, since workers need not be able
#: to import a test.
_UNREADABLE = """
type("Unreadable", (), {"__reduce__": lambda self: (__import__("sys").exit, (0,))})()
"""


def _bench(
    *arguments: object, folder: Path, plugins: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "BENCH_PLUGINS": f"{PLUGINS}{os.pathsep}{plugins}", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


#: Why each module of `tests/hostile/strategies` cannot be imported or listed.
REASONS = {
    "bytes": "TypeError: the name of Bytes is no text in UTF-8",
    "control": "TypeError: the name of Control cannot be typed",
    "crashes": "its import died of SIGSEGV",
    "exits": "SystemExit: 0",
    "flees": "its import ended with exit code 0",
    "generator": "GeneratorExit: planted",
    "quits": "its import ended with exit code 0",
    "quits_when_made": "its import ended with exit code 0",
    "speechless": "SpeechlessError",
    "surrogate": "RuntimeError: planted ? fault",
}


def test_a_plugin_that_ends_its_importer_is_listed_as_broken_by_every_command(
    tmp_path: Path,
) -> None:
    listed = _bench("list", "strategies", "--json", folder=tmp_path, plugins=HOSTILE)
    assert listed.returncode == 0, listed.stderr
    told = dict(
        line.removeprefix("broken plugin ").split(": ", 1)
        for line in listed.stderr.splitlines()
        if line.startswith("broken plugin ")
    )
    assert REASONS.items() <= told.items()
    names = {row["strategy"] for row in json.loads(listed.stdout)}
    assert {"hard", "pcgrad", "faulty", "lingers", "forks"} <= names
    pairs = _bench("list", "pairs", "--json", folder=tmp_path, plugins=HOSTILE)
    assert pairs.returncode == 0, pairs.stderr
    assert "toy:row+column" in {row["pair"] for row in json.loads(pairs.stdout)}
    assert "broken plugin tasks: its import ended with exit code 0" in pairs.stderr
    assert "broken plugin exits-when-asked: SystemExit: 0" in pairs.stderr
    assert "broken plugin unwritable: UserError: data set 'unwritable' has a task" in pairs.stderr
    checked = _bench("validate", "quits", "uniform", "--json", folder=tmp_path, plugins=HOSTILE)
    assert checked.returncode == 3, checked.stderr
    found = {report["plugin"]: report["findings"] for report in json.loads(checked.stdout)}
    assert found["quits"][0]["reason"] == REASONS["quits"]
    assert {finding["outcome"] for finding in found["uniform"]} == {"ok"}


def test_a_command_runs_and_ends_whatever_its_plugins_leave_running(
    toy_experiment: Path, tmp_path: Path
) -> None:
    text = toy_experiment.read_text().replace("12steps", "120steps")
    strategies = '["hard", "lingers", "faulty@thread", "faulty@print"]'
    toy_experiment.write_text(text.replace('"hard"', strategies).replace("seeds = 2", "seeds = 1"))
    mark = f"{tmp_path.name}-{os.getpid()}"
    done = _bench(
        "run", toy_experiment, "--json", folder=tmp_path, plugins=HOSTILE, BENCH_TEST_MARK=mark
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]  # what plugins print is elsewhere
    assert len(rows) == 8
    assert "planted words" in done.stderr
    # No process of it is left that would keep a reader of its output waiting.
    assert not [p.pid for p in psutil.process_iter() if mark in _environment(p).values()]
    for pair, reason in {
        "exits-when-asked": "the plugin of 'exits-when-asked' is broken: SystemExit: 0",
        "unwritable": "data set 'unwritable' has a task whose name is no text in UTF-8",
        "toy:row+col\udcffumn": "unknown task of toy",
    }.items():
        wrong = _bench("run", "-p", pair, folder=tmp_path, plugins=HOSTILE)
        assert wrong.returncode == 2, wrong.stderr
        assert f"error: {reason}" in wrong.stderr
    wrong = _bench("run", toy_experiment, "-s", "quits", folder=tmp_path, plugins=HOSTILE)
    assert wrong.returncode == 2
    assert f"error: strategy 'quits' is broken: {REASONS['quits']}" in wrong.stderr


def _environment(process: psutil.Process) -> Mapping[str, str]:
    try:
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    except psutil.Error:
        return {}


def _clock_of(hung: Path) -> Callable[[], float]:
    """Return a clock that stands still but while a process hangs: ten seconds pass at each look."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        with suppress(FileNotFoundError):
            now += 10 * psutil.pid_exists(int(hung.read_text()))
        return now

    return clock


def _hang() -> None:
    path = Path(os.environ["BENCH_TEST_HANG"])
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)
    while True:
        time.sleep(1)


def test_an_import_that_hangs_is_given_up(hung: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.spec.guarded.monotonic", _clock_of(hung))
    calls: dict[str, Callable[[], object]] = {
        "first": int,
        "hangs": _hang,
        "quits": lambda: os._exit(3),
        "last": int,
    }
    found = deadly(calls)
    assert found.keys() == {"hangs", "quits"}
    assert found["hangs"].startswith("its import takes longer than 30 s: ")
    assert "BENCH_IMPORT_SECONDS" in found["hangs"]
    assert found["quits"] == "its import ended with exit code 3"


def test_a_child_of_an_import_keeps_nobody_waiting() -> None:
    def forks() -> None:
        if os.fork() == 0:
            time.sleep(3600)
        os.kill(os.getpid(), signal.SIGKILL)

    assert deadly({"forks": forks}) == {"forks": "its import died of SIGKILL"}


def test_an_exit_of_a_plugin_in_the_command_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.cli.list.listing", lambda _: sys.exit(0))
    with pytest.raises(SystemExit) as end:
        main(["list", "networks"])
    assert end.value.code == 70
    assert "code of a plugin called sys.exit(0)" in capsys.readouterr().err


def test_a_check_that_ends_or_hangs_fails_and_the_others_are_made(
    hung: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.launch.worker.monotonic", _clock_of(hung))
    with WorkerPool("processes@pricing=3") as pool:
        for how, reason in {
            "quit": "its process ended with exit code 0",
            "crash": "its process died of SIGSEGV",
            "base": "PlantedExit: planted",
            "hang": "took longer than 3 s",
        }.items():
            (report,) = validate(f"faulty@{how},count", DataSource(), pool.ask)
            found = [f"{f.check}: {f.reason}" for f in report.findings if f.outcome == "failed"]
            assert report.outcome == "failed"
            assert any(reason in text and text.startswith("prices: ") for text in found), found
        (sound,) = validate("uniform", DataSource(), pool.ask)
        assert sound.outcome == "ok"


@pytest.mark.parametrize("how", ["torch", "numpy", "images"])
def test_labels_that_are_changed_in_place_cost_only_who_does_it(tmp_path: Path, how: str) -> None:
    (report,) = validate(f"relabel@{how}", DataSource())
    what = "test images" if how == "images" else "labels"
    assert [f.check for f in report.failed] == ["untouched"]
    assert f"it changes {what} of 'first' in place" in report.failed[0].reason
    plain = {r.key: r.scores for r in _records(toy_jobs(tmp_path, "hard", "toy:row+column"), 0)}
    jobs = toy_jobs(tmp_path, f"hard+relabel@{how}", "toy:row+column")
    faults = {job.spec.tasks[0]: job.fault for job in jobs if job.fault}
    assert faults.keys() == {"row", "column"}
    for task, fault in faults.items():
        assert "were changed in place" in fault
        assert how == "images" or f"labels of '{task}'" in fault  # images are of both
    known = {r.key: r.scores for r in _records(jobs, 0) if r.status == "ok"}
    assert known.keys() & plain.keys()
    assert all(known[key] == plain[key] for key in known.keys() & plain.keys())


def test_a_change_while_a_run_trains_fails_it_and_the_next_loads_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = toy_jobs(tmp_path, "hard", "toy:row+column")
    sound = _records(jobs, 0)
    labels = task_data("toy", "row", DataSource()).test_labels
    assert labels is not None
    kept = labels.clone()

    def spoils(*arguments: Any) -> Any:
        labels.zero_()
        monkeypatch.setattr("bench.train.run.evaluate", evaluate)
        return evaluate(*arguments)

    monkeypatch.setattr("bench.train.run.evaluate", spoils)
    first, *others = _records(jobs, 0)
    assert first.status == "failed"
    assert "images or labels of 'row' were changed in place" in first.reason
    assert [r.scores for r in others] == [r.scores for r in sound[1:]]
    anew = task_data("toy", "row", DataSource()).test_labels
    assert anew is not labels
    assert anew is not None
    assert anew.equal(kept)
    check_unchanged()
