"""Writes the report's rows as a LaTeX table."""

from pathlib import Path

from bench.export import Exported, Exporter
from bench.files import write_atomically
from bench.report.text.latex import latex_table


class Latex(Exporter):
    """One file that a paper takes in."""

    name = "latex"
    summary = "the report's rows as a table for a paper (booktabs)"

    def write(self, exported: Exported, folder: Path) -> None:
        """Write `table.tex`."""
        write_atomically(folder / "table.tex", latex_table(exported.results).encode())

    def opened_by(self, folder: Path) -> str:
        """Return the line that takes the table in."""
        return rf"\usepackage{{booktabs}} and \input{{{folder / 'table.tex'}}}"
