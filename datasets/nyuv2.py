"""NYUv2: the class, the distance and the direction of the surface at every pixel of a room.

Real data of Silberman et al. 2012, prepared by Liu et al. 2019 (MTAN): 13 classes, and normals that
were computed beforehand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bench.contracts import Dataset, DataSource
from bench.task_types import Depth, Segmentation, SurfaceNormals, TaskType
from bench.tasks import TaskData

from ._maps import Layout, load_maps

_GET = (
    "get the prepared nyuv2.zip that https://github.com/lorenmt/mtan links to and unpack it there, "
    "so that it holds nyuv2/train/image/0.npy"
)


@dataclass(frozen=True)
class NYUv2(Dataset):
    """Indoor scenes (Silberman et al. 2012) as MTAN and LibMTL read them, 288 × 384.

    Part `train` (795) is the training pool, part `val` (654) the test set. Scores are over all
    pixels of the test set, as LibMTL's are. MTAN averages those of images and batches, so its
    figures compare in size, not to the digit.
    """

    name = "nyuv2"
    summary = "rooms: the class, the distance and the direction of every pixel"
    needs = "--root DIR, files fetched by hand (as MTAN released them)"
    images = "795 + 654, 288 × 384 RGB unless @shrink says otherwise"
    tasks: ClassVar[Mapping[str, str]] = {
        "segmentation": "one of 13 classes, a pixel",
        "depth": "how far away, a pixel",
        "normals": "where the surface faces, a pixel",
    }
    task_types: ClassVar[Mapping[str, TaskType]] = {
        "segmentation": Segmentation(),
        "depth": Depth("m"),
        "normals": SurfaceNormals(),
    }
    pairs: ClassVar = (
        (
            ("segmentation", "depth"),
            "positive",
            "things end where the distance jumps, and each kind of thing has its place in a room",
        ),
        (
            ("depth", "normals"),
            "positive",
            "a normal is the slope of the distance: both are the same surface",
        ),
    )

    shrink: int = 1
    """Side, in pixels, of the squares that become one pixel."""

    def __post_init__(self) -> None:
        self._layout()

    def _layout(self) -> Layout:
        return Layout(288, 384, 13, self.shrink)

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return the three tasks on the same images `[N, 3, 288, 384]`, over `shrink`.

        Raises `UserError` with the fix where files are missing or broken.
        """
        return load_maps(source, self, "NYUv2", self._layout(), _GET)
