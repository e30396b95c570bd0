"""Steps per second of a process, while others may train beside it on the same device."""

import time

from bench import accelerator
from bench.contracts import DataSource
from bench.spec.experiment import RunSpec
from bench.train.device import prepare
from bench.train.pricing import TimedPhase
from bench.train.survey import timed_phase

#: Steps between two looks at the clock, for which a device is waited for.
_BLOCK = 8

_ready: list[TimedPhase] = []


def make_ready(spec: RunSpec, source: DataSource) -> int | None:
    """Prepare this process to take steps of an arm, and return the free bytes of its device.

    None where the backend does not tell. A few steps are taken, so that kernels are loaded.
    """
    device = prepare(spec.device)
    phase = timed_phase(spec, 0, source)
    phase.take(_BLOCK)
    accelerator.synchronize(device)
    _ready[:] = [phase]
    memory = accelerator.memory(device)
    return None if memory is None else memory[0]


def steps_per_second(spec: RunSpec, seconds: float) -> float:
    """Take steps of the arm that was made ready, for so long; return how many a second."""
    taken, began, passed = 0, time.perf_counter(), 0.0
    while passed < seconds:
        _ready[0].take(_BLOCK)
        accelerator.synchronize(spec.device)
        taken, passed = taken + _BLOCK, time.perf_counter() - began
    return taken / passed
