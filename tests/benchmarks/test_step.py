"""The harness's training step against a hand-written loop, in turns, in process time of one thread.

Run with `pytest tests/benchmarks`. A ratio is robust where a time is not: both loops train the
same network on the same images with the same optimiser, and take turns block by block.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from bench.data import Batches
from bench.kinds import Classification
from bench.networks import NETWORKS
from bench.registry import parse_strategy
from bench.spec import Recipe
from bench.tasks import ImageSet, Task, TaskData
from bench.training import Lane

BATCH, IMAGES, CLASSES = 128, 2048, 10
#: What the harness's step may cost, as a multiple of the hand-written one.
ALLOWED = 1.05


def _data() -> list[TaskData]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    images = ImageSet("noise", pixels, pixels[:1])
    labels = torch.randint(0, CLASSES, (2, IMAGES), generator=generator)
    return [
        TaskData(Task(name, Classification(), CLASSES), images, y, y[:1])
        for name, y in zip("ab", labels, strict=True)
    ]


def _hand_written(network: str, data: list[TaskData]) -> Iterator[None]:
    """Train one trunk with two heads as one would in a script, a step at a time."""
    trunk = NETWORKS[network]((1, 28, 28), 1.0)
    features = trunk.features[0]
    pool: nn.Module = nn.AdaptiveAvgPool2d(1) if len(trunk.features) == 3 else nn.Identity()
    heads = nn.ModuleList(
        nn.Sequential(pool, nn.Flatten(), nn.Linear(features, CLASSES)) for _ in data
    )
    model = nn.ModuleList([trunk, heads]).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images = (data[0].images.train.float() / 127.5 - 1).to(memory_format=torch.channels_last)
    labels = [d.train_labels for d in data if d.train_labels is not None]
    while True:
        for index in torch.randperm(IMAGES).split(BATCH):
            shared: Tensor = trunk(images[index])
            losses = [
                F.cross_entropy(head(shared), y[index])
                for head, y in zip(heads, labels, strict=True)
            ]
            optimiser.zero_grad()
            (0.5 * losses[0] + 0.5 * losses[1]).backward()
            optimiser.step()
            yield


def _harness(network: str, data: list[TaskData]) -> Iterator[None]:
    recipe = Recipe(network=network, batch_size=BATCH, validation_size=0)
    device = torch.device("cpu")
    lane = Lane(parse_strategy("hard"), data, recipe, 1.0, 0, device)
    for _ in lane.train(Batches(data, recipe, 0, device), 10**6, range(1, 10**6)):
        yield


def _block(steps: Iterator[None], count: int) -> Callable[[], None]:
    def run() -> None:
        for _ in islice(steps, count):
            pass

    return run


@pytest.mark.parametrize(("network", "steps", "rounds"), [("lenet", 8, 30), ("resnet8", 2, 16)])
@pytest.mark.benchmark(timer=time.process_time, warmup=False, disable_gc=True)
def test_a_step_costs_at_most_what_is_allowed_over_a_hand_written_one(
    benchmark: BenchmarkFixture, network: str, steps: int, rounds: int
) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    data = _data()
    ours, theirs = (_block(loop(network, data), steps) for loop in (_harness, _hand_written))
    for warm in (ours, theirs, ours, theirs):
        warm()
    by_hand: list[float] = []

    def turn() -> None:
        began = time.process_time()
        theirs()
        by_hand.append(time.process_time() - began)

    benchmark.pedantic(ours, setup=turn, rounds=rounds)
    assert benchmark.stats is not None
    ratios = [a / b for a, b in zip(benchmark.stats.stats.data, by_hand, strict=True)]
    ratio = statistics.median(ratios)
    benchmark.extra_info["ratio to hand-written"] = ratio
    print(f"\n{network}: a step costs {ratio:.3f} times a hand-written one")
    assert ratio <= ALLOWED
