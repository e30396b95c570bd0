"""The report of an experiment as files in one folder. The same records give the same bytes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.clean import json_text
from bench.decide.pairs import decisions
from bench.files import delete, write_files
from bench.report.drawn import delete_earlier, drawing, texts_of
from bench.report.page import html_page
from bench.report.selection import MOST_PANELS, best_and_worst, extremes, first_pairs
from bench.report.text.decision import sentence
from bench.report.text.document import gains_csv, gains_json
from bench.report.text.measured import measured_json
from bench.report.text.pilot import pilots_spent
from bench.report.text.race import race_lines
from bench.report.text.table import markdown
from bench.report.text.terminal import summary
from bench.report.text.tuning import Tuned, tuned
from bench.report.tidy import runs_parquet
from bench.spec.budget import Budget
from bench.spec.experiment import Experiment, experiment_toml
from bench.stats.comparison import RowResult
from bench.stats.gains import Examples, Lookup, results
from bench.stats.levels import Images, Level, OverLevels, over_levels
from bench.stats.ranking import rankings
from bench.store.records import SCHEMA_VERSION, Declaration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.stats.calibration import Quality, Timing

#: The plots in the order in which they are read, with the text that stands for each. A matrix,
#: gradients, dials and what holds across pairs are there only where rows have any.
_PLOTS: Mapping[str, str] = {
    "gains": "Forest plot: the gain of every row over its single-task anchors, with 95 % intervals",
    "budgets": "Gain over budget: transfer and pay-off of every row, with 95 % intervals",
    "images": "Gain over training images: transfer and pay-off, with 95 % intervals",
    "pareto": "Scores on both tasks of each pair, by strategy and anchor, with 95 % regions",
    "ranking": "Critical differences: strategies by mean score, with bars over equals",
    "heatmap": "Heat map: the mean gain at equal steps and at equal compute, tasks by strategies",
    "matrix": "Task affinity: the mean gain against full of each target beside each partner",
    "across": "Across pairs: how many runs gain more than so much, and the mean of the middle half",
    "curves": "Learning curves: validation score over the compute used, strategies and anchors",
    "gradients": "Gradients of the tasks on the shared parameters: cosine and ratio of norms",
    "weights": "Weights of the tasks' losses over the compute used, where a method moves them",
    "dial": "Dial plot: the mean gain against the full anchor over the value of a data set's knob",
    "audit": "Budget audit: how far the compute used by strategy and anchor lies apart",
}


@dataclass(frozen=True)
class RunCounts:
    """The runs of an experiment; one that several rows read is counted once."""

    planned: int
    ok: int
    diverged: int
    failed: int

    @property
    def missing(self) -> int:
        """Runs that have no record yet."""
        return self.planned - self.ok - self.diverged - self.failed


@dataclass(frozen=True)
class Report:
    """What was found and where it is written.

    `files` are by name, as `table.md`; `tuning` is by arm.
    """

    results: tuple[RowResult, ...]
    folder: Path
    files: Mapping[str, Path]
    runs: RunCounts
    decisions: tuple[str, ...]
    """A sentence for each race, and for each set of tasks that one network may serve."""
    tuning: tuple[Tuned, ...]
    over_levels: tuple[OverLevels, ...]
    """The rows at all budgets or training sizes, where there are several."""
    faults: Mapping[str, str]
    """Why a plot could not be drawn, by its name. That is a defect of the harness."""


def write_report(
    declaration: Declaration,
    find: Lookup,
    folder: Path,
    examples: Examples = lambda _: {},
    smaller: Sequence[Declaration] = (),
) -> Report:
    """Write the tables and plots of an experiment from the records that `find` returns by key.

    `examples` returns the scores of the single test images of a record, by task. `smaller` are the
    declarations of the same experiment at its smaller levels. Raises `UserError` where the folder
    cannot be written.
    """
    found = results(declaration, find, examples)
    over = over_smaller(declaration, found, find, smaller)
    with drawing(drawings(declaration, found, find, over)) as plots:
        decided, made = decisions(declaration.rows, found), _made(declaration, find)
        pilots = pilots_spent(declaration.pilot, find) if declaration.pilot else None
        tuning = tuned(declaration, find)
        # The document is many times as large as its text, and is let go before the tables are made.
        document = json_text(gains_json(declaration, found, tuning, over, find)).encode()
        runs = runs_parquet(declaration, find)
        files_of_plots, faults = plots()
    texts = texts_of(files_of_plots, _PLOTS)
    drawn = {name: (text, files_of_plots[f"{name}.svg"]) for name, text in texts.items()}
    images = {f"{name}.png": text for name, text in texts.items()}
    contents = {
        "report.html": html_page(
            declaration, found, decided, drawn, tuning, made, over, find
        ).encode(),
        "table.md": markdown(declaration, found, images, tuning, made, over, find).encode(),
        "table.csv": gains_csv(declaration, found).encode(),
        "gains.json": document,
        "measured.json": json_text(measured_json(found, decided, tuning, pilots)).encode(),
        "summary.txt": summary(found).encode(),
        "experiment.toml": experiment_toml(declaration.experiment).encode(),
        **({} if runs is None else {"runs.parquet": runs}),
        **files_of_plots,
    }
    files = write_files(folder, contents)
    if "runs.parquet" not in contents:  # an environment with pyarrow may have written it
        delete(folder / "runs.parquet")
    delete_earlier(folder, _PLOTS, contents)
    return Report(
        results=tuple(found),
        folder=folder,
        files=files,
        runs=count_runs(declaration, find),
        decisions=(
            *race_lines(declaration, found),
            *(sentence(tasks, declaration.experiment) for tasks in decided),
        ),
        tuning=tuning,
        over_levels=tuple(over),
        faults=faults,
    )


def over_smaller(
    declaration: Declaration,
    found: Sequence[RowResult],
    find: Lookup,
    smaller: Sequence[Declaration],
) -> list[OverLevels]:
    """Return the rows of an experiment at all its levels; none where it has one."""
    levels = [*((each, results(each, find)) for each in smaller), (declaration, found)]
    return over_levels([(_level(declaration, d), rows) for d, rows in levels] if smaller else [])


def _level(largest: Declaration, declaration: Declaration) -> Level:
    """Return the level of a declaration, by what the experiment of the largest has several of."""
    experiment = declaration.experiment
    if largest.experiment.smaller_train_sizes:
        return Images(float(experiment.train_size or 0))
    return Budget.parse(experiment.budget)


def write_calibration(
    experiment: Experiment, found: "Quality", clocks: "Timing", folder: Path
) -> dict[str, Path]:
    """Write what an A/A experiment came to; return the files by name."""
    from bench.report.plots.calibration import calibration_plot
    from bench.report.plots.canvas import picture, style
    from bench.stats.calibration import summary as in_words

    with style():
        plot = picture(calibration_plot(found))
    document = {
        "schema_version": SCHEMA_VERSION,
        "experiment": experiment.model_dump(mode="json"),
        "quality": _with_rates(found),
        "timing": _with_rates(clocks),
    }
    contents = {
        "calibration.json": json_text(document).encode(),
        "summary.txt": (in_words(found, clocks) + "\n").encode(),
        "experiment.toml": experiment_toml(experiment).encode(),
        **{f"calibration.{suffix}": content for suffix, content in plot.items()},
    }
    return write_files(folder, contents)


def _with_rates(found: "Quality | Timing") -> dict[str, Any]:
    """Return the fields, every rate with its share and its interval."""
    from bench.stats.calibration import Rate

    values = {field.name: getattr(found, field.name) for field in fields(found)}
    return {
        name: {"count": v.count, "of": v.of, "share": v.share, "interval_95": v.interval}
        if isinstance(v, Rate)
        else v
        for name, v in values.items()
    }


def drawings(
    declaration: Declaration,
    found: Sequence[RowResult],
    find: Lookup,
    over: Sequence[OverLevels],
) -> "Mapping[str, Callable[[], list[Figure]]]":
    """Return what draws the pages of each plot, by name; none where there is nothing to draw."""
    # matplotlib is heavy, so it loads only here, where something is drawn.
    from bench.report.plots.across import across_plot
    from bench.report.plots.audit import audit_plot
    from bench.report.plots.curves import curves
    from bench.report.plots.dial import dial_plot
    from bench.report.plots.forest import forest
    from bench.report.plots.gradients import gradient_plot
    from bench.report.plots.heatmap import heatmap
    from bench.report.plots.levels import level_plot
    from bench.report.plots.matrix import matrix
    from bench.report.plots.pareto import pareto
    from bench.report.plots.ranking import ranking_plot
    from bench.report.plots.weights import weight_plot

    experiment = declaration.experiment
    name, axis = experiment.name, Budget.parse(experiment.budget).axis
    rows, panels = extremes(found), extremes(found, MOST_PANELS)
    levels = extremes([each.rows[-1] for each in over], MOST_PANELS)
    pairs, few = first_pairs(found), best_and_worst(found)
    declared = declaration.rows
    others = list(zip(few.others(declared), few.others(found), strict=True))
    grey = {own.strategy for own, _ in others} - {row.strategy for row in few.of(declared)}
    images = bool(experiment.smaller_train_sizes)
    plots: Mapping[str, Callable[[], Figure | list[Figure] | None]] = {
        "gains": lambda: forest(rows.title(name), rows.of(found)),
        "images" if images else "budgets": lambda: level_plot(levels.title(name), levels.of(over)),
        "pareto": lambda: pareto(pairs.title(name), pairs.of(declared), pairs.of(found), grey),
        "ranking": lambda: ranking_plot(pairs.title(name), rankings(pairs.of(found))),
        "heatmap": lambda: heatmap(pairs.title(name), pairs.of(found)),
        "matrix": lambda: matrix(name, found),
        "across": lambda: across_plot(name, found, experiment.margin),
        "curves": lambda: curves(
            few.title(name), few.of(declared), few.of(found), find, axis, few.others(declared)
        ),
        "gradients": lambda: gradient_plot(
            few.title(name), few.of(declared), few.of(found), find, axis, others
        ),
        "weights": lambda: weight_plot(
            panels.title(name), panels.of(declared), panels.of(found), find, axis
        ),
        "dial": lambda: dial_plot(few.title(name), few.of(found)),
        "audit": lambda: audit_plot(rows.title(name), rows.of(found), axis),
    }
    return {plot: partial(_pages, draw) for plot, draw in plots.items()}


def _pages(draw: "Callable[[], Figure | list[Figure] | None]") -> "list[Figure]":
    drawn = draw()
    return drawn if isinstance(drawn, list) else [drawn] if drawn is not None else []


def _made(declaration: Declaration, find: Lookup) -> dict[str, list[str]]:
    """Return what the runs were made with, each fact with all its values."""
    made: dict[str, set[str]] = {}
    for key in declaration.keys:
        for fact, value in (record.provenance if (record := find(key)) else {}).items():
            made.setdefault(fact, set()).add(value)
    return {fact: sorted(values) for fact, values in sorted(made.items())}


def count_runs(declaration: Declaration, find: Lookup) -> RunCounts:
    """Return how the runs of an experiment have ended."""
    keys = declaration.keys
    status = Counter(record.status for key in keys if (record := find(key)) is not None)
    return RunCounts(len(keys), status["ok"], status["diverged"], status["failed"])
