"""An experiment that is planned to a time: its budget and seeds, from runs under the real load.

Prices say what a step costs alone, and a plan to the minute must know more: what steps cost side by
side, how long evaluation and setting up take, and how far gains differ from seed to seed. Short
rehearsals of every arm tell all of it. They are at seeds that no row is scored at, on the
validation split.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import UserError
from bench.plan.arms import Arm
from bench.plan.plan import Draft
from bench.plan.search import Setting
from bench.plan.survey import Fault
from bench.spec.budget import TOLERANCE, Budget, Price, cost
from bench.stats.tests import ALPHA, minimum_detectable_gain
from bench.store.records import SCREEN_BELOW, Record
from bench.train.job import Job, evaluation_seconds

#: Share of the time that rehearsals take, the seeds that they are at, and their steps at least.
_REHEARSED, _REHEARSALS, _SHORTEST = 0.12, 3, 4
#: Seeds that are planned: verdicts need 8, and one that is lost should not cost them.
_SEEDS = 10
_MOST_SEEDS = 30
#: A run takes at least so many passes over its training images, and so many steps; at most as
#: many passes as this, after which more seeds are worth more.
_FEWEST_PASSES, _MOST_PASSES, _FEWEST_STEPS = 0.25, 100, 20
#: Steps of a large budget.
_LARGE = 100_000
#: Seconds that a run takes besides, where nothing was measured.
_SET_UP = 1.5
#: Share of the time in which a worker waits for another, at the end for example.
_IDLE = 0.06


@dataclass(frozen=True)
class Pace:
    """What a run of an arm takes in seconds: a step, an image that is evaluated, and the rest."""

    step: float
    image: float
    set_up: float

    @classmethod
    def priced(cls, price: Price) -> "Pace":
        """Return the pace that a price lets expect."""
        return cls(price.seconds or 0.0, evaluation_seconds(price), _SET_UP)

    @classmethod
    def measured(cls, job: Job, records: Sequence[Record]) -> "Pace | None":
        """Return the pace of an arm's rehearsals; None where none has ended."""
        ledgers = [(r, r.ledger) for r in records if r.status == "ok" and r.ledger is not None]
        if not ledgers:
            return None
        steps = sum(sum(ledger.steps) for _, ledger in ledgers)
        trained = sum(ledger.used["s"] for _, ledger in ledgers)
        evaluated = sum(ledger.evaluation_seconds for _, ledger in ledgers)
        whole = sum(record.seconds for record, _ in ledgers)
        images = max(1, job.evaluated) * len(ledgers)
        rest = max(0.0, whole - trained - evaluated) / len(ledgers)
        return cls(trained / steps, evaluated / images, rest)

    def seconds(self, job: Job) -> float:
        """Return what a run takes."""
        return self.step * sum(job.spec.steps) + self.image * job.evaluated + self.set_up


@dataclass(frozen=True)
class Rehearsed:
    """What rehearsals say: the pace of each arm, and the spread of gains over seeds.

    `spread` is the standard deviation of a row's gain over seeds in points, the root mean square
    over the rows; NaN where it is not known.
    """

    paces: Mapping[Arm, Pace]
    spread: float = math.nan


@dataclass(frozen=True)
class Schedule:
    """How much fits into a time: a budget and a number of seeds, and the seconds they take.

    `passes` is how often a single-task network sees its training images.
    """

    budget: Budget
    seeds: int
    seconds: float
    passes: float


def most_even(amount: float, count: int, unevenness: Callable[[Budget], float]) -> Budget:
    """Return the largest of `count` budgets at or below an amount whose sides are even enough.

    They are a quarter of a percent apart. Where none is even enough it is the most even one.
    """
    tried = [Budget(float(f"{amount * (1 - 0.0025 * n):.4g}"), "flop") for n in range(count)]
    even = (budget for budget in tried if unevenness(budget) < TOLERANCE["flop"] / 2)
    return next(even, None) or min(tried, key=unevenness)


