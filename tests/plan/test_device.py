"""A plan is made for a device that has proven itself with the plan's own networks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contracts import DataSource
from bench.errors import UserError
from bench.launch.worker import WorkerLostError, answer
from bench.plan.plan import Plan, make_plan
from bench.spec.experiment import Experiment
from bench.store.store import Store
from bench.train.loop import TrainingState
from bench.train.proof import prove
from bench.train.run import execute
from tests.fake_accelerator import DEVICE, FakeAccelerator

QUICK: dict[str, Any] = {
    "pair": "toy:row+column",
    "strategy": "hard",
    "train_size": 100,
    "validation_size": 50,
    "batch_size": 16,
    "curve_points": 2,
    "budget": "24steps",
    "seeds": 1,
}


def _plan(folder: Path, said: list[str], ask: Any = answer, **how: Any) -> Plan:
    experiment = Experiment.model_validate(QUICK | how)
    return make_plan(experiment, DataSource(), Store(folder), said.append, ask)


def _breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    step = TrainingState.step

    def broken(state: TrainingState, *arguments: Any, **how: Any) -> torch.Tensor:
        if state.device == DEVICE:
            raise RuntimeError("illegal instruction")
        return step(state, *arguments, **how)

    monkeypatch.setattr(TrainingState, "step", broken)


def test_auto_plans_for_a_device_that_agrees_and_asks_it_once(
    tmp_path: Path, fake: FakeAccelerator
) -> None:
    said: list[str] = []
    jobs = _plan(tmp_path, said).jobs
    assert {job.spec.device for job in jobs} == {str(DEVICE)}
    assert sum("with the CPU's" in line for line in said) == 1
    _plan(tmp_path, said, seeds=2)
    assert sum("with the CPU's" in line for line in said) == 1
    _plan(tmp_path, said, network="mlp")  # another network has proven nothing yet
    assert sum("with the CPU's" in line for line in said) == 2


def test_auto_takes_the_cpu_in_one_line_where_the_device_fails(
    tmp_path: Path,
    fake: FakeAccelerator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _breaks(monkeypatch)
    here = _plan(tmp_path, [], device="cpu").jobs
    for _ in range(2):
        jobs = _plan(tmp_path, []).jobs
        assert [job.key for job in jobs] == [job.key for job in here]
    (line,) = (m for m in caplog.messages if m.startswith("note: --device auto takes the CPU"))
    assert "illegal instruction" in line


def test_a_device_that_is_named_and_fails_is_an_error(
    tmp_path: Path, fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _breaks(monkeypatch)
    with pytest.raises(UserError, match=r"--device cpu:0: .*illegal instruction"):
        _plan(tmp_path, [], device=str(DEVICE))


def test_a_device_that_kills_the_worker_is_not_trusted(
    tmp_path: Path, fake: FakeAccelerator, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(function: Any, *arguments: Any, limited: bool = True) -> Iterator[Any]:
        if function is prove:
            raise WorkerLostError("its process was killed by SIGSEGV")
        return answer(function, *arguments)

    jobs = _plan(tmp_path, [], ask).jobs
    assert {job.spec.device for job in jobs} == {"cpu"}
    assert "killed by SIGSEGV" in caplog.text


def test_a_run_on_a_device_has_the_cpus_scores_and_says_where_it_was(
    tmp_path: Path, fake: FakeAccelerator
) -> None:
    ours = execute(_plan(tmp_path, []).jobs[0])[0]
    host = execute(_plan(tmp_path, [], device="cpu").jobs[0])[0]
    assert ours.scores == host.scores
    assert ours.key != host.key
    assert ours.provenance["device"] == "Fake 1000"
    assert ours.provenance["unordered"] == ""
    assert ours.ledger is not None
    assert ours.ledger.measured_peak_bytes == 2**26
    assert ours.ledger.used["s"] > 0


def test_images_that_are_not_resident_come_from_pinned_memory(
    tmp_path: Path, fake: FakeAccelerator
) -> None:
    experiment = Experiment.model_validate(QUICK)
    source = DataSource(resident="never")
    jobs = make_plan(experiment, source, Store(tmp_path), lambda _: None).jobs
    ours = execute(jobs[0])[0]
    assert fake.calls["pin_memory"] > 0
    host = execute(_plan(tmp_path, [], device="cpu").jobs[0])[0]
    assert ours.scores == host.scores
