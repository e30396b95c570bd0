"""A jigsaw as an auxiliary task (Noroozi & Favaro 2016): in which order are the tiles?

An image is cut into 2 × 2 tiles and put together in one of their 24 orders, which is the label. The
paper cuts 3 × 3 tiles with gaps, chooses orders far from each other and passes each tile through
the network separately. Here the puzzle is one image, as in Carlucci et al. 2019. So any encoder
reads it, and small images have small puzzles. There are no gaps, so edges may give orders away.
Each image has one order, drawn once. Where a side is odd, its last row or column stays. The puzzles
are made from the images that the seed has drawn. They pass through the encoder in addition to those
images.

Mirroring a puzzle makes a different puzzle with an unchanged label: with `augment = "crop+flip"` a
third of the labels are wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from torch import Tensor

from bench.tasks import TaskData

from ._pretext import which_change
from ._weighted import WeightedAuxiliary

_ORDERS = tuple(permutations(range(4)))


def puzzled(images: Tensor, orders: Tensor) -> Tensor:
    """Return images `[N, C, H, W]` with their quarters in the given orders, `[N]`.

    Order k puts tile `_ORDERS[k][p]` at place p; tiles and places count along the rows.
    """
    height, width = (side // 2 for side in images.shape[2:])
    places = [
        (slice(row, row + height), slice(column, column + width))
        for row in (0, height)
        for column in (0, width)
    ]
    out = images.clone()
    for number, order in enumerate(_ORDERS):
        chosen = (orders == number).nonzero()[:, 0]
        whole = images[chosen]
        for (rows, columns), tile in zip(places, order, strict=True):
            out[chosen, :, rows, columns] = whole[:, :, *places[tile]]
    return out


@dataclass(frozen=True)
class Jigsaw(WeightedAuxiliary):
    """Predict the order of an image's tiles."""

    name = "jigsaw"
    summary = "auxiliary task: in which order are the four tiles of the image?"
    paper = "Noroozi & Favaro 2016, Unsupervised Learning by Solving Jigsaw Puzzles"

    placebo: bool = False
    """Shuffle the labels among the images: the same cost, and nothing to learn from it."""

    def tasks(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the puzzle of the target's images."""
        orders = len(_ORDERS)
        return [which_change(target.images, self.name, orders, puzzled, self.placebo)]
