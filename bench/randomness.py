"""Common random numbers: every source of chance has a stream of its own, keyed by (seed, role).

Two arms of one seed share every stream whose role they share, so their difference is the effect
of the strategy and not of the draw. Adding a task or a strategy adds roles and shifts none.
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
    """Let torch's global CPU generator be the stream (seed, role), and restore it afterwards.

    For what draws from the global generator without a choice: the initialisation of modules.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_key(seed, *role))
        yield
