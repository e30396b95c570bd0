"""Two overlapping images in one, one task each. Not a data set itself.

The canvas is 8 pixels higher and wider than an image. The first image lies at its top left and the
second at its bottom right, 8 pixels apart in both directions. Where they overlap, the brighter
pixel wins. The canvas shrinks to the size of one image by bilinear interpolation with
anti-aliasing. Each image is once the left one and once the right one. The pairs are fixed for all
seeds and follow the order of the files.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bench.contracts import UserError, stream
from bench.tasks import ImageSet, TaskData, classification_tasks

from ._idx import Labelled

_OFFSET = 8
_BLOCK = 1024  # images resized at once: that many canvases of floats take 5 MB


def overlay(left: Tensor, right: Tensor) -> Tensor:
    """Return uint8 `[N, H, W]`: both images `[N, H, W]` on one canvas, resized to one's size."""
    overlaid = torch.empty_like(left)
    blocks = (torch.split(images, _BLOCK) for images in (left, right, overlaid))
    for first, second, out in zip(*blocks, strict=True):
        count, height, width = first.shape
        canvas = first.new_zeros(count, height + _OFFSET, width + _OFFSET)
        canvas[:, :height, :width] = first
        corner = canvas[:, _OFFSET:, _OFFSET:]
        torch.maximum(corner, second, out=corner)
        resized = F.interpolate(
            canvas[:, None].float(), (height, width), mode="bilinear", antialias=True
        )
        out.copy_(resized[:, 0].round_().clamp_(0, 255))
    return overlaid


def pair_up(
    left: Labelled, right: Labelled, dataset: str, part: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return overlaid images `[N, H, W]`, and the classes `[N]` of the left and the right image.

    The names of the data set and of its part key the draw of the partners. Raises `UserError`
    unless both sides have the same number of images.
    """
    count = len(left.images)
    if len(right.images) != count:
        raise UserError(
            f"{dataset} needs as many images for the left as for the right, but found {count:,} "
            f"and {len(right.images):,}: check that the files under --root are the whole sets"
        )
    partner = torch.randperm(count, generator=stream(0, dataset, part))
    images = overlay(left.images, right.images[partner])
    return images, left.classes, right.classes[partner]


def overlaid_tasks(
    dataset: str,
    sides: Iterable[str],
    left: tuple[Labelled, Labelled],
    right: tuple[Labelled, Labelled],
) -> dict[str, TaskData]:
    """Return the tasks of the two `sides`, left first, on the same images `[N, 1, H, W]`.

    `left` and `right` are the training and the test part for that side, of 10 classes each.
    `dataset` names the images and keys the draw of the partners.
    """
    train_images, *train_classes = pair_up(left[0], right[0], dataset, "train")
    test_images, *test_classes = pair_up(left[1], right[1], dataset, "test")
    images = ImageSet(dataset, train_images[:, None], test_images[:, None])
    columns = zip(sides, train_classes, test_classes, strict=True)
    return classification_tasks(images, {side: (10, a, b) for side, a, b in columns})
