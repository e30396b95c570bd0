"""A tiny data set for tests: bright bars whose row is one label and whose column is another."""

import os
import sys
from collections.abc import Mapping
from typing import ClassVar

import torch

from bench.contracts import Dataset, DataSource
from bench.task_types import Classification
from bench.tasks import ImageSet, Task, TaskData


class Toy(Dataset):
    """Two bars on noise, 16 × 16 grey: which row, which column, and whether both are low."""

    name = "toy"
    summary = "two bars on noise"
    tasks: ClassVar = {"row": "4 rows", "column": "4 columns", "low": "both in the upper half"}
    pairs = ((("row", "column"), "positive", "both find bars"), (("row", "low"), None, ""))

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Draw 300 training and 100 test images, unless BENCH_TEST_DOOM says how to end instead."""
        match os.environ.get("BENCH_TEST_DOOM"):
            case "quit":
                os._exit(0)
            case "exit":
                sys.exit(0)
        generator = torch.Generator().manual_seed(7)
        count = 400
        row, column = torch.randint(0, 4, (2, count), generator=generator)
        images = torch.randint(0, 100, (count, 1, 16, 16), dtype=torch.uint8, generator=generator)
        for image, r, c in zip(images, row, column, strict=True):
            image[0, 4 * r + 1 : 4 * r + 3] += 100
            image[0, :, 4 * c + 1 : 4 * c + 3] += 50
        bars = ImageSet("toy", images[:300], images[300:])
        labels = {
            "row": (row, 4),
            "column": (column, 4),
            "low": (((row < 2) & (column < 2)).long(), 2),
        }
        return {
            name: TaskData(Task(name, Classification(), classes), bars, y[:300], y[300:])
            for name, (y, classes) in labels.items()
        }
