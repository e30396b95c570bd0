"""The records of an experiment with what is computed from them. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Self

from bench.report import Report, write_report
from bench.report.write import over_smaller
from bench.stats.comparison import RowResult
from bench.stats.gains import Examples, Lookup, results
from bench.stats.levels import OverLevels
from bench.store.records import Declaration, Record
from bench.store.store import Store, reading_many


@dataclass(frozen=True, eq=False)
class Found:
    """A declared experiment, and what finds its records by key.

    `smaller` are its declarations at smaller levels, and `folder` is that of its report.
    """

    declaration: Declaration
    find: Lookup
    examples: Examples
    smaller: tuple[Declaration, ...]
    folder: Path

    @classmethod
    def of(cls, store: Store, declaration: Declaration, records: Mapping[str, Record]) -> Self:
        """Return an experiment of a store with its records, those of smaller levels as well."""
        *levels, _ = declaration.experiment.levels
        known = {found.experiment.name: found for found in store.experiments()} if levels else {}
        smaller = [known[one.name] for one in levels if one.name in known]
        others = [cache(store.reader(each)) for each in smaller]
        others += [cache(store.load)] if declaration.pilot else []

        def find(key: str) -> Record | None:
            return records.get(key) or next((r for other in others if (r := other(key))), None)

        return cls(
            declaration,
            find,
            lambda key: store.examples(records[key]),
            tuple(smaller),
            store.root / "reports" / declaration.experiment.name,
        )

    def written(self) -> Report:
        """Write the report. Raises `UserError` where the folder cannot be written."""
        return write_report(self.declaration, self.find, self.folder, self.examples, self.smaller)

    @cached_property
    def results(self) -> list[RowResult]:
        """The rows of the table."""
        return results(self.declaration, self.find, self.examples)

    @cached_property
    def over_levels(self) -> list[OverLevels]:
        """The rows at all budgets or training sizes, where there are several."""
        return over_smaller(self.declaration, self.results, self.find, self.smaller)


def read_records(store: Store, declaration: Declaration) -> dict[str, Record]:
    """Return the records of an experiment and of its trials by key, as far as there are any."""
    find = store.reader(declaration)
    with reading_many():
        found = {key: find(key) for key in declaration.keys | declaration.tuning_keys}
    return {key: record for key, record in found.items() if record is not None}
