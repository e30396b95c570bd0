"""What an experiment would run: each arm with its price, its steps and its number of seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.api.batch import RunBatch
from bench.api.carry_out import PlannedLevel
from bench.api.frames import data_frame, html_table
from bench.plan.plan import Plan
from bench.report.tidy import FLOAT, INT, TEXT, Columns
from bench.spec.budget import AXIS_NAMES, Budget, cost
from bench.spec.experiment import Experiment
from bench.train.job import Job

if TYPE_CHECKING:
    import pandas as pd

#: The columns of `Preview.arms`, with their types: a row for each phase of an arm.
ARM_COLUMNS: Columns = {
    "experiment": TEXT,
    "arm": TEXT,
    "runs": INT,
    "finished": INT,
    "budget": TEXT,
    "phase": INT,
    "steps": INT,
    "flops_per_step": FLOAT,
    "seconds_per_step": FLOAT,
    "peak_bytes": INT,
    "parameters": INT,
}


def arms(plan: Plan) -> list[list[Job]]:
    """Return the runs of each arm at one budget."""
    found: dict[str, list[Job]] = {}
    for job in plan.jobs:
        found.setdefault(f"{job.spec.label}|{job.spec.budget}", []).append(job)
    return list(found.values())


def plan_json(levels: Sequence[PlannedLevel]) -> dict[str, Any]:
    """Return what would run, as JSON-able data; of several levels each."""
    documents = [_level_json(level) for level in levels]
    return documents[0] if len(documents) == 1 else {"budgets": documents}


def _level_json(level: PlannedLevel) -> dict[str, Any]:
    """Return each arm once, with its price, its steps and its number of seeds."""
    plan, scored = level.plan, level.scored
    axis = Budget.parse(plan.experiment.budget).axis
    rows = [
        {
            "arm": jobs[0].spec.label,
            "runs": len(jobs),
            "finished": sum(job.key in scored.done for job in jobs),
            "budget": jobs[0].spec.budget,
            "phases": [
                {
                    "steps": steps,
                    "flops_per_step": price.flops,
                    "seconds_per_step": price.seconds,
                    "peak_bytes": price.peak_bytes,
                }
                for steps, price in zip(jobs[0].spec.steps, jobs[0].prices, strict=True)
            ],
            "parameters": max((price.parameters for price in jobs[0].prices), default=0),
            "uncounted": sorted({name for price in jobs[0].prices for name in price.uncounted}),
        }
        for jobs in arms(plan)
    ]
    total = {**_totals(scored), "axis": AXIS_NAMES[axis]}
    return {"arms": rows, "total": total, "tuning": _totals(level.trials)}


def _totals(together: RunBatch) -> dict[str, Any]:
    return {
        "runs": len(together.jobs),
        "to_train": len(together.missing),
        "workers": together.workers,
        "expected_seconds": together.expected_wall,
        "flops": sum(cost(job.prices, job.spec.steps, "flop") for job in together.jobs),
    }


@dataclass(frozen=True, repr=False)
class Preview:
    """What `run` would do. Nothing was trained for it, and nothing was written.

    `experiment` has every setting, those too that were chosen from a user's own images. `warnings`
    say what will keep verdicts from being reached, and `data` what the images and tasks are.
    `seconds` is the wall time that what is missing is expected to take. `levels` are the names of
    the experiment at each of its budgets or training sizes, the largest last.
    """

    experiment: Experiment
    warnings: tuple[str, ...]
    data: tuple[str, ...]
    seconds: float
    levels: tuple[str, ...]
    document: Mapping[str, Any]
    """What `plan --json` prints."""

    @classmethod
    def of(cls, experiment: Experiment, levels: Sequence[PlannedLevel]) -> "Preview":
        """Return the preview of an experiment from the plans of its levels."""
        plans = [level.plan for level in levels]
        return cls(
            experiment,
            tuple(dict.fromkeys(line for plan in plans for line in plan.warnings)),
            tuple(dict.fromkeys(line for plan in plans for line in plan.declaration.data)),
            sum(each.trials.expected_wall + each.scored.expected_wall for each in levels),
            tuple(plan.experiment.name for plan in plans),
            plan_json(levels),
        )

    @property
    def arms(self) -> "pd.DataFrame":
        """The arms as a table, a row for each phase of their training; of one that cannot run one.

        Raises `UserError` without pandas.
        """
        return data_frame(ARM_COLUMNS, self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        levels = self.document.get("budgets", [self.document])
        return [
            {"experiment": name, **arm, **phase, "phase": number}
            for name, level in zip(self.levels, levels, strict=True)
            for arm in level["arms"]
            for number, phase in enumerate(arm["phases"] or [{}], 1)
        ]

    def __repr__(self) -> str:
        runs = sum(row["runs"] for row in self._rows() if row["phase"] == 1)
        return f"<plan of {self.experiment.name}: {runs} runs, about {self.seconds:.0f} s>"

    def _repr_html_(self) -> str:
        return html_table(repr(self)[1:-1], ARM_COLUMNS, self._rows(), self.warnings)
