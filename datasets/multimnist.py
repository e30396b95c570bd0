"""MultiMNIST: two overlapping digits in one image, one task each. Made from MNIST, never fetched.

Sabour et al. 2017 (capsules) overlaid digits; Sener & Koltun 2018 made the left and the right one
two tasks. Neither published a fixed set, so figures compare in sign and size, not to the digit.

Here: `_overlay.py` says how two digits become one 28 × 28 image. The code that Sener & Koltun
published sets the digits 6 pixels apart, keeps the nearest pixel, and draws the right digits with
replacement, anew at each download. Both digits may be of one class in either.
"""

from typing import ClassVar

from bench.contracts import Dataset, DataSource
from bench.tasks import TaskData

from ._overlay import overlaid_tasks
from .mnist import load_digits


class MultiMNIST(Dataset):
    """Pairs of overlapping digits: 28 × 28 grey images, 60,000 from MNIST's training digits,
    10,000 from its test digits.
    """

    name = "multimnist"
    summary = "two overlapping handwritten digits, one task each"
    needs = "--root DIR, --download to fetch MNIST (12 MB)"
    images = "60,000 + 10,000, 28 × 28 grey"
    tasks: ClassVar = {
        "left": "the digit at the top left, 10 classes",
        "right": "the digit at the bottom right, 10 classes",
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
        """Return both tasks on the same images `[N, 1, 28, 28]`."""
        digits = load_digits(source)
        return overlaid_tasks(self.name, self.tasks, digits, digits)
