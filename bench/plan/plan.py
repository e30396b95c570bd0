"""From rows to runs: prices, steps and the rows they fill.

Runs that several rows need (a single-task anchor of two pairs, say) have one key and are planned
once. Where arms are tuned, a plan has their trials; once those have run, it makes the plan of what
they choose.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from bench.accelerator import HOST, distrust
from bench.contracts import DataSource
from bench.errors import unknown
from bench.launch.worker import answer
from bench.plan.arms import ONE_WIDTH, Arm, RowPlan, arm_spec, rows_of
from bench.plan.search import Setting, searched, settings
from bench.plan.survey import Ask, Fault, Survey, host_of
from bench.plan.tuning import choose
from bench.spec.budget import TOLERANCE, Budget, Price, TuningCost, cost, steps_bought
from bench.spec.experiment import Experiment, RunSpec
from bench.spec.registry import parse_network, parse_pairs, parse_strategy
from bench.stats.tests import smallest_sign_flip_p
from bench.store.records import (
    AnchorName,
    Declaration,
    Pilot,
    Record,
    Row,
    SeedRuns,
    TunedArm,
    TuningTrial,
)
from bench.tasks import split_placebo
from bench.train.device import resolve_device
from bench.train.job import Job, run_keys
from bench.train.pricing import Timings
from bench.train.survey import ArmFacts

#: What some references have in common with their row.
_SIZES: Mapping[AnchorName, tuple[str, Callable[[Job], float]]] = {
    "wide": (
        "FLOPs a step",
        lambda job: cost(job.prices, job.spec.steps, "flop") / sum(job.spec.steps),
    ),
    "same-size": ("parameters", lambda job: job.prices[0].parameters),
}


@dataclass(frozen=True)
class Draft:
    """An experiment whose arms have prices, before they are set: what no tuning changes."""

    experiment: Experiment
    survey: Survey
    rows: Sequence[RowPlan]
    prices: Mapping[Arm, tuple[Price, ...] | Fault]
    data: tuple[str, ...]

    def jobs(
        self,
        arm: Arm,
        setting: Setting,
        seeds: Iterable[int],
        tuning: TuningCost | None = None,
        **update: Any,
    ) -> list[Job]:
        """Return the runs of an arm as it is set, one a seed."""
        update["strategy"] = setting.strategy
        survey = self.survey
        spec = arm_spec(arm, setting.recipe, survey.device).model_copy(update=update)
        prices, facts = self.prices[arm], survey.facts(replace(arm, strategy=setting.strategy))
        budget = self.budget(arm)
        if isinstance(facts, Fault) or isinstance(prices, Fault):
            reason = next(found.reason for found in (prices, facts) if isinstance(found, Fault))
            fault, prices, shares = reason, (), []
        else:
            fault, shares = "", [share for _, share in facts.phases]
        data = "" if isinstance(facts, Fault) else facts.fingerprint
        steps = steps_bought(budget, prices, shares, spec.label)
        spec = spec.model_copy(update={"budget": str(budget), "steps": steps})
        seeds = list(seeds)
        bought = (spec.model_copy(update={"seed": seed}) for seed in seeds)
        evaluated = 0 if isinstance(facts, Fault) else _evaluated(spec, facts)
        kind = survey.host.machine
        return [
            Job(s, prices, key, survey.source, fault, tuning, evaluated, kind)
            for s, key in zip(bought, run_keys(spec, seeds, data, kind), strict=True)
        ]

    def budget(self, arm: Arm) -> Budget:
        """Return what an arm may use: its share of the budget, or the steps of another arm."""
        if arm.like is not None and (steps := self.steps(arm.like, *arm.scored)) is not None:
            return Budget(steps, "steps")
        return Budget.parse(self.experiment.budget).split(arm.share)

    def steps(self, arm: Arm, target: str) -> int | None:
        """Return the steps for which an arm trains a task; None where it has no price."""
        prices, facts = self.prices[arm], self.survey.facts(arm)
        if isinstance(prices, Fault) or isinstance(facts, Fault):
            return None
        shares = [share for _, share in facts.phases]
        bought = steps_bought(self.budget(arm), prices, shares, arm.strategy)
        steps: int = sum(bought[phase] for phase in facts.trained_in[target])
        return steps

    def plan(self) -> "Plan":
        """Return all runs of the experiment, each arm set as the recipe says."""
        draft = self.settled()
        return _plan(draft, {arm: draft.candidates(arm) for arm in draft.prices}, {})

    def settled(self) -> "Draft":
        """Return the draft without arms that would take the steps which `full` takes already."""
        rows = []
        for row in self.rows:
            (full,), (same,) = (row.anchors[name].values() for name in ("full", "same-steps"))
            ours, theirs = (self.steps(arm, row.target) for arm in (same, full))
            if ours is None or theirs is None or abs(ours / theirs - 1) <= TOLERANCE["steps"]:
                same = full
            rows.append(replace(row, anchors={**row.anchors, "same-steps": {row.target: same}}))
        return replace(self, rows=rows, prices={arm: self.prices[arm] for arm in _arms(rows)})

    def candidates(self, arm: Arm) -> list["_Candidate"]:
        """Return what is tried for an arm; nothing where it is not tuned or has no price."""
        experiment = self.experiment
        if not experiment.tune or isinstance(self.prices[arm], Fault):
            return []
        strategy = parse_strategy(arm.strategy)
        # Down from −1: the seeds that rows are scored at go up from 0, so the two never meet.
        seeds = range(-1, -1 - experiment.tune_seeds, -1)
        found = []
        for setting in settings(strategy, experiment.recipe, experiment.tune):
            brief = setting.recipe.model_copy(update={"curve_points": 1})
            jobs = self.jobs(arm, replace(setting, recipe=brief), seeds, split="validation")
            found.append(_Candidate(setting, tuple(jobs)))
        return found


def _evaluated(spec: RunSpec, facts: ArmFacts) -> int:
    """Return the images that a run is evaluated on: at each point of its curve, and at its end."""
    last = facts.test if spec.split == "test" else facts.validation
    return spec.recipe.curve_points * facts.validation + last


@dataclass(frozen=True)
class _Candidate:
    """A trial of an arm, with its runs, one a tuning seed."""

    setting: Setting
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Plan:
    """All runs of an experiment, and the rows that will be read from them.

    `trials` are the runs of tuning, which come first. Before them, `jobs` are those of the recipe:
    as many, at the same prices, as those that `tuned` returns.
    """

    jobs: tuple[Job, ...]
    declaration: Declaration
    warnings: tuple[str, ...]
    _draft: Draft
    _candidates: Mapping[Arm, Sequence[_Candidate]]

    @property
    def experiment(self) -> Experiment:
        """What was asked."""
        return self._draft.experiment

    @property
    def trials(self) -> tuple[Job, ...]:
        """The runs of tuning; none where nothing is tuned."""
        tried = chain.from_iterable(self._candidates.values())
        return tuple(job for candidate in tried for job in candidate.jobs)

    def found_by(self, pilot: Pilot | None) -> "Plan":
        """Return the plan with the pilots that have found its budget."""
        return replace(self, declaration=self.declaration.model_copy(update={"pilot": pilot}))

    def tuned(self, find: Callable[[str], Record | None]) -> "Plan":
        """Return the plan in which every arm is set as its trials choose, by their records."""
        chosen = {
            arm: _chosen(self._draft, arm, candidates, find)
            for arm, candidates in self._candidates.items()
            if candidates
        }
        return _plan(self._draft, self._candidates, chosen).found_by(self.declaration.pilot)


def _asked(experiment: Experiment) -> dict[str, list[str]]:
    """Return the tasks that are asked for, by data set; a placebo counts as what it is made of."""
    asked: dict[str, dict[str, None]] = {}
    for group in experiment.groups:
        for pair in (pair for text in group.pair for pair in parse_pairs(text)):
            names = (split_placebo(task)[0] for task in pair.tasks)
            asked.setdefault(pair.dataset, {}).update(dict.fromkeys(names))
    return {dataset: list(tasks) for dataset, tasks in asked.items()}


def make_plan(
    experiment: Experiment,
    source: DataSource,
    timings: Timings,
    say: Callable[[str], None],
    ask: Ask = answer,
) -> Plan:
    """Resolve an experiment: check every name, load the data, price the arms, buy the steps.

    Code of plugins runs where `ask` calls it: in this process where none is given.
    Raises `UserError` for whatever a user can fix.
    """
    return priced(experiment, source, timings, say, ask).plan()


def priced(
    experiment: Experiment,
    source: DataSource,
    timings: Timings,
    say: Callable[[str], None],
    ask: Ask,
) -> Draft:
    """Return an experiment with its arms priced: what every plan begins with.

    It holds for any budget: which arms coincide at one is for `Draft.settled` to say.
    """
    survey, notes = surveyed(experiment, source, say, ask)
    rows = rows_of(experiment, survey)
    survey = trusted(survey, _arms(rows), experiment.device, say)
    prices = survey.prices(_arms(rows), timings, say)
    return Draft(experiment, survey, rows, prices, notes)


def surveyed(
    experiment: Experiment, source: DataSource, say: Callable[[str], None], ask: Ask
) -> tuple[Survey, tuple[str, ...]]:
    """Return what answers for an experiment's arms, its data loaded, and what a user must know.

    Raises `UserError` for whatever a user can fix.
    """
    asked = _asked(experiment)
    named = [text for group in experiment.groups for text in group.strategy]
    for text in (*named, *filter(None, [experiment.reference])):
        parse_strategy(text)  # what is misspelt is told before anything is loaded
    network = parse_network(experiment.network)
    tasks = {task for names in asked.values() for task in names}
    for task in experiment.metrics:
        if task and task not in tasks:
            raise unknown("task of --metric", task, tasks)
    survey = Survey(asked, experiment.recipe, host_of(experiment.device, ask), source, ask)
    say("loading data")
    notes = survey.prepare_network()
    survey.check_datasets()
    data = survey.load()
    if not network.widths:
        head = experiment.network.partition("@")[0]
        notes = (*notes, f"network {head}: {ONE_WIDTH}")
    return survey, (*data, *notes)


def trusted(survey: Survey, arms: Sequence[Arm], asked: str, say: Callable[[str], None]) -> Survey:
    """Return the survey on its device if that computes these arms as the CPU does, else on the CPU.

    Raises `UserError` where the device was asked for by its name.
    """
    if survey.device == HOST or not (untried := survey.untried(arms)):
        return survey
    say(f"comparing a few steps on {survey.device} with the CPU's")
    if not (why := survey.doubts(untried)):
        return survey
    distrust(survey.device, why)
    return replace(survey, host=host_of(resolve_device(asked), survey.ask))


def _arms(rows: Sequence[RowPlan]) -> list[Arm]:
    """Return all arms that rows need, each once."""
    return list(
        dict.fromkeys(
            arm
            for row in rows
            for arm in (row.arm, *(a for part in row.anchors.values() for a in part.values()))
        )
    )


def _chosen(
    draft: Draft,
    arm: Arm,
    candidates: Sequence[_Candidate],
    find: Callable[[str], Record | None],
) -> tuple[list[Job], TunedArm]:
    """Return an arm's scored runs as its trials choose, and how they did."""
    runs = [[find(job.key) for job in candidate.jobs] for candidate in candidates]
    choice = choose(runs)
    setting = candidates[choice.index].setting
    spent = TuningCost.of(run.ledger if run else None for trial in runs for run in trial)
    seeds = range(draft.experiment.seeds)
    jobs = draft.jobs(arm, setting, seeds, spent, trials=spent.runs)
    knobs = searched(parse_strategy(arm.strategy), draft.experiment.recipe)
    tuned = TunedArm(
        label=arm_spec(arm, setting.recipe, draft.survey.device).label,
        budget=jobs[0].spec.budget,
        ranges={knob.name: (knob.range.low, knob.range.high) for knob in knobs},
        trials=tuple(
            TuningTrial(
                values={knob.name: value for knob, value in candidate.setting.values.items()},
                runs=tuple(job.key for job in candidate.jobs),
            )
            for candidate in candidates
        ),
        chosen=choice.index,
        # The recipe's own values are not where the search ended.
        borders=tuple(
            knob.name for knob in knobs if choice.index and knob.on_border(setting.values[knob])
        ),
        scored=tuple(job.key for job in jobs),
    )
    return jobs, tuned


