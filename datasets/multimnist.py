"""MultiMNIST: two overlapping digits in one image, one task each. Made from MNIST, never fetched.

Sabour et al. 2017 (capsules) overlaid digits; Sener & Koltun 2018 made the left and the right one
two tasks. Neither published a fixed set, so figures compare in sign and size, not to the digit.

Here: `_overlay.py` says how two digits become one 28 × 28 image. The code that Sener & Koltun
published sets the digits 6 pixels apart, keeps the nearest pixel, and draws the right digits with
replacement, anew at each download. Both digits may be of one class in either.

Two more tasks ask for the parity of each digit. So four tasks lie on one image, and those of a side
look at the same digit: a set whose natural grouping is known.
"""

from typing import ClassVar

from bench.contracts import Dataset, DataSource
from bench.tasks import TaskData, classification_tasks

from ._overlay import overlaid_tasks
from .mnist import load_digits


class MultiMNIST(Dataset):
    """Pairs of overlapping digits: 28 × 28 grey images, 60,000 from MNIST's training digits,
    10,000 from its test digits.
    """

    name = "multimnist"
    summary = "two overlapping handwritten digits: which is on each side, and whether it is odd"
    needs = "--root DIR, --download to fetch MNIST (12 MB)"
    images = "60,000 + 10,000, 28 × 28 grey"
    tasks: ClassVar = {
        "left": "the digit at the top left, 10 classes",
        "right": "the digit at the bottom right, 10 classes",
        "left-parity": "whether the left one is odd or even, 2 classes",
        "right-parity": "whether the right one is odd or even, 2 classes",
    }
    pairs: ClassVar = (
        (
            ("left", "right"),
            "negative",
            "the digits are independent and compete for one encoder: Sener & Koltun 2018 report "
            "97.2/95.9 % alone and 96.5/95.0 % with uniform weights",
        ),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return all tasks on the same images `[N, 1, 28, 28]`."""
        digits = load_digits(source)
        sides = overlaid_tasks(self.name, ("left", "right"), digits, digits)
        parities = {
            f"{side}-parity": (2, data.train_labels % 2, data.test_labels % 2)
            for side, data in sides.items()
        }
        return sides | classification_tasks(sides["left"].images, parities)
