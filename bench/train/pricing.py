"""The cost of one training step of an arm: counted on the meta device, timed on the real one.

FLOPs and peak memory are counted, not measured, on a step without data: the same on every machine.
Device-seconds are the median over blocks of steps that alternate between the arms, after a warm-up.
So a slow minute of the machine affects all arms alike.
"""

import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from bench import accelerator
from bench.contracts import DataSource
from bench.digest import digest
from bench.spec.budget import Price
from bench.spec.experiment import Recipe
from bench.spec.registry import Strategy, parse_network
from bench.store.provenance import code_fingerprint
from bench.tasks import TaskData
from bench.train.batches import Batch
from bench.train.device import reason_of
from bench.train.flops import flop_counter
from bench.train.job import network_identity
from bench.train.loop import TrainingState
from bench.train.rows import fits

_META = torch.device("meta")
#: Operators that move or make data and compute nothing; not reported as uncounted.
_PLUMBING = frozenset(
    [
        "arange",
        "cat",
        "clone",
        "copy_",
        "detach",
        "detach_",
        "empty",
        "empty_like",
        "fill_",
        "index_select",
        "lift_fresh",
        "new_empty",
        "new_zeros",
        "ones",
        "ones_like",
        "scalar_tensor",
        "split",
        "stack",
        "_to_copy",
        "_unsafe_view",
        "zeros",
        "zeros_like",
        "zero_",
        "unbind",
        "empty_strided",
        "new_empty_strided",
    ]
)


#: Operators that copy from one device to another, and usually wait for it.
_COPIES = frozenset(["_to_copy", "copy_"])


