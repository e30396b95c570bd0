"""The animals and the vehicles of CIFAR-10 and of CIFAR-100: four tasks on disjoint images.

Real data of Krizhevsky 2009, who keeps the classes of the two apart: no image is in both, and no
class of one occurs in the other. Each task has its own images, so its partner can only teach it
through the shared weights.

CIFAR-100's animals are labelled by superclass and its vehicles by class. Both partners then have
about as many classes, 9 and 10. The tasks have 30,000, 20,000, 22,500 and 5,000 training images. A
--train-size no larger than the smallest of these makes partners of equal size.
"""

from typing import ClassVar

from bench.contracts import Dataset, DataSource
from bench.task_types import Classification
from bench.tasks import ImageSet, Task, TaskData

from .cifar10 import ANIMALS, VEHICLES, load_cifar10
from .cifar100 import load_cifar100

#: CIFAR-100's superclasses of animals, without people, which CIFAR-10 lacks: aquatic mammals,
#: fish, insects, large carnivores, large omnivores and herbivores, medium-sized mammals,
#: non-insect invertebrates, reptiles, small mammals.
_ANIMALS100 = (0, 1, 7, 8, 11, 12, 13, 15, 16)
#: The classes of its superclasses vehicles 1 and vehicles 2: bicycle, bus, motorcycle, pickup
#: truck, train; lawn mower, rocket, streetcar, tank, tractor.
_VEHICLES100 = (8, 13, 48, 58, 90, 41, 69, 81, 85, 89)

_RELATED = "the same things to look for, in other classes and on other images"
_UNRELATED = "photographs alike, but what tells {} apart is not what tells {} apart"


class CIFARBoth(Dataset):
    """Animals or vehicles of CIFAR-10 or CIFAR-100 (Krizhevsky 2009): 32 × 32 RGB, each task on
    its own images.

    Each task of CIFAR-10 is declared with a related and with an unrelated partner. Each partner is
    the related one once, so that relatedness is not confused with the partner's own effect.
    """

    name = "cifar-both"
    summary = "animals and vehicles of CIFAR-10 and CIFAR-100, each on its own images"
    needs = "--root DIR, --download to fetch CIFAR10 and CIFAR100 (339 MB)"
    images: ClassVar = {
        "animals10": "30,000 + 6,000 of CIFAR-10, 32 × 32 RGB",
        "vehicles10": "20,000 + 4,000 of CIFAR-10, 32 × 32 RGB",
        "animals100": "22,500 + 4,500 of CIFAR-100, 32 × 32 RGB",
        "vehicles100": "5,000 + 1,000 of CIFAR-100, 32 × 32 RGB",
    }
    tasks: ClassVar = {
        "animals10": "which animal of CIFAR-10, 6 classes",
        "vehicles10": "which vehicle of CIFAR-10, 4 classes",
        "animals100": "which superclass of CIFAR-100's animals, 9 classes",
        "vehicles100": "which vehicle of CIFAR-100, 10 classes",
    }
    pairs: ClassVar = (
        (("animals10", "animals100"), "positive", _RELATED),
        (("animals10", "vehicles100"), "none", _UNRELATED.format("animals", "vehicles")),
        (("vehicles10", "vehicles100"), "positive", _RELATED),
        (("vehicles10", "animals100"), "none", _UNRELATED.format("vehicles", "animals")),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return the four tasks, each on its own images `[N, 3, 32, 32]`."""
        ten, hundred = load_cifar10(source), load_cifar100(source)
        chosen = {
            "animals10": (ten, "labels", ANIMALS),
            "vehicles10": (ten, "labels", VEHICLES),
            "animals100": (hundred, "coarse_labels", _ANIMALS100),
            "vehicles100": (hundred, "fine_labels", _VEHICLES100),
        }
        data = {}
        for task, (parts, column, classes) in chosen.items():
            (train, train_labels), (test, test_labels) = (p.only(column, classes) for p in parts)
            images = ImageSet(f"{self.name}-{task}", train, test)
            kind = Task(task, Classification(), len(classes))
            data[task] = TaskData(kind, images, train_labels, test_labels)
        return data
