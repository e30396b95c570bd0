"""The self-test of a device: it passes on the CPU, and tells of every call that fails."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.api.found import Found
from bench.contracts import DataSource
from bench.errors import UserError
from bench.launch.worker import WorkerLostError, answer
from bench.selftest.checks import OF_AN_ARM, Finding, repeats
from bench.selftest.report import document, page, passed, write
from bench.selftest.suite import selftest
from bench.spec.experiment import Experiment
from tests.conftest import CommandLine
from tests.fake_accelerator import CALLS, DEVICE, FakeAccelerator

TOY = Experiment.model_validate(
    {
        "pair": "toy:row+column",
        "strategy": ("hard", "hard+pcgrad"),
        "name": "toy",
        "seeds": 2,
        "budget": "24steps",
        "train_size": 100,
        "validation_size": 50,
        "batch_size": 16,
        "curve_points": 2,
    }
)


def _found(device: str, folder: Path, ask: Any = answer) -> dict[str, Finding]:
    return dict(selftest(device, TOY, DataSource(), folder, ask, 0, lambda _: None))


def _outcomes(found: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.outcome for name, finding in found.items()}


def test_the_cpu_passes(tmp_path: Path) -> None:
    found = _found("cpu", tmp_path)
    assert _outcomes(found) == {
        "device": "ok",
        "equal to the CPU: hard on toy:row+column": "ok",
        "equal to the CPU: single on toy:row": "ok",
        "equal to the CPU: hard+pcgrad on toy:row+column": "ok",
        "exact null": "ok",
        "same bits twice": "ok",
        "no step waits": "skipped",
        "prices in seconds": "ok",
        "memory": "skipped",
        "throughput": "skipped",
        "experiment": "ok",
    }
    assert passed(found)
    assert found["experiment"].figures["runs"] == found["experiment"].figures["of them well"]


def test_an_accelerator_passes_and_every_check_of_it_is_made(
    tmp_path: Path, fake: FakeAccelerator
) -> None:
    found = _found(str(DEVICE), tmp_path)
    assert {n for n, f in found.items() if f.outcome != "ok"} == {"throughput"}
    assert set(CALLS) <= fake.calls.keys()
    assert fake.modes == ["error", "default"] * 2


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the plots of a report, which take longer than all else and ask no device."""
    monkeypatch.setattr(Found, "written", lambda found: SimpleNamespace(faults={}))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_is_a_check_that_fails_and_costs_no_other(
    tmp_path: Path, fake: FakeAccelerator, call: str
) -> None:
    fake.broken = {call}
    found = _found(str(DEVICE), tmp_path)
    assert len(found) == 11
    failed = [finding for finding in found.values() if finding.outcome == "failed"]
    assert failed
    assert any(f"fake: {call} fails" in finding.said for finding in failed)
    assert not passed(found)


@pytest.mark.usefixtures("undrawn")
def test_a_backend_that_does_not_tell_its_memory_passes(
    tmp_path: Path, fake: FakeAccelerator
) -> None:
    fake.broken = {"get_memory_info"}
    found = _found(str(DEVICE), tmp_path)
    assert passed(found)
    assert found["device"].figures["free bytes"] == "unknown"


@pytest.mark.usefixtures("undrawn")
def test_a_check_whose_process_dies_has_failed(tmp_path: Path) -> None:
    def ask(function: Any, *arguments: Any, limited: bool = True) -> Any:
        if function is repeats:
            raise WorkerLostError("its process was killed by SIGSEGV")
        return answer(function, *arguments)

    found = _found("cpu", tmp_path, ask)
    lost = found["same bits twice"]
    assert (lost.outcome, lost.said) == ("failed", "its process was killed by SIGSEGV")
    assert [n for n, f in found.items() if f.outcome == "failed"] == ["same bits twice"]


def test_an_experiment_without_a_shared_network_is_refused(tmp_path: Path) -> None:
    alone = TOY.model_copy(update={"pair": ("toy:row",), "strategy": ("single",)})
    with pytest.raises(UserError, match="name another one"):
        next(selftest("cpu", alone, DataSource(), tmp_path, answer, 0, lambda _: None))


def test_what_was_found_is_written_as_a_document_and_a_page(tmp_path: Path) -> None:
    findings = {
        "exact null": Finding("stated", "in its last digits", {"largest": 1.23456e-7}),
        "memory": Finding("failed", "less | than the weights", {"bytes": 12.0, "as": "told"}),
    }
    files = write("cpu", findings, tmp_path)
    read = json.loads(files["selftest.json"].read_text())
    assert read["passed"] is False
    assert read["checks"]["exact null"]["figures"] == {"largest": 1.23456e-7}
    assert {"torch", "processor"} <= read["made"].keys()
    text = files["selftest.md"].read_text()
    assert text == page(document("cpu", findings) | {"date": read["date"]}, findings)
    assert "# Self-test of cpu: failed" in text
    assert "largest: 1.235e-07" in text


def test_devices_are_listed(bench: CommandLine) -> None:
    done = bench("devices", "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)[0]
    assert first["device"] == "cpu"
    assert first["precisions"].keys() == {"fp32", "bf16"}
    assert "memory" in bench("devices").stdout


def test_the_command_tests_the_cpu_and_leaves_its_files(
    bench: CommandLine, toy_experiment: Path, tmp_path: Path
) -> None:
    done = bench("selftest", toy_experiment, "--device", "cpu", "--workers", "0", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["passed"]
    assert {*OF_AN_ARM, "device", "throughput", "experiment"} <= found["checks"].keys()
    folder = tmp_path / "results/selftest-cpu"
    assert (folder / "selftest.md").is_file()
    assert (folder / "reports/toy/gains.json").is_file()


def test_a_device_that_is_not_there_cannot_be_tested(bench: CommandLine) -> None:
    done = bench("selftest", "--device", "npu")
    assert done.returncode == 2
    assert "--device npu: torch" in done.stderr


@pytest.mark.device
def test_the_accelerator_of_this_machine_passes(
    bench: CommandLine, toy_experiment: Path, device: str
) -> None:
    done = bench("selftest", toy_experiment, "--device", device, "--json", timeout=900)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["passed"]
