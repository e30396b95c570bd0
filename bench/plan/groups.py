"""From a question of groups to runs: those that measure affinities, and those that verify.

Affinities are measured at equal steps: every network takes the steps that the budget buys a network
of one task. They are scored on the validation split at seeds below zero, so a proposal has seen
neither the test set nor a seed of its verification.

A verification compares ways to serve all tasks at one total budget: n tasks have n times the budget
of one, and a network of k tasks gets k of these shares.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from bench.contracts import DataSource
from bench.errors import UserError
from bench.plan.arms import Arm, fitted, single_arm
from bench.plan.plan import Draft, surveyed, trusted
from bench.plan.search import Setting
from bench.plan.survey import Ask, Fault
from bench.randomness import stream_key
from bench.spec.budget import Budget
from bench.spec.grouping import GroupExperiment
from bench.spec.registry import measuring_weighting, parse_network, parse_pairs, parse_strategy
from bench.stats.partitions import Partition, Rules
from bench.store.groupings import (
    AffinityRuns,
    GroupDeclaration,
    NetworkRuns,
    OptionName,
    OptionRuns,
    SeedRun,
    VerificationRuns,
)
from bench.train.job import Job
from bench.train.pricing import Timings

#: Runs are scored on so many held-out images, or on as many as are left.
_IMAGES = 2000
#: Triples that check pairs, at most, for each task.
_TRIPLES = 2
#: Groups of up to so many tasks are counted for what training all of them would take.
_COUNTED = 20


@dataclass(frozen=True)
class GroupPlan:
    """A question of groups whose networks are priced. `tasks` are in the data set's order."""

    experiment: GroupExperiment
    draft: Draft
    dataset: str
    tasks: tuple[str, ...]
    timings: Timings
    say: Callable[[str], None]

    @classmethod
    def of(
        cls,
        experiment: GroupExperiment,
        source: DataSource,
        timings: Timings,
        say: Callable[[str], None],
        ask: Ask,
    ) -> "GroupPlan":
        """Load the data and look at the tasks. Raises `UserError` for what a user can fix."""
        pairs = parse_pairs(experiment.pair[0])
        if len(pairs) > 1:
            raise UserError(f"'{experiment.pair[0]}' is several sets of tasks: join them with +")
        (pair,) = pairs
        if pair.placebo:
            raise UserError(f"'{pair.name}' has a placebo, which nobody deploys: leave it out")
        if len(pair.tasks) < 2:
            raise UserError(f"'{pair.name}' is one task: name those to be grouped, as TASK+TASK")
        if parse_strategy(experiment.strategy[0]).auxiliaries:
            raise UserError(
                f"strategy '{experiment.strategy[0]}' serves one task: give one that shares a "
                "network between tasks, such as hard"
            )
        survey, notes = surveyed(experiment, source, say, ask)
        draft = Draft(experiment, survey, (), {}, notes)
        plan = cls(experiment, draft, pair.dataset, pair.tasks, timings, say)
        survey = trusted(survey, [*plan._alone, plan.arm(pair.tasks)], experiment.device, say)
        return replace(plan, draft=replace(draft, survey=survey))

    # ------------------------------------------------------------------------------ networks

    def arm(self, tasks: Sequence[str], share: float = 1) -> Arm:
        """Return the network of a group of tasks, by the strategy that was asked for."""
        if len(tasks) == 1:
            return single_arm(self.dataset, tasks[0], share)
        group = tuple(tasks)
        return Arm(self.dataset, group, group, self.experiment.strategy[0], share=share)

    @cached_property
    def joint_arm(self) -> Arm:
        """The network of all tasks that measures what steps do. Raises `UserError` without one."""
        asked = parse_strategy(self.experiment.strategy[0])
        if asked.weighting in asked.named or asked.aggregation is not None:
            raise UserError(
                f"affinity joint measures plain steps, and '{asked.name}' weighs or merges them: "
                "give --affinity pairs, or a strategy that only shares"
            )
        text = f"{self.experiment.strategy[0]}+{measuring_weighting()}"
        return replace(self.arm(self.tasks), strategy=parse_strategy(text).name)

    def priced(self, arms: Sequence[Arm]) -> Draft:
        """Return the draft with the prices of these networks. Raises `UserError` for a fault."""
        prices = self.draft.survey.prices(arms, self.timings, self.say)
        for arm, found in prices.items():
            if isinstance(found, Fault):
                raise UserError(f"{arm.strategy} on {'+'.join(arm.tasks)}: {found.reason}")
        # A plan to a time tries budgets, which are the plan's own.
        return replace(self.draft, experiment=self.experiment, prices=prices)

    # ---------------------------------------------------------------------------- affinities

    @cached_property
    def _alone(self) -> list[Arm]:
        return [self.arm((task,)) for task in self.tasks]

    @cached_property
    def steps(self) -> int:
        """The steps of every network that measures affinities.

        They are those which the budget buys the dearest network of one task.
        """
        draft = self.priced(self._alone)
        bought = [draft.steps(a, t) for a, t in zip(self._alone, self.tasks, strict=True)]
        return min(steps for steps in bought if steps is not None)

    @property
    def dearest_step(self) -> float:
        """The FLOPs of a step of the dearest network of one task."""
        prices = self.priced(self._alone).prices.values()
        return max(price.flops for each in prices if not isinstance(each, Fault) for price in each)

    @property
    def steps_a_pass(self) -> float:
        """The most steps that a pass over the training images of one task takes."""
        facts = [self.draft.survey.facts(arm) for arm in self._alone]
        images = max(each.images for each in facts if not isinstance(each, Fault))
        return max(1.0, images / self.experiment.batch_size)

    @property
    def method(self) -> str:
        """How affinities are measured."""
        return self.experiment.method(len(self.tasks))

    @cached_property
    def groups(self) -> list[tuple[str, ...]]:
        """The groups of two tasks or more that are trained to measure affinities."""
        if self.method == "joint":
            return []
        pairs = list(combinations(self.tasks, 2))
        return [*pairs, *(self._triples() if self.method == "higher-order" else [])]

    def _triples(self) -> list[tuple[str, ...]]:
        """Return triples spread evenly over all, so that each task is in about as many."""
        triples = list(combinations(self.tasks, 3))
        count = min(len(triples), _TRIPLES * len(self.tasks))
        places = np.linspace(0, len(triples) - 1, count).round().astype(int)
        return [triples[place] for place in dict.fromkeys(places.tolist())]

    def affinity(self) -> tuple[list[Job], GroupDeclaration]:
        """Return the runs that measure affinities, and what declares them.

        Raises `UserError` where the caps and rules allow no grouping.
        """
        rules, seeds = self.rules, range(-1, -1 - self.experiment.affinity_seeds, -1)
        grouped = [self.arm(group) for group in self.groups]
        joint = [self.joint_arm] if self.method == "joint" else []
        alone = [] if joint else self._alone
        draft = self._at(self.priced([*alone, *grouped, *joint]), Budget(self.steps, "steps"))
        jobs = {
            arm: draft.jobs(arm, self._scored(arm), seeds, split="validation")
            for arm in draft.prices
        }

        def runs(arms: Sequence[Arm]) -> tuple[NetworkRuns, ...]:
            return tuple(_runs(arm, jobs[arm]) for arm in arms)

        declaration = GroupDeclaration(
            experiment=self.experiment,
            tasks=self.tasks,
            method=self.experiment.method(len(self.tasks)),
            affinity=AffinityRuns(
                alone=runs(alone),
                groups=runs(grouped),
                joint=next(iter(runs(joint)), None),
            ),
            most=rules.most,
            every_group=len(seeds) * self._every_group(),
            data=self.draft.data,
        )
        return [job for each in jobs.values() for job in each], declaration

    def _at(self, draft: Draft, budget: Budget) -> Draft:
        return replace(draft, experiment=self.experiment.model_copy(update={"budget": str(budget)}))

    def _scored(self, arm: Arm) -> Setting:
        """Return the recipe with more images to score on, where there are any.

        Only a joint run is watched along its curve; the others are scored at its end.
        """
        recipe, facts = self.experiment.recipe, self.draft.survey.facts(arm)
        if isinstance(facts, Fault):
            raise UserError(f"{arm.strategy} on {'+'.join(arm.tasks)}: {facts.reason}")
        scored = min(facts.spare, max(recipe.validation_size, _IMAGES))
        changes = {"train_size": facts.images, "validation_size": scored}
        if self.method != "joint":
            changes["curve_points"] = 1
        return Setting(arm.strategy, recipe.model_copy(update=changes), {})

    def _every_group(self) -> float:
        """Return the FLOPs of training each group of tasks once, at the steps of the affinities.

        A step of k tasks costs a constant and a part for each task: two networks tell both.
        """
        sizes = self.draft.survey
        n, alone = len(self.tasks), [sizes.flops(arm) for arm in self._alone]
        whole = sizes.flops(self.arm(self.tasks))
        if whole is None or n > _COUNTED or any(each is None for each in alone):
            return 0.0
        total = sum(each for each in alone if each is not None)
        constant = (total - whole) / (n - 1)
        # Each task is in half of all groups, and the constant is in each but the empty one.
        step: float = constant * (2**n - 1) + (total - n * constant) * 2 ** (n - 1)
        return step * self.steps

    # --------------------------------------------------------------------------------- rules

    @cached_property
    def rules(self) -> Rules:
        """What a grouping must be. Raises `UserError` for names that are none."""
        experiment = self.experiment
        most = [experiment.at_most_networks] if experiment.at_most_networks else []
        sizes = self.draft.survey
        if (cap := experiment.most_flops()) is not None:
            most.append(self._most(cap, sizes.use_flops))
        if (cap := experiment.most_memory()) is not None:
            most.append(self._most(cap, sizes.parameters))
        return Rules.of(experiment, self.tasks, min(most, default=None))

    def _most(self, cap: float, size: Callable[[Arm], float | None]) -> int:
        """Return the most networks that cost up to `cap` times what one for all tasks does.

        A network costs a constant and a part for each task, so m of them cost m constants and all
        parts, whatever the groups: exactly so where tasks share an encoder or its first stages.
        """
        found = [size(arm) for arm in (self.arm(self.tasks), *self._alone)]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            raise UserError("the cost of use of these networks is not known: cap the networks")
        whole, *alone = known
        constant = (sum(alone) - whole) / (len(self.tasks) - 1)
        if constant <= 0:
            return len(self.tasks)
        return 1 + max(0, math.floor((cap - 1) * whole / constant + 1e-9))

    # -------------------------------------------------------------------------- verification

    def verification(self, grouping: Partition) -> tuple[list[Job], VerificationRuns]:
        """Return the runs that verify a grouping, at seeds from zero, and what declares them."""
        n, seeds = len(self.tasks), range(self.experiment.seeds)

        def networks(partition: Partition, parts: int = 1) -> list[Arm]:
            groups = [[self.tasks[t] for t in group] for group in partition]
            return [self.arm(group, parts * n / len(group)) for group in groups]

        single = tuple((t,) for t in range(n))
        apart, halved = networks(single), networks(single, parts=2)
        options = {OptionName.ONE: networks((tuple(range(n)),))}
        if 1 < len(grouping) < n:
            options[OptionName.GROUPING] = networks(grouping)
            if (other := self._random(grouping)) is not None:
                options[OptionName.RANDOM] = networks(other)
        deployed = options.get(OptionName.GROUPING, options[OptionName.ONE])
        if parse_network(self.experiment.network).widths:
            slim = fitted(apart, deployed, self.draft.survey.use_flops, widest=100)
            if slim != apart:
                options[OptionName.SLIM] = slim
        whole = Budget.parse(self.experiment.budget)
        others = [arm for each in options.values() for arm in each]
        arms = list(dict.fromkeys([*apart, *others, *halved]))
        draft = self._at(self.priced(arms), Budget(n * whole.amount, whole.axis))
        recipe = self.experiment.recipe
        jobs = {arm: draft.jobs(arm, Setting(arm.strategy, recipe, {}), seeds) for arm in arms}
        declared = VerificationRuns(
            apart=tuple(_runs(arm, jobs[arm]) for arm in apart),
            options=tuple(
                OptionRuns(name=name, networks=tuple(_runs(arm, jobs[arm]) for arm in each))
                for name, each in options.items()
            ),
            halved=tuple(_runs(arm, jobs[arm]) for arm in halved),
        )
        return [job for each in jobs.values() for job in each], declared

    def _random(self, grouping: Partition) -> Partition | None:
        """Return a grouping of the same shape that keeps all rules; None where there is no other.

        It is drawn from a stream of its own, which the tasks key.
        """
        chances = np.random.default_rng(stream_key(0, "random grouping", *self.tasks))
        sizes = [len(group) for group in grouping]
        for _ in range(1000):
            order = iter(chances.permutation(len(self.tasks)).tolist())
            drawn = tuple(sorted(tuple(sorted(next(order) for _ in range(k))) for k in sizes))
            if drawn != grouping and all(map(self.rules.allow, drawn)):
                return drawn
        return None


def _runs(arm: Arm, jobs: Sequence[Job]) -> NetworkRuns:
    found = tuple(SeedRun(seed=job.spec.seed, key=job.key) for job in jobs)
    return NetworkRuns(tasks=arm.scored, runs=found)
