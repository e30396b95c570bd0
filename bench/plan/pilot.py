"""Budgets that follow from the images: passes over them, and where single-task networks converge.

A converged budget is one at which doubling brings no single-task network more than the margin. It
is found on held-out images of the training pool, at seeds that no row is scored at. One doubling is
judged by the mean of two: a network that has learned nothing yet stands still too, and a few seeds
are noisy.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.contracts import DataSource
from bench.errors import UserError
from bench.plan.arms import Arm
from bench.plan.plan import Draft, priced
from bench.plan.search import Setting
from bench.plan.survey import Ask, Fault
from bench.spec.budget import AskedBudget, Axis, Budget
from bench.spec.experiment import Experiment
from bench.spec.registry import parse_pairs, single_task
from bench.stats.gains import half_width
from bench.store.records import Pilot, PilotLevel, Record
from bench.train.job import Job
from bench.train.pricing import Timings
from bench.train.survey import ArmFacts

#: Pilots of each network at each budget.
SEEDS = 4
#: They are scored on so many images, or on as many as are left.
_IMAGES = 2000
#: The first budget is a pass over the images, and no fewer steps than these.
_FEWEST_STEPS = 64
#: Where no other bound is given.
_MOST_EPOCHS = 512

#: Trains pilots and returns their records by key; those that are missing are not there.
Train = Callable[[Sequence[Job], Budget], Mapping[str, Record]]


@dataclass(frozen=True)
class Pilots:
    """The single-task networks of an experiment, priced, to be trained at any budget.

    `arms` are by what a person is shown of their tasks.
    """

    experiment: Experiment
    draft: Draft
    arms: Mapping[str, Arm]

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        source: DataSource,
        timings: Timings,
        say: Callable[[str], None],
        ask: Ask,
    ) -> "Pilots":
        """Load the data and price the networks. Raises `UserError` where one has no price."""
        pairs = [p for group in experiment.groups for text in group.pair for p in parse_pairs(text)]
        targets = dict.fromkeys(f"{p.dataset}:{target}" for p in pairs for target in p.targets)
        asked = experiment.model_copy(
            update={
                "pair": tuple(targets),
                "strategy": (single_task().name,),
                "also": (),
                "also_against": (),
                "reference": None,
                "budget": "1steps",
                "tune": 0,
            }
        )
        draft = priced(asked, source, timings, say, ask).settled()
        arms = {f"{row.pair.dataset}:{row.target}": row.arm for row in draft.rows}
        for name, arm in arms.items():
            if isinstance(fault := draft.prices[arm], Fault):
                raise UserError(f"a single-task network of {name} cannot run: {fault.reason}")
        return cls(experiment, draft, arms)

    def epoch(self) -> int:
        """Return the steps of a pass over the training images of the largest set."""
        images = max(self._facts(arm).images for arm in self.arms.values())
        return math.ceil(images / self.experiment.batch_size)

    def in_steps(self) -> Experiment:
        """Return the experiment with steps in the place of epochs."""
        steps = self._passes_to_steps
        smaller = tuple(steps(text) for text in self.experiment.smaller_budgets)
        return self.experiment.model_copy(
            update={"budget": steps(self.experiment.budget), "smaller_budgets": smaller}
        )

    def _passes_to_steps(self, text: str) -> str:
        return Budget(max(1, round(AskedBudget.parse(text).amount * self.epoch())), "steps").text

    def first(self, axis: Axis) -> Budget:
        """Return the first budget that is tried, to three digits."""
        steps = max(_FEWEST_STEPS, self.epoch())
        amount = steps * self._dearest_step(axis)
        return Budget(float(f"{amount:.3g}"), axis)

    def _dearest_step(self, axis: Axis) -> float:
        prices = [self.draft.prices[arm] for arm in self.arms.values()]
        return max(
            price.on(axis) for each in prices if not isinstance(each, Fault) for price in each
        )

    def most(self, axis: Axis) -> Budget:
        """Return the bound of the search, where none is given."""
        return Budget(_MOST_EPOCHS * self.epoch() * self._dearest_step(axis), axis)

    def jobs(self, budget: Budget) -> dict[str, list[Job]]:
        """Return the pilots of each network at a budget."""
        experiment = self.draft.experiment.model_copy(update={"budget": str(budget)})
        draft = replace(self.draft, experiment=experiment)
        seeds = range(-1, -1 - SEEDS, -1)
        return {
            name: draft.jobs(arm, self._setting(arm), seeds, split="validation")
            for name, arm in self.arms.items()
        }

    def _setting(self, arm: Arm) -> Setting:
        """Return the recipe with one curve point, scored on more images where there are any."""
        recipe, facts = self.experiment.recipe, self._facts(arm)
        scored = min(facts.spare, max(recipe.validation_size, _IMAGES))
        sizes = {"train_size": facts.images, "validation_size": scored}
        return Setting(arm.strategy, recipe.model_copy(update={"curve_points": 1, **sizes}), {})

    def _facts(self, arm: Arm) -> ArmFacts:
        facts = self.draft.survey.facts(arm)
        if isinstance(facts, Fault):
            raise UserError(f"a single-task network of {arm.tasks[0]} cannot run: {facts.reason}")
        return facts

    def search(self, train: Train) -> Pilot | None:
        """Double the budget until the networks have converged; None where `train` left runs out.

        Raises `UserError` where a pilot diverges or fails.
        """
        asked = self.experiment.at_most
        bound = None if asked is None else Budget.parse(asked)
        axis = "flop" if bound is None else bound.axis
        most = bound or self.most(axis)
        levels: list[PilotLevel] = []
        budget = self.first(axis)
        while budget.amount <= most.amount:
            level = self._level(budget, train)
            if level is None:
                return None
            levels.append(level)
            if len(levels) > 2 and _converged(levels[-3], level):
                found = levels[-2].budget
                return Pilot(levels=tuple(levels), budget=found, converged=True, at_most=asked)
            budget = Budget(2 * budget.amount, axis)
        last = levels[-1].budget if levels else most.text
        return Pilot(levels=tuple(levels), budget=last, converged=False, at_most=asked)

    def _level(self, budget: Budget, train: Train) -> PilotLevel | None:
        jobs = self.jobs(budget)
        records = train([job for each in jobs.values() for job in each], budget)
        scores, margins = {}, {}
        for name, each in jobs.items():
            task = self.arms[name].scored[0]
            values = []
            for job in each:
                record = records.get(job.key)
                if record is None:
                    return None
                value = record.value(task) if record.status == "ok" else None
                if value is None:
                    raise UserError(
                        f"no converged budget: a pilot of {record.spec.label} at {budget.text} "
                        f"{record.status}: {record.reason or 'it has no score'}"
                    )
                values.append(value)
            scores[name] = statistics.mean(values)
            unit = records[each[0].key].primary(task).unit
            width = half_width(self.experiment.margin, unit, scores[name])
            margins[name] = 0.0 if math.isnan(width) else width
        return PilotLevel(
            budget=budget.text,
            steps={name: sum(each[0].spec.steps) for name, each in jobs.items()},
            runs={name: tuple(job.key for job in each) for name, each in jobs.items()},
            scores=scores,
            margins=margins,
        )

    def settled(self, pilot: Pilot) -> Experiment:
        """Return the experiment with what was found in the place of `converged`."""
        whole = Budget.parse(pilot.budget)

        def share(text: str) -> str:
            return Budget(whole.amount * AskedBudget.parse(text).amount, whole.axis).text

        smaller = tuple(share(text) for text in self.experiment.smaller_budgets)
        found = {"budget": share(self.experiment.budget), "smaller_budgets": smaller}
        return self.experiment.model_copy(update={**found, "at_most": None})


def _converged(quarter: PilotLevel, whole: PilotLevel) -> bool:
    """Return whether each of two doublings brings every network less than its margin on average.

    The second brings less than the first where returns diminish.
    """
    gains = {name: (whole.scores[name] - quarter.scores[name]) / 2 for name in whole.scores}
    return all(gain < whole.margins[name] for name, gain in gains.items())
