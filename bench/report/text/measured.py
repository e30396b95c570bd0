"""What clocks measured of an experiment, apart from what no clock can change."""

from collections.abc import Iterable, Sequence
from typing import Any

from bench.clean import finite
from bench.decide.groupings import Option
from bench.decide.pairs import TaskSet
from bench.report.text.decision import measured_use
from bench.report.text.tuning import Tuned
from bench.spec.budget import TuningCost
from bench.stats.comparison import RowResult
from bench.store.records import SCHEMA_VERSION

_HOW_TO_READ = (
    "What clocks measured: it differs from machine to machine and from run to run. Every other "
    "figure is in gains.json, or in grouping.json for groups of tasks. seconds_ratio: device-"
    "seconds of the steps of a row's runs over those of its anchor's. largest_stall: the largest "
    "share of a run's training time that went by waiting for images. use: seconds of a forward "
    "pass for all tasks of a set, of an image alone and per image in a batch. "
    "device_seconds: those of all trials of an arm, or of all pilots."
)


def measured_json(
    results: Sequence[RowResult],
    decided: Sequence[TaskSet],
    tuning: Sequence[Tuned],
    pilots: TuningCost | None = None,
) -> dict[str, Any]:
    """Return what clocks measured of rows, decisions, trials and pilots.

    What is not finite is None.
    """
    return _document(
        rows=[
            {
                "pair": row.pair,
                "strategy": row.strategy,
                "target": row.target,
                "largest_stall": row.stall,
                "seconds_ratio": {
                    name: comparison.seconds
                    for name, comparison in (*row.against.items(), *row.references.items())
                },
            }
            for row in results
        ],
        decisions=[
            {
                "pair": tasks.pair,
                "targets": list(tasks.targets),
                "candidates": [measured_use(each) for each in tasks.decision.candidates],
            }
            for tasks in decided
        ],
        tuning=[{"arm": each.arm.label, "device_seconds": each.cost.used["s"]} for each in tuning],
        pilot=pilots and {"device_seconds": pilots.used["s"]},
    )


def measured_of_groups(options: Iterable[Option]) -> dict[str, Any]:
    """Return likewise what clocks measured of the options of a grouping."""
    return _document(
        options=[{"name": str(each.name), **measured_use(each.candidate)} for each in options]
    )


def _document(**parts: Any) -> dict[str, Any]:
    whole: dict[str, Any] = finite(
        {"schema_version": SCHEMA_VERSION, "how_to_read": _HOW_TO_READ, **parts}
    )
    return whole