def _plan(
    draft: Draft,
    candidates: Mapping[Arm, Sequence[_Candidate]],
    chosen: Mapping[Arm, tuple[list[Job], TunedArm]],
) -> Plan:
    """Return the plan of arms as they are chosen; one that is not is set as the recipe says."""
    experiment = draft.experiment
    seeds = range(experiment.seeds)
    jobs: dict[tuple[Arm, int], Job] = {}
    for arm in draft.prices:
        recipe = Setting(arm.strategy, experiment.recipe, {})
        scored = chosen[arm][0] if arm in chosen else draft.jobs(arm, recipe, seeds)
        jobs |= {(arm, job.spec.seed): job for job in scored}
    rows = [
        Row(
            pair=row.pair.name,
            strategy=row.strategy,
            target=row.target,
            placebo=row.pair.placebo,
            # What needs no partner can neither gain nor lose by its relatedness.
            expect=row.pair.expect if len(row.arm.tasks) > 1 else None,
            same_as=row.same_as,
            target_phases=_target_phases(draft.survey, row),
            seeds=tuple(
                SeedRuns(
                    seed=seed,
                    strategy=jobs[row.arm, seed].key,
                    anchors={
                        name: {task: jobs[arm, seed].key for task, arm in part.items()}
                        for name, part in row.anchors.items()
                    },
                )
                for seed in seeds
            ),
        )
        for row in draft.rows
    ]
    return Plan(
        tuple({job.key: job for job in jobs.values()}.values()),
        Declaration(
            experiment=experiment,
            rows=tuple(rows),
            data=draft.data,
            tuning=tuple(tuned for _, tuned in chosen.values()),
        ),
        tuple(_warnings(draft, jobs)),
        draft,
        candidates,
    )


