"""The device and the process in which runs are trained: threads, memory, determinism."""

import ctypes
import errno
import os
import platform
import re
from collections.abc import Collection
from functools import cache

import torch

from bench import accelerator
from bench.errors import described, message_of
from bench.fork_server import LARGE_PAGES

#: The reason given where something did not fit into memory.
OUT_OF_MEMORY = "out of memory: lower --batch-size, or run fewer --workers"
_OUT_OF_MEMORY = r"DefaultCPUAllocator|\bout of memory\b"


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory has run out, on a device or on the host.

    torch's allocator on a CPU raises a plain `RuntimeError`, and so do the drivers of some devices.
    """
    if isinstance(error, RuntimeError) and re.search(_OUT_OF_MEMORY, message_of(error)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, (MemoryError, torch.OutOfMemoryError))


def reason_of(error: BaseException) -> str:
    """Return why something failed, in words."""
    return OUT_OF_MEMORY if out_of_memory(error) else described(error)


def prepare(device: str) -> torch.device:
    """Set torch up for scored runs and return the device.

    On a CPU it uses one thread. Process time is then meaningful, and the number of cores changes no
    bit. An accelerator computes in float32 proper, and in a fixed order as far as it can.
    """
    if not accelerator.on_host(device):
        accelerator.compute_repeatably()
    else:
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        _keep_memory()
    return accelerator.own(device)


@cache
def _keep_memory() -> bool:
    """Make glibc keep the memory of freed tensors; return whether that worked (only glibc does it).

    By default glibc returns a large block to the system at once. Each page of the next one is then
    faulted in anew, which takes a fifth of the step of a residual network. No number depends on it.
    """
    mmap_max, trim_threshold = -4, -1  # the constants of <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False
    return platform.libc_ver()[0] == "glibc" and bool(
        mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1)
    )


def execution(device: torch.device, unordered: Collection[str] = ()) -> dict[str, str]:
    """Return which of several equivalent ways of computing this process uses, for the records.

    `unordered` are the operators that have computed in no fixed order, if any.
    """
    on_host = accelerator.on_host(device)
    allocator = "default"
    if on_host and _keep_memory():
        # Of several values the last one counts, which is the user's own.
        asked = re.findall(r"glibc\.malloc\.hugetlb=\d", os.environ.get("GLIBC_TUNABLES", ""))
        large = asked[-1:] == [LARGE_PAGES]
        allocator = "keeps memory, large pages" if large else "keeps memory"
    return {
        "threads": str(torch.get_num_threads()),
        "layout": "channels-last",
        "allocator": allocator,
        **({} if on_host else {"float32": "ieee", "unordered": ", ".join(sorted(unordered))}),
    }


def resolve_device(asked: str) -> str:
    """Return `cpu` or the accelerator's name, as `bench.accelerator.resolve` does."""
    return accelerator.resolve(asked)
