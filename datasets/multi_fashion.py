"""MultiFashionMNIST: two overlapping garments in one image, one task each. Made, never fetched.

Lin et al. 2019 (Pareto Multi-Task Learning) built it to accompany MultiMNIST, together with a
variant of a digit and a garment. They published the three as fixed pickle files of 120,000 training
and 20,000 test images of 36 × 36, without the code that made them.

Ours has 60,000 and 10,000 images of 28 × 28, made from Fashion-MNIST as `_overlay.py` says. Our
partners are drawn differently, so figures compare in sign and size, not to the digit. A garment
fills its 28 × 28 frame where a digit leaves a border, so more is hidden here than in `multimnist`.
Both garments may be of one class.
"""

from typing import ClassVar

from bench.contracts import Dataset, DataSource
from bench.tasks import TaskData

from ._overlay import overlaid_tasks
from .fashion_mnist import load_garments


class MultiFashion(Dataset):
    """Pairs of overlapping garments: 28 × 28 grey images, 60,000 from Fashion-MNIST's training
    images, 10,000 from its test images.
    """

    name = "multi-fashion"
    summary = "two overlapping garments, one task each"
    needs = "--root DIR, --download to fetch FashionMNIST (31 MB)"
    images = "60,000 + 10,000, 28 × 28 grey"
    tasks: ClassVar = {
        "left": "the garment at the top left, 10 classes",
        "right": "the garment at the bottom right, 10 classes",
    }
    pairs: ClassVar = (
        (
            ("left", "right"),
            "negative",
            "the garments are independent, hide one another, and compete for one encoder",
        ),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return both tasks on the same images `[N, 1, 28, 28]`."""
        garments = load_garments(source)
        return overlaid_tasks(self.name, self.tasks, garments, garments)
