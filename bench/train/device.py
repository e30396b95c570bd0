"""The device and the process that runs are trained in: threads, memory, determinism."""

import ctypes
import errno
import os
import platform
import re
from functools import cache

import torch

from bench.errors import UserError

#: What glibc reads when a process starts: to ask the system for large pages.
LARGE_PAGES = "glibc.malloc.hugetlb=1"

#: Why something failed that did not fit into memory.
OUT_OF_MEMORY = "out of memory: lower --batch-size, or run fewer --workers"


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory has run out, on a device or on the host.

    torch's allocator on a CPU raises a plain `RuntimeError`.
    """
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, (MemoryError, torch.OutOfMemoryError))


def reason_of(error: BaseException) -> str:
    """Return why something failed, in words. What an error says of itself may raise too."""
    try:
        return OUT_OF_MEMORY if out_of_memory(error) else f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def prepare(device: str) -> torch.device:
    """Set torch up for scored runs and return the device.

    One thread on a CPU: process time then means something, and the number of cores changes no bit.
    """
    if device == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    else:
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        _keep_memory()
    return torch.device(device)


@cache
def _keep_memory() -> bool:
    """Have glibc keep the memory of freed tensors; return whether it was told, which others aren't.

    It gives a large one back to the system at once, and each page of the next is then faulted in
    anew: a fifth of the step of a residual network. No number depends on it.
    """
    mmap_max, trim_threshold = -4, -1  # as <malloc.h> has them
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False
    return platform.libc_ver()[0] == "glibc" and bool(
        mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1)
    )


def execution(device: torch.device) -> dict[str, str]:
    """Return which of the ways to the same numbers this process takes, for the records."""
    allocator = "default"
    if device.type == "cpu" and _keep_memory():
        # Of several the last one counts: the user's own.
        asked = re.findall(r"glibc\.malloc\.hugetlb=\d", os.environ.get("GLIBC_TUNABLES", ""))
        large = asked[-1:] == [LARGE_PAGES]
        allocator = "keeps memory, large pages" if large else "keeps memory"
    return {
        "threads": str(torch.get_num_threads()),
        "layout": "channels-last",
        "allocator": allocator,
    }


def resolve_device(asked: str) -> str:
    """Return `cpu` or `cuda`. Raises `UserError` where a GPU is asked for and there is none."""
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here; use --device cpu or auto")
    return asked
