"""Non-linear teachers that share features: a world whose dial is how many.

A teacher reads a noise image x by 8 features, the rectified projections max(0, v·x). It answers
with their signed sum: four count positively, four negatively. The partner's teacher reads a
fraction `overlap` of the target's features and others for the rest. All v are orthogonal unit
vectors, so the features are independent. The signs make the answers of the two teachers
uncorrelated wherever the overlap is a multiple of a quarter. So the teachers share features and
nothing else.

The target has 400 examples and the partner 4,000, of images of their own, drawn anew by every seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from bench.contracts import Dataset, DataSource, stream
from bench.tasks import Expectation, Task, TaskData

from ._teacher import ExcessRisk, taught

SIDE = 8
FEATURES = 8
#: Standard deviation of an answer, relative to that of the noise on its label.
SIGNAL = 3.0
#: Each training pool is large, so that the subsets of two seeds share few examples.
TRAIN, TEST = 40_000, 4_000
#: Training examples per task that a seed draws.
DRAWN = {"target": 400, "partner": 4000}
#: The sign of each feature. Over the first 2, 4, 6 and 8 the two agree as often as not.
SIGNS = {
    "target": torch.tensor([1.0, -1.0] * 4),
    "partner": torch.tensor([1.0, 1.0, -1.0, -1.0] * 2),
}


def features(overlap: float) -> dict[str, Tensor]:
    """Return the directions of each teacher's features, orthonormal `[64, 8]`.

    The target's directions are the same at every overlap.
    """
    drawn = torch.randn(SIDE**2, 2 * FEATURES, generator=stream(0, "teachers", "features"))
    ours, others = torch.linalg.qr(drawn).Q.split(FEATURES, dim=1)
    shared = round(overlap * FEATURES)
    return {"target": ours, "partner": torch.cat([ours[:, :shared], others[:, shared:]], dim=1)}


def answers(x: Tensor, directions: Tensor, signs: Tensor) -> Tensor:
    """Return a teacher's answers for images `[N, 1, 8, 8]`: `[N]`, of mean 0 and deviation SIGNAL.

    A rectified standard normal has the variance ½ − 1/2π.
    """
    deviation = sqrt(FEATURES * (0.5 - 0.5 / pi))
    summed: Tensor = (x.flatten(1) @ directions).relu() @ signs
    return summed * (SIGNAL / deviation)


@dataclass(frozen=True)
class Teachers(Dataset):
    """Two teachers of rectified features on images of noise: 8 × 8 grey, regression."""

    name = "teachers"
    summary = "two teachers with features in common on noise: 400 examples, 4,000 of a partner"
    images: ClassVar = {
        "target": "400 drawn of 40,000, + 4,000, 8 × 8 grey",
        "partner": "4,000 drawn of 40,000, + 4,000, 8 × 8 grey",
    }
    task_types: ClassVar[Mapping[str, ExcessRisk]] = {
        "target": ExcessRisk(unit="σ²"),
        "partner": ExcessRisk(unit="σ²"),
    }
    tasks: ClassVar = {
        "target": "a sum of rectified features, from 400 examples",
        "partner": "a sum over some of the same, from 4,000",
    }

    overlap: float = 0.5
    """Share of the target's features that the partner's teacher reads, in steps of an eighth."""

    def __post_init__(self) -> None:
        if not (0 <= self.overlap <= 1 and (self.overlap * FEATURES).is_integer()):
            raise ValueError(f"overlap is a multiple of 1/{FEATURES} in 0 to 1, not {self.overlap}")

    @property
    def pairs(self) -> Sequence[tuple[tuple[str, ...], Expectation | None, str]]:
        """The target with its partner: one may gain where the other loses."""
        why = "the more features the teachers have in common, the more the target gains"
        return ((("target", "partner"), None, why),)

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return both tasks on images of their own `[N, 1, 8, 8]`; `source` is not needed."""
        return {task: self._task(task, v) for task, v in features(self.overlap).items()}

    def _task(self, task: str, directions: Tensor) -> TaskData:
        return taught(
            self.name,
            Task(task, self.task_types[task], 1),
            (1, SIDE, SIDE),
            (TRAIN, TEST),
            DRAWN[task],
            lambda x: answers(x, directions, SIGNS[task]),
        )
