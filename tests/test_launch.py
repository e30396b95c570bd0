import os
import platform
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.cli.batch import early_pool
from bench.contracts import DataSource
from bench.launch import Finished, Started, WorkerPool, auto_workers, launchers
from bench.launch.processes import workers_environment
from bench.plan.plan import make_plan
from bench.spec.budget import Price
from bench.spec.experiment import Experiment
from bench.store.records import Record
from bench.store.store import Store
from bench.train.job import Job
from bench.train.run import OUT_OF_MEMORY

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


def _records(jobs: tuple[Job, ...], workers: int) -> dict[str, Record]:
    with WorkerPool() as pool:
        events = list(pool.run(jobs, workers))
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
    here, there = _records(jobs, 1), _records(jobs, 2)
    for key, record in here.items():
        assert record.status == "ok"
        assert _numbers(record) == _numbers(there[key])


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("raise", "failed", "RuntimeError: planted fault"),
        ("memory", "failed", "out of memory: lower --batch-size"),
        ("diverge", "diverged", "the loss of row, column was not finite by step 120"),
    ],
)
def test_a_run_that_goes_wrong_is_a_record_and_the_others_go_on(
    tmp_path: Path, how: str, status: str, reason: str
) -> None:
    jobs = _jobs(tmp_path, f"hard+faulty@{how}", "hard")
    records = _records(jobs, 1)
    bad = [r for r in records.values() if "faulty" in r.spec.strategy]
    assert [r.status for r in bad] == [status]
    assert reason in bad[0].reason
    assert all(r.status == "ok" for r in records.values() if r not in bad)
    assert ("planted fault" in bad[0].detail) == (how == "raise")


def test_a_diverged_run_is_scored_as_it_stands(tmp_path: Path) -> None:
    records = _records(_jobs(tmp_path, "hard+faulty@diverge"), 1)
    (bad,) = [r for r in records.values() if r.status == "diverged"]
    value = bad.primary("row").value
    assert value is not None
    assert value < 60
    assert bad.scores["row"]["nll"].value is None
    assert bad.ledger is not None
    assert bad.ledger.used["steps"] == 120


def test_a_worker_that_dies_costs_only_its_run(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard+faulty@die", "hard")
    records = _records(jobs, 2)
    bad = [r for r in records.values() if r.status != "ok"]
    assert [r.spec.strategy for r in bad] == ["hard+faulty@how=die"]
    assert "killed" in bad[0].reason
    assert len(records) == len(jobs)


def test_a_run_without_room_beside_another_is_tried_again_alone(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard+faulty@crowded", "hard")
    records = _records(jobs, 2)
    assert {r.status for r in records.values()} == {"ok"}


def test_a_run_that_never_fits_fails_once_it_was_alone(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard+faulty@memory", "hard")
    records = _records(jobs, 2)
    bad = [r for r in records.values() if r.status != "ok"]
    assert [r.reason for r in bad] == [OUT_OF_MEMORY]


def test_workers_have_room_in_memory_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    price = Price(flops=1, samples=1, peak_bytes=2**30, parameters=1, seconds=1.0)
    jobs = [replace(job, prices=(price,)) for job in _jobs(tmp_path, "hard", "pcgrad")]
    monkeypatch.setattr("bench.launch.usable_cores", lambda: 8)
    for free, workers in ((64, 8), (6, 3), (1, 1)):  # a gigabyte more for each process
        memory = SimpleNamespace(available=free * 2**30)
        monkeypatch.setattr("psutil.virtual_memory", lambda memory=memory: memory)
        assert auto_workers(jobs) == workers


def test_workers_that_started_early_do_the_same_runs(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard")
    with WorkerPool() as pool:
        pool.begin(2)
        events = list(pool.run(jobs, 2))
    there = {e.record.key: e.record for e in events if isinstance(e, Finished)}
    for key, record in _records(jobs, 1).items():
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
    told = {n: next(iter(_records(jobs, n).values())).provenance["allocator"] for n in (1, 2)}
    assert told == {1: "keeps memory", 2: "keeps memory, large pages"}


@pytest.mark.parametrize(("workers", "name"), [(1, "local"), (2, "processes"), (64, "processes")])
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
    asked = QUICK | {"budget": budget, "seeds": 10}
    early_pool(Experiment(pair=("toy:row+column",), strategy=("hard",), **asked), 3, None)
    assert begun == early


def test_a_launcher_that_has_one_worker_gets_no_more() -> None:
    for name, workers in (("local", (1, 1)), ("processes", (None, 4)), (None, (None, 4))):
        assert (WorkerPool(name).workers, WorkerPool(name, 4).workers) == workers


def test_an_unknown_launcher_is_an_error_before_anything_starts(
    bench: Any, toy_experiment: Path
) -> None:
    end = bench("run", toy_experiment, "--launcher", "proceses")
    assert end.returncode == 2
    assert end.stderr == "error: unknown launcher 'proceses': did you mean 'processes'?\n"


def test_a_little_work_gets_no_second_process(tmp_path: Path) -> None:
    assert auto_workers(_jobs(tmp_path, "hard")) == 1
    assert auto_workers(()) == 1


def test_an_arm_that_cannot_be_priced_fails_and_the_others_run(tmp_path: Path) -> None:
    records = _records(_jobs(tmp_path, "hard+faulty@early", "hard"), 1)
    bad = [r for r in records.values() if r.status == "failed"]
    assert [r.spec.strategy for r in bad] == ["hard+faulty@how=early"]
    assert "planted early fault" in bad[0].reason
    assert len(records) > 1


def test_a_strategy_that_draws_from_the_global_generator_is_reproducible(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard+faulty@random")
    torch.manual_seed(1)
    first = _records(jobs, 1)
    torch.manual_seed(2)
    for key, record in _records(jobs, 1).items():
        assert _numbers(record) == _numbers(first[key])


def test_work_that_comes_every_other_step_is_found_by_the_ledger(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, "hard+faulty@periodic")
    (record,) = [r for r in _records(jobs, 1).values() if "faulty" in r.spec.strategy]
    assert record.ledger is not None
    ledger = record.ledger
    # Which of the audited steps fall on the extra work depends on the seed; at this one some do.
    assert ledger.used["flop"] > 1.01 * ledger.allotted("flop")


def test_counting_a_step_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = _jobs(tmp_path, "pcgrad")
    audited = _records(jobs, 1)
    monkeypatch.setattr("bench.train.run._AUDITED", 0)
    for key, record in _records(jobs, 1).items():
        assert (record.scores, record.curve) == (audited[key].scores, audited[key].curve)
        assert record.ledger is not None
        other = audited[key].ledger
        assert other is not None
        assert record.ledger.used["flop"] == other.used["flop"]


def test_images_read_by_the_batch_train_the_same_network(
    tmp_path: Path,
) -> None:
    jobs = _jobs(tmp_path, "hard")
    resident = _records(jobs, 1)
    streamed = _records(tuple(replace(job, source=DataSource(resident="never")) for job in jobs), 1)
    for key, record in resident.items():
        other = streamed[key]
        assert record.scores == other.scores
        assert record.curve == other.curve
        assert record.ledger is not None
        assert other.ledger is not None
        assert record.ledger.stall == 0 < other.ledger.stall < 1
