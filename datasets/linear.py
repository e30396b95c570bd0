"""Linear teachers at a known angle: a world whose gains from sharing are known.

Two teachers y = w·x + noise read standard normal inputs of 20 dimensions, |w| = 1, σ = 1. The
target has 40 examples and the partner 400, of inputs of their own, drawn anew by every seed. The
dial is the cosine of the angle between the two w.

Trained alone to the minimum, a student without an intercept is the least-squares solution. Its
expected excess risk is σ²d/(n − d − 1) on Gaussian inputs: 20/19 for the target, 20/379 for the
partner. Together, the students share one feature u·x (the network `linear`) and each scales it.
That is the smallest possible bottleneck, so teachers at an angle conflict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.contracts import Dataset, DataSource, stream
from bench.networks import Shape
from bench.tasks import Expectation, Task, TaskData

from ._teacher import ExcessRisk, taught

DIMENSIONS = 20
#: Each training pool is large, so that the subsets of two seeds share hardly any example.
TRAIN, TEST = 40_000, 10_000
#: Training examples per task that a seed draws.
DRAWN = {"target": 40, "partner": 400}


class Linear(ExcessRisk):
    """A linear teacher without an intercept; labels float `[N]`, outputs `[N, 1]`."""

    def head(self, features: Shape, image: Shape, outputs: int) -> nn.Module:
        """Return a factor per feature, and no intercept, because the theory assumes none."""
        return nn.Linear(features[0], outputs, bias=False)


def teachers(cos: float) -> dict[str, Tensor]:
    """Return w of both tasks, unit vectors `[20]` at an angle of the given cosine.

    The target's is the same at every angle.
    """
    drawn = torch.randn(DIMENSIONS, 2, generator=stream(0, "linear", "teachers"))
    ours, across = torch.linalg.qr(drawn).Q.unbind(1)
    return {"target": ours, "partner": cos * ours + (1 - cos**2) ** 0.5 * across}


@dataclass(frozen=True)
class LinearTeachers(Dataset):
    """Two linear teachers on normal inputs: 20 channels of 1 × 1 pixel, regression."""

    name = "linear"
    summary = "two linear teachers at a known angle on noise: 40 examples, and 400 of a partner"
    images: ClassVar = {
        "target": "40 drawn of 40,000, + 10,000, 1 × 1, 20 channels",
        "partner": "400 drawn of 40,000, + 10,000, 1 × 1, 20 channels",
    }
    task_types: ClassVar[Mapping[str, ExcessRisk]] = {
        "target": Linear(unit="σ²"),
        "partner": Linear(unit="σ²"),
    }
    tasks: ClassVar = {
        "target": "the teacher w·x, from 40 examples",
        "partner": "a teacher at an angle to it, from 400",
    }

    cos: float = 0.5
    """Cosine of the angle between the teachers, −1 to 1."""

    def __post_init__(self) -> None:
        if not -1 <= self.cos <= 1:
            raise ValueError(f"cos is a cosine, −1 to 1, and not {self.cos}")

    @property
    def pairs(self) -> Sequence[tuple[tuple[str, ...], Expectation | None, str]]:
        """The target with its partner: one may gain where the other loses."""
        return ((("target", "partner"), None, "the smaller the angle, the more the target gains"),)

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return both tasks on images of their own `[N, 20, 1, 1]`; `source` is not needed."""
        return {task: self._task(task, w) for task, w in teachers(self.cos).items()}

    def _task(self, task: str, w: Tensor) -> TaskData:
        return taught(
            self.name,
            Task(task, self.task_types[task], 1),
            (DIMENSIONS, 1, 1),
            (TRAIN, TEST),
            DRAWN[task],
            lambda x: x.flatten(1) @ w,
        )
