"""MultiMNIST: two overlapping digits in one image, one task each. Made from MNIST, never fetched.

Sabour et al. 2017 (capsules) overlaid digits; Sener & Koltun 2018 made the left and the right one
two tasks. Neither published a fixed set, so figures compare in sign and size, not to the digit.

Here: the first digit lies at the top left and the second at the bottom right of a 36 × 36 canvas,
8 pixels apart both ways; where they overlap the brighter pixel wins; the canvas shrinks to 28 × 28
by bilinear interpolation with anti-aliasing. Each MNIST image is the left digit once and the right
digit once, in pairs that are fixed for all seeds and follow the order of MNIST's files. The code
that Sener & Koltun published sets the digits 6 pixels apart, keeps the nearest pixel, and draws the
right digits with replacement, anew at each download. Both digits may be of one class in either.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bench.contracts import Dataset, DataSource, stream
from bench.tasks import Classification, ImageSet, Task, TaskData

from .mnist import Digits, load_digits

_OFFSET = 8
_BLOCK = 4096  # images resized at once: 4096 canvases of floats are 21 MB


def overlay(left: Tensor, right: Tensor) -> Tensor:
    """Return uint8 `[N, H, W]`: both images `[N, H, W]` on one canvas, resized to one's size."""
    count, height, width = left.shape
    canvas = left.new_zeros(count, height + _OFFSET, width + _OFFSET)
    canvas[:, :height, :width] = left
    corner = canvas[:, _OFFSET:, _OFFSET:]
    torch.maximum(corner, right, out=corner)
    resized = [
        F.interpolate(block[:, None].float(), (height, width), mode="bilinear", antialias=True)
        .round_()
        .clamp_(0, 255)
        .byte()
        for block in torch.split(canvas, _BLOCK)
    ]
    return torch.cat(resized)[:, 0]


def pair_up(part: Digits, role: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return overlaid images `[N, H, W]`, left digits and right digits `[N]` of one part."""
    partner = torch.randperm(len(part.digits), generator=stream(0, MultiMNIST.name, role))
    images = overlay(part.images, part.images[partner])
    return images, part.digits, part.digits[partner]


class MultiMNIST(Dataset):
    """Pairs of overlapping digits: 28 × 28 grey images, 60,000 from MNIST's training digits,
    10,000 from its test digits.
    """

    name = "multimnist"
    summary = "two overlapping handwritten digits, one task each"
    needs = "--root DIR, --download to fetch MNIST (12 MB)"
    tasks: ClassVar = {
        "left": "the digit at the top left, 10 classes",
        "right": "the digit at the bottom right, 10 classes",
    }
    pairs: ClassVar = (
        (
            ("left", "right"),
            "negative",
            "the digits are independent and compete for one trunk: Sener & Koltun 2018 report "
            "97.2/95.9 % alone and 96.5/95.0 % with uniform weights",
        ),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return both tasks on the same images `[N, 1, 28, 28]`."""
        train, test = load_digits(source)
        train_images, *train_labels = pair_up(train, "train")
        test_images, *test_labels = pair_up(test, "test")
        images = ImageSet(self.name, train_images[:, None], test_images[:, None])
        labels = zip(self.tasks, train_labels, test_labels, strict=True)
        return {
            side: TaskData(Task(side, Classification(), 10), images, *columns)
            for side, *columns in labels
        }
