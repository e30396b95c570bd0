"""Data sets whose words are no text, or end whoever reads them."""

import sys
from collections.abc import Mapping, Sequence
from typing import ClassVar

from bench.contracts import Dataset, DataSource
from bench.tasks import Expectation, TaskData


class Unwritable(Dataset):
    """Has a task whose name is no UTF-8."""

    name = "unwritable"
    summary = "wrong on purpose"
    tasks: ClassVar = {"a": "first", "\ud800": "second"}
    pairs: ClassVar = ((("a", "\ud800"), None, ""),)

    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Load nothing."""
        return {}


class Exits(Unwritable):
    """Exits where it is asked for its pairs."""

    name = "exits-when-asked"
    tasks: ClassVar = {"a": "first", "b": "\ud800"}

    @property
    def pairs(self) -> Sequence[tuple[tuple[str, ...], Expectation | None, str]]:  # type: ignore[override]
        """Exit as if all were well."""
        sys.exit(0)
