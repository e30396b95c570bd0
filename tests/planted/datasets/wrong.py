"""Data sets that break one promise each, for the tests of what finds it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from bench.contracts import Dataset, DataSource
from bench.task_types import Classification
from bench.tasks import ImageSet, TaskData, classification_tasks


class Sound(Dataset):
    """Noise of two labels."""

    name = "sound-data"
    summary = "noise"
    images: ClassVar[str | Mapping[str, str]] = "40 + 20, 16 × 16 grey"
    tasks: ClassVar = {"a": "first", "b": "second"}
    pairs: ClassVar = ((("a", "b"), "none", "noise"),)

    seed: ClassVar[int | None] = 0
    largest: ClassVar[int] = 3
    overlap: ClassVar[int] = 0

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Draw images and labels."""
        g = torch.Generator()
        if self.seed is None:
            g.seed()
        else:
            g.manual_seed(self.seed)
        pixels = torch.randint(0, 256, (60, 1, 16, 16), dtype=torch.uint8, generator=g)
        a, b = torch.randint(0, self.largest, (2, 60), generator=g)
        cut = 40 - self.overlap
        images = ImageSet(self.name, pixels[:40], pixels[cut:])
        return classification_tasks(images, {"a": (3, a[:40], a[cut:]), "b": (3, b[:40], b[cut:])})


class OutOfRange(Sound):
    """It has a class more than it says."""

    name = "out-of-range"
    largest = 5


class Leaky(Sound):
    """Some of its test images are training images."""

    name = "leaky"
    overlap = 5


class Drifting(Sound):
    """It is drawn anew each time."""

    name = "drifting"
    seed = None


class Missing(Sound):
    """It declares a task that it does not load."""

    name = "missing-task"
    tasks: ClassVar = {"a": "first", "b": "second", "c": "third"}


class Misdeclared(Sound):
    """It says that its tasks are on different images."""

    name = "misdeclared"
    images: ClassVar = {"a": "40 + 20 of one sort", "b": "40 + 20 of another"}


class Stray(Sound):
    """Its pair is of a task that it has not."""

    name = "stray-pair"
    pairs: ClassVar = ((("a", "z"), "none", "noise"),)


class Empty(Sound):
    """No image has a label."""

    name = "unlabelled"

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Return labels that are all missing."""
        images = super().load(source)["a"].images
        none = torch.full((60,), -1)
        column = (3, none[:40], none[40:])
        return classification_tasks(images, {"a": column, "b": column})


class Kept(Sound):
    """It ruins what it gave before when it is loaded again."""

    name = "keeps-one"
    _kept: ClassVar[dict[str, TaskData]] = {}

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Return the same tensors, with other labels."""
        if not self._kept:
            self._kept.update(super().load(source))
            return self._kept
        for data in self._kept.values():
            assert data.test_labels is not None
            data.test_labels.zero_()
        return super().load(source)


class _Erased(Classification):
    def measure(self, output: Tensor, target: Tensor) -> Tensor:
        """Forget the labels that are measured."""
        measured = super().measure(output, target)
        target.zero_()
        return measured


class Erased(Sound):
    """Scoring it changes its labels."""

    name = "erased"
    task_types: ClassVar = {"a": _Erased()}

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Return a task that is wrong and one that is not."""
        data = dict(super().load(source))
        data["a"] = replace(data["a"], task=replace(data["a"].task, type=_Erased()))
        return data


class Quits(Sound):
    """Its load ends the process."""

    name = "quits-loading"

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """End as if all were well."""
        os._exit(0)


class Exits(Sound):
    """Its load exits."""

    name = "exits-loading"

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Exit as if all were well."""
        sys.exit(0)
