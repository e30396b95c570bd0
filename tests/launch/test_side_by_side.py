"""How many processes share a device: measured, bounded by memory, and no more than pay."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.contracts import DataSource
from bench.launch import auto_workers, side_by_side
from bench.launch.side_by_side import Processes, fewest_that_pay, rates
from bench.spec.budget import Price
from bench.train.job import Job
from bench.train.throughput import make_ready, steps_per_second
from tests.conftest import toy_jobs
from tests.fake_accelerator import DEVICE, FakeAccelerator


def test_each_number_is_measured_until_no_more_fit() -> None:
    asked = []

    def measure(count: int) -> float | None:
        asked.append(count)
        return 10.0 * count if count < 8 else None

    assert rates(measure) == {1: 10.0, 2: 20.0, 4: 40.0}
    assert asked == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("found", "best"),
    [
        ({1: 100.0, 2: 190.0, 4: 300.0, 8: 310.0}, 4),  # the last doubling brings 3 %
        ({1: 100.0, 2: 98.0, 4: 60.0}, 1),
        ({1: 100.0, 2: 150.0, 4: 250.0, 8: 480.0}, 8),
        ({}, 1),
    ],
)
def test_the_fewest_that_nearly_reach_the_best_are_taken(
    found: dict[int, float], best: int
) -> None:
    assert fewest_that_pay(found) == best


def _on_device(jobs: tuple[Job, ...], seconds: float) -> list[Job]:
    price = Price(flops=1.0, samples=16, peak_bytes=2**20, parameters=1, seconds=seconds / 24)
    return [
        replace(
            job,
            prices=(price,),
            evaluated=0,
            spec=job.spec.model_copy(update={"device": str(DEVICE), "steps": (24,)}),
        )
        for job in jobs
    ]


def test_workers_on_a_device_are_as_many_as_was_measured_to_pay_on_each(
    tmp_path: Path, fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measured(spec: object, source: object, each: float) -> int:
        asked.append(each)
        return 2

    monkeypatch.setattr(side_by_side, "processes_that_pay", measured)
    jobs = _on_device(toy_jobs(tmp_path, "hard", "toy:row+column", device="cpu")[:3], 30.0)
    assert auto_workers(jobs) == 2
    assert asked == [4 * 2**20 + 2**30]
    fake.devices = 2
    assert auto_workers(jobs) == 3  # no more than there are runs


def test_a_minute_of_work_is_not_measured(
    tmp_path: Path, fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(side_by_side, "processes_that_pay")
    jobs = _on_device(toy_jobs(tmp_path, "hard", "toy:row+column", device="cpu"), 1.0)
    assert auto_workers(jobs) == 1
    fake.devices = 2
    assert auto_workers(jobs) == 2


def test_where_seconds_are_the_budget_each_device_has_one_worker(
    tmp_path: Path, fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(side_by_side, "processes_that_pay")
    jobs = _on_device(toy_jobs(tmp_path, "hard", "toy:row+column", device="cpu"), 100.0)
    timed = [replace(j, spec=j.spec.model_copy(update={"budget": "100s"})) for j in jobs]
    assert auto_workers(timed) == 1


def test_processes_take_steps_side_by_side_as_far_as_memory_goes(tmp_path: Path) -> None:
    spec = toy_jobs(tmp_path, "hard", "toy:row+column")[0].spec.arm
    with Processes(spec, DataSource(), each=2.0**60, seconds=0.05) as measure:
        assert measure(1) is not None
        assert measure(2) is None  # no machine has room for two of such a size
    with Processes(spec, DataSource(), each=1.0, seconds=0.05) as measure:
        rate = measure(2)
    assert rate is not None
    assert rate > 0


def test_a_process_that_cannot_take_steps_is_no_measurement(tmp_path: Path) -> None:
    spec = toy_jobs(tmp_path, "hard", "toy:row+column")[0].spec.arm
    broken = spec.model_copy(update={"strategy": "hard+faulty@raise,time"})
    with Processes(broken, DataSource(), each=1.0, seconds=0.05) as measure:
        assert rates(measure) == {}


def test_a_device_is_waited_for_before_its_steps_are_counted(
    tmp_path: Path, fake: FakeAccelerator
) -> None:
    spec = toy_jobs(tmp_path, "hard", "toy:row+column", device="cpu")[0].spec.arm
    on_device = spec.model_copy(update={"device": str(DEVICE)})
    assert make_ready(on_device, DataSource()) == fake.free
    waited = fake.calls["synchronize"]
    assert steps_per_second(on_device, 0.01) > 0
    assert fake.calls["synchronize"] > waited
