"""What is tried on a device, each in a worker: plain data in, findings out.

A check returns what it found. What it raises is a failure with its reason: that is for the suite.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from bench import accelerator
from bench.contracts import DataSource
from bench.randomness import seeded
from bench.spec.experiment import RunSpec
from bench.spec.registry import Strategy, default_strategy, parse_strategy
from bench.tasks import TaskData
from bench.train.device import prepare
from bench.train.devices import facts_of
from bench.train.job import arm_data
from bench.train.loop import TrainingState
from bench.train.pricing import Clock, count
from bench.train.proof import UntriedError, compare

#: `stated` is what a device may lack: it is told, and fails nothing.
Outcome = Literal["ok", "stated", "failed", "skipped"]

_SEED = 3
#: Steps that a network is trained for where two trainings are compared.
_STEPS = 12
#: Steps of a block that is timed, and blocks.
_BLOCK, _BLOCKS = 20, 5
#: How much longer than the wall's clock the device's may say that a block took: its own ticks.
_SLACK = 1.02


@dataclass(frozen=True)
class Finding:
    """What a check found, in words and in figures by name."""

    outcome: Outcome
    said: str
    figures: Mapping[str, float | str]


def facts(device: str) -> Finding:
    """Say what the device is and can."""
    found = facts_of(device)
    unordered = ", ".join(found.unordered)
    said = f"{found.name}; {f'in no fixed order: {unordered}' if unordered else 'all in order'}"
    figures: dict[str, float | str] = {"devices": found.count, **found.precisions}
    figures |= {"free bytes": found.free or "unknown", "bytes": found.total or "unknown"}
    return Finding("stated" if unordered else "ok", said, figures)


def equal(spec: RunSpec, source: DataSource) -> Finding:
    """Compare a few steps of an arm with the CPU's, to rounding."""
    device = prepare(spec.device)
    try:
        found = list(compare(spec, source, device))
    except UntriedError as error:
        return Finding("skipped", f"the CPU cannot train it either: {error}", {})
    figures: dict[str, float | str] = {
        what: max(d.found for d in found if d.what == what) for what in {d.what: 0 for d in found}
    }
    fault = next((d.fault for d in found if d.fault), "")
    return Finding("failed" if fault else "ok", fault or "equal to rounding", figures)


def null(spec: RunSpec, source: DataSource) -> Finding:
    """Train beside a partner of weight 0, and alone: not a bit of the target should differ."""
    device, data = prepare(spec.device), arm_data(spec, source)
    strategy = parse_strategy(spec.strategy)
    target, *partners = data
    silent = [replace(d, task=replace(d.task, weight=0.0)) for d in partners]
    beside = _trained(spec, [target, *silent], device)
    alone = _trained(spec, [target], device, default_strategy(strategy.sharing))
    x = next(iter(alone.batches())).images[0]
    with torch.no_grad():
        ours, theirs = (
            state.network([x, *[None] * (len(state.tasks) - 1)])[0] for state in (beside, alone)
        )
    assert ours is not None
    assert theirs is not None
    if torch.equal(ours, theirs):
        return Finding("ok", "no bit of the target changes", {})
    off = float((ours - theirs).abs().max() / theirs.abs().max())
    said = "a partner of weight 0 changes the target's outputs in their last digits"
    return Finding("stated", said, {"largest relative difference": off})


def repeats(spec: RunSpec, source: DataSource) -> Finding:
    """Train twice from the start: the weights should have the same bits."""
    device, data = prepare(spec.device), arm_data(spec, source)
    with accelerator.unordered(device) as unordered:
        one, other = (_weights(_trained(spec, data, device)) for _ in range(2))
    differ = sum(not torch.equal(a, b) for a, b in zip(one, other, strict=True))
    names = ", ".join(sorted(unordered))
    if not differ:
        said = f"in no fixed order: {names}, and yet the same" if names else "all weights"
        return Finding("ok", said, {"weights": len(one)})
    figures = {"weights": float(len(one)), "of them different": float(differ)}
    if names:
        return Finding("stated", f"in no fixed order: {names}", figures)
    return Finding("failed", "two trainings differ, and torch does not say why", figures)


