"""A data set that ends whoever asks for its tasks."""

import os
from collections.abc import Mapping
from typing import ClassVar

from bench.contracts import Dataset, DataSource
from bench.tasks import TaskData


class Tasks(Dataset):
    """Has tasks, if one can live with that."""

    name = "tasks"
    summary = "wrong on purpose"
    pairs: ClassVar = ((("a", "b"), None, ""),)

    @property
    def tasks(self) -> Mapping[str, str]:
        """End the process."""
        os._exit(0)

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Load nothing."""
        return {}
