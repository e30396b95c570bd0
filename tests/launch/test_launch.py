import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from bench.api.batch import early_pool
from bench.api.session import Session
from bench.contracts import DataSource
from bench.errors import UserError, note, say
from bench.fork_server import workers_environment
from bench.launch import Finished, Started, WorkerPool, auto_workers, launchers
from bench.launch.processes import Processes
from bench.launch.worker import Worker, ready
from bench.plan.plan import make_plan
from bench.spec.budget import Price
from bench.spec.experiment import Experiment
from bench.spec.registry import parse_strategy
from bench.store.records import Record
from bench.store.store import Store
from bench.train.device import OUT_OF_MEMORY
from bench.train.job import Job

QUICK: dict[str, Any] = {
    "train_size": 100,
    "validation_size": 50,
    "batch_size": 16,
    "curve_points": 2,
    "device": "cpu",
    "budget": "120steps",
    "seeds": 1,
}


def _jobs(tmp_path: Path, *strategies: str) -> tuple[Job, ...]:
    experiment = Experiment(pair=("toy:row+column",), strategy=strategies, **QUICK)
    return make_plan(experiment, DataSource(), Store(tmp_path), lambda _: None).jobs


def _records(
    jobs: Sequence[Job], workers: int = 0, launcher: str | None = None
) -> dict[str, Record]:
    """Run jobs, in this process if on no worker; return their records."""
    with WorkerPool(launcher, workers) as pool:
        events = list(pool.run(jobs, pool.workers or 1))
    started = [event.job.key for event in events if isinstance(event, Started)]
    finished = {e.record.key: e.record for e in events if isinstance(e, Finished)}
    assert sorted(started) == sorted(finished) == sorted(job.key for job in jobs)
    return finished


def _numbers(record: Record) -> tuple[object, ...]:
    """All of a record that must not depend on where or when it was made."""
    assert record.ledger is not None
    used = {axis: amount for axis, amount in record.ledger.used.items() if axis != "s"}
    return record.scores, record.curve, record.streams, record.spec, used


def test_worker_processes_give_the_numbers_of_this_process(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard", "pcgrad")
    here = _records(jobs)
    assert {record.status for record in here.values()} == {"ok"}
    for workers in (1, 2):
        there = _records(jobs, workers)
        for key, record in here.items():
            assert _numbers(record) == _numbers(there[key])


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("raise", "failed", "RuntimeError: planted fault"),
        ("memory", "failed", "out of memory: lower --batch-size"),
        ("allocate", "failed", "out of memory: lower --batch-size"),
        ("exit", "failed", "SystemExit: 0"),
        ("base", "failed", "PlantedExit: planted"),
        ("generator", "failed", "GeneratorExit: planted"),
        ("diverge", "diverged", "the loss of row, column was not finite by step 120"),
    ],
)
def test_a_run_that_goes_wrong_is_a_record_and_the_others_go_on(
    tmp_path: Path, how: str, status: str, reason: str
) -> None:
    jobs = _jobs(tmp_path, f"hard+faulty@{how}", "hard")
    records = _records(jobs)
    bad = [r for r in records.values() if "faulty" in r.spec.strategy]
    assert [r.status for r in bad] == [status]
    assert reason in bad[0].reason
    assert all(r.status == "ok" for r in records.values() if r not in bad)
    assert ("faulty.py" in bad[0].detail) == (how not in ("memory", "allocate", "diverge"))


def test_a_diverged_run_is_scored_as_it_stands(tmp_path: Path) -> None:
    records = _records(_jobs(tmp_path, "hard+faulty@diverge"))
    (bad,) = [r for r in records.values() if r.status == "diverged"]
    value = bad.primary("row").value
    assert value is not None
    assert value < 60
    assert bad.scores["row"]["nll"].value is None
    assert bad.ledger is not None
    assert bad.ledger.used["steps"] == 120


KILLED = "its process was killed, as happens when memory runs out: lower --batch-size"
ENDS = {
    "quit": "its process ended with exit code 0",
    "die": KILLED,
    "crash": "its process died of SIGSEGV",
    "exit": "SystemExit: 0",
    "base": "PlantedExit: planted",
    "generator": "GeneratorExit: planted",
}


