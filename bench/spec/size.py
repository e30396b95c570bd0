"""How large a plan is, counted from an experiment's own texts: nothing is loaded or listed."""

from dataclasses import dataclass
from math import comb

from bench.spec.budget import AskedBudget, Axis, Budget
from bench.spec.experiment import Experiment, Group
from bench.spec.grouping import GroupExperiment
from bench.spec.limits import ASK_ABOVE_RUNS, MOST_RUNS
from bench.spec.names import declared_pairs

#: What a core does in a second, roughly, with a small network.
_SPEED: dict[Axis, float] = {"flop": 2e10, "samples": 8e3, "s": 1.0}
#: What nobody knows yet: the passes at which networks converge, and the images of a set.
_EPOCHS, _IMAGES = 64, 10_000
_DAY = 86_400
#: Ways to serve the tasks of a question of groups that are compared: alone,
#: alone with half of the budget, and the options.
_WAYS = 6
_UNITS = ((365.25 * _DAY, "years"), (_DAY, "days"), (3600, "hours"), (60, "minutes"))


@dataclass(frozen=True)
class PlanSize:
    """How many runs a plan has at most, and the seconds of a core that they take, roughly.

    Rows may have runs in common, which only the plan itself can tell.
    """

    runs: int
    seconds: float

    @classmethod
    def of(cls, experiment: Experiment) -> "PlanSize":
        """Count the runs of an experiment at all of its levels, its trials included."""
        if isinstance(experiment, GroupExperiment):
            return cls._of_groups(experiment)
        references = bool(experiment.reference) + len(experiment.also_against)
        arms = sum(_arms(group, references) for group in experiment.groups)
        seeds = experiment.seeds + experiment.tune * experiment.tune_seeds
        levels = experiment.levels
        return cls(arms * seeds * len(levels), arms * seeds * sum(map(_seconds, levels)))

    @classmethod
    def _of_groups(cls, asked: GroupExperiment) -> "PlanSize":
        """Count the runs that measure affinities, and those that verify.

        Every way to serve the tasks has the budgets of all of them, in up to as many networks.
        """
        _, tasks, _ = _counted(asked.pair[0])
        groups = comb(tasks, 2) + (2 * tasks if asked.affinity == "higher-order" else 0)
        measured = 1 if asked.method(tasks) == "joint" else tasks + groups
        verified = 0 if asked.propose_only else _WAYS * tasks
        runs = measured * asked.affinity_seeds + verified * asked.seeds
        return cls(runs, runs * _seconds(asked))

    def __mul__(self, times: int) -> "PlanSize":
        return PlanSize(self.runs * times, self.seconds * times)

    @property
    def asks(self) -> bool:
        """Whether somebody has to say yes to it."""
        return self.runs > ASK_ABOVE_RUNS

    @property
    def possible(self) -> bool:
        """Whether it can be planned at all."""
        return self.runs <= MOST_RUNS

    def __str__(self) -> str:
        return f"this plans {self.runs:,} runs, about {_duration(self.seconds)} of one core"


def _arms(group: Group, references: int) -> int:
    """Return how many networks a group trains per seed, at most."""
    total = 0
    for pairs, tasks, targets in map(_counted, group.pair):
        split = tasks > 1
        # `full` and `split` are the same for all strategies; `same-steps` and `slim` are not.
        each = 1 + targets * (1 + split + references)
        total += pairs * (targets * (1 + split) + len(group.strategy) * each)
    return total


def _counted(text: str) -> tuple[int, int, int]:
    """Return how many pairs a text names, and the tasks and targets of each."""
    tasks = text.rpartition(":")[2]
    if ":" not in text or "/" in tasks:
        return declared_pairs().get(text.partition(":")[0].partition("@")[0], 1), 2, 2
    if "*" in tasks:
        return comb(tasks.count("*") + 1, 2), 2, 2
    names = tasks.split("+")
    return 1, len(names), sum("~" not in name for name in names)


def _seconds(experiment: Experiment) -> float:
    """Return what a run at one level takes."""
    budget = AskedBudget.parse(experiment.budget)
    amount, unit = budget.amount, budget.unit
    if unit == "converged":
        if experiment.at_most is not None:
            most = Budget.parse(experiment.at_most)
            amount, unit = amount * most.amount, most.axis
        else:
            amount, unit = amount * _EPOCHS, "epochs"
    match unit:
        case "steps":
            return amount * experiment.batch_size / _SPEED["samples"]
        case "epochs":
            return amount * (experiment.train_size or _IMAGES) / _SPEED["samples"]
        case "flop" | "samples" | "s":
            return amount / _SPEED[unit]
    raise AssertionError(unit)


def _duration(seconds: float) -> str:
    """Return a duration in two digits, in the unit in which it reads well."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{float(f'{seconds / size:.2g}'):,.0f} {unit}"
    return f"{seconds:.0f} seconds"
