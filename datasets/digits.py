"""Digits from house numbers (SVHN) and from handwriting (MNIST): two tasks on disjoint images.

Real data of Netzer et al. 2011 and LeCun et al. 1998. Each task has its own images, so its partner
can only teach it through the shared weights. The handwritten digits are given the format of the
house numbers. They get two black pixels on each side, as for LeNet-5, and three equal channels.
"""

from typing import ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bench.contracts import Dataset, DataSource
from bench.task_types import Classification
from bench.tasks import ImageSet, Task, TaskData

from .mnist import load_digits
from .svhn import load_house_numbers


def as_house_numbers(images: Tensor) -> Tensor:
    """Return grey images uint8 `[N, 28, 28]` as RGB `[N, 3, 32, 32]`, unscaled, padded with black.

    The three channels share one memory.
    """
    return F.pad(images, (2, 2, 2, 2))[:, None].expand(-1, 3, -1, -1)


class Digits(Dataset):
    """Printed and handwritten digits: 32 × 32 RGB images, 73,257 and 26,032 of house numbers,
    60,000 and 10,000 of handwriting.
    """

    name = "digits"
    summary = "house numbers and handwritten digits, each on its own images"
    needs = "--root DIR, --download to fetch SVHN and MNIST (258 MB)"
    images: ClassVar = {
        "house": "73,257 + 26,032 of SVHN, 32 × 32 RGB",
        "hand": "60,000 + 10,000 of MNIST, 32 × 32 RGB",
    }
    tasks: ClassVar = {
        "house": "which digit of a house number, 10 classes",
        "hand": "which handwritten digit, 10 classes",
    }
    pairs: ClassVar = (
        (("house", "hand"), "positive", "the same ten shapes, on house walls and in handwriting"),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return both tasks, each on its own images `[N, 3, 32, 32]`."""
        house, hand = load_house_numbers(source), load_digits(source)
        parts = {
            "house": [(part.images, part.digits) for part in house],
            "hand": [(as_house_numbers(part.images), part.classes) for part in hand],
        }
        data = {}
        for task, ((train, train_labels), (test, test_labels)) in parts.items():
            images = ImageSet(f"{self.name}-{task}", train, test)
            data[task] = TaskData(
                Task(task, Classification(), 10), images, train_labels, test_labels
            )
        return data
