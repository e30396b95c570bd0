"""An accelerator that is none: the CPU's tensors under torch's interface of an accelerator.

Its device is `cpu:0`, which tensors may be made on and which is not `cpu`, the host's own name. So
the path of an accelerator is walked where there is none, and every call of it may be made to fail.
"""

import time
from typing import Any

import pytest
import torch

from bench import accelerator

DEVICE = torch.device("cpu", 0)
#: What the project calls of torch's interface while it trains.
CALLS = (
    "synchronize",
    "reset_peak_memory_stats",
    "max_memory_allocated",
    "get_device_name",
    "set_sync_debug_mode",
    "Event",
    "record",
    "elapsed_time",
    "device_count",
)


class FakeAccelerator:
    """Stands for `torch.accelerator`, `torch.Event` and the module of a backend.

    A call whose name is in `broken` raises. `calls` counts them by name.
    """

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.calls: dict[str, int] = {}
        self.devices = 1
        self.free = 8 * 2**30
        self.chosen: list[int] = []
        self.modes: list[str] = []

    def called(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if name in self.broken:
            raise RuntimeError(f"fake: {name} fails")

    def current_accelerator(self, check_available: bool = False) -> torch.device | None:
        self.called("current_accelerator")
        return DEVICE

    def device_count(self) -> int:
        self.called("device_count")
        return self.devices

    def set_device_index(self, index: int) -> None:
        self.called("set_device_index")
        self.chosen.append(index)

    def synchronize(self, device: Any = None) -> None:
        self.called("synchronize")

    def get_memory_info(self) -> tuple[int, int]:
        self.called("get_memory_info")
        return self.free, 16 * 2**30

    def reset_peak_memory_stats(self) -> None:
        self.called("reset_peak_memory_stats")

    def max_memory_allocated(self) -> int:
        self.called("max_memory_allocated")
        return 2**26

    def get_device_name(self) -> str:
        self.called("get_device_name")
        return "Fake 1000"

    def set_sync_debug_mode(self, mode: str) -> None:
        self.called("set_sync_debug_mode")
        self.modes.append(mode)

    def event(self, enable_timing: bool = False) -> "FakeEvent":
        self.called("Event")
        return FakeEvent(self)

    def pin_memory(self, rows: torch.Tensor) -> torch.Tensor:
        self.called("pin_memory")
        return rows


class FakeEvent:
    """An event that is reached at once, in process time."""

    def __init__(self, owner: FakeAccelerator) -> None:
        self._owner, self._at = owner, 0.0

    def record(self) -> None:
        self._owner.called("record")
        self._at = time.process_time()

    def elapsed_time(self, end: "FakeEvent") -> float:
        self._owner.called("elapsed_time")
        return 1e3 * (end._at - self._at)


def install(patch: pytest.MonkeyPatch) -> FakeAccelerator:
    """Put a fake in the place of torch's interface; `forget` undoes what it leaves."""
    fake, module_of = FakeAccelerator(), torch.get_device_module
    patch.setattr(torch, "accelerator", fake)
    patch.setattr(torch, "Event", fake.event)
    patch.setattr(
        torch, "get_device_module", lambda d: fake if str(d) == str(DEVICE) else module_of(d)
    )
    patch.setattr(torch.Tensor, "pin_memory", lambda rows: fake.pin_memory(rows))
    patch.setattr(accelerator, "_distrusted", {})
    patch.setattr("bench.plan.survey._agreed", set())
    return fake


def forget() -> None:
    """Undo what a device's settings leave in the process, and forget what was seen."""
    from bench.store.provenance import provenance

    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    for cached in (accelerator.seen, accelerator._say_once, provenance):
        cached.cache_clear()
