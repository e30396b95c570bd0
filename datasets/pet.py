"""Oxford-IIIT Pet: which breed, cat or dog, and where in the image the animal is.

Real data of Parkhi et al. 2012, in torchvision's layout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from bench.contracts import Dataset, DataSource
from bench.images import Row, read_mask
from bench.task_types import Segmentation, TaskType
from bench.tasks import ImageSet, Task, TaskData, classification_tasks

from ._files import Column, check_side, locate, numbers, pictures, read_examples, read_lines

_BREEDS = 37
_SPECIES = 2
#: Animal, background, and the border between them, which the annotators left undecided.
_REGIONS = 3
#: The lists of the training pool and of the test set.
_LISTS = ("trainval", "test")


def _fetch(root: Path) -> None:
    from torchvision.datasets import OxfordIIITPet  # here, because importing it takes seconds

    OxfordIIITPet(root, download=True)


def _read_trimap(path: Path, side: int) -> Row:
    """Return the region of each pixel, counted from 0, uint8 `[side, side]`."""
    trimap = read_mask(path, (side, side))
    if trimap.min() < 1 or trimap.max() > _REGIONS:
        raise ValueError(f"a trimap holds 1 to {_REGIONS}, this {trimap.min()} to {trimap.max()}")
    return trimap - 1


@dataclass(frozen=True)
class Pet(Dataset):
    """Photographs of 25 breeds of dogs and 12 of cats (Parkhi et al. 2012).

    Images and trimaps are stretched to squares. The official lists are the training pool
    (`trainval.txt`, 3,680) and the test set (`test.txt`, 3,669).
    """

    name = "pet"
    summary = "photographs of pets: which breed, cat or dog, where it is"
    needs = "--root DIR, --download to fetch it (811 MB)"
    images = "3,680 + 3,669, 64 × 64 RGB unless @side says otherwise"
    tasks: ClassVar[Mapping[str, str]] = {
        "breed": "which breed, 37 classes",
        "species": "cat or dog, 2 classes",
        "segmentation": "animal, background or border, a pixel",
    }
    task_types: ClassVar[Mapping[str, TaskType]] = {"segmentation": Segmentation()}
    pairs: ClassVar = (
        (
            ("breed", "segmentation"),
            "positive",
            "where the animal is says what of the image tells its breed, and with so few images "
            "that is hard to find out otherwise",
        ),
        (
            ("breed", "species"),
            None,
            "species is a function of the breed: its labels add nothing that breed's lack, but "
            "breed's finer ones may help species",
        ),
    )

    side: int = 64
    """Height and width of the images in pixels."""

    def __post_init__(self) -> None:
        check_side(self.side)

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return the three tasks on the same images `[N, 3, side, side]`.

        Raises `UserError` with the fix where files are missing or broken.
        """
        folder = locate(
            source,
            "Oxford-IIIT Pet",
            "oxford-iiit-pet",
            ["images", "annotations/trimaps", *(f"annotations/{name}.txt" for name in _LISTS)],
            "unpack images.tar.gz and annotations.tar.gz of "
            "https://www.robots.ox.ac.uk/~vgg/data/pets into 'oxford-iiit-pet' there",
            _fetch,
            megabytes=811,
        )
        lists = [folder / "annotations" / f"{name}.txt" for name in _LISTS]
        lines = [read_lines(path, 4) for path in lists]
        labels = [
            {
                "breed": numbers(path, [line[1] for line in own], range(1, _BREEDS + 1)) - 1,
                "species": numbers(path, [line[2] for line in own], range(1, _SPECIES + 1)) - 1,
            }
            for path, own in zip(lists, lines, strict=True)
        ]
        parts = {
            path.name: {
                "images": pictures([folder / f"images/{line[0]}.jpg" for line in own], self.side),
                "trimaps": Column(
                    [folder / f"annotations/trimaps/{line[0]}.png" for line in own],
                    partial(_read_trimap, side=self.side),
                    ["trimap", self.side],
                    (self.side, self.side),
                ),
            }
            for path, own in zip(lists, lines, strict=True)
        }
        (train, test), notes = read_examples(source, "Oxford-IIIT Pet", parts)
        images = ImageSet(self.name, train.rows["images"], test.rows["images"], notes=notes)
        columns = {
            name: (classes, labels[0][name][train.kept], labels[1][name][test.kept])
            for name, classes in (("breed", _BREEDS), ("species", _SPECIES))
        }
        regions = Task("segmentation", self.task_types["segmentation"], _REGIONS)
        trimaps = TaskData(regions, images, train.rows["trimaps"], test.rows["trimaps"])
        return {**classification_tasks(images, columns), "segmentation": trimaps}
