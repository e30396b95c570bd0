"""What an experiment found, for programs and notebooks. Needs no torch."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.found import Found
from bench.api.frames import GAIN_COLUMNS, data_frame, html_table
from bench.decide.pairs import decisions
from bench.errors import UserError, unknown
from bench.report import RunCounts
from bench.report.selection import MOST_PAIRS, extremes
from bench.report.text.decision import sentence
from bench.report.text.document import gain_rows
from bench.report.text.latex import latex_table
from bench.report.text.wording import halved_gain
from bench.report.tidy import CURVE_COLUMNS, RUN_COLUMNS, curve_rows, run_rows
from bench.report.write import count_runs, drawings
from bench.spec.experiment import Experiment
from bench.stats.comparison import RowResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Decision:
    """What is decided for the tasks that one network may serve.

    `choice` is `share`, `separate`, `trade` or `undecided`. `strategy` is the one to share with, or
    the one that shows the trade; empty otherwise. `p` is the p-value of what was decided, NaN where
    nothing was. `seeds` are those that may decide it; None where it is decided, or none would.
    `sentence` says all of it.
    """

    pair: str
    targets: tuple[str, ...]
    choice: str
    strategy: str
    p: float
    seeds: int | None
    sentence: str

    def __str__(self) -> str:
        return self.sentence


class Report:
    """What an experiment found. It computes what is asked for, and nothing changes it.

    A frame is made anew at each access, so it is yours to change. Frames need pandas; without it
    they raise `UserError` with the command that installs it.
    """

    def __init__(self, found: Found) -> None:
        self._found = found

    @property
    def name(self) -> str:
        """The name of the report."""
        return self.experiment.name

    @property
    def experiment(self) -> Experiment:
        """What was asked, with every setting."""
        return self._found.declaration.experiment

    @property
    def folder(self) -> Path:
        """The folder of its tables, data and plots."""
        return self._found.folder

    @property
    def files(self) -> Mapping[str, Path]:
        """The files in its folder by name, such as `table.md`."""
        return {path.name: path for path in sorted(self.folder.glob("*")) if path.is_file()}

    @property
    def results(self) -> tuple[RowResult, ...]:
        """The rows of the table, with all that is known of each."""
        return tuple(self._found.results)

    @property
    def counts(self) -> RunCounts:
        """How many runs are planned, have ended well, and have not."""
        return count_runs(self._found.declaration, self._found.find)

    @cached_property
    def decision(self) -> tuple[Decision, ...]:
        """One model or several, for each set of tasks that one network was trained to serve."""
        rows = self._found.declaration.rows
        return tuple(
            Decision(
                pair=tasks.pair,
                targets=tasks.targets,
                choice=str(tasks.decision.choice),
                strategy=tasks.decision.strategy,
                p=tasks.decision.p,
                seeds=tasks.decision.seeds,
                sentence=sentence(tasks, self.experiment),
            )
            for tasks in decisions(rows, self._found.results)
        )

    @property
    def gains(self) -> "pd.DataFrame":
        """The gains, a row for each row of the table and what it is compared with.

        The columns are those of `table.csv`.
        """
        rows = gain_rows(self._found.declaration, self._found.results)
        for row in rows:
            row["audit_passed"] = row["audit_passed"] == "true"
        return data_frame(GAIN_COLUMNS, rows)

    @property
    def runs(self) -> "pd.DataFrame":
        """The runs that the table reads, a row for each run, target and metric.

        It is what `runs.parquet` has. Runs of tuning and pilots are left out.
        """
        return data_frame(RUN_COLUMNS, run_rows(self._found.declaration, self._found.find))

    @property
    def curves(self) -> "pd.DataFrame":
        """The learning curves of the same runs, a row for each run, target and point."""
        return data_frame(CURVE_COLUMNS, curve_rows(self._found.declaration, self._found.find))

    def to_latex(self) -> str:
        """Return the table for a paper, with the rules of booktabs and names escaped.

        It has the gain ± half of its interval at equal steps and at equal compute, and the verdict.
        """
        return latex_table(self._found.results)

    def plot(self, name: str = "gains", page: int = 1) -> "Figure":
        """Return a plot of the report, such as `gains`, `pareto` or `curves`, as a figure.

        Plots of many rows have several pages, counted from 1.
        Notebooks show it; `savefig` writes it. pyplot is not used, so nothing is left open. Raises
        `UserError` for an unknown name, and where the experiment has nothing of the kind to draw.
        """
        from bench.report.plots.canvas import finished, style

        found = self._found
        with style():
            draw = drawings(found.declaration, found.results, found.find, found.over_levels)
            if name not in draw:
                raise unknown("plot", name, draw)
            pages = draw[name]()
        if not pages:
            raise UserError(f"'{self.name}' has nothing to draw in a plot '{name}'")
        if not 1 <= page <= len(pages):
            raise UserError(f"the plot '{name}' has {len(pages)} pages, and none is page {page}")
        figure = pages[page - 1]
        vars(figure)["_repr_png_"] = partial(_png, figure)  # what notebooks look for
        return finished(figure)

    def __repr__(self) -> str:
        runs = self.counts
        return f"<report {self.name}: {len(self.results)} rows, {runs.ok} of {runs.planned} runs>"

    def _repr_html_(self) -> str:
        columns = ("pair", "target", "strategy", "equal steps", "equal compute", "verdict")
        shown = extremes(self._found.results)
        cells = map(_cells, shown.of(self._found.results))
        rows = [dict(zip(columns, row, strict=True)) for row in cells]
        lines = [each.sentence for each in self.decision[:MOST_PAIRS]]
        return html_table(shown.title(self.name), columns, rows, lines)


def _cells(row: RowResult) -> tuple[Any, ...]:
    gains = (row.against.get("same-steps"), row.against["full"])
    shown = (halved_gain(gain, row.unit) for gain in gains)
    return (row.pair, row.target, row.strategy, *shown, row.verdict.name)


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