class _StepObserver(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks the bytes of live tensors and the operators without a FLOP formula.

    Raises `RuntimeError` where an operator mixes tensors of the host and of the device. Reading a
    value raises by itself, because without data there is none.
    """

    def __init__(self, already: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.uncounted: set[str] = set()
        self._seen: set[int] = set()
        for tensor in already:
            self._hold(tensor)
        self.peak = self.live

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        handle, size = storage._cdata, storage.nbytes()
        if handle not in self._seen:
            self._seen.add(handle)
            self.live += size
            weakref.finalize(storage, self._release, handle, size)

    def _release(self, handle: int, size: int) -> None:
        self._seen.discard(handle)
        self.live -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        met = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
        packet = func._overloadpacket
        # A scalar on the host is passed with the call; anything larger has to be copied.
        copied = [t for t in met if t.device != _META and (t.dim() or packet.__name__ in _COPIES)]
        if copied and any(t.device == _META for t in met):
            raise RuntimeError(
                f"{packet.__name__} mixes tensors of the host and of the device, which waits for it"
            )
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor) and t.device == _META]
        if made and packet not in flop_registry and not func.is_view:
            self.uncounted.add(packet.__name__)
        for tensor in made:
            self._hold(tensor)
        self.peak = max(self.peak, self.live)
        return out


def price_name(strategy: Strategy, data: Sequence[TaskData], recipe: Recipe, width: float) -> str:
    """Return the hash of everything that a price depends on, beside the machine.

    Arms of one name cost the same. The contents of images and labels do not affect the cost, nor
    does how fast a network learns. Their shapes and the code do.
    """
    sets = list(dict.fromkeys(id(d.images) for d in data))
    tasks = [
        (type(d.task.type).__qualname__, d.task.outputs, sets.index(id(d.images))) for d in data
    ]
    free = {"learning_rate", "encoder_rate", "weight_decay", "network", "metric"}
    costly = recipe.model_dump(mode="json", exclude=free)
    network = network_identity(parse_network(recipe.network))
    arm = [strategy.name, tasks, data[0].images.image, costly, network, width]
    code = code_fingerprint(strategy, recipe.network)
    return digest(arm, code)[:40]


def count_flops(state: TrainingState, batch: Batch) -> float:
    """Return the FLOPs of one step of a state, which takes that step."""
    with flop_counter() as counter:
        state.step(batch)
    return float(counter.get_total_flops())


def step_flops(strategy: Strategy, data: Sequence[TaskData], recipe: Recipe, width: float) -> float:
    """Return the FLOPs of an arm's step, averaged over the steps that a budget in FLOPs buys.

    Counted on the first step of each phase: close to its price, at a fraction of the work.
    """
    state, steps = TrainingState(strategy, data, recipe, width, seed=0, device=_META), 0.0
    for number, phase in enumerate(state.phases):
        state.enter(number)
        steps += phase.share / count_flops(state, next(iter(state.batches())))
    return 1 / steps


def count(
    strategy: Strategy, data: Sequence[TaskData], recipe: Recipe, width: float
) -> tuple[Price, ...]:
    """Return the price of a step of each phase, untimed."""
    state = TrainingState(strategy, data, recipe, width, seed=0, device=_META)
    return tuple(_count(state, phase) for phase in range(len(state.phases)))


def _count(state: TrainingState, phase: int) -> Price:
    state.enter(phase)
    batches = state.batches()
    source = iter(batches)
    state.step(next(source))  # some methods create their state in the first step
    kept = [*state.network.parameters(), *state.optimizer.state]
    state.optimizer.zero_grad()
    with _StepObserver([t for t in kept if t.device == _META]) as observer:
        state.step(next(source))
    return Price(
        flops=count_flops(state, next(source)),
        samples=batches.samples_per_step,
        peak_bytes=observer.peak,
        parameters=state.parameters,
        uncounted=tuple(sorted(observer.uncounted - _PLUMBING)),
    )


def peak_bytes(call: Callable[[], object], kept: Sequence[Tensor]) -> int:
    """Return the largest sum of live tensors on the meta device during a call; `kept` are there."""
    with _StepObserver(kept) as observer:
        call()
    peak: int = observer.peak
    return peak


class Clock:
    """Adds up device-seconds: by events on an accelerator, process time on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._on_host = device, accelerator.on_host(device)
        self._events: list[tuple[accelerator.Mark, accelerator.Mark]] = []
        self._seconds = 0.0

    def start(self) -> None:
        """Begin an interval; one that is never stopped is not counted."""
        if self._on_host:
            self._began = time.process_time()
        else:
            self._begin = accelerator.mark()

    def stop(self) -> None:
        """End the interval."""
        if self._on_host:
            self._seconds += time.process_time() - self._began
        else:
            self._events.append((self._begin, accelerator.mark()))

    @property
    def seconds(self) -> float:
        """The sum of all intervals. Waits for the device."""
        if self._on_host:
            return self._seconds
        accelerator.synchronize(self._device)
        return sum(float(begin.elapsed_time(end)) for begin, end in self._events) / 1e3


#: A block grows to this many times the requested length before the clock is declared stopped.
_LONGEST = 2**12


#: Least number of ticks of a coarse clock in a block.
_TICKS = 16


def _clock_tick() -> float:
    """Return the smallest step of this process's clock, in seconds; 0 where it is stopped."""
    began, moved = time.perf_counter(), [time.process_time()]
    while len(moved) < 3:
        if time.perf_counter() - began > 0.1:
            return 0.0
        if (now := time.process_time()) > moved[-1]:
            moved.append(now)
    return moved[2] - moved[1]


def seconds_of_one(take: Callable[[int], None], steps: int, device: torch.device) -> float:
    """Take at least `steps` steps with `take`; return the device-seconds of one, above 0.

    A coarse clock (15.6 ms on some systems) may not move during a block. The block is then
    lengthened until it does. Raises `RuntimeError` where the clock is stopped.
    """
    clock, taken, more = Clock(device), 0, steps
    while taken < steps * _LONGEST:
        clock.start()
        take(more)
        clock.stop()
        taken += more
        if (seconds := clock.seconds) > 0:
            return seconds / taken
        more = taken
    raise RuntimeError(f"the clock of the process stands still: {taken} steps took no time")


class TimedPhase:
    """A phase that is timed: it takes blocks of steps and remembers the seconds of each."""

    def __init__(
        self,
        strategy: Strategy,
        data: Sequence[TaskData],
        recipe: Recipe,
        width: float,
        phase: int,
        device: torch.device,
        source: DataSource,
    ) -> None:
        self._state = TrainingState(strategy, data, recipe, width, seed=0, device=device)
        self._state.enter(phase)
        self._batches = iter(self._state.batches(fits(data, source, device)))
        self._device = device
        self.seconds: list[float] = []

    def block(self, steps: int) -> float:
        """Take some steps, more where the clock is too coarse; return device-seconds per step."""

        return seconds_of_one(self.take, steps, self._device)

    def take(self, steps: int) -> None:
        """Take some steps."""
        for _ in range(steps):
            self._state.step(next(self._batches))


class Timings(Protocol):
    """Where frozen timings are kept."""

    def timing(self, name: str) -> float | None:
        """Return a frozen timing in device-seconds per step, or None."""

    def freeze_timing(self, name: str, seconds: float, arm: str) -> float:
        """Keep a timing unless there already is one, and return the valid one."""


def steps_in_turns(
    phases: Sequence[Callable[[], TimedPhase]], rounds: int = 5, block_seconds: float = 0.02
) -> Iterator[int | list[float | str]]:
    """Time a step of each phase: the median over interleaved blocks.

    `phases` create the phases to time. Yields the position of a phase before each stretch of work
    on it, and finally the device-seconds of all. A phase that raises gets the reason instead and
    does not hold up the others.
    """
    block_seconds = max(block_seconds, _TICKS * _clock_tick())
    found: list[float | str] = [0.0] * len(phases)
    states: dict[int, tuple[TimedPhase, int]] = {}
    for place, make in enumerate(phases):
        yield place
        try:
            state = make()
            state.block(2)
            states[place] = state, max(1, round(block_seconds / state.block(2)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            found[place] = reason_of(error)
    for _ in range(rounds):
        for place, (state, steps) in list(states.items()):
            yield place
            try:
                state.seconds.append(state.block(steps))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                found[place] = reason_of(error)
                del states[place]
    for place, (state, _) in states.items():
        found[place] = statistics.median(state.seconds)
    yield found
