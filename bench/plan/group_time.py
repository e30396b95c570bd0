"""A question of groups that is planned to a time: its budget, and the seeds that verify.

Nobody knows beforehand which grouping will be verified. But all ways to serve the tasks have one
total budget, so their training takes about the same whatever the groups are; a grouping into pairs
stands for the one to come. Short rehearsals say what steps take side by side, as in
`bench.plan.within`.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.errors import UserError
from bench.plan.groups import GroupPlan
from bench.plan.within import Pace, most_even
from bench.spec.budget import Budget
from bench.stats.partitions import Partition
from bench.store.records import SCREEN_BELOW, Record
from bench.train.job import Job

#: Seeds of a verification, and of the affinities, from what is best to what is least.
_SEEDS: Sequence[tuple[int, int]] = ((10, 5), (SCREEN_BELOW, 5), (SCREEN_BELOW, 3))
#: Steps of a rehearsal, and share of the time that rehearsals may take.
_REHEARSED, _SHARE = 24, 0.1
#: The fewest and the most steps of a network of one task.
_FEWEST, _MOST = 20, 100_000
#: Passes over its training images under which a network has hardly learned.
_LEAST_PASSES = 1.0
#: Share of the time in which a worker waits for another.
_IDLE = 0.08


@dataclass(frozen=True)
class Slowness:
    """How much longer than their prices say steps and evaluation take, and the rest of a run."""

    factor: float = 1.0
    set_up: float = 1.5

    def seconds(self, job: Job) -> float:
        """Return what a run takes."""
        return job.expected_seconds * self.factor + self.set_up


@dataclass(frozen=True)
class GroupSchedule:
    """What fits into a time: the budget of a task, the seeds of both parts, and their seconds.

    `passes` are those over the training images that a network of one task gets.
    """

    budget: Budget
    seeds: int
    affinity_seeds: int
    seconds: float
    passes: float

    @property
    def warning(self) -> str:
        """What to do where the networks will hardly have learned; empty where they may have."""
        if self.passes >= _LEAST_PASSES:
            return ""
        return (
            f"that is {self.passes:.2g} of a pass over the training images, so little may be "
            "learned: a smaller --network, a smaller size= of images or more time gives more steps"
        )


class GroupPlanner:
    """Plans a question of groups for a number of workers."""

    def __init__(self, plan: GroupPlan, workers: int) -> None:
        self._plan, self._workers = plan, workers
        #: FLOPs of a step of the dearest network of one task.
        self._step = plan.dearest_step

    def _even(self, amount: float) -> Budget:
        """Return the budget of a task at or below an amount whose whole steps are most even.

        What no step is bought for would make the totals of few steps unequal, and without equal
        totals there is no verdict.
        """
        return most_even(amount, 61, self._unevenness)

    def _unevenness(self, budget: Budget) -> float:
        """Return how far the FLOPs of shared networks lie from those of networks of their own."""
        tasks, size = self._plan.tasks, self._plan.draft.survey.flops
        together = (tuple(range(len(tasks))),)

        def used(partition: Partition) -> float:
            total = 0.0
            for group in partition:
                step = size(self._plan.arm([tasks[t] for t in group])) or math.inf
                total += step * math.floor(len(group) * budget.amount / step)
            return total

        apart = used(tuple((t,) for t in range(len(tasks))))
        shared = (used(partition) for partition in (together, self.stand_in(len(tasks))))
        return max(abs(each / apart - 1) for each in shared) if apart else math.inf

    def rehearsals(self, seconds: float) -> list[Job]:
        """Return short runs of a network of one task and of one of all, one for each worker."""
        steps = _REHEARSED
        jobs = self._short(steps)
        while (
            steps > 4 and sum(j.expected_seconds for j in jobs) > _SHARE * seconds * self._workers
        ):
            steps //= 2
            jobs = self._short(steps)
        return jobs

    def _short(self, steps: int) -> list[Job]:
        plan = self._at(Budget(steps, "steps"), 1, 1)
        jobs, _ = plan.affinity()
        # The dearest of them, as many as there are workers at once, and one more of each.
        jobs.sort(key=lambda job: -job.expected_seconds)
        return [*jobs[: self._workers], *jobs[-self._workers :]]

    def _at(self, budget: Budget, seeds: int, affinity_seeds: int) -> GroupPlan:
        update = {"budget": budget.text, "seeds": seeds, "affinity_seeds": affinity_seeds}
        return replace(self._plan, experiment=self._plan.experiment.model_copy(update=update))

    def heard(self, jobs: Sequence[Job], records: Mapping[str, Record]) -> Slowness:
        """Return what rehearsals say; what prices let expect where none has ended."""
        paces = []
        for job in jobs:
            record = records.get(job.key)
            pace = None if record is None else Pace.measured(job, [record])
            if pace is not None and job.expected_seconds:
                trained = replace(pace, set_up=0.0).seconds(job)
                paces.append((trained / job.expected_seconds, pace.set_up))
        if not paces:
            return Slowness()
        return Slowness(*(statistics.fmean(part) for part in zip(*paces, strict=True)))

    def seconds(self, budget: Budget, seeds: int, affinity_seeds: int, found: Slowness) -> float:
        """Return the wall time of all runs."""
        plan = self._at(budget, 1, 1)
        affinity, _ = plan.affinity()
        total = affinity_seeds * sum(map(found.seconds, affinity))
        if not plan.experiment.propose_only:
            total += seeds * self.a_seed(plan, found)
        return total / self._workers * (1 + _IDLE)

    @staticmethod
    def stand_in(tasks: int) -> Partition:
        """Return the grouping that stands for the one to come: pairs."""
        return tuple(tuple(range(t, min(t + 2, tasks))) for t in range(0, tasks, 2))

    def a_seed(self, plan: GroupPlan, found: Slowness) -> float:
        """Return what a seed of the verification takes on one worker."""
        jobs, _ = plan.verification(self.stand_in(len(plan.tasks)))
        return sum(map(found.seconds, jobs))

    def schedule(self, seconds: float, found: Slowness, asked: int | None) -> GroupSchedule:
        """Return what fits into a time; `asked` are the seeds that a user gave.

        Raises `UserError` where the least does not fit.
        """
        tried = [(asked or seeds, affinity) for seeds, affinity in _SEEDS]
        least = Budget(_FEWEST * self._step, "flop")
        for seeds, affinity in tried:
            if self.seconds(least, seeds, affinity, found) <= seconds:
                break
        else:
            needed = self.seconds(least, *tried[-1], found)
            raise UserError(
                f"--within: {tried[-1][0]} seeds of {_FEWEST} steps take about "
                f"{math.ceil(needed / 60)} minutes beside what is done already: give more time, "
                "fewer tasks, a smaller size= of images or a smaller --network"
            )
        low, high = float(_FEWEST), float(_MOST)
        while high / low > 1.01:
            middle = math.sqrt(low * high)
            budget = Budget(middle * self._step, "flop")
            fits = self.seconds(budget, seeds, affinity, found) <= seconds
            low, high = (middle, high) if fits else (low, middle)
        budget = self._even(low * self._step)
        took = self.seconds(budget, seeds, affinity, found)
        passes = budget.amount / self._step / self._plan.steps_a_pass
        return GroupSchedule(budget, seeds, affinity, took, passes)