def never_waits(spec: RunSpec, source: DataSource) -> Finding:
    """Take steps while whatever waits for the device raises."""
    device = prepare(spec.device)
    state = _state(spec, arm_data(spec, source), device)
    batches = iter(state.batches())
    state.step(next(batches))
    with accelerator.never_waiting(device) as tells:
        if not tells:
            return Finding("skipped", f"torch cannot tell of waits for {spec.device}", {})
        for batch in islice(batches, 3):
            state.step(batch)
    return Finding("ok", "three steps", {})


def prices(spec: RunSpec, source: DataSource) -> Finding:
    """Time blocks of steps by the device's clock and by the wall's: the first is the shorter."""
    device = prepare(spec.device)
    state = _state(spec, arm_data(spec, source), device)
    batches = iter(state.batches())
    own, wall = [], []
    for _ in range(_BLOCKS + 1):
        accelerator.synchronize(device)
        clock, began = Clock(device), time.perf_counter()
        clock.start()
        for batch in islice(batches, _BLOCK):
            state.step(batch)
        clock.stop()
        own.append(clock.seconds / _BLOCK)  # waits for the device
        wall.append((time.perf_counter() - began) / _BLOCK)
    own, wall = own[1:], wall[1:]  # the first loads kernels
    figures: dict[str, float | str] = {
        "milliseconds of a step": 1e3 * min(own),
        "by the wall's clock": 1e3 * min(wall),
        "slowest block over fastest": max(own) / max(min(own), 1e-12),
    }
    sound = all(0 < a <= _SLACK * b for a, b in zip(own, wall, strict=True))
    said = "never longer than by the wall's clock" if sound else "the device's clock is wrong"
    return Finding("ok" if sound else "failed", said, figures)


def memory(spec: RunSpec, source: DataSource) -> Finding:
    """Compare the measured peak of a step's memory with the counted one."""
    device = prepare(spec.device)
    data = arm_data(spec, source)
    counted = count(parse_strategy(spec.strategy), data, spec.recipe, spec.width)[0]
    accelerator.forget_peak(device)
    state = _state(spec, data, device)
    for batch in islice(state.batches(), 3):
        state.step(batch)
    accelerator.synchronize(device)
    measured = accelerator.peak_bytes(device)
    if measured is None:
        return Finding("skipped", f"torch does not count the memory of {spec.device}", {})
    figures: dict[str, float | str] = {
        "counted bytes": counted.peak_bytes,
        "measured bytes": measured,
        "measured over counted": measured / counted.peak_bytes,
    }
    sound = measured >= 4 * counted.parameters
    said = "the peak of a step" if sound else "less than the weights take cannot be the peak"
    return Finding("ok" if sound else "failed", said, figures)


#: The checks of one arm by name, in order. Each takes its specification and its data's source.
OF_AN_ARM: Mapping[str, Callable[[RunSpec, DataSource], Finding]] = {
    "exact null": null,
    "same bits twice": repeats,
    "no step waits": never_waits,
    "prices in seconds": prices,
    "memory": memory,
}


def _state(
    spec: RunSpec, data: Sequence[TaskData], device: torch.device, strategy: Strategy | None = None
) -> TrainingState:
    chosen = strategy or parse_strategy(spec.strategy)
    return TrainingState(chosen, data, spec.recipe, spec.width, _SEED, device)


def _trained(
    spec: RunSpec, data: Sequence[TaskData], device: torch.device, strategy: Strategy | None = None
) -> TrainingState:
    """Train for a few steps of each phase; return the state, ready to be evaluated."""
    with seeded(_SEED, "strategy", spec.strategy):
        state = _state(spec, data, device, strategy)
        for phase in range(len(state.phases)):
            state.enter(phase)
            for _ in state.train(state.batches(), _STEPS, [_STEPS]):
                pass
    state.network.eval()
    return state


def _weights(state: TrainingState) -> list[Tensor]:
    return [tensor.cpu() for tensor in state.network.state_dict().values()]
