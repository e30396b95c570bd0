"""Common random numbers: every source of randomness has its own stream, keyed by (seed, role).

Two arms of one seed share every stream whose role they share. So their difference is the effect of
the strategy and not of the draw. Adding a task or a strategy adds roles and shifts none.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream_key(seed: int, *role: str) -> int:
    """Return the 63-bit key of a stream; the same on every machine and in every version."""
    text = "/".join((str(seed), *role))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *role: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator on `device`, at the start of the stream (seed, role)."""
    return torch.Generator(device=device).manual_seed(stream_key(seed, *role))


@contextmanager
def seeded(seed: int, *role: str) -> Iterator[None]:
    """Make torch's global CPU generator the stream (seed, role), and restore it afterwards.

    For code that can only draw from the global generator: the initialisation of modules.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_key(seed, *role))
        yield
