"""Cityscapes: the class and the inverse depth of every pixel of a street.

Real data of Cordts et al. 2016, prepared by Liu et al. 2019 (MTAN), with disparities in place of
distances. The 7 classes are the categories flat, construction, object, nature, sky, human and
vehicle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bench.contracts import Dataset, DataSource
from bench.task_types import Depth, Segmentation, TaskType
from bench.tasks import TaskData

from ._maps import Layout, load_maps

_GET = (
    "get the prepared set of 128 × 256 (651 MB) that https://github.com/lorenmt/mtan links to and "
    "unpack it there, so that it holds cityscapes/train/image/0.npy"
)


@dataclass(frozen=True)
class Cityscapes(Dataset):
    """Street scenes (Cordts et al. 2016) as MTAN and LibMTL read them, 128 × 256.

    Part `train` (2,975) is the training pool, part `val` (500) the test set. The task called depth
    is the disparity of the two cameras, from 0, far away, to about 0.5, without a unit. Its
    relative error is inherently large, because it divides by numbers near 0 wherever the view is
    far. Scores are over all pixels of the test set, as LibMTL's are; MTAN averages those of images
    and batches.
    """

    name = "cityscapes"
    summary = "streets: the class and the inverse depth of every pixel"
    needs = "--root DIR, files fetched by hand (651 MB, as MTAN released them)"
    images = "2,975 + 500, 128 × 256 RGB unless @shrink says otherwise"
    tasks: ClassVar[Mapping[str, str]] = {
        "segmentation": "one of 7 classes, a pixel",
        "depth": "how near (inverse depth), a pixel",
    }
    task_types: ClassVar[Mapping[str, TaskType]] = {
        "segmentation": Segmentation(),
        "depth": Depth(""),
    }
    pairs: ClassVar = (
        (
            ("segmentation", "depth"),
            "positive",
            "the road rises towards the horizon, things stand on it, and the sky is far away",
        ),
    )

    shrink: int = 1
    """Side, in pixels, of the squares that become one pixel."""

    def __post_init__(self) -> None:
        self._layout()

    def _layout(self) -> Layout:
        return Layout(128, 256, 7, self.shrink)

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return both tasks on the same images `[N, 3, 128, 256]`, over `shrink`.

        Raises `UserError` with the fix where files are missing or broken.
        """
        return load_maps(source, self, "Cityscapes", self._layout(), _GET)
