"""The report on groups as files in one folder. The same result gives the same bytes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.clean import json_text
from bench.decide.groupings import GroupingResult
from bench.errors import say
from bench.files import write_files
from bench.report.drawn import delete_earlier, pictures, texts_of
from bench.report.groups.document import grouping_csv, grouping_json
from bench.report.groups.page import grouping_page
from bench.report.groups.table import grouping_markdown
from bench.report.groups.terminal import grouping_summary
from bench.report.text.measured import measured_of_groups
from bench.spec.experiment import Experiment, experiment_toml
from bench.stats.partitions import Rules

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The plots in the order in which they are read, with the text that stands for each.
_PLOTS: Mapping[str, str] = {
    "front": "Groupings: predicted total over the number of networks, and Δm as it was verified",
    "tree": "Who shares: the networks that serve each task, for each number of networks",
    "affinity": "Affinity: what each task gets from each other one, in the order of the grouping",
}


def write_grouping(
    result: GroupingResult,
    experiment: Experiment,
    folder: Path,
    *,
    margin: float,
    unverified_reason: str = "",
    rules: Rules | None = None,
) -> Mapping[str, Path]:
    """Write the tables, plots and page of a question of groups; return the files by name.

    `margin` is the largest loss that does not matter, in points of the metric; `rules` are those
    that a grouping had to keep, if any. A plot that cannot be drawn is told as an error and left
    out. Raises `UserError` where the folder cannot be written.
    """
    files_of_plots, faults = pictures(drawings(result, experiment.name, rules or Rules()))
    for plot, why in faults.items():
        say(f"error: the plot '{plot}' could not be drawn, which is a defect of bench: {why}")
    texts = texts_of(files_of_plots, _PLOTS)
    drawn = {name: (text, files_of_plots[f"{name}.svg"]) for name, text in texts.items()}
    images = {f"{name}.png": text for name, text in texts.items()}
    said = (margin, unverified_reason)
    contents = {
        "report.html": grouping_page(result, experiment, drawn, *said).encode(),
        "table.md": grouping_markdown(result, experiment, images, *said).encode(),
        "table.csv": grouping_csv(result).encode(),
        "grouping.json": json_text(grouping_json(result, experiment, *said)).encode(),
        "measured.json": json_text(measured_of_groups(result.options)).encode(),
        "summary.txt": grouping_summary(result, *said).encode(),
        "experiment.toml": experiment_toml(experiment).encode(),
        **files_of_plots,
    }
    files = write_files(folder, contents)
    delete_earlier(folder, _PLOTS, contents)
    return files


def drawings(
    result: GroupingResult, name: str, rules: Rules
) -> "Mapping[str, Callable[[], list[Figure]]]":
    """Return what draws the pages of each plot, by name."""
    # matplotlib is heavy, so it loads only here, where something is drawn.
    from bench.report.groups.affinity import affinity_plot
    from bench.report.groups.front import front_plot
    from bench.report.groups.tree import tree_plot

    return {
        "front": lambda: front_plot(name, result, rules),
        "tree": lambda: tree_plot(name, result),
        "affinity": lambda: affinity_plot(name, result),
    }
