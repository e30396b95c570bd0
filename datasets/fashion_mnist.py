"""Fashion-MNIST with three label columns: the garment, its group, and how bright it is.

Real data of Xiao et al. 2017. All images are Fashion-MNIST's own.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bench.contracts import Dataset, DataSource
from bench.tasks import ImageSet, TaskData, classification_tasks

from ._bins import QUARTERS, quarters
from ._idx import Labelled, load_idx

#: The group (tops, trousers, dresses and coats, shoes, bags) of each class: T-shirt/top, trouser,
#: pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot.
_GROUP_OF = (0, 1, 0, 2, 2, 3, 0, 3, 4, 3)
_BLOCK = 4096  # images whose greys are summed at once: 26 MB of int64


def load_garments(source: DataSource) -> tuple[Labelled, Labelled]:
    """Return the training and the test part of Fashion-MNIST, checked.

    Files lie in `FashionMNIST/raw` under the root. Raises `UserError` as `load_idx` does.
    """
    return load_idx(source, "FashionMNIST", megabytes=31)


def brightness(images: Tensor) -> Tensor:
    """Return the mean grey of each image's garment, `[N, H, W]` uint8 to float64 `[N]`, 0 to 255.

    The garment is every pixel that is not 0, so that a large garment is not brighter for its size.
    An empty image has 0.
    """
    # Summed in integers, so that the labels are the same on every machine.
    means = [
        block.sum(1).double() / block.count_nonzero(1).clamp(min=1)
        for block in torch.split(images.flatten(1), _BLOCK)
    ]
    return torch.cat(means)


class FashionMNIST(Dataset):
    """Articles of clothing (Xiao et al. 2017): 28 × 28 grey images, 60,000 and 10,000."""

    name = "fashion-mnist"
    summary = "articles of clothing: which garment, which group, how bright"
    needs = "--root DIR, --download to fetch it (31 MB)"
    images = "60,000 + 10,000, 28 × 28 grey"
    tasks: ClassVar = {
        "garment": "which garment, 10 classes",
        "group": "tops, trousers, dresses and coats, shoes or bags, 5 classes",
        "brightness": "quarter of the training set's mean greys, 4 classes",
    }
    pairs: ClassVar = (
        (
            ("garment", "brightness"),
            "none",
            "how bright the cloth is says little about the cut, which is what tells garments apart",
        ),
        (
            ("garment", "group"),
            None,
            "group is a function of the garment: its labels add nothing that garment's lack, but "
            "garment's finer ones may help group",
        ),
    )

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return the three tasks on the same images `[N, 1, 28, 28]`."""
        train, test = load_garments(source)
        images = ImageSet(self.name, train.images[:, None], test.images[:, None])
        group_of = torch.tensor(_GROUP_OF)
        levels = quarters(brightness(train.images), brightness(test.images))
        return classification_tasks(
            images,
            {
                "garment": (10, train.classes, test.classes),
                "group": (max(_GROUP_OF) + 1, group_of[train.classes], group_of[test.classes]),
                "brightness": (QUARTERS, *levels),
            },
        )
