"""Multi-(Fashion+MNIST): a digit and a garment that overlap, one task each. Made, never fetched.

Lin et al. 2019 (Pareto Multi-Task Learning) built it to accompany MultiMNIST, together with a
variant of two garments. They published the three as fixed pickle files of 120,000 training and
20,000 test images of 36 × 36, without the code that made them.

Ours has 60,000 and 10,000 images of 28 × 28, made from MNIST and Fashion-MNIST as `_overlay.py`
says, with the digit at the top left. Our partners are drawn differently, so figures compare in sign
and size, not to the digit. Digits are easier to tell apart than garments, so the tasks differ in
difficulty.
"""

from typing import ClassVar

from bench.contracts import Dataset, DataSource
from bench.tasks import TaskData

from ._overlay import overlaid_tasks
from .fashion_mnist import load_garments
from .mnist import load_digits


class MultiMixed(Dataset):
    """Digits overlapping garments: 28 × 28 grey images, 60,000 from the training images of MNIST
    and Fashion-MNIST, 10,000 from their test images.
    """

    name = "multi-mixed"
    summary = "a handwritten digit and a garment that overlap, one task each"
    needs = "--root DIR, --download to fetch MNIST and FashionMNIST (43 MB)"
    images = "60,000 + 10,000, 28 × 28 grey"
    tasks: ClassVar = {
        "left": "the digit at the top left, 10 classes",
        "right": "the garment at the bottom right, 10 classes",
    }
    pairs: ClassVar = (
        (
            ("left", "right"),
            "negative",
            "digit and garment are independent and unlike in form, so they compete for one encoder",
        ),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return both tasks on the same images `[N, 1, 28, 28]`."""
        return overlaid_tasks(self.name, self.tasks, load_digits(source), load_garments(source))
