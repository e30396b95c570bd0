"""PASCAL VOC 2012: the class of each pixel, and which objects an image shows.

Real data of Everingham et al. 2010, in torchvision's layout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np

from bench.contracts import Dataset, DataSource
from bench.files import read_bytes
from bench.images import Row, read_mask
from bench.task_types import VOID, MultiLabel, Segmentation, TaskType
from bench.tasks import ImageSet, Task, TaskData

from ._files import Column, check_side, locate, pictures, read_examples, read_lines

_NAMES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
)
_OBJECTS = _NAMES.split()
#: Background, then the objects.
_CLASSES = 1 + len(_OBJECTS)
#: The lists of the training pool and of the test set.
_LISTS = ("train", "val")
#: The most bytes of an annotation.
_MOST_BYTES = 2**20
_NEEDED = ("JPEGImages", "SegmentationClass", "Annotations")


def _fetch(root: Path) -> None:
    from torchvision.datasets import VOCSegmentation  # here, because importing it takes seconds

    VOCSegmentation(root, year="2012", download=True)


def _read_classes(path: Path, side: int) -> Row:
    """Return the class of each pixel, or `VOID`, uint8 `[side, side]`."""
    classes = read_mask(path, (side, side))
    if strange := set(np.unique(classes).tolist()) - {*range(_CLASSES), VOID}:
        raise ValueError(f"there is no class {min(strange)}")
    return classes


def _read_objects(path: Path) -> Row:
    """Return, for each object, 1 where an annotation has it, else 0, float32 `[20]`.

    It is NaN where all objects of a class are marked difficult. The challenge counted such an image
    as neither present nor absent.
    """
    text = read_bytes(path, _MOST_BYTES).decode("utf-8")
    if "<!DOCTYPE" in text:
        # A document type in an untrusted file could define endless entities.
        raise ValueError("it declares a document type, which no annotation does")
    labels = np.zeros(len(_OBJECTS), np.float32)
    for found in ElementTree.fromstring(text).iter("object"):
        name = (found.findtext("name") or "").strip()
        if name not in _OBJECTS:
            raise ValueError(f"there is no object '{name}'")
        index = _OBJECTS.index(name)
        if (found.findtext("difficult") or "0").strip() != "1":
            labels[index] = 1
        elif labels[index] == 0:
            labels[index] = np.nan
    return labels


@dataclass(frozen=True)
class VOC(Dataset):
    """Photographs of 20 objects in their surroundings (Everingham et al. 2010), segmented.

    Images and maps are stretched to squares. The official lists of segmented images are the
    training pool (`train.txt`, 1,464) and the test set (`val.txt`, 1,449; the labels of the
    challenge's own test set were never published).
    """

    name = "voc"
    summary = "photographs of objects: the class of each pixel, which objects there are"
    needs = "--root DIR, --download to fetch it (2 GB)"
    images = "1,464 + 1,449, 128 × 128 RGB unless @side says otherwise"
    tasks: ClassVar[Mapping[str, str]] = {
        "segmentation": "background or one of 20 objects, a pixel",
        "objects": "which of 20 objects are there",
    }
    task_types: ClassVar[Mapping[str, TaskType]] = {
        "segmentation": Segmentation(),
        "objects": MultiLabel(),
    }
    pairs: ClassVar = (
        (
            ("segmentation", "objects"),
            "positive",
            "both ask which objects there are; one beside that where",
        ),
    )

    side: int = 128
    """Height and width of the images in pixels."""

    def __post_init__(self) -> None:
        check_side(self.side)

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return both tasks on the same images `[N, 3, side, side]`.

        Raises `UserError` with the fix where files are missing or broken.
        """
        lists = [f"ImageSets/Segmentation/{name}.txt" for name in _LISTS]
        folder = locate(
            source,
            "VOC2012",
            "VOCdevkit/VOC2012",
            [*_NEEDED, *lists],
            "unpack VOCtrainval_11-May-2012.tar of "
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012 there",
            _fetch,
            megabytes=2000,
        )
        names = {path: [line[0] for line in read_lines(folder / path, 1)] for path in lists}
        parts = {
            Path(path).name: {
                "images": pictures([folder / f"JPEGImages/{n}.jpg" for n in own], self.side),
                "segmentation": Column(
                    [folder / f"SegmentationClass/{n}.png" for n in own],
                    partial(_read_classes, side=self.side),
                    ["classes", self.side],
                    (self.side, self.side),
                ),
                "objects": Column(
                    [folder / f"Annotations/{n}.xml" for n in own],
                    _read_objects,
                    "objects",
                    (len(_OBJECTS),),
                    np.float32,
                ),
            }
            for path, own in names.items()
        }
        (train, test), notes = read_examples(source, "VOC2012", parts)
        images = ImageSet(self.name, train.rows["images"], test.rows["images"], notes=notes)
        outputs = {"segmentation": _CLASSES, "objects": len(_OBJECTS)}
        return {
            name: TaskData(
                Task(name, kind, outputs[name]), images, train.rows[name], test.rows[name]
            )
            for name, kind in self.task_types.items()
        }