def _target_phases(survey: Survey, row: RowPlan) -> tuple[int, ...]:
    facts = survey.facts(row.arm)
    if isinstance(facts, Fault):
        return ()
    trained = tuple(facts.trained_in[row.target])
    return () if len(trained) == len(facts.phases) else trained


def _warnings(draft: Draft, jobs: Mapping[tuple[Arm, int], Job]) -> list[str]:
    """Say before the first run what will keep verdicts from being reached."""
    experiment, rows = draft.experiment, draft.rows
    found = sorted(
        {f"{job.spec.label} cannot run: {job.fault}" for job in jobs.values() if job.fault}
    )
    axis = Budget.parse(experiment.budget).axis
    n = experiment.seeds
    if n < 8:
        seeds = "1 seed gives" if n == 1 else f"{n} seeds give"
        found.append(f"{seeds} a first look only (a screen): verdicts need 8 or more")
    elif smallest_sign_flip_p(n) * len(rows) > 0.05:
        found.append(
            f"{len(rows)} rows at {n} seeds: after Holm's correction the sign-flip test cannot "
            "reach 5 %, so no row can get a verdict of transfer or negative; give more seeds, or "
            "fewer pairs and strategies"
        )
    found += sorted({line for row in rows for line in _doubts(draft.survey, row, jobs)})
    worst, where = 0.0, ""
    for row in rows:
        ours = jobs[row.arm, 0]
        for name, part in row.anchors.items():
            theirs = [jobs[arm, 0] for arm in part.values()]
            if name == "same-steps":
                continue  # it has the row's steps, and no budget to miss
            if ours.fault or any(job.fault for job in theirs):
                continue
            spent = sum(cost(job.prices, job.spec.steps, axis) for job in theirs)
            deviation = abs(cost(ours.prices, ours.spec.steps, axis) / spent - 1)
            if deviation > max(worst, TOLERANCE[axis]):
                worst, where = deviation, f"{row.strategy} on {row.pair.name} against {name}"
    if where:
        found.append(
            f"the budget is coarse: whole steps leave {where} {worst:.1%} apart, and the audit "
            f"allows {TOLERANCE[axis]:.1%}, so there will be no verdict; a larger budget fixes it"
        )
    return found


