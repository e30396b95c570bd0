"""CIFAR-100 with four label columns: class, superclass, realm, and how bright it is.

Real data of Krizhevsky 2009 (Learning Multiple Layers of Features from Tiny Images). For every arm,
10 % of the test images have a near duplicate among the training images (Barz & Denzler 2020).
"""

from typing import ClassVar

import torch

from bench.contracts import Dataset, DataSource
from bench.tasks import ImageSet, TaskData, classification_tasks

from ._bins import QUARTERS, mean_level, quarters
from ._cifar import Photographs, load_cifar

#: The realm of each superclass: animals and people, plants, man-made things, landscapes. The
#: superclasses, in order: aquatic mammals, fish, flowers, food containers, fruit and vegetables,
#: household electrical devices, household furniture, insects, large carnivores, large man-made
#: outdoor things, large natural outdoor scenes, large omnivores and herbivores, medium-sized
#: mammals, non-insect invertebrates, people, reptiles, small mammals, trees, vehicles 1,
#: vehicles 2.
_REALM_OF = (0, 0, 1, 2, 1, 2, 2, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0, 1, 2, 2)


def load_cifar100(source: DataSource) -> tuple[Photographs, Photographs]:
    """Return both parts of CIFAR-100, checked, with the columns `fine_labels`, `coarse_labels`.

    Files lie in `cifar-100-python` under the root. Raises `UserError` as `load_cifar` does.
    """
    columns = {"fine_labels": 100, "coarse_labels": 20}
    return load_cifar(source, "CIFAR100", columns, megabytes=169)


class CIFAR100(Dataset):
    """Photographs of a hundred classes (Krizhevsky 2009): 32 × 32 RGB, 50,000 and 10,000."""

    name = "cifar100"
    summary = "photographs: which class, which superclass, which realm, how bright"
    needs = "--root DIR, --download to fetch it (169 MB)"
    images = "50,000 + 10,000, 32 × 32 RGB"
    tasks: ClassVar = {
        "fine": "which class, 100 classes",
        "coarse": "which superclass of five classes, 20 classes",
        "realm": "animal, plant, made thing or landscape, 4 classes",
        "brightness": "quarter of the training set's mean brightness, 4 classes",
    }
    pairs: ClassVar = (
        (
            ("fine", "coarse"),
            "positive",
            "finer labels help a network to tell coarser classes apart (Chen et al. 2019), though "
            "coarse's labels add nothing that fine's lack",
        ),
        (
            ("coarse", "brightness"),
            "none",
            "how light a photograph is says little about what it shows",
        ),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return the four tasks on the same images `[N, 3, 32, 32]`."""
        train, test = load_cifar100(source)
        images = ImageSet(self.name, train.images, test.images)
        train_coarse, test_coarse = train.labels["coarse_labels"], test.labels["coarse_labels"]
        realm_of = torch.tensor(_REALM_OF)
        levels = quarters(mean_level(train.images), mean_level(test.images))
        return classification_tasks(
            images,
            {
                "fine": (100, train.labels["fine_labels"], test.labels["fine_labels"]),
                "coarse": (20, train_coarse, test_coarse),
                "realm": (max(_REALM_OF) + 1, realm_of[train_coarse], realm_of[test_coarse]),
                "brightness": (QUARTERS, *levels),
            },
        )
