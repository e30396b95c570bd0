"""Training loops over the same images: the harness's own, and a handwritten one.

A loop is made from a workload and then takes as many steps as it is told. Those of other libraries
are in `peers`.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.networks import ClassificationHead, Encoder
from bench.spec.experiment import Precision, Recipe
from bench.spec.registry import parse_strategy
from bench.speed.settings import Method, Network, Settings
from bench.tasks import ImageSet, TaskData, classification_tasks
from bench.train.batches import Batches
from bench.train.device import prepare
from bench.train.loop import TrainingState, build_encoder
from bench.train.pricing import count

CLASSES = 10
_ENDLESS = 10**6
#: How often, at most, a block is lengthened where the clock does not move.
_MOST_BLOCKS = 4096


@dataclass(frozen=True)
class Workload:
    """What a loop trains: two tasks of ten classes on drawn images."""

    network: str
    width: float
    image: tuple[int, int, int]
    batch_size: int
    pool: int
    precision: Precision
    strategy: str
    peers: tuple[tuple[str, str], ...] = ()
    threads: int = 1
    """Of the loops of other libraries; the harness's and the one by hand have one."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        network: Network,
        method: Method,
        precision: Precision,
        threads: int = 1,
    ) -> "Workload":
        """Return the workload of a row."""
        return cls(
            network.name,
            network.width,
            network.image,
            settings.batch_size,
            settings.pool,
            precision,
            method.strategy,
            tuple(method.peers.items()),
            threads,
        )

    @property
    def recipe(self) -> Recipe:
        """The harness's recipe for it."""
        return Recipe(
            network=self.network,
            batch_size=self.batch_size,
            validation_size=0,
            precision=self.precision,
        )

    def encoder(self) -> Encoder:
        """Return a fresh encoder."""
        return build_encoder(self.network, self.image, self.width)


#: Takes so many training steps.
Steps = Callable[[int], None]
Loop = Callable[[Workload], Steps]


def drawn_tasks(image: tuple[int, int, int], train: int, test: int = 1) -> list[TaskData]:
    """Return two tasks of ten classes on noise images, uint8 `[N, C, H, W]`."""
    draw = torch.Generator().manual_seed(0)

    def pixels(count: int) -> Tensor:
        return torch.randint(0, 256, (count, *image), dtype=torch.uint8, generator=draw)

    def labels(count: int) -> Tensor:
        return torch.randint(0, CLASSES, (count,), generator=draw)

    images = ImageSet("drawn", pixels(train), pixels(test))
    columns = {task: (CLASSES, labels(train), labels(test)) for task in "ab"}
    return list(classification_tasks(images, columns).values())


def autocast(precision: Precision) -> torch.autocast | nullcontext[None]:
    """Return the context in which a forward pass uses a given precision."""
    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()


def _endless(steps: Iterator[object]) -> Steps:
    def take(count: int) -> None:
        for _ in islice(steps, count):
            pass

    return take


def harness(work: Workload) -> Steps:
    """Return the loop that scored runs train in."""
    device = prepare("cpu")
    data = drawn_tasks(work.image, work.pool)
    state = TrainingState(parse_strategy(work.strategy), data, work.recipe, work.width, 0, device)
    batches = Batches(data, work.recipe, 0, device)
    return _endless(state.train(batches, _ENDLESS, range(1, _ENDLESS)))


def by_hand(work: Workload) -> Steps:
    """Return the loop that a script for one encoder with two heads would have."""
    prepare("cpu")
    return _endless(_by_hand(work))


def _by_hand(work: Workload) -> Iterator[None]:
    data = drawn_tasks(work.image, work.pool)
    encoder = work.encoder()
    heads = nn.ModuleList(ClassificationHead(encoder.features, CLASSES) for _ in data)
    model = nn.ModuleList([encoder, heads]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images = (data[0].images.train.float() / 127.5 - 1).to(memory_format=torch.channels_last)
    labels = [d.train_labels for d in data if d.train_labels is not None]
    while True:
        for index in torch.split(torch.randperm(work.pool), work.batch_size):
            with autocast(work.precision):
                shared: Tensor = encoder(images[index])
                losses = [
                    F.cross_entropy(head(shared), y[index])
                    for head, y in zip(heads, labels, strict=True)
                ]
            optimizer.zero_grad()
            (0.5 * losses[0] + 0.5 * losses[1]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            yield


@lru_cache(maxsize=32)
def _made(loop: Callable[..., Steps], arguments: tuple[object, ...]) -> Steps:
    return loop(*arguments)


def block(count: int, loop: Callable[..., Steps], *arguments: object) -> tuple[float, float]:
    """Take steps of a loop, made once per process; return wall and process seconds of one.

    It takes more than `count` steps, up to a bound, where the process's clock is too coarse.
    """
    take = _made(loop, arguments)
    wall, process = time.perf_counter(), time.process_time()
    taken, more = 0, count
    while True:
        take(more)
        taken += more
        spent = time.perf_counter() - wall, time.process_time() - process
        if min(spent) > 0 or taken >= count * _MOST_BLOCKS:
            return spent[0] / taken, spent[1] / taken
        more = taken


def block_length(seconds: float, loop: Callable[..., Steps], *arguments: object) -> int:
    """Return how many steps of a loop fill a block, after a short warm-up."""
    block(2, loop, *arguments)
    wall, _ = block(2, loop, *arguments)
    return max(2, round(seconds / wall))


def flops(work: Workload) -> float:
    """Return the FLOPs of one step of the harness, as its price counts them."""
    data = drawn_tasks(work.image, work.pool)
    (price,) = count(parse_strategy(work.strategy), data, work.recipe, work.width)
    return price.flops


class _Stopwatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the time of the operators whose FLOPs are counted. They run at once on a CPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        began = time.perf_counter()
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.seconds += time.perf_counter() - began
        return out


def counted_seconds(work: Workload, steps: int = 5) -> float:
    """Return the seconds per step spent in the operators whose FLOPs its price counts."""
    take, found = _made(harness, (work,)), list[float]()
    for _ in range(steps):
        with _Stopwatch() as watch:
            take(1)
        found.append(watch.seconds)
    return statistics.median(found)
