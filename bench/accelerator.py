"""The accelerator of this machine: CUDA, ROCm, XPU, MPS or another backend of torch, by one path.

Whatever is asked of a device goes through `torch.accelerator` and `torch.Event`, and through this
module alone. What only one backend has is here too, so that nothing else has to name one. The host
is a device that the same questions can be asked of.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from bench.errors import UserError, described, say

HOST = "cpu"
#: A point in what the accelerator is asked to do.
Mark = torch.Event
#: Accelerators that have computed something else than the host in this process, and what.
_distrusted: dict[str, str] = {}
#: How torch says that an operator has no deterministic implementation; its name comes first.
_UNORDERED = re.compile(r"(\S+) does not have a deterministic implementation")


def on_host(device: torch.device | str) -> bool:
    """Return whether a device is the host's processor."""
    return str(device) == HOST


@cache
def seen() -> tuple[str, str]:
    """Return the accelerator that torch can use here, and "" where there is none; then also why.

    torch warns where it finds a device and cannot use it, since its driver is too old for example.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = torch.accelerator.current_accelerator(check_available=True)
        except Exception as error:  # a driver that does not even answer
            return "", described(error)
    if found is not None:
        return str(found), ""
    return "", " ".join(str(told[0].message).split()) if told else ""


@cache
def _say_once(line: str) -> None:
    say(line)


def resolve(asked: str) -> str:
    """Return the device that is meant by `auto`, `cpu` or the name of an accelerator.

    Raises `UserError` where it is asked for by its name and cannot be used.
    """
    if asked == HOST:
        return HOST
    found, why = seen()
    why = _distrusted.get(found, why)
    if asked == "auto":
        if why:
            _say_once(f"note: --device auto takes the CPU: {why}")
        return HOST if why or not found else found
    if asked != found:
        known = f"cpu or {found}" if found else "cpu"
        reason = why or f"torch {torch.__version__} sees no such device here"
        raise UserError(f"--device {asked}: {reason}; use --device {known}, or auto")
    if why:
        raise UserError(f"--device {asked}: {why}; use --device cpu")
    return found


def distrust(device: str, why: str) -> None:
    """Take an accelerator no more in this process, for a reason in words."""
    _distrusted[device] = why


def count() -> int:
    """Return how many devices of the accelerator there are; 0 without one."""
    return torch.accelerator.device_count() if seen()[0] else 0


def choose(number: int) -> None:
    """Make one device of several this process's own: those of successive numbers take turns."""
    if (devices := count()) > 1:
        torch.accelerator.set_device_index(number % devices)


def own(device: str) -> torch.device:
    """Return a device as this process has it: with the number of the one that it has chosen.

    A thread begins with the first device of several, so the name alone would mean another there.
    """
    found = torch.device(device)
    if on_host(device) or found.index is not None:
        return found
    return torch.device(found.type, torch.accelerator.current_device_index())


def name(device: torch.device | str) -> str:
    """Return the name of a device as its maker spells it, where the backend tells.

    What is asked for on another machine keeps the name that it is asked for by.
    """
    if on_host(device):
        return HOST
    if not seen()[0]:
        return str(device)
    told = getattr(torch.get_device_module(device), "get_device_name", None)
    return str(told() if told else device)


def synchronize(device: torch.device | str) -> None:
    """Wait until a device has done all that it was asked to."""
    if not on_host(device):
        torch.accelerator.synchronize()


def mark() -> Mark:
    """Return a mark that the accelerator reaches when it has done what it was asked before."""
    event = torch.Event(enable_timing=True)
    event.record()
    return event


def memory(device: torch.device | str) -> tuple[int, int] | None:
    """Return the free and the total bytes of a device; None where its backend does not tell."""
    if on_host(device):
        import psutil

        whole = psutil.virtual_memory()
        return whole.available, whole.total
    try:
        free, total = torch.accelerator.get_memory_info()
    except (RuntimeError, NotImplementedError):
        return None
    return free, total


def forget_peak(device: torch.device | str) -> None:
    """Begin to measure the peak of a device's memory anew."""
    if not on_host(device):
        torch.accelerator.reset_peak_memory_stats()


def peak_bytes(device: torch.device | str) -> int | None:
    """Return the most bytes of tensors since `forget_peak`; None where nobody counts them."""
    return None if on_host(device) else torch.accelerator.max_memory_allocated() or None


def reserved_bytes(device: torch.device | str) -> int | None:
    """Return the most bytes that this process has kept on a device; None where nobody counts."""
    return None if on_host(device) else torch.accelerator.max_memory_reserved() or None


def pinned(rows: Tensor, device: torch.device | str) -> Tensor:
    """Return rows from where they can be copied to a device while it computes."""
    return rows if on_host(device) else rows.pin_memory()


def compute_repeatably() -> None:
    """Make accelerators compute in plain float32, and in a fixed order as far as they can.

    An operator without a deterministic implementation computes all the same: `unordered` notes it.
    """
    # Read when the first product of two matrices is asked for.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # What is read before it is written is a defect that this would hide, and it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # By default convolutions round their factors to TF32's ten bits.
    # Both ways of saying so: with one alone, torch refuses to read what the other one says.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]


@contextmanager
def unordered(device: torch.device | str) -> Iterator[set[str]]:
    """Yield a set that gathers the operators which compute in no fixed order in this block."""
    found = set[str]()
    if on_host(device):
        yield found
        return
    with warnings.catch_warnings():
        # Each is told of once, and raised by no filter of a user.
        warnings.filterwarnings("default", message=_UNORDERED.pattern)
        show = warnings.showwarning

        def gather(message: Warning | str, *place: Any, **named: Any) -> None:
            if told := _UNORDERED.match(str(message)):
                found.add(told[1])
            else:
                show(message, *place, **named)

        warnings.showwarning = gather
        yield found


@contextmanager
def never_waiting(device: torch.device | str) -> Iterator[bool]:
    """Make whatever waits for the device raise in this block; yield whether the backend can."""
    module = None if on_host(device) else torch.get_device_module(device)
    set_mode = getattr(module, "set_sync_debug_mode", None)
    if set_mode is None:
        yield False
        return
    set_mode("error")
    try:
        yield True
    finally:
        set_mode("default")
