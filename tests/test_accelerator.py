"""The one module that speaks to accelerators, with a fake one and with none."""

import warnings
from typing import NoReturn

import pytest
import torch

from bench import accelerator
from bench.errors import UserError
from bench.train.device import execution, prepare
from bench.train.pricing import Clock
from tests.fake_accelerator import DEVICE, FakeAccelerator

#: What torch 2.14 says where the driver is older than the CUDA that it was built with.
OLD_DRIVER = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). "
    "Please update your GPU driver"
)


def test_auto_takes_what_torch_sees_and_the_cpu_is_always_there(fake: FakeAccelerator) -> None:
    assert accelerator.resolve("auto") == str(DEVICE)
    assert accelerator.resolve(str(DEVICE)) == str(DEVICE)
    assert accelerator.resolve("cpu") == "cpu"
    assert not accelerator.on_host(DEVICE)
    assert accelerator.on_host(torch.device("cpu"))


def test_another_device_than_the_one_that_is_there_is_refused_with_its_name(
    fake: FakeAccelerator,
) -> None:
    with pytest.raises(UserError, match=r"--device npu: torch .* sees no such .* cpu or cpu:0"):
        accelerator.resolve("npu")


def test_a_driver_too_old_is_told_and_auto_takes_the_cpu(
    fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def too_old(check_available: bool = False) -> None:
        warnings.warn(OLD_DRIVER, stacklevel=2)

    monkeypatch.setattr(fake, "current_accelerator", too_old)
    for _ in range(2):  # one line, however often it is asked
        assert accelerator.resolve("auto") == "cpu"
    (line,) = caplog.messages
    assert line == f"note: --device auto takes the CPU: {OLD_DRIVER}"
    with pytest.raises(UserError, match="driver on your system is too old"):
        accelerator.resolve("npu")


def test_a_backend_that_does_not_even_answer_is_told(
    fake: FakeAccelerator, caplog: pytest.LogCaptureFixture
) -> None:
    fake.broken = {"current_accelerator"}
    assert accelerator.resolve("auto") == "cpu"
    assert "fake: current_accelerator fails" in caplog.text


def test_a_machine_without_an_accelerator_has_nothing_to_tell(
    fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fake, "current_accelerator", lambda check_available=False: None)
    assert accelerator.seen() == ("", "")
    assert accelerator.resolve("auto") == "cpu"
    assert accelerator.count() == 0
    assert not caplog.messages


def test_a_distrusted_device_is_taken_by_no_name(
    fake: FakeAccelerator, caplog: pytest.LogCaptureFixture
) -> None:
    accelerator.distrust(str(DEVICE), "gradients differ")
    assert accelerator.resolve("auto") == "cpu"
    assert caplog.messages == ["note: --device auto takes the CPU: gradients differ"]
    with pytest.raises(UserError, match=r"--device cpu:0: gradients differ; use --device cpu"):
        accelerator.resolve(str(DEVICE))


def test_devices_are_taken_in_turns(fake: FakeAccelerator) -> None:
    accelerator.choose(3)
    assert fake.chosen == []  # there is one
    fake.devices = 2
    for number in range(3):
        accelerator.choose(number)
    assert fake.chosen == [0, 1, 0]


def test_a_device_has_its_number_in_every_thread(
    fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "current_device_index", lambda: 1, raising=False)
    assert accelerator.own("meta") == torch.device("meta", 1)
    assert accelerator.own(str(DEVICE)) == DEVICE
    assert accelerator.own("cpu") == torch.device("cpu")


def test_what_the_host_and_a_device_say_of_their_memory(fake: FakeAccelerator) -> None:
    assert accelerator.memory(DEVICE) == (8 * 2**30, 16 * 2**30)
    assert accelerator.peak_bytes(DEVICE) == 2**26
    fake.broken = {"get_memory_info"}  # as of a backend without it
    assert accelerator.memory(DEVICE) is None
    host = accelerator.memory("cpu")
    assert host is not None
    assert 0 < host[0] <= host[1]
    assert accelerator.peak_bytes("cpu") is None


def test_an_operator_in_no_fixed_order_is_noted_and_no_other_warning_is_lost(
    fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: told.append(message))
    with accelerator.unordered(DEVICE) as found:
        for _ in range(2):
            warnings.warn("some_op_cuda does not have a deterministic implementation", stacklevel=1)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("something else", stacklevel=1)
    assert found == {"some_op_cuda"}
    assert [str(message) for message in told] == ["something else"]


def test_a_record_says_what_was_in_no_fixed_order_and_the_cpus_stays_as_it_is() -> None:
    made = execution(DEVICE, {"b", "a"})
    assert made["unordered"] == "a, b"
    assert made["float32"] == "ieee"
    assert execution(torch.device("cpu")).keys() == {"threads", "layout", "allocator"}


def test_a_device_computes_in_plain_float32_and_in_order(
    fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    assert prepare(str(DEVICE)) == DEVICE
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


def test_waits_are_errors_in_the_block_alone(fake: FakeAccelerator) -> None:
    with accelerator.never_waiting(DEVICE) as tells:
        assert tells
        assert fake.modes == ["error"]
    assert fake.modes == ["error", "default"]
    with pytest.raises(KeyError), accelerator.never_waiting(DEVICE):
        raise KeyError("what waits")
    assert fake.modes == ["error", "default"] * 2
    with accelerator.never_waiting("cpu") as tells:
        assert not tells


def test_a_clock_of_a_device_reads_its_events(fake: FakeAccelerator) -> None:
    clock = Clock(DEVICE)
    for _ in range(2):
        clock.start()
        sum(range(100_000))
        clock.stop()
    assert clock.seconds > 0
    assert fake.calls["elapsed_time"] == 2
    assert fake.calls["synchronize"] == 1


@pytest.mark.device
def test_the_accelerator_of_this_machine_answers(device: str) -> None:
    assert accelerator.name(device)
    assert accelerator.count() > 0
    clock = Clock(torch.device(device))
    clock.start()
    torch.ones(512, 512, device=device).mm(torch.ones(512, 512, device=device))
    clock.stop()
    assert clock.seconds > 0


def _never(*_: object) -> NoReturn:
    raise AssertionError("a device was asked")


def test_the_cpus_path_asks_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.accelerator, name, _never)
    monkeypatch.setattr(torch, "Event", _never)
    host = torch.device("cpu")
    accelerator.synchronize(host)
    accelerator.forget_peak(host)
    assert accelerator.peak_bytes(host) is None
    clock = Clock(host)
    clock.start()
    clock.stop()
    assert clock.seconds >= 0
