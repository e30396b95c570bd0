"""A step's time as a multiple of a plain loop's, timed in turns in one process.

Seconds are those of a machine and of a moment. A plain loop, timed right before each block of
steps, slows down with both, so that the ratio can be compared with another day's. It is written by
hand and shares no code with what it is compared with: a slow-down of the project's own parts must
not slow down the reference loop too.
"""

from collections.abc import Iterator, Mapping
from itertools import islice

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.contracts import DataSource
from bench.spec.experiment import RunSpec
from bench.spec.registry import parse_strategy
from bench.train.device import prepare
from bench.train.job import arm_data
from bench.train.pricing import TimedPhase, seconds_of_one

_ROUNDS = 25
#: Device-seconds of a block, of the arm and of the plain loop each.
_BLOCK = 0.03
_IMAGES, _SIDE, _CLASSES, _BATCH = 256, 32, 10, 32


def _plain_loop(device: torch.device) -> Iterator[None]:
    """Train a small network on drawn images for ever, a step at a time."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(_IMAGES, 3, _SIDE, _SIDE, generator=generator)
    images = pixels.to(device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, _CLASSES, (_IMAGES,), generator=generator).to(device)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(4),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * (_SIDE // 16) ** 2, _CLASSES),
        )
    model.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batches = torch.arange(_IMAGES, device=device).view(-1, _BATCH)
    while True:
        for index in batches.unbind():
            loss: Tensor = F.cross_entropy(model(images[index]), labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            yield


def step_ratios(
    arms: Mapping[str, RunSpec], source: DataSource
) -> Iterator[str | dict[str, tuple[float, ...]]]:
    """Time a step of each arm, as device-seconds over those of a plain loop's, a value a block.

    The steps of a run's phases weigh as many as there are of them. Yields the name of an arm before
    each stretch of work on it, and finally the values by name.
    """
    found: dict[str, list[float]] = {name: [] for name in arms}
    if not arms:
        yield {}
        return
    device = prepare(next(iter(arms.values())).device)
    plain = _plain_loop(device)

    def take(steps: int) -> None:
        for _ in islice(plain, steps):
            pass

    def plain_block(steps: int) -> float:
        return seconds_of_one(take, steps, device)

    plain_block(3)
    plain_steps = max(1, round(_BLOCK / plain_block(3)))
    timed: dict[tuple[str, int], tuple[TimedPhase, int]] = {}
    for name, spec in arms.items():
        yield name
        for phase in range(len(spec.steps)):
            state = TimedPhase(
                parse_strategy(spec.strategy),
                arm_data(spec, source),
                spec.recipe,
                spec.width,
                phase,
                device,
                source,
            )
            state.block(3)
            timed[name, phase] = state, max(1, round(_BLOCK / state.block(3)))
    for _ in range(_ROUNDS):
        for name, spec in arms.items():
            yield name
            whole = 0.0
            for phase, count in enumerate(spec.steps):
                by_hand = plain_block(plain_steps)
                state, steps = timed[name, phase]
                whole += count * state.block(steps) / by_hand
            found[name].append(round(whole / sum(spec.steps), 4))
    yield {name: tuple(ratios) for name, ratios in found.items()}