class Planner:
    """Plans an experiment, whose arms are priced in a draft, for a number of workers.

    Raises `UserError` where none has a price.
    """

    def __init__(self, draft: Draft, workers: int) -> None:
        self.workers = workers
        known = {a: p for a, p in draft.prices.items() if not isinstance(p, Fault)}
        if not known:
            reason = next(p.reason for p in draft.prices.values() if isinstance(p, Fault))
            raise UserError(f"--within: no network can run: {reason}")
        dearest = max(known, key=lambda arm: max(p.flops for p in known[arm]))
        self._flops = max(price.flops for price in known[dearest])
        # Arms that coincide do so at any large budget.
        self._draft = draft
        self._draft = self._at(Budget(_LARGE * self._flops, "flop")).settled()
        self._arms = {arm: prices for arm, prices in known.items() if arm in self._draft.prices}
        facts = draft.survey.facts(dearest)
        images = 1 if isinstance(facts, Fault) else facts.images
        self._pass = max(1.0, images / draft.experiment.batch_size)

    @property
    def rows(self) -> int:
        """The number of rows of the table."""
        return len(self._draft.rows)

    @property
    def priced(self) -> Rehearsed:
        """What is expected where nothing was rehearsed."""
        return Rehearsed({arm: Pace.priced(prices[0]) for arm, prices in self._arms.items()})

    def _at(self, budget: Budget) -> Draft:
        experiment = self._draft.experiment.model_copy(update={"budget": str(budget)})
        return replace(self._draft, experiment=experiment)

    def _jobs(
        self, budget: Budget, seeds: Sequence[int], points: int | None = None, **update: Any
    ) -> dict[Arm, list[Job]]:
        """Return the runs of every arm, with so many points on their curves."""
        draft = self._at(budget)
        recipe = draft.experiment.recipe
        recipe = recipe.model_copy(update={"curve_points": points or recipe.curve_points})
        return {
            arm: draft.jobs(arm, Setting(arm.strategy, recipe, {}), seeds, **update)
            for arm in self._arms
        }

    def rehearsals(self, seconds: float) -> dict[Arm, list[Job]]:
        """Return short runs of each arm that take a share of the time, at as many seeds as fit."""
        shortest = Budget(_SHORTEST * self._flops, "flop")
        allowed = _REHEARSED * seconds * self.workers
        at_least = sum(map(self._whole, self._rehearsed(shortest, 1).values()))
        count = max(1, min(_REHEARSALS, int(allowed / at_least)))
        # What is left of the share goes into more steps, which tell more of a real run.
        steps = _SHORTEST + (allowed - count * at_least) / count / max(1e-9, self._a_step)
        most = _MOST_PASSES * self._pass
        return self._rehearsed(
            Budget(min(max(_SHORTEST, steps), most) * self._flops, "flop"), count
        )

    def _rehearsed(self, budget: Budget, count: int) -> dict[Arm, list[Job]]:
        return self._jobs(budget, range(-1, -1 - count, -1), 1, split="validation")

    @property
    def _a_step(self) -> float:
        """Seconds of a step of every arm together."""
        return sum(prices[0].seconds or 0.0 for prices in self._arms.values())

    def _whole(self, jobs: Sequence[Job]) -> float:
        """Return what runs are expected to take, one after the other."""
        return sum(job.expected_seconds + _SET_UP for job in jobs)

    def heard(self, jobs: Mapping[Arm, Sequence[Job]], records: Mapping[str, Record]) -> Rehearsed:
        """Return what rehearsals say. An arm without one goes by its price."""
        paces = dict(self.priced.paces)
        found = {
            arm: [r for job in each if (r := records.get(job.key)) is not None]
            for arm, each in jobs.items()
        }
        for arm, runs in found.items():
            if (pace := Pace.measured(jobs[arm][0], runs)) is not None:
                paces[arm] = pace
        spreads = []
        for row in self._draft.rows:
            (full,) = row.anchors["full"].values()
            if row.arm not in found or full not in found:
                continue
            ours, theirs = (
                {
                    run.spec.seed: value
                    for run in found[arm]
                    if run.status == "ok" and (value := run.value(row.target)) is not None
                }
                for arm in (row.arm, full)
            )
            gains = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
            unit = next((r.primary(row.target).unit for r in found[full] if r.scores), "")
            if len(gains) > 1 and unit == "%":
                spreads.append(statistics.variance(gains))
        spread = math.sqrt(statistics.fmean(spreads)) if spreads else math.nan
        return Rehearsed(paces, spread)

    def _seconds(self, budget: Budget, seeds: int, heard: Rehearsed) -> float:
        """Return the wall time of all runs."""
        jobs = self._jobs(budget, range(1))
        distinct = {job.key: heard.paces[arm].seconds(job) for arm, (job,) in jobs.items()}
        return seeds * sum(distinct.values()) / self.workers * (1 + _IDLE)

    def schedule(self, seconds: float, heard: Rehearsed, seeds: int | None = None) -> Schedule:
        """Return what fits into a time. Raises `UserError` where one seed does not.

        `seeds` are those that a user asks for.
        """
        least = max(_FEWEST_STEPS, _FEWEST_PASSES * self._pass) * self._flops
        most = max(least, _MOST_PASSES * self._pass * self._flops)

        def fits(amount: float, count: int) -> bool:
            return self._seconds(Budget(amount, "flop"), count, heard) <= seconds

        tried = (seeds,) if seeds else (_SEEDS, *range(SCREEN_BELOW, 0, -1))
        count = next((n for n in tried if fits(least, n)), None)
        if count is None:
            needed = self._seconds(Budget(least, "flop"), seeds or SCREEN_BELOW, heard)
            raise UserError(
                f"--within: {seeds or SCREEN_BELOW} seeds of {_FEWEST_PASSES:g} passes over the "
                f"images take about {math.ceil(needed / 60)} minutes beside what is done already: "
                "give more time, a smaller size= of images, or fewer strategies"
            )
        low, high = least, most
        while high / low > 1.002:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if fits(middle, count) else (low, middle)
        amount = most if fits(most, count) else low
        while not seeds and amount == most and count < _MOST_SEEDS and fits(most, count + 1):
            count += 1
        budget = self._even(amount)
        passes = budget.amount / self._flops / self._pass
        return Schedule(budget, count, self._seconds(budget, count, heard), passes)

    def _even(self, amount: float) -> Budget:
        """Return the budget at or below an amount whose whole steps leave no side much more."""
        return most_even(amount, 41, self._unevenness)

    def _unevenness(self, budget: Budget) -> float:
        """Return how far the FLOPs of a row lie from those of an anchor, as a share, at most."""
        used = {
            arm: cost(job.prices, job.spec.steps, "flop")
            for arm, (job,) in self._jobs(budget, range(1)).items()
        }
        gaps = [0.0]
        for row in self._draft.rows:
            for name, part in row.anchors.items():
                if name != "same-steps" and {row.arm, *part.values()} <= used.keys():
                    spent = sum(used[arm] for arm in part.values())
                    gaps.append(abs(used[row.arm] / spent - 1))
        return max(gaps)

    def promise(self, schedule: Schedule, heard: Rehearsed) -> str:
        """Return what gain a schedule could detect, or why it can decide nothing and what would."""
        rows = self.rows
        if schedule.seeds < SCREEN_BELOW:
            needed = self._seconds(schedule.budget, SCREEN_BELOW, heard)
            fit = "one seed fits" if schedule.seeds == 1 else f"{schedule.seeds} seeds fit"
            return (
                f"nothing can be decided: {fit}, and verdicts need "
                f"{SCREEN_BELOW}, which take about {math.ceil(needed / 60)} minutes"
            )
        if math.isnan(heard.spread):
            return "what gain it could detect is not known: no spread of gains in points was seen"
        alone = minimum_detectable_gain(heard.spread, schedule.seeds)
        family = minimum_detectable_gain(heard.spread, schedule.seeds, ALPHA / rows)
        text = f"a true gain of {alone:.2g} points would be found in 80 % of experiments"
        if rows > 1 and math.isfinite(family):
            text += f", one of {family:.2g} after the correction for {rows} rows"
        elif rows > 1:
            text += f"; after the correction for {rows} rows none would: give more time"
        return (
            f"{text} (gains of the rehearsals, which are shorter and scored on validation images, "
            f"spread by {heard.spread:.2g} points)"
        )
