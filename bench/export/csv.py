"""Writes tidy tables: runs, their learning curves, and the gains of every row."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.clean import csv_cell
from bench.export import Exported, Exporter
from bench.files import write_files


class Csv(Exporter):
    """Three files for a spreadsheet or a data frame. No cell of them is a formula."""

    name = "csv"
    summary = "tidy tables of runs, learning curves and gains"

    def write(self, exported: Exported, folder: Path) -> None:
        """Write `runs.csv`, `curves.csv` and `gains.csv`."""
        runs = [{"name": run.name, **run.parameters, **run.metrics} for run in exported.runs]
        columns = list(dict.fromkeys(column for run in runs for column in run))
        curves = [
            {"key": run.id, "step": point.step, "what": name, "value": value}
            for run in exported.runs
            for point in run.curve
            for name, value in point.values.items()
        ]
        write_files(
            folder,
            {
                "runs.csv": _table(columns, runs),
                "curves.csv": _table(("key", "step", "what", "value"), curves),
                "gains.csv": exported.files["table.csv"].read_bytes(),
            },
        )

    def opened_by(self, folder: Path) -> str:
        """Return the files."""
        return ", ".join(str(folder / name) for name in ("runs.csv", "curves.csv", "gains.csv"))


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV; a row that lacks a column leaves it blank."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    writer.writerows([csv_cell(row.get(column, "")) for column in columns] for row in rows)
    return buffer.getvalue().encode()