def _how(strategy: str) -> str:
    """Return how a faulty strategy goes wrong."""
    how: str = vars(parse_strategy(strategy).weighting)["how"]
    return how


def _reasons(records: Mapping[str, Record]) -> dict[str, str]:
    """Return why runs failed, by how; every strategy without a fault is ok."""
    bad = {r.spec.strategy: r for r in records.values() if "faulty" in r.spec.strategy}
    assert all(r.status == ("failed" if r in bad.values() else "ok") for r in records.values())
    return {_how(name): r.reason for name, r in bad.items()}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_ends_costs_only_its_run(tmp_path: Path, workers: int) -> None:
    jobs = _jobs(tmp_path, *(f"hard+faulty@{how}" for how in ENDS), "hard")
    assert _reasons(_records(jobs, workers)) == ENDS


@pytest.fixture
def hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let time pass only while a process hangs that has said so, ten seconds a look."""
    path, now = tmp_path / "hung", 0.0
    monkeypatch.setenv("BENCH_TEST_HANG", str(path))

    def clock() -> float:
        nonlocal now
        with suppress(FileNotFoundError, ValueError):
            now += 10 * psutil.pid_exists(int(path.read_text()))
        return now

    monkeypatch.setattr("bench.launch.worker.monotonic", clock)
    return path


def test_a_run_that_hangs_is_ended_and_the_others_go_on(tmp_path: Path, hung: Path) -> None:
    jobs = _jobs(tmp_path, "hard+faulty@hang", "hard")
    records = _records(jobs, 1, "processes@patience=0,floor=3")
    assert hung.exists()
    reason = _reasons(records)["hang"]
    assert reason.startswith("took longer than 3 s, where ")
    assert reason.endswith("--launcher processes@floor=SECONDS")


def test_a_limit_grows_with_what_a_run_is_expected_to_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []
    send = Worker.send

    def noted(worker: Worker, *request: Any, limit: float) -> None:
        limits.append(limit)
        send(worker, *request, limit=limit)

    monkeypatch.setattr(Worker, "send", noted)
    price = Price(flops=1, samples=1, peak_bytes=1, parameters=1)
    # Which no worker trains, and which evaluates nothing.
    job = replace(_jobs(tmp_path, "hard")[0], fault="planted", evaluated=0)
    for seconds in (0.1, 10.0):
        prices = (replace(price, seconds=seconds),)
        _records([replace(job, prices=prices)], 1, "processes@patience=5")
    assert limits == [600, pytest.approx(5 * 10 * sum(job.spec.steps))]
    with pytest.raises(UserError, match="patience, floor and pricing are 0 or more"):
        WorkerPool("processes@patience=-1")


PRICED = {
    "raise": "RuntimeError: planted fault",
    "allocate": OUT_OF_MEMORY,
    "exit": "SystemExit: 0",
    "base": "PlantedExit: planted",
    "generator": "GeneratorExit: planted",
    "quit": "its process ended with exit code 0 while it was priced",
    "die": "its process died of SIGKILL while it was priced",
    "crash": "its process died of SIGSEGV while it was priced",
}


def _faults(tmp_path: Path, pool: WorkerPool, *strategies: str) -> dict[str, str]:
    """Plan with a pool's workers, and check the sound jobs against a plan of this process.

    Returns why arms could not be priced, by how they go wrong.
    """
    experiment = Experiment(pair=("toy:row+column",), strategy=(*strategies, "hard"), **QUICK)
    here = make_plan(experiment, DataSource(), Store(tmp_path), lambda _: None, pool.ask)
    plain = {job.spec: job for job in _jobs(tmp_path, "hard")}
    sound = [job for job in here.jobs if not job.fault]
    assert {job.spec for job in sound} >= plain.keys()
    assert all(job == plain[job.spec] for job in sound if job.spec in plain)
    found = {job.spec.strategy: job.fault for job in here.jobs if job.fault}
    return {_how(name): fault for name, fault in found.items()}


@pytest.mark.parametrize("when", ["count", "time"])
def test_an_arm_that_ends_its_process_while_it_is_priced_costs_only_itself(
    tmp_path: Path, when: str
) -> None:
    with WorkerPool() as pool:
        found = _faults(tmp_path, pool, *(f"hard+faulty@{how},{when}" for how in PRICED))
    assert found == PRICED


@pytest.mark.parametrize("when", ["count", "time"])
def test_an_arm_that_hangs_while_it_is_priced_costs_only_itself(
    tmp_path: Path, hung: Path, when: str
) -> None:
    with WorkerPool("processes@pricing=3") as pool:
        found = _faults(tmp_path, pool, f"hard+faulty@hang,{when}")
    assert found == {"hang": "took longer than 3 s while it was priced"}
    assert hung.exists()


def test_an_arm_that_dies_while_a_width_is_sought_dies_of_it_once(tmp_path: Path) -> None:
    with WorkerPool() as pool:
        asked: list[str] = []

        def ask(function: Any, *arguments: Any, **how: Any) -> Any:
            asked.append(function.__name__)
            return pool.ask(function, *arguments, **how)

        experiment = Experiment(
            pair=("toy:row+column",),
            strategy=("hard+faulty@die,count",),
            also_against=("wide",),
            **QUICK,
        )
        plan = make_plan(experiment, DataSource(), Store(tmp_path), lambda _: None, ask)
    bad = [job for job in plan.jobs if job.fault]
    assert [job.fault for job in bad] == [PRICED["die"]]
    assert asked.count("dataset_lines") == 2  # again in the one new process


def test_a_data_set_that_ends_its_process_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for how, reason in {
        "quit": "data set 'toy': its process ended with exit code 0 while it was loaded",
        "exit": "data set 'toy' cannot be loaded: SystemExit: 0",
    }.items():
        monkeypatch.setenv("BENCH_TEST_DOOM", how)
        experiment = Experiment(pair=("toy:row+column",), strategy=("hard",), **QUICK)
        with WorkerPool() as pool, pytest.raises(UserError, match=reason):
            make_plan(experiment, DataSource(), Store(tmp_path), lambda _: None, pool.ask)


def test_a_run_without_room_beside_another_is_tried_again_alone(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard+faulty@crowded", "hard")
    records = _records(jobs, 2)
    assert {r.status for r in records.values()} == {"ok"}


def test_a_run_that_never_fits_fails_once_it_was_alone(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard+faulty@memory", "hard")
    records = _records(jobs, 2)
    bad = [r for r in records.values() if r.status != "ok"]
    assert [r.reason for r in bad] == [OUT_OF_MEMORY]


@pytest.mark.parametrize("origin", [False, True])
def test_a_run_whose_process_is_killed_is_tried_once_more(tmp_path: Path, origin: bool) -> None:
    """So it is where the process that workers are forked from dies first, as a scheduler may do."""
    jobs = _jobs(tmp_path, "hard")
    launcher, done = Processes(), {}
    for event in launcher.run(jobs, 1):
        if isinstance(event, Started) and event.job == jobs[0]:
            (worker,) = psutil.Process().children(recursive=True)[-1:]
            if origin:
                parent = worker.parent()
                assert parent not in (None, psutil.Process())
                parent.kill()
            worker.kill()
        elif isinstance(event, Finished):
            done[event.record.key] = event.record
    launcher.close()
    for key, record in _records(jobs).items():
        assert _numbers(record) == _numbers(done[key])


def test_workers_have_room_in_memory_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    price = Price(flops=1, samples=1, peak_bytes=2**30, parameters=1, seconds=1.0)
    jobs = [replace(job, prices=(price,)) for job in _jobs(tmp_path, "hard", "pcgrad")]
    monkeypatch.setattr("bench.launch.usable_cores", lambda: 8)
    # Four bytes for each that is counted, and a gigabyte more for each process.
    for free, workers in ((64, 8), (16, 3), (1, 1)):
        memory = SimpleNamespace(available=free * 2**30)
        monkeypatch.setattr("psutil.virtual_memory", lambda memory=memory: memory)
        assert auto_workers(jobs) == workers


def test_workers_that_started_early_do_the_same_runs(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard")
    with WorkerPool() as pool:
        pool.begin(2)
        events = list(pool.run(jobs, 2))
    there = {e.record.key: e.record for e in events if isinstance(e, Finished)}
    for key, record in _records(jobs).items():
        assert _numbers(record) == _numbers(there[key])


def test_workers_are_told_what_they_read_when_they_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with workers_environment():
        assert os.environ["OMP_NUM_THREADS"] == "1"
        # What the user has set comes last, which counts where both set the same.
        assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1:glibc.malloc.check=1"
    assert dict(os.environ) == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is meant")
def test_records_tell_which_allocator_a_run_had(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard")[:1]
    told = {n: next(iter(_records(jobs, n).values())).provenance["allocator"] for n in (0, 1)}
    assert told == {0: "keeps memory", 1: "keeps memory, large pages"}


@pytest.mark.parametrize(("workers", "name"), [(0, "local"), (1, "processes"), (64, "processes")])
def test_one_launcher_suits_every_number_of_workers(workers: int, name: str) -> None:
    assert [p.name for p in launchers().found.values() if p.suits(workers)] == [name]


@pytest.mark.parametrize(
    ("budget", "early"),
    [
        ("1gflop", []),
        ("30gflop", [3]),
        ("20steps", []),
        ("1000steps", [3]),
        ("20000samples", [3]),
        ("60s", []),  # the plan takes the time of a step meanwhile
    ],
)
def test_workers_start_before_the_plan_is_made_where_they_are_sure_to_be_worth_it(
    monkeypatch: pytest.MonkeyPatch, budget: str, early: list[int]
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(WorkerPool, "begin", lambda _, workers: begun.append(workers))
    monkeypatch.setattr(WorkerPool, "begin_answering", lambda _: None)
    asked = QUICK | {"budget": budget, "seeds": 10}
    early_pool(
        Experiment(pair=("toy:row+column",), strategy=("hard",), **asked), Session(workers="3")
    )
    assert begun == early


def test_a_launcher_that_has_one_worker_gets_no_more() -> None:
    for name, workers in (("local", (1, 1)), ("processes", (None, 4)), (None, (None, 4))):
        assert (WorkerPool(name).workers, WorkerPool(name, 4).workers) == workers


def test_no_worker_is_the_process_of_the_command(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bench")
    for name in ("local", None):
        pool = WorkerPool(name, 0)
        assert (pool.workers, pool.in_process) == (1, True)
        assert next(pool.ask(os.getpid)) == os.getpid()
    with pytest.raises(UserError, match="--workers 0 runs in the process of the command"):
        WorkerPool("processes", 0)
    monkeypatch.setattr(WorkerPool, "begin_answering", lambda _: None)
    experiment = Experiment(pair=("toy:row+column",), strategy=("hard",), **QUICK)
    early_pool(experiment, Session(workers="1"))
    assert caplog.text == ""
    early_pool(experiment, Session(workers="0"))
    assert "note: no worker process" in caplog.text


def test_an_unknown_launcher_is_an_error_before_anything_starts(
    bench: Any, toy_experiment: Path
) -> None:
    end = bench("run", toy_experiment, "--launcher", "proceses")
    assert end.returncode == 2
    assert end.stderr == "error: unknown launcher 'proceses': did you mean 'processes'?\n"


def test_a_little_work_gets_no_second_worker(tmp_path: Path) -> None:
    assert auto_workers(_jobs(tmp_path, "hard")) == 1
    assert auto_workers(()) == 1


def test_an_arm_that_cannot_be_priced_fails_and_the_others_run(tmp_path: Path) -> None:
    records = _records(_jobs(tmp_path, "hard+faulty@raise,time", "hard"))
    bad = [r for r in records.values() if r.status == "failed"]
    assert [r.spec.strategy for r in bad] == ["hard+faulty@when=time"]
    assert "planted fault" in bad[0].reason
    assert len(records) > 1


def test_a_strategy_that_draws_from_the_global_generator_is_reproducible(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard+faulty@random")
    torch.manual_seed(1)
    first = _records(jobs)
    torch.manual_seed(2)
    for key, record in _records(jobs).items():
        assert _numbers(record) == _numbers(first[key])


def test_work_that_comes_every_other_step_is_found_by_the_ledger(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard+faulty@periodic")
    (record,) = [r for r in _records(jobs).values() if "faulty" in r.spec.strategy]
    assert record.ledger is not None
    ledger = record.ledger
    # Which of the audited steps fall on the extra work depends on the seed; at this one some do.
    assert ledger.used["flop"] > 1.01 * ledger.allotted("flop")


def test_counting_a_step_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = _jobs(tmp_path, "pcgrad")
    audited = _records(jobs)
    monkeypatch.setattr("bench.train.run._AUDITED", 0)
    for key, record in _records(jobs).items():
        assert (record.scores, record.curve) == (audited[key].scores, audited[key].curve)
        assert record.ledger is not None
        other = audited[key].ledger
        assert other is not None
        assert record.ledger.used["flop"] == other.used["flop"]


def test_images_read_by_the_batch_train_the_same_network(
    tmp_path: Path,
) -> None:
    jobs = _jobs(tmp_path, "hard")
    resident = _records(jobs)
    streamed = _records([replace(job, source=DataSource(resident="never")) for job in jobs])
    for key, record in resident.items():
        other = streamed[key]
        assert record.scores == other.scores
        assert record.curve == other.curve
        assert record.ledger is not None
        assert other.ledger is not None
        assert record.ledger.stall == 0 < other.ledger.stall < 1


@pytest.mark.parametrize(
    ("workers", "faults"),
    [
        (1, ["faulty@quit", "faulty@exit", "faulty@quit,count", "faulty@exit,time"]),
        (0, ["faulty@exit"]),
    ],
)
def test_a_command_whose_plugins_exit_with_0_reports_and_ends_with_4(
    bench: Any, toy_experiment: Path, tmp_path: Path, workers: int, faults: list[str]
) -> None:
    text = toy_experiment.read_text().replace('"hard"', str(["hard", *faults]))
    toy_experiment.write_text(text.replace("12steps", "120steps").replace("seeds = 2", "seeds = 1"))
    done = bench("run", toy_experiment, "--workers", workers)
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("failed: hard+faulty") == 2 * len(faults)  # as it ends, and at the end
    assert "Traceback" not in done.stderr
    assert ("note: no worker process" in done.stderr) == (workers == 0)
    rows = json.loads((tmp_path / "results/reports/toy/gains.json").read_text())["rows"]
    assert {row["strategy"]: row["failed"] for row in rows}["hard"] == 0
    assert sum(row["failed"] for row in rows if row["target"] == "row") == len(faults)


def test_what_was_found_is_the_same_to_the_byte_whatever_the_workers(
    bench: Any, toy_experiment: Path, tmp_path: Path
) -> None:
    found = []
    for workers in (0, 2):
        done = bench("run", toy_experiment, "--workers", workers, "--results", f"{workers}")
        assert done.returncode == 0, done.stderr
        found.append((tmp_path / f"{workers}/reports/toy/gains.json").read_bytes())
    assert found[0] == found[1]


_ASKS = """
import os, tempfile
from math import sqrt
from bench.launch import WorkerPool
if __name__ == "__main__":
    with WorkerPool(None, 1) as pool:
        assert list(pool.ask(sqrt, 4.0)) == [2.0]
    if os.fork() == 0:
        raise SystemExit  # a copy of this process deletes nothing of it
    os.wait()
    print(*os.listdir(tempfile.gettempdir()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_the_socket_of_a_pool_is_there_as_long_as_its_process() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        done = _asked_in(short)
        (folder,) = [name for name in done.stdout.split() if not name.startswith("torch")]
        assert folder.startswith("bench-workers-")
        assert not [path for path in Path(short).iterdir() if not path.name.startswith("torch")]


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_a_pool_works_where_the_temporary_folder_is_too_deep_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    assert "bench-workers-" not in _asked_in(str(deep)).stdout


def _asked_in(folder: str) -> subprocess.CompletedProcess[str]:
    """Ask a worker with this folder for temporary files; return what lay there meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", _ASKS],
        env={**os.environ, "TMPDIR": folder},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_what_is_logged_in_a_worker_is_logged_here(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bench")
    with WorkerPool() as pool:
        assert list(pool.ask(note, "far away\x1b[2J")) == [None]
        assert list(pool.ask(say, "and wrong")) == [None]
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [("INFO", "far away\N{REPLACEMENT CHARACTER}[2J"), ("WARNING", "and wrong")]


def test_a_worker_that_tells_something_has_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bench")
    worker = Worker(0)
    try:
        # A function is found by its name, and a worker need not know the tests.
        worker.send(eval, "[note(str(n)) for n in range(3)]", {"note": note})
        while not ready([worker]):
            pass
        assert caplog.messages == ["0", "1", "2"]
        assert list(worker.answers()) == [[None] * 3]
    finally:
        worker.stop()
