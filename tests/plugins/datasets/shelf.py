"""Data sets with knobs and at a path, for tests of how users name them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from bench.contracts import Dataset, DataSource, UserError
from bench.tasks import ImageSet, TaskData, classification_tasks


@dataclass(frozen=True)
class Dial(Dataset):
    """Images whose brightness is the knob."""

    name = "dial"
    summary = "grey images"
    images = "20 + 20, 16 × 16 grey"
    tasks: ClassVar = {"a": "first", "b": "second"}
    pairs = ((("a", "b"), "none", "nothing to see"),)

    level: float = 0.5
    even: bool = False
    sides: tuple[int, ...] = (16, 16)

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 1:
            raise ValueError(f"level is between 0 and 1, not {self.level}")

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Draw nothing."""
        pixels = torch.full((20, 1, *self.sides), round(255 * self.level), dtype=torch.uint8)
        labels = torch.arange(20) % 2
        column = (2, labels, labels)
        return classification_tasks(ImageSet("dial", pixels, pixels), {"a": column, "b": column})


@dataclass(frozen=True)
class Shelf(Dataset):
    """What lies in a file: one task a word."""

    name = "shelf"
    summary = "tasks named in a file"
    takes_path = True
    pairs = ()

    path: str
    wide: bool = False

    @property
    def tasks(self) -> Mapping[str, str]:
        """Return the words."""
        if not Path(self.path).is_file():
            raise UserError(f"'{self.path}' is no file")
        return dict.fromkeys(Path(self.path).read_text("utf-8").split(), "a word")

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Return nothing."""
        return {}
