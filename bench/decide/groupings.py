"""Which tasks share a network: what affinities propose, and what a verification at fresh seeds says.

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

import numpy as np

from bench.decide.choose import Partition, Proposal
from bench.decide.pairs import Candidate, Choice, TargetGains, decide
from bench.stats.tests import ALPHA, PairedResult, holm, paired
from bench.store.records import Use

#: The tasks of each network, by name.
Grouping = tuple[tuple[str, ...], ...]


class OptionName(StrEnum):
    """What is verified: one network, the grouping, and two controls that nobody has to deploy."""

    ONE = "one network"
    GROUPING = "grouping"
    RANDOM = "random grouping"
    SLIM = "slim"


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


def in_words(grouping: Grouping) -> str:
    """Return a grouping as people write it: `{a, b} {c}`."""
    return " ".join("{" + ", ".join(group) + "}" for group in grouping)


@dataclass(frozen=True)
class Affinities:
    """What each task gets from each other one, by one method of measuring it.

    `values` `[S, n, n]`: row i, column j is what task i gets from task j at each seed; NaN on the
    diagonal. `unit` is `%` where they are gains relative to the task's own single-task score, and
    empty where only their order means something. `flops` are those of all runs that measured them.
    """

    method: str
    tasks: tuple[str, ...]
    values: np.ndarray
    unit: str
    flops: float

    @property
    def mean(self) -> np.ndarray:
        """The mean over seeds `[n, n]`."""
        return np.asarray(self.values.mean(0))


@dataclass(frozen=True)
class Scored:
    """How well affinities predict what was trained: Spearman's ρ over tasks of groups.

    `low` and `high` bound 95 % of it, from drawing the groups again; NaN with fewer than four
    groups. `predicted` and `trained` have a value for each task of each group, named in `cases`.
    """

    method: str
    cases: tuple[tuple[tuple[str, ...], str], ...]
    predicted: tuple[float, ...]
    trained: tuple[float, ...]
    rho: float
    low: float
    high: float

    @property
    def groups(self) -> int:
        """The number of groups of tasks that were trained."""
        return len({group for group, _ in self.cases})


@dataclass(frozen=True)
class Option:
    """One way to serve all tasks, as it was verified against networks of their own.

    `candidate` has the gains of every task at the fresh seeds, and what its networks cost together.
    """

    name: OptionName
    grouping: Grouping
    candidate: Candidate

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


def delta_m_by_seed(targets: Sequence[TargetGains]) -> Mapping[int, float]:
    """Return Δm of each seed that all tasks have, in percent; empty where a reference is 0."""
    if any(target.reference == 0 or math.isnan(target.reference) for target in targets):
        return {}
    seeds = set.intersection(*(set(target.gains) for target in targets))
    return {
        seed: 100
        * sum(t.gains[seed] / abs(t.reference) for t in targets)
        / len(targets)
        for seed in sorted(seeds)
    }


@dataclass(frozen=True)
class GroupingResult:
    """All that `bench group` has found for a set of tasks.

    `affinities` are by method, the one that proposed first. `scored` says how well each predicted
    groups that were trained. `options` and `verdict` are there once the proposal was verified;
    `networks_apart` is what networks of their own cost to use. `costs` are the FLOPs of each part:
    of measuring affinities, of verifying, and what training every group of tasks would have taken.
    """

    tasks: tuple[str, ...]
    affinities: tuple[Affinities, ...]
    proposal: Proposal
    scored: tuple[Scored, ...]
    options: tuple[Option, ...]
    verdict: Verdict | None
    costs: Mapping[str, float]

    @property
    def grouping(self) -> Grouping:
        """The proposed grouping, by names."""
        return named(self.proposal.chosen.partition, self.tasks)
