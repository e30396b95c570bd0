"""A table of measurements: whole numbers for programs, formatted ones for people."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from bench.speed.turns import Ratio

NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """A key of the rows, its heading, and how its values are shown."""

    key: str
    heading: str
    show: Callable[[Any], str] = str


@dataclass(frozen=True)
class Table:
    """One table of the report, with its notes."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()

    def cells(self) -> list[list[str]]:
        """Return the formatted rows; a dash where there is nothing."""
        return [
            [
                NOTHING if (value := row.get(column.key)) is None else column.show(value)
                for column in self.columns
            ]
            for row in self.rows
        ]

    def markdown(self) -> str:
        """Return title, table and notes."""
        from bench.report.text.table import grid

        body = grid([column.heading for column in self.columns], self.cells())
        return "\n\n".join([f"## {self.title}", body, *self.notes])

    def document(self) -> dict[str, Any]:
        """Return the same as JSON-able data, never rounded."""
        rows = [{key: _plain(value) for key, value in row.items()} for row in self.rows]
        return {"name": self.name, "title": self.title, "rows": rows, "notes": list(self.notes)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value


def number(value: float) -> str:
    """Return three digits."""
    digits = 2 if not value else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds."""
    return number(1e3 * seconds)


def percent(share: float) -> str:
    """Return a share."""
    return f"{100 * share:.1f} %"


def times(ratio: Ratio) -> str:
    """Return a ratio with its interval."""
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def met(value: bool) -> str:
    """Return whether a goal is met."""
    return "yes" if value else "**no**"
