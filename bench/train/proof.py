"""Whether a device computes what the host does: a few steps of a plan's own networks on both.

Both sides begin each step from the same weights, with the same batch and the same draws. Losses,
gradients and what the optimizer makes of them may then differ by rounding alone. How far rounding
leads depends on the network, so the host tells: it takes the step a second time from weights that
differ in their last bit.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from bench import accelerator
from bench.contracts import DataSource
from bench.randomness import seeded, stream
from bench.spec.experiment import RunSpec
from bench.spec.registry import parse_strategy
from bench.train.batches import Batch
from bench.train.device import prepare, reason_of
from bench.train.job import arm_data
from bench.train.loop import TrainingState
from bench.train.rows import fits

#: Steps of each phase that are compared, and images of each.
_STEPS, _IMAGES = 3, 8
#: Differences up to so many times what the last bit of the weights does to the host are rounding,
#: and any up to so large. Other kernels differ by up to 3 times as much on a CPU. Factors that are
#: rounded to TF32's ten bits differ by 3,000 times as much.
_TIMES = 100.0
_LEAST = {"losses": 1e-5, "gradients": 1e-4, "the optimizer's steps": 1e-4}
#: Gradients shorter than this share of the longest say nothing about the optimizer: it scales them
#: all to one length, their rounding errors too.
_CLEAR = 1e-3
#: Seconds after which no further arm is tried: those before it stand for it.
_SECONDS = 20.0


class _DrawnOnHost(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes every random draw on the host, and copies it to where it was asked for.

    Devices draw other numbers from the same seed.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        given = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
        device = kwargs.get("device") or (given[0].device if given else torch.device("cpu"))
        moved = tree_map_only(Tensor, Tensor.cpu, (args, kwargs))
        if "device" in kwargs:
            moved[1]["device"] = torch.device("cpu")
        drawn = func(*moved[0], **moved[1])
        return tree_map_only(Tensor, lambda tensor: tensor.to(device), drawn)


@dataclass(frozen=True)
class Difference:
    """How far a device is from the host in a quantity, relative to its size.

    `rounding` is how far the last bit of the weights takes the host, and `bound` the largest
    difference that counts as rounding.
    """

    what: str
    found: float
    rounding: float
    bound: float

    @property
    def fault(self) -> str:
        """Why it is more than rounding, in words; nothing where it is not."""
        if self.found <= self.bound:  # never true of what is no number
            return ""
        return (
            f"{self.what} differ from the CPU's by {self.found:.1e} of their size, and rounding "
            f"explains {self.bound:.1e}"
        )


@dataclass(frozen=True)
class _Taken:
    """What a step did, on the CPU: losses `[T]`, gradients and changes of all weights, flat."""

    losses: Tensor
    gradients: Tensor
    change: Tensor

    @property
    def finite(self) -> bool:
        """Whether all of it are numbers."""
        return all(bool(t.isfinite().all()) for t in (self.losses, self.gradients, self.change))


class _Side:
    """An arm in training on one device."""

    def __init__(self, spec: RunSpec, source: DataSource, device: torch.device) -> None:
        few = min(_IMAGES, spec.recipe.batch_size)
        recipe = spec.recipe.model_copy(update={"precision": "fp32", "batch_size": few})
        strategy, data = parse_strategy(spec.strategy), arm_data(spec, source)
        with _alike(spec, "init"):
            self._state = TrainingState(strategy, data, recipe, spec.width, 0, device)
        self._resident = not accelerator.on_host(device) and fits(data, source, device)
        self._spec, self._weights = spec, list(self._state.network.parameters())
        self.phases = range(len(self._state.phases))

    def begin(self, phase: int) -> Iterator[Batch]:
        """Enter a phase; return its batches."""
        with _alike(self._spec, f"phase {phase}"):
            self._state.enter(phase)
        return iter(self._state.batches(self._resident))

    @property
    def weights(self) -> list[Tensor]:
        """All weights, on the CPU."""
        return [weight.detach().cpu().clone() for weight in self._weights]

    @torch.no_grad()
    def start_from(self, weights: Iterable[Tensor]) -> None:
        """Take other weights."""
        for own, other in zip(self._weights, weights, strict=True):
            own.copy_(other)

    def step(self, batch: Batch, number: str) -> _Taken:
        """Take a step; return what it did."""
        before = self.weights
        drawn_on_host = _DrawnOnHost()  # type: ignore[no-untyped-call]
        with _alike(self._spec, f"step {number}"), drawn_on_host:
            losses = self._state.step(batch)
        moved = [after - then for after, then in zip(self.weights, before, strict=True)]
        gradients = [
            torch.zeros_like(then) if weight.grad is None else weight.grad.cpu()
            for weight, then in zip(self._weights, before, strict=True)
        ]
        return _Taken(losses.cpu(), _flat(gradients), _flat(moved))


def _alike(spec: RunSpec, what: str) -> Any:
    """Return a context in which both sides draw the same numbers."""
    return seeded(0, "proof", spec.strategy, what)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors]).double()


def _relative(found: Tensor, expected: Tensor) -> float:
    """Return the length of a difference over that of what is expected; NaN where it is none."""
    length = expected.double().norm()
    difference = (found.double() - expected.double()).norm()
    return float(difference / length) if length > 0 else float(difference)


def _nudged(weights: Sequence[Tensor], number: str) -> list[Tensor]:
    """Return weights that are a unit in their last place larger or smaller, at random."""
    draw = stream(0, "proof", "nudge", number)
    unit = torch.finfo(torch.float32).eps
    signs = (torch.randint(0, 2, w.shape, generator=draw) * 2 - 1 for w in weights)
    return [w + w * unit * sign for w, sign in zip(weights, signs, strict=True)]


def _compared(ours: _Taken, host: _Taken, nudged: _Taken) -> list[Difference]:
    clear = host.gradients.abs() > _CLEAR * host.gradients.abs().max()
    sides = {
        "losses": [side.losses for side in (host, ours, nudged)],
        "gradients": [side.gradients for side in (host, ours, nudged)],
        "the optimizer's steps": [side.change[clear] for side in (host, ours, nudged)],
    }
    found = []
    for what, (expected, own, other) in sides.items():
        rounding = _relative(other, expected)
        bound = max(_LEAST[what], _TIMES * rounding)
        found.append(Difference(what, _relative(own, expected), rounding, bound))
    return found


def compare(spec: RunSpec, source: DataSource, device: torch.device) -> Iterator[Difference]:
    """Take a few steps of each phase of an arm on the host and on a device; yield how they differ.

    Raises whatever the device raises, and `UntriedError` where the host raises too: that is the
    arm's fault.
    """
    host_device = torch.device(accelerator.HOST)
    with _faults_of_the_arm():
        host, again = (_Side(spec, source, host_device) for _ in range(2))
    ours = _Side(spec, source, device)
    for phase in host.phases:
        with _faults_of_the_arm():
            batches, same = host.begin(phase), again.begin(phase)
        theirs = ours.begin(phase)
        for step in range(_STEPS):
            number, weights = f"{phase} {step}", host.weights
            again.start_from(_nudged(weights, number))
            ours.start_from(weights)
            with _faults_of_the_arm():
                expected = host.step(next(batches), number)
                nudged = again.step(next(same), number)
            if not expected.finite:
                raise UntriedError("its losses or weights are no numbers on the CPU")
            yield from _compared(ours.step(next(theirs), number), expected, nudged)


class UntriedError(Exception):
    """An arm cannot be tried on a device, as the host cannot train it either."""


@contextmanager
def _faults_of_the_arm() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise UntriedError(reason_of(error)) from error


def prove(arms: Sequence[RunSpec], source: DataSource) -> str:
    """Return why the device of these arms is not to be trusted with them; nothing where it is.

    An arm that the host cannot train says nothing about the device.
    """
    device, began = prepare(arms[0].device), time.perf_counter()
    for spec in arms:
        if time.perf_counter() - began > _SECONDS:
            break
        try:
            with accelerator.unordered(device):
                found = [d.fault for d in compare(spec, source, device)]
        except UntriedError:
            continue
        except Exception as error:
            return f"{spec.label} fails on {spec.device}: {reason_of(error)}"
        if fault := next(filter(None, found), ""):
            return f"{spec.label} on {spec.device}: {fault}"
    return ""
