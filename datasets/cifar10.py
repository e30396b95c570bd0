"""CIFAR-10 with three label columns: the category, animal or vehicle, and how bright it is.

Real data of Krizhevsky 2009 (Learning Multiple Layers of Features from Tiny Images). For every arm,
3 % of the test images have a near duplicate among the training images (Barz & Denzler 2020).
"""

from typing import ClassVar

import torch

from bench.contracts import Dataset, DataSource
from bench.tasks import ImageSet, TaskData, classification_tasks

from ._bins import QUARTERS, mean_level, quarters
from ._cifar import Photographs, load_cifar

#: The categories that are animals: bird, cat, deer, dog, frog, horse.
ANIMALS = (2, 3, 4, 5, 6, 7)
#: The others: airplane, automobile, ship, truck.
VEHICLES = (0, 1, 8, 9)


def load_cifar10(source: DataSource) -> tuple[Photographs, Photographs]:
    """Return the training and the test part of CIFAR-10, checked, with the column `labels`.

    Files lie in `cifar-10-batches-py` under the root. Raises `UserError` as `load_cifar` does.
    """
    return load_cifar(source, "CIFAR10", {"labels": 10}, megabytes=170)


class CIFAR10(Dataset):
    """Photographs of animals and vehicles (Krizhevsky 2009): 32 × 32 RGB, 50,000 and 10,000."""

    name = "cifar10"
    summary = "photographs: which category, animal or vehicle, how bright"
    needs = "--root DIR, --download to fetch it (170 MB)"
    images = "50,000 + 10,000, 32 × 32 RGB"
    tasks: ClassVar = {
        "category": "which category, 10 classes",
        "animal": "animal or vehicle, 2 classes",
        "brightness": "quarter of the training set's mean brightness, 4 classes",
    }
    pairs: ClassVar = (
        (
            ("category", "animal"),
            "positive",
            "finer labels help a network to tell coarser classes apart (Chen et al. 2019), though "
            "animal's labels add nothing that category's lack",
        ),
        (
            ("category", "brightness"),
            "none",
            "how light a photograph is says little about what it shows",
        ),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return the three tasks on the same images `[N, 3, 32, 32]`."""
        train, test = load_cifar10(source)
        images = ImageSet(self.name, train.images, test.images)
        train_labels, test_labels = train.labels["labels"], test.labels["labels"]
        animals = torch.isin(torch.arange(10), torch.tensor(ANIMALS)).long()
        levels = quarters(mean_level(train.images), mean_level(test.images))
        return classification_tasks(
            images,
            {
                "category": (10, train_labels, test_labels),
                "animal": (2, animals[train_labels], animals[test_labels]),
                "brightness": (QUARTERS, *levels),
            },
        )
