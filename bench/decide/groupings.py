"""Which tasks share a network: what affinities propose, and what verification says of it.

A proposal is a guess from affinities. It is compared at seeds that had no part in it, with one
network for all and with a network for each, at one total training budget. The words, and what has
to be shown for each:

- `one network` or `grouping`: with it no task loses more than the margin against networks of its
  own. Every task must pass its own test (an intersection-union test), and the two are corrected by
  Holm. Where both pass, the one of fewer networks is recommended, unless the other has a
  significantly higher Δm.
- `separate`: with both, some task loses more than the margin.
- `trade`: the same, and with one of them another task gains more than the margin.
- `undecided`: none of these.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.decide.pairs import Candidate, Choice, TargetGains, decide, delta_m_by_seed, together
from bench.spec.budget import TOLERANCE, Axis, Budget
from bench.stats.affinities import Affinities, Scored, affinities, scored, trained_groups
from bench.stats.gains import Lookup, above, half_width, use_of, used, value
from bench.stats.partitions import Partition, Proposal, Rules, propose
from bench.stats.tests import ALPHA, PairedResult, holm, paired
from bench.store.groupings import (
    GroupDeclaration,
    NetworkRuns,
    OptionName,
    VerificationRuns,
)
from bench.store.records import Record

#: The tasks of each network, by name.
Grouping = tuple[tuple[str, ...], ...]


class GroupChoice(StrEnum):
    """What is recommended for a set of tasks."""

    ONE = "one network"
    GROUPING = "grouping"
    SEPARATE = "separate"
    TRADE = "trade"
    UNDECIDED = "undecided"


def named(partition: Partition, tasks: Sequence[str]) -> Grouping:
    """Return a partition of positions as one of names."""
    return tuple(tuple(tasks[t] for t in group) for group in partition)


@dataclass(frozen=True)
class Option:
    """One way to serve all tasks, as it was verified against networks of their own.

    `candidate` has the gains of every task at the fresh seeds, and what its networks cost together.
    `steps` are those that each network was trained for.
    """

    name: OptionName
    grouping: Grouping
    candidate: Candidate
    steps: tuple[int, ...] = ()

    @property
    def networks(self) -> int:
        """The number of networks."""
        return len(self.grouping)

    @property
    def delta_m(self) -> PairedResult:
        """Δm against networks of their own, in percent, with its interval over seeds."""
        return self.candidate.delta_m

    @property
    def saved(self) -> float:
        """Share of the inference FLOPs of networks of their own that it saves; NaN if unknown."""
        use, apart = self.candidate.use, self.candidate.use_apart
        if use is None or apart is None or not apart.flops_per_image:
            return math.nan
        return 1 - use.flops_per_image / apart.flops_per_image


@dataclass(frozen=True)
class Verdict:
    """What is recommended after verification.

    `option` is the one to deploy, or the one that shows the trade; None otherwise. `p` is the
    p-value of what was decided; NaN where nothing was. `better` is the p-value of the recommended
    option having a higher Δm than the one of fewer networks that it was preferred to; NaN where
    there was none. `seeds` may decide what is undecided; None where no number in reach would.
    """

    choice: GroupChoice
    option: Option | None = None
    p: float = math.nan
    better: float = math.nan
    seeds: int | None = None


def verdict(options: Sequence[Option]) -> Verdict:
    """Decide between one network, the grouping and networks of their own. Controls have no say.

    Raises `ValueError` without an option that somebody may deploy.
    """
    deployed = [o for o in options if o.name in (OptionName.ONE, OptionName.GROUPING)]
    if not deployed:
        raise ValueError("a verdict needs one network or a grouping")
    keeps = holm([o.candidate.keeps_all for o in deployed])
    passing = sorted(
        ((o, p) for o, p in zip(deployed, keeps, strict=True) if p <= ALPHA),
        key=lambda each: each[0].networks,
    )
    if passing:
        (option, p), better = passing[0], math.nan
        for other, own in passing[1:]:
            found = paired(differences(other, option))
            if found.n > 1 and found.mean > 0 and found.p <= ALPHA:
                option, p, better = other, own, found.p
        return Verdict(GroupChoice(option.name.value), option, p, better)
    decided = decide([option.candidate for option in deployed])
    shown = next((o for o in deployed if o.candidate.strategy == decided.strategy), None)
    match decided.choice:
        case Choice.TRADE:
            return Verdict(GroupChoice.TRADE, shown, decided.p)
        case Choice.SEPARATE:
            return Verdict(GroupChoice.SEPARATE, p=decided.p)
    return Verdict(GroupChoice.UNDECIDED, seeds=decided.seeds)


def differences(one: Option, other: Option) -> list[float]:
    """Return the differences of Δm of two options, one a seed that both have."""
    ours, theirs = delta_m_by_seed(one.candidate.targets), delta_m_by_seed(other.candidate.targets)
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


@dataclass(frozen=True)
class Apart:
    """A network for each task, which options are compared with.

    `total` is the budget that every way to serve the tasks had, `steps` what it bought each
    network. `halved` has what each task gains by half of it: a loss says that the budget is short.
    It is None where that was not trained.
    """

    total: Budget
    steps: tuple[int, ...]
    halved: Candidate | None = None


@dataclass(frozen=True)
class GroupingResult:
    """All that `bench group` has found for a set of tasks.

    `affinities` are by method, the one that proposed first. `scored` says how well each predicted
    groups that were trained. `options` and `verdict` are there once the proposal was verified.
    `costs` are the FLOPs of each part: of measuring affinities, of verifying, and what training
    every group of tasks would have taken. `apart` are the networks of one task each that options
    were compared with; None where nothing was verified.
    """

    tasks: tuple[str, ...]
    affinities: tuple[Affinities, ...]
    proposal: Proposal
    scored: tuple[Scored, ...]
    options: tuple[Option, ...]
    verdict: Verdict | None
    costs: Mapping[str, float]
    apart: Apart | None = None

    @property
    def grouping(self) -> Grouping:
        """The proposed grouping, by names."""
        return named(self.proposal.chosen.partition, self.tasks)


def rules_of(declaration: GroupDeclaration) -> Rules:
    """Return what a grouping must be."""
    return Rules.of(declaration.experiment, declaration.tasks, declaration.most)


def proposed(declaration: GroupDeclaration, find: Lookup) -> Proposal | None:
    """Return what the affinities of a declaration propose; None where no seed has all its runs."""
    found = affinities(declaration, find)
    return _proposal(declaration, found[0]) if found else None


def _proposal(declaration: GroupDeclaration, found: Affinities) -> Proposal:
    """Return what affinities propose. The margin is in percent, as gains in percent are."""
    margin = declaration.experiment.margin if found.unit == "%" else 0.0
    return propose(found.values, rules_of(declaration), margin=margin)


def partition_to_verify(proposal: Proposal, tasks: int) -> Partition:
    """Return the grouping that is compared with one network and with networks of their own.

    It is the proposal. Where that is one of the two itself, it is the grouping between them with
    the highest predicted total, so that the proposal meets its strongest rival. Where the rules
    leave none, it is the proposal.
    """
    if 1 < proposal.chosen.networks < tasks:
        return proposal.chosen.partition
    between = [each for each in proposal.best if 1 < each.networks < tasks]
    return max(between, key=lambda each: each.mean, default=proposal.chosen).partition


def result_of(declaration: GroupDeclaration, find: Lookup) -> GroupingResult | None:
    """Return all that was found, from records; None where no seed has all its affinities."""
    measured = affinities(declaration, find)
    if not measured:
        return None
    proposal = _proposal(declaration, measured[0])
    runs = declaration.verification
    options, apart = _verified(declaration, runs, find) if runs is not None else ((), None)
    trained = dict(trained_groups(declaration, find))
    for option in options:
        if option.name != OptionName.SLIM:
            trained |= _gained(option)
    found = (scored(each, trained) for each in measured)
    costs = {f"affinities: {each.method}": each.flops for each in measured}
    if runs is not None:
        costs["verification"] = used_flops(runs.networks, find)
    if declaration.every_group:
        costs["every group"] = declaration.every_group
    return GroupingResult(
        tasks=declaration.tasks,
        affinities=measured,
        proposal=proposal,
        scored=tuple(each for each in found if each is not None),
        options=options,
        verdict=verdict(options) if options else None,
        costs=costs,
        apart=apart,
    )


def used_flops(networks: Sequence[NetworkRuns], find: Lookup) -> float:
    """Return the FLOPs that runs have used; those without a record count nothing."""
    keys = set[str]().union(*(network.keys for network in networks))
    return sum(used([record], "flop") or 0.0 for key in sorted(keys) if (record := find(key)))


def _gained(option: Option) -> dict[tuple[str, ...], dict[str, float]]:
    """Return what each task of each network of an option gained in percent, by the network."""
    gains = {t.target: 100 * t.relative for t in option.candidate.targets if t.gains}
    return {
        group: {task: gains[task] for task in group if not math.isnan(gains.get(task, math.nan))}
        for group in option.grouping
        if len(group) > 1
    }


def _verified(
    declaration: GroupDeclaration, runs: VerificationRuns, find: Lookup
) -> tuple[tuple[Option, ...], Apart]:
    """Return the options, and the networks of one task each that they were compared with."""
    budget = Budget.parse(declaration.experiment.budget)
    alone = {network.tasks[0]: _by_seed(network, find) for network in runs.apart}
    options = []
    for each in runs.options:
        candidate = _against(declaration, each.name.value, each.networks, alone, find)
        networks = [_by_seed(network, find) for network in each.networks]
        grouping = tuple(network.tasks for network in each.networks)
        options.append(Option(each.name, grouping, candidate, _steps(networks)))
    halved = None
    if runs.halved:
        # Few steps cannot be halved exactly. No two ways are compared by it, so about half will do.
        halved = _against(declaration, "half the budget", runs.halved, alone, find, 0.5, 0.05)
    total = Budget(len(declaration.tasks) * budget.amount, budget.axis)
    return tuple(options), Apart(total, _steps(list(alone.values())), halved)


def _against(
    declaration: GroupDeclaration,
    name: str,
    served: Sequence[NetworkRuns],
    alone: Mapping[str, Mapping[int, Record]],
    find: Lookup,
    part: float = 1,
    tolerance: float | None = None,
) -> Candidate:
    """Compare networks with those of one task each, `alone`, at the seeds that all of them have.

    They are meant to have used `part` of the budget of the latter, within a tolerance which is that
    of the budget's axis unless another is given.
    """
    margin, axis = declaration.experiment.margin, Budget.parse(declaration.experiment.budget).axis
    networks = [(network, _by_seed(network, find)) for network in served]
    seeds = set.intersection(
        *(set(each) for _, each in networks), *(set(each) for each in alone.values())
    )
    ours, theirs = (
        [each[seed] for each in those for seed in sorted(seeds)]
        for those in ([each for _, each in networks], alone.values())
    )
    taken = _ratio(ours, theirs, axis)
    allowed = TOLERANCE[axis] if tolerance is None else tolerance
    uneven = math.isnan(taken) or abs(taken / part - 1) > allowed
    targets = [
        _target(task, margin, each, alone[task], sorted(seeds), uneven)
        for network, each in networks
        for task in network.tasks
    ]
    order = declaration.tasks.index
    return Candidate(
        name,
        tuple(sorted(targets, key=lambda target: order(target.target))),
        parameters=_parameters([each for _, each in networks]),
        parameters_apart=_parameters(list(alone.values())),
        flops=_ratio(ours, theirs, "flop"),
        use=together([use_of(each.values()) for _, each in networks]),
        use_apart=together([use_of(each.values()) for each in alone.values()]),
    )


def _ratio(ours: Sequence[Record], theirs: Sequence[Record], axis: Axis) -> float:
    """Return what runs used of an axis over what others did; NaN where either is unknown."""
    above, below = used(ours, axis), used(theirs, axis)
    return above / below if above and below else math.nan


def _steps(networks: Sequence[Mapping[int, Record]]) -> tuple[int, ...]:
    """Return the steps of each network, at its first seed; those without a run are left out."""
    firsts = [next(iter(each.values()), None) for each in networks]
    return tuple(sum(r.ledger.steps) for r in firsts if r is not None and r.ledger is not None)


def _by_seed(network: NetworkRuns, find: Lookup) -> dict[int, Record]:
    """Return the finished runs of a network by seed."""
    found = {run.seed: find(run.key) for run in network.runs}
    return {seed: r for seed, r in found.items() if r is not None and r.status != "failed"}


def _parameters(networks: Sequence[Mapping[int, Record]]) -> int:
    """Return the parameters of several networks together."""
    firsts = [next(iter(each.values()), None) for each in networks]
    return sum(r.ledger.parameters for r in firsts if r is not None and r.ledger is not None)


def _target(
    task: str,
    margin: float,
    ours: Mapping[int, Record],
    theirs: Mapping[int, Record],
    seeds: Sequence[int],
    uneven: bool,
) -> TargetGains:
    """Return what a task gains in a network over one of its own, at the seeds that all have."""
    scores = {
        seed: (own, alone)
        for seed in seeds
        if (own := value(ours[seed], task)) is not None
        and (alone := value(theirs[seed], task)) is not None
    }
    if not scores:
        return TargetGains(task, {}, math.nan, math.nan, "no run has a score")
    example = theirs[next(iter(scores))].primary(task)
    mean = sum(alone for _, alone in scores.values()) / len(scores)
    reference = mean if example.higher_is_better else -mean
    floor = theirs[next(iter(scores))].floor(task)
    width = half_width(margin, example.unit, reference)
    excluded = ""
    if any(ours[seed].status != "ok" or theirs[seed].status != "ok" for seed in scores):
        excluded = "a run diverged"
    elif uneven:
        excluded = "unequal budgets"
    elif not any(
        above(side, math.nan if floor is None else floor, width)
        for side in zip(*scores.values(), strict=True)
    ):
        excluded = "nothing was learned"
    return TargetGains(
        task,
        {seed: own - alone for seed, (own, alone) in scores.items()},
        width,
        reference,
        excluded,
    )
