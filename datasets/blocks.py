"""Blocks of teachers that share features: a world in which the right grouping is known.

Each task is a teacher that reads noise images x by K = 4 features, the rectified projections
max(0, v·x) on unit vectors v. It answers with their sum with signs s, less its mean and scaled to a
standard deviation of 3. Training labels carry noise of variance 1 and test labels none.

All tasks are on the same images and lie in blocks of equal size. Of its features, a task has
K·`across` in common with every task, K·(`within` − `across`) more with its block, and the rest to
itself. So two tasks share the fraction `within` of their features inside a block, and `across`
between blocks. All v are orthonormal, so features are independent and of one variance. Thus two
answers correlate by Σ s·s′ / K over the features that they share. That is 0 where they share none,
and between the first four tasks where they share all.

Features help who reads them: two tasks of a block show each of them twice, under independent noise.
Features of others are in the way of a small encoder that learns from few examples. So with
`within=1` and `across=0` each block belongs in a network of its own. With `within=0` sharing never
pays, and with `across=1` it always does, once training is long enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import pi, sqrt

import torch
from torch import Tensor

from bench.contracts import Dataset, DataSource, stream
from bench.task_types import TaskType
from bench.tasks import Expectation, Task, TaskData

from ._teacher import ExcessRisk, labelled, noise_set

SIDE = 7
FEATURES = 4
#: So many can have all features to themselves in 7 × 7 dimensions.
MOST_TASKS = 12
#: Standard deviation of an answer, relative to that of the noise on its label.
SIGNAL = 3.0
#: The training pool is large, so that the subsets of two seeds share few examples.
TRAIN, TEST = 10_000, 2_000
#: Training examples that a seed draws.
DRAWN = 600
#: The signs of a task's features, by its number; they repeat after eight tasks. Each half is an
#: orthogonal basis, and the teachers of the first differ by the order of their features alone.
SIGNS = torch.tensor(
    [
        [-1.0, 1.0, 1.0, 1.0],
        [1.0, 1.0, -1.0, 1.0],
        [1.0, -1.0, 1.0, 1.0],
        [1.0, 1.0, 1.0, -1.0],
        [1.0, 1.0, 1.0, 1.0],
        [1.0, -1.0, 1.0, -1.0],
        [1.0, 1.0, -1.0, -1.0],
        [1.0, -1.0, -1.0, 1.0],
    ]
)


def answers(x: Tensor, directions: Tensor, signs: Tensor) -> Tensor:
    """Return a teacher's answers for images `[N, 1, 7, 7]`: `[N]`, of mean 0 and deviation SIGNAL.

    A rectified standard normal has the mean 1/√2π and the variance ½ − 1/2π.
    """
    rectified = (x.flatten(1) @ directions).relu() - 1 / sqrt(2 * pi)
    summed: Tensor = rectified @ signs
    return summed * (SIGNAL / sqrt(FEATURES * (0.5 - 0.5 / pi)))


@dataclass(frozen=True)
class Blocks(Dataset):
    """Blocks of teachers of rectified features, all on the same images: 7 × 7 grey, regression."""

    name = "blocks"
    summary = "teachers in blocks that share features, on noise: the right grouping is known"
    images = "600 drawn of 10,000, + 2,000, 7 × 7 grey"

    blocks: int = 2
    """Number of blocks, 1 to 12."""
    size: int = 2
    """Tasks per block; at most 12 tasks in all."""
    within: float = 1.0
    """Share of its features that a task has in common with its block, in steps of a quarter."""
    across: float = 0.0
    """Share of its features that it has in common with all tasks, at most `within`."""
    world: int = 0
    """Which world: each has images, features and noise of its own."""

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.size < 1 or not 2 <= self.blocks * self.size <= MOST_TASKS:
            raise ValueError(
                f"blocks and size make 2 to {MOST_TASKS} tasks, not {self.blocks} × {self.size}"
            )
        for knob in ("within", "across"):
            share = getattr(self, knob)
            if not (0 <= share <= 1 and (share * FEATURES).is_integer()):
                raise ValueError(f"{knob} is a multiple of 1/{FEATURES} in 0 to 1, not {share}")
        if self.across > self.within:
            raise ValueError(
                f"across is at most within, {self.within}, not {self.across}: what all tasks have "
                "in common, a block has too"
            )

    @property
    def grouping(self) -> tuple[tuple[str, ...], ...]:
        """The tasks of each block: `a1`, `a2` and so on, then `b1`."""
        letters = "abcdefghijkl"[: self.blocks]
        return tuple(tuple(f"{x}{i + 1}" for i in range(self.size)) for x in letters)

    @property
    def tasks(self) -> Mapping[str, str]:
        """The tasks of all blocks, block by block."""
        return {
            task: f"a sum of rectified features, in block {block[0][0]}"
            for block in self.grouping
            for task in block
        }

    @property
    def task_types(self) -> Mapping[str, TaskType]:
        """All are scored by the excess risk."""
        return dict.fromkeys(self.tasks, ExcessRisk(unit="σ²"))

    @property
    def pairs(self) -> Sequence[tuple[tuple[str, ...], Expectation | None, str]]:
        """Two tasks of one block, and two of different blocks, where there are such."""
        inside, between = self.grouping[0][:2], tuple(block[0] for block in self.grouping[:2])
        kinds = ((inside, self.within, "of one block"), (between, self.across, "of two blocks"))
        return tuple(
            (pair, _expected(share), f"tasks {where} share {share:.0%} of their features")
            for pair, share, where in kinds
            if len(pair) == 2
        )

    def features(self) -> dict[str, Tensor]:
        """Return the directions of each task's features, orthonormal `[49, 4]`.

        What two tasks have in common comes first, and in the same order.
        """
        drawn = torch.randn(SIDE**2, SIDE**2, generator=stream(self.world, "blocks", "features"))
        unused = iter(torch.linalg.qr(drawn).Q.T)

        def take(count: int) -> list[Tensor]:
            return [next(unused) for _ in range(count)]

        everywhere, inside = round(self.across * FEATURES), round(self.within * FEATURES)
        common = take(everywhere)
        found = {}
        for block in self.grouping:
            shared = common + take(inside - everywhere)
            for task in block:
                found[task] = torch.stack(shared + take(FEATURES - inside), dim=1)
        return found

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return all tasks on one set of images `[N, 1, 7, 7]`; `source` is not needed."""
        images = noise_set(self.name, str(self.world), (1, SIDE, SIDE), (TRAIN, TEST), DRAWN)
        types = self.task_types
        return {
            task: labelled(
                images.name,
                Task(task, types[task], 1),
                images,
                partial(answers, directions=v, signs=SIGNS[number % len(SIGNS)]),
            )
            for number, (task, v) in enumerate(self.features().items())
        }


def _expected(share: float) -> Expectation | None:
    """Return what sharing a fraction of the features leads to; None in between."""
    known: Mapping[float, Expectation] = {1.0: "positive", 0.0: "negative"}
    return known.get(share)
