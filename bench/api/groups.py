"""`bench.group`: which tasks belong together, as affinities propose and fresh seeds verify."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from bench.api.prepare import pool_beside
from bench.api.run import Flags, flags_apart
from bench.api.session import Session
from bench.errors import UserError, clock, note, unknown
from bench.spec.experiment import Asked, free_fields
from bench.spec.grouping import AffinityMethod, GroupExperiment, group_asked_for
from bench.spec.names import check_names

if TYPE_CHECKING:
    from bench.api.within import Deadline
    from bench.decide.groupings import GroupingResult
    from bench.launch import WorkerPool
    from bench.plan.groups import GroupPlan
    from bench.stats.partitions import Partition
    from bench.store.groupings import GroupDeclaration
    from bench.store.store import Store
    from bench.train.job import Job

#: Seconds that a report takes with what begins and ends a command.
_REPORT = 20.0


class GroupFlags(Flags, total=False):
    """What `group` takes beside what `run` does: the flags of `python -m bench group`."""

    affinity: AffinityMethod
    affinity_seeds: int
    at_most_networks: int | None
    at_most_flops: str | None
    at_most_memory: str | None
    together: str | tuple[str, ...]
    apart: str | tuple[str, ...]
    weight: str | tuple[str, ...]
    propose_only: bool


class GroupReport:
    """What a question of groups has found. Nothing changes it.

    Raises `UserError` where no seed has all of its affinities.
    """

    def __init__(self, declaration: "GroupDeclaration", store: "Store") -> None:
        from bench.decide.groupings import result_of

        found = result_of(declaration, store.load)
        if found is None:
            raise UserError(
                f"'{declaration.experiment.name}' has no seed with all its affinities: run the "
                "same command again"
            )
        #: All figures: affinities, proposal, verified options and verdict.
        self.result: GroupingResult = found
        self.declaration = declaration
        #: The folder of its tables, data and plots.
        self.folder = store.root / "reports" / declaration.experiment.name
        #: How many declared runs have no finished record.
        self.missing = sum(not store.has(key) for key in declaration.keys)

    @property
    def name(self) -> str:
        """The name of the report."""
        return self.experiment.name

    @property
    def experiment(self) -> GroupExperiment:
        """What was asked, with every setting."""
        return self.declaration.experiment

    @property
    def grouping(self) -> tuple[tuple[str, ...], ...]:
        """The proposed grouping, by names of tasks."""
        return self.result.grouping

    @property
    def choice(self) -> str:
        """What is recommended: `one network`, `grouping`, `separate`, `trade` or `undecided`.

        Empty where nothing was verified.
        """
        return "" if self.result.verdict is None else self.result.verdict.choice.value

    @cached_property
    def sentence(self) -> str:
        """The answer in words."""
        from bench.report.groups.wording import grouping_sentence

        return grouping_sentence(self.result, self.experiment.margin)

    def write(self) -> Mapping[str, Path]:
        """Write the report into its folder, and return its files by name.

        Raises `UserError` where the folder cannot be written.
        """
        from bench.decide.groupings import rules_of
        from bench.report.groups.write import write_grouping

        return write_grouping(
            self.result,
            self.experiment,
            self.folder,
            margin=self.experiment.margin,
            rules=rules_of(self.declaration),
        )

    def __repr__(self) -> str:
        return f"<groups {self.name}: {self.sentence}>"


def group(asked: Asked = "default", **flags: Unpack[GroupFlags]) -> GroupReport:
    """Find which tasks of a set should share a network, verify it, and return the report.

    The set is `pair`, as `labels.csv:a+b+c`, unless a file says it. Flags are those of
    `python -m bench group`. Call it again to go on after an interruption. Raises `UserError` for
    whatever a user can fix.
    """
    from bench.store.store import Store

    session, experiment, overrides = flags_apart(asked, flags, GroupFlags)
    fresh, within = flags.get("fresh", False), flags.get("within")
    with group_prepared(experiment, overrides, session, within, fresh=fresh) as prepared:
        declaration = carried_out(prepared)
    report = GroupReport(declaration, Store(session.results))
    with session.progress.working(f"drawing the report of {report.name}"):
        report.write()
    return report


def load_groups(results: str | Path, name: str) -> GroupReport:
    """Return a finished question of groups from its records. It needs no torch.

    Raises `UserError` where there is none of that name.
    """
    from bench.store.store import Store

    store = Store(Path(results), read_only=True)
    known = store.groups()
    if name not in known:
        raise unknown("question of groups", name, known)
    return GroupReport(known[name], store)


@dataclass(frozen=True)
class Prepared:
    """A question that is ready to run, and where it runs.

    Where there is a `deadline`, the clock decides the budget, and the seeds unless `seeds` were
    asked for.
    """

    experiment: GroupExperiment
    session: Session
    pool: "WorkerPool"
    fresh: bool
    deadline: "Deadline | None"
    seeds: int | None


@contextmanager
def group_prepared(
    asked: Asked,
    overrides: Mapping[str, Any],
    session: Session,
    within: str | None = None,
    *,
    fresh: bool = False,
    dry_run: bool = False,
) -> Iterator[Prepared]:
    """Choose what a user has not said, and yield what is ready to run.

    The workers live as long as the block. Raises `UserError`; what can be refused at once is.
    """
    experiment = group_asked_for(asked, overrides)
    free = free_fields(asked, overrides) - {"strategy"}
    session.agree(experiment)
    check_names(experiment, session.launcher)
    deadline = None
    if within is not None:
        from bench.api.within import check_within

        deadline, free = check_within(experiment, overrides, within), free - {"budget", "seeds"}

    with pool_beside(experiment, session, dry_run) as pool:
        from bench.api.configure import configure
        from bench.store.provenance import forget_sources

        forget_sources()  # in a notebook files are edited between two calls
        if free:
            experiment = configure(experiment, free, session, pool)
            if "name" in free:
                update = {"name": f"{experiment.name[:80]}-groups"}
                experiment = experiment.model_copy(update=update)
        yield Prepared(experiment, session, pool, fresh, deadline, overrides.get("seeds"))


def carried_out(prepared: Prepared) -> "GroupDeclaration":
    """Train what is missing of a question, and return what was declared.

    Raises `UserError` where affinities cannot be measured at any seed.
    """
    from bench.decide.groupings import named, partition_to_verify, proposed
    from bench.report.groups.wording import networks_of
    from bench.store.store import Store

    store = Store(prepared.session.results)
    store.check_writable()
    plan, deadline = planned(prepared, store)
    jobs, declaration = plan.affinity()
    store.declare_groups(declaration)
    pace = _train(prepared, store, jobs, "runs for affinities")
    proposal = proposed(declaration, store.load)
    if proposal is None:
        raise UserError(
            "affinities could not be measured, as no seed has all of its runs: mend what made them "
            "fail and run the same command again"
        )
    note(f"affinities propose {networks_of(named(proposal.chosen.partition, plan.tasks))}")
    if plan.experiment.propose_only:
        return declaration
    partition = partition_to_verify(proposal, len(plan.tasks))
    if deadline is not None and prepared.seeds is None and pace:
        plan = _as_time_allows(plan, partition, deadline, pace)
    jobs, verification = plan.verification(partition)
    update = {"verification": verification, "experiment": plan.experiment}
    declaration = declaration.model_copy(update=update)
    store.declare_groups(declaration)
    _train(prepared, store, jobs, "runs that verify")
    return declaration


def _train(prepared: Prepared, store: "Store", jobs: "Sequence[Job]", what: str) -> float:
    """Train what is missing of some runs; return the wall seconds per expected device-second."""
    from bench.api.batch import RunBatch

    pool, progress = prepared.pool, prepared.session.progress
    batch = RunBatch.of(store, jobs, pool.workers, prepared.fresh, what)
    began = time.monotonic()
    batch.carry_out(store, pool, progress)
    expected = sum(job.expected_seconds for job in batch.missing)
    return (time.monotonic() - began) / expected if expected else 0.0


def planned(
    prepared: Prepared, store: "Store", dry_run: bool = False
) -> "tuple[GroupPlan, Deadline | None]":
    """Return the plan of a question with an amount for its budget, and its deadline if it has one.

    It has none where the question was planned under its name before: then it keeps its budget and
    seeds, so that its runs are found again. A dry run rehearses nothing and goes by prices.
    """
    from bench.api.settle import settle
    from bench.plan.groups import GroupPlan

    experiment, session, pool = prepared.experiment, prepared.session, prepared.pool
    deadline = prepared.deadline
    if deadline is not None and not prepared.fresh:
        before = _planned_before(experiment, store)
        if before is not None:
            note("planned before: its budget and seeds stay; --fresh or another --name plans anew")
            experiment, deadline = before, None
    if deadline is not None:
        experiment = experiment.model_copy(update={"budget": "1flop", "at_most": None})
    settled, _ = settle(
        experiment,
        session.source,
        store,
        pool,
        session.progress,
        fresh=prepared.fresh,
        dry_run=dry_run,
    )
    experiment = experiment.model_copy(update=settled.model_dump(include={"budget", "at_most"}))
    plan = GroupPlan.of(experiment, session.source, store, note, pool.ask)
    for line in plan.draft.data:
        note(f"data: {line}")
    if deadline is not None:
        plan = _within(plan, deadline, prepared, store, dry_run)
    return plan, deadline


#: What the clock decides of a question.
_AMOUNTS = ("budget", "seeds", "affinity_seeds", "at_most")


def _planned_before(experiment: GroupExperiment, store: "Store") -> GroupExperiment | None:
    """Return the question that was declared under this name, if only amounts differ."""
    found = store.groups().get(experiment.name)
    if found is None:
        return None
    amounts = {field: getattr(found.experiment, field) for field in _AMOUNTS}
    same = experiment.model_copy(update=amounts) == found.experiment
    return found.experiment if same else None


def _within(
    plan: "GroupPlan", deadline: "Deadline", prepared: Prepared, store: "Store", dry_run: bool
) -> "GroupPlan":
    """Return a plan with the budget and the seeds that fit into the time."""
    from bench.api.batch import RunBatch
    from bench.launch import usable_cores
    from bench.plan.group_time import GroupPlanner, Slowness
    from bench.report import amount

    workers = prepared.pool.workers or usable_cores()
    planner, found = GroupPlanner(plan, workers), Slowness()
    if not dry_run:
        jobs = planner.rehearsals(deadline.left)
        batch = RunBatch.of(store, jobs, workers, prepared.fresh, "rehearsals")
        done = batch.carry_out(store, prepared.pool, prepared.session.progress)
        found = planner.heard(jobs, done)
    schedule = planner.schedule(deadline.left - _REPORT, found, prepared.seeds)
    note(
        f"planned to the time: {amount(schedule.budget)} a task, {schedule.affinity_seeds} seeds "
        f"for affinities and {schedule.seeds} that verify, about {clock(schedule.seconds)} on "
        f"{workers} workers"
    )
    if schedule.warning:
        note(f"note: {schedule.warning}")
    update = {
        "budget": schedule.budget.text,
        "seeds": schedule.seeds,
        "affinity_seeds": schedule.affinity_seeds,
    }
    return replace(plan, experiment=plan.experiment.model_copy(update=update))


def _as_time_allows(
    plan: "GroupPlan", partition: "Partition", deadline: "Deadline", pace: float
) -> "GroupPlan":
    """Return a plan with as many seeds as the time allows; no result has a say in it.

    `pace` is the wall seconds that an expected device-second took so far.
    """
    from bench.api.within import spare_seeds
    from bench.store.records import SCREEN_BELOW

    planned = plan.experiment.seeds
    jobs, _ = replace(
        plan, experiment=plan.experiment.model_copy(update={"seeds": 1})
    ).verification(partition)
    each = pace * sum(job.expected_seconds for job in jobs)
    fits = math.floor((deadline.left - _REPORT) / each + 0.35)
    seeds = max(SCREEN_BELOW, min(fits, planned + spare_seeds(planned)))
    if seeds != planned:
        note(f"the clock allows {seeds} seeds where {planned} were planned")
    return replace(plan, experiment=plan.experiment.model_copy(update={"seeds": seeds}))


@dataclass(frozen=True)
class GroupPreview:
    """What a question of groups would run, in lines and as JSON-able data."""

    lines: tuple[str, ...]
    document: Mapping[str, Any]


def preview(prepared: Prepared) -> GroupPreview:
    """Return what would run. Nothing is trained, and nothing is left.

    The grouping that will be verified is not known, so one of pairs stands for it.
    """
    from bench.api.batch import RunBatch
    from bench.plan.group_time import GroupPlanner
    from bench.report import amount
    from bench.spec.budget import Budget
    from bench.store.store import Store

    store = Store(prepared.session.results, read_only=True)
    plan, _ = planned(prepared, store, dry_run=True)
    affinity, _ = plan.affinity()
    verify, _ = plan.verification(GroupPlanner.stand_in(len(plan.tasks)))
    workers = prepared.pool.workers
    parts = [("runs for affinities", affinity)]
    parts += [] if plan.experiment.propose_only else [("runs that verify", verify)]
    batches = [RunBatch.of(store, jobs, workers, prepared.fresh, what) for what, jobs in parts]
    budget = Budget.parse(plan.experiment.budget)
    most = plan.rules.most
    lines = [
        f"{plan.experiment.name}: {len(plan.tasks)} tasks, affinities by {plan.method}, "
        f"{amount(budget)} a task",
        f"a network for affinities takes {plan.steps:,} steps",
        *([f"the caps allow {most} network{'s' * (most > 1)}"] if most else []),
        *(batch.prospect for batch in batches),
    ]
    document = {
        "experiment": plan.experiment.name,
        "tasks": plan.tasks,
        "method": plan.method,
        "budget": plan.experiment.budget,
        "steps": plan.steps,
        "most_networks": most,
        "parts": [
            {
                "what": batch.what,
                "runs": len(batch.jobs),
                "missing": len(batch.missing),
                "expected_seconds": batch.expected_wall,
            }
            for batch in batches
        ],
    }
    return GroupPreview(tuple(lines), document)