def _doubts(survey: Survey, row: RowPlan, jobs: Mapping[tuple[Arm, int], Job]) -> Iterator[str]:
    """Say where a row shares nothing, or is compared with a network of another size."""
    if len(row.arm.tasks) == 1 and not parse_strategy(row.strategy).auxiliaries:
        yield (
            f"{row.strategy} on {row.pair.name} has one task, so nothing is shared: join another "
            f"to it, {row.pair.name}+TASK, or an auxiliary task to the strategy, "
            f"{row.strategy}+AUXILIARY (`list strategies` has them)"
        )
    strategy = parse_strategy(row.strategy)
    idle = [
        part.name for part in (strategy.weighting, strategy.aggregation) if part in strategy.named
    ]
    facts = survey.facts(row.arm)
    if (
        idle
        and not isinstance(facts, Fault)
        and facts.tasks > 1
        and all(tasks == 1 for tasks, _ in facts.phases)
    ):
        yield (
            f"{row.strategy} on {row.pair.name} trains one task at a time, so {idle[0]} has "
            "nothing to weigh or to merge: leave it out"
        )
    for name, (unit, size) in _SIZES.items():
        both = [jobs[arm, 0] for arm in (row.arm, *row.anchors.get(name, {}).values())]
        if len(both) == 1 or any(job.fault for job in both):
            continue
        own, rival = map(size, both)
        if abs(rival / own - 1) > 0.05:
            yield (
                f"{name} of {row.strategy} on {row.pair.name} has {rival / own - 1:+.0%} {unit}, "
                "as near as a width comes"
            )
