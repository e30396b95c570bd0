"""CelebA: forty yes-or-no attributes of faces, any two of which make a pair.

Real data of Liu et al. 2015, in torchvision's layout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Dataset, DataSource, UserError
from bench.task_types import MultiLabel, TaskType
from bench.tasks import ImageSet, Task, TaskData, classification_tasks

from ._files import check_side, locate, numbers, pictures, read_examples, read_lines, read_text

#: The names and order of the attribute list.
_NAMES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose "
    "Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee "
    "Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard "
    "Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair "
    "Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young"
)
_ATTRIBUTES = _NAMES.split()
#: The parts of the official split that are used, and their numbers in its list.
_PARTS = {"train": 0, "test": 2}
_SPLIT = "list_eval_partition.txt"
_LIST = "list_attr_celeba.txt"
_GET = (
    f"get {_LIST}, {_SPLIT} and img_align_celeba.zip from "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html into 'celeba' there and unpack the images "
    "(torchvision too fetches them from Google Drive only, with the package gdown)"
)


def _read_attributes(path: Path) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int8]]]:
    """Return the attributes of each image, 1 or −1, by the image's name.

    The list holds the number of images, then the names of the attributes, then one line per image.
    Raises `UserError` where the file is not such a list.
    """

    def broken(what: str) -> UserError:
        return UserError(f"'{path}' is no list of CelebA's attributes ({what}): fetch it again")

    found = {}
    try:
        lines = iter(read_text(path).splitlines())
        next(lines, "")
        if next(lines, "").split() != _ATTRIBUTES:
            raise broken("its second line does not name the forty attributes")
        for number, line in enumerate(lines, 3):
            image, *words = line.split() or [""]
            values = np.array([int(word) for word in words], np.int8)
            if len(values) != len(_ATTRIBUTES) or (np.abs(values) != 1).any():
                raise broken(f"line {number} is no image with forty values of 1 or -1")
            found[image] = values
    except (ValueError, OverflowError) as error:
        raise broken(str(error)) from error
    return found


@dataclass(frozen=True)
class CelebA(Dataset):
    """Aligned photographs of celebrities' faces (Liu et al. 2015), stretched to squares.

    The training part of the official split (162,770) is the training pool and its test part
    (19,962) the test set; no person is in both. The validation part is left out, because the
    harness holds out images of the pool for its curves. Published figures are for networks
    trained on the training part.
    """

    name = "celeba"
    summary = "faces: forty yes-or-no attributes"
    needs = "--root DIR, files fetched by hand (1.4 GB, from Google Drive)"
    images = "162,770 + 19,962, 64 × 64 RGB unless @side says otherwise"
    tasks: ClassVar[Mapping[str, str]] = {
        **{name: f"{name.replace('_', ' ')}: yes or no" for name in _ATTRIBUTES},
        "attributes": "all forty attributes at once",
    }
    task_types: ClassVar[Mapping[str, TaskType]] = {"attributes": MultiLabel()}
    pairs: ClassVar = (
        (
            ("Mouth_Slightly_Open", "Smiling"),
            "positive",
            "both read the mouth, and most smiles open it",
        ),
        (
            ("Bangs", "Mouth_Slightly_Open"),
            "none",
            "hair on the forehead and the mouth are apart, and neither says much of the other",
        ),
    )

    side: int = 64
    """Height and width of the images in pixels."""

    def __post_init__(self) -> None:
        check_side(self.side)

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return every attribute and all together, on the same images `[N, 3, side, side]`.

        Raises `UserError` with the fix where files are missing or broken.
        """
        folder = locate(source, "CelebA", "celeba", ["img_align_celeba", _LIST, _SPLIT], _GET)
        split = read_lines(folder / _SPLIT, 2)
        attributes = _read_attributes(folder / _LIST)
        part_of = numbers(folder / _SPLIT, [part for _, part in split], range(3))
        names = {
            part: [split[index][0] for index in (part_of == number).nonzero()[:, 0].tolist()]
            for part, number in _PARTS.items()
        }
        for part, own in names.items():
            if strange := next((name for name in own if name not in attributes), None):
                raise UserError(
                    f"'{folder / _LIST}' does not have {strange}, which is in '{_SPLIT}': "
                    "fetch both again"
                )
            if not own:
                raise UserError(f"'{folder / _SPLIT}' has no image of {part}: fetch it again")
        parts = {
            part: {"images": pictures([folder / "img_align_celeba" / n for n in own], self.side)}
            for part, own in names.items()
        }
        examples, notes = read_examples(source, "CelebA", parts)
        train, test = (part.rows["images"] for part in examples)
        images = ImageSet(self.name, train, test, notes=notes)
        labels: list[Tensor] = []
        for own, read in zip(names.values(), examples, strict=True):
            table = torch.from_numpy(np.stack([attributes[name] for name in own]))
            labels.append((table > 0)[read.kept])
        columns = {
            name: (2, labels[0][:, index].long(), labels[1][:, index].long())
            for index, name in enumerate(_ATTRIBUTES)
        }
        together = Task("attributes", self.task_types["attributes"], len(_ATTRIBUTES))
        every = TaskData(together, images, labels[0].float(), labels[1].float())
        return {**classification_tasks(images, columns), "attributes": every}
