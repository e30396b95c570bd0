"""The grouping of tasks with the highest predicted total, found exactly, and how sure that is.

A grouping is a partition of the tasks; each group shares one network. What a task is predicted to
gain in a group is the mean of what its companions bring it (Standley et al. 2020). The total is the
weighted mean over tasks, so it is a Δm that was predicted. A task alone gains nothing.

Up to 12 tasks the best grouping of every number of networks is found by dynamic programming over
the sets of tasks. Beyond, `scipy.optimize.milp` partitions the tasks so that the sum of the pairs'
affinities above the mean is largest (correlation clustering, Bansal et al. 2004); predicted totals
are computed in the same way.

Many groupings are nearly as good as the best, and noise makes one of them look best where it was
searched. So what a number of networks brings is predicted at seeds that the search leaves out, in
turns. The fewest networks within two standard errors of the best number are proposed (the rule of
Breiman et al. 1984 for trees has one). Seeds are drawn again many times (a bootstrap; beyond 12
tasks each is left out once), and all of this is done with each draw.

A proposal is stable if nearly all draws come to it, and if more networks cannot bring much more.
Else nothing but the wish for few networks may speak for it.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple, Self

import numpy as np
import scipy

from bench.errors import UserError
from bench.spec.grouping import GroupExperiment

#: Tasks by their position, in ascending order; groups by their first task.
Partition = tuple[tuple[int, ...], ...]

#: Up to so many tasks dynamic programming looks at all groupings.
EXACT = 12
#: Draws of the seeds, and the share of them in which a stable grouping has to come out.
DRAWS, STABLE = 400, 0.8
#: Standard errors that count as nothing, and the share of the best total that is not much.
_ERRORS, _MUCH = 2.0, 0.25
#: Searches that are made at once, and the seconds that an integer program may take.
_MOST_COLUMNS, _SECONDS = 2400, 20.0


@dataclass(frozen=True)
class Rules:
    """What a grouping must be: at most so many networks, tasks that share one, and that do not.

    `weights` are how much each task counts; all the same if empty. Pairs are of positions.
    """

    most: int | None = None
    together: tuple[tuple[int, int], ...] = ()
    apart: tuple[tuple[int, int], ...] = ()
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, asked: GroupExperiment, tasks: tuple[str, ...], most: int | None) -> Self:
        """Return the rules of a question, whose caps allow so many networks.

        Raises `UserError` for names that are none of its tasks.
        """
        return cls(
            most,
            tuple(asked.pairs_of("together", tasks)),
            tuple(asked.pairs_of("apart", tasks)),
            asked.weights_of(tasks),
        )

    def allow(self, group: Sequence[int]) -> bool:
        """Return whether tasks may be a group by themselves."""
        inside = set(group)
        return all((a in inside) == (b in inside) for a, b in self.together) and not any(
            a in inside and b in inside for a, b in self.apart
        )

    def shares(self, tasks: int) -> np.ndarray:
        """Return the weights `[n]` of the tasks, divided by their sum."""
        weights = np.array(self.weights or (1.0,) * tasks)
        return np.asarray(weights / weights.sum())


@dataclass(frozen=True)
class Predicted:
    """A grouping with its predicted total at each seed, in the affinities' unit."""

    partition: Partition
    totals: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The predicted total, over seeds."""
        return sum(self.totals) / len(self.totals)

    @property
    def networks(self) -> int:
        """The number of its networks."""
        return len(self.partition)


@dataclass(frozen=True)
class Proposal:
    """The grouping that affinities propose.

    `best` has the best grouping of every number of networks that the rules allow, the fewest first.
    `frequencies` has the share of the draws of seeds that came to each grouping, the most frequent
    first; empty where there are fewer than three seeds. `at_stake` is what another number of
    networks may bring more, at most: the mean at seeds left out, and two standard errors. `little`
    is how much of that does not matter.
    """

    chosen: Predicted
    best: tuple[Predicted, ...]
    frequencies: tuple[tuple[Partition, float], ...] = field(default=())
    at_stake: float = 0.0
    little: float = 0.0

    @property
    def frequency(self) -> float:
        """The share of the draws that came to the chosen grouping; NaN where nothing was drawn."""
        if not self.frequencies:
            return math.nan
        return dict(self.frequencies).get(self.chosen.partition, 0.0)

    @property
    def stable(self) -> bool:
        """Whether nearly all draws of the seeds came to it, and others cannot bring much more."""
        return self.frequency >= STABLE and self.at_stake <= self.little + 1e-12


def members_gain(affinity: np.ndarray, group: Sequence[int]) -> np.ndarray:
    """Return the predicted gain `[..., k]` of each task of a group, from affinities `[..., n, n]`.

    Row i, column j is what task i gains from task j. A pair without a number is left out of the
    mean. Where a task has no number with any of its companions, its gain is NaN.
    """
    rows = np.array(group)
    if len(rows) == 1:
        return np.zeros((*affinity.shape[:-2], 1))
    inside = affinity[..., rows[:, None], rows[None, :]]
    others = ~np.eye(len(rows), dtype=bool) & np.isfinite(inside)
    counts = others.sum(-1)
    summed = np.where(others, inside, 0.0).sum(-1)
    return np.asarray(np.where(counts > 0, summed / np.maximum(counts, 1), np.nan))


def totals(affinity: np.ndarray, partition: Partition, rules: Rules) -> np.ndarray:
    """Return the predicted total `[S]` of a grouping at each seed, from affinities `[S, n, n]`."""
    shares = rules.shares(affinity.shape[-1])
    return np.asarray(
        sum(members_gain(affinity, group) @ shares[list(group)] for group in partition)
    )


def partitions(tasks: int) -> Iterator[Partition]:
    """Yield every grouping of so many tasks."""

    def place(task: int, groups: list[list[int]]) -> Iterator[Partition]:
        if task == tasks:
            yield tuple(map(tuple, groups))
            return
        for group in [*groups, None]:
            if group is None:
                groups.append([task])
            else:
                group.append(task)
            yield from place(task + 1, groups)
            if group is None:
                groups.pop()
            else:
                group.pop()

    return place(0, [])


def propose(
    affinity: np.ndarray, rules: Rules, draws: int = DRAWS, seed: int = 0, margin: float = 0.0
) -> Proposal:
    """Return what affinities `[S, n, n]` of n ≥ 2 tasks at S seeds propose under some rules.

    Less than `margin` of a total does not matter, nor does a quarter of the best. Raises
    `UserError` where the rules allow no grouping.
    """
    content = np.ascontiguousarray(affinity, dtype=float).tobytes()
    return _propose(content, affinity.shape, rules, draws, seed, margin)


@lru_cache(maxsize=8)
def _propose(
    content: bytes, shape: tuple[int, ...], rules: Rules, draws: int, seed: int, margin: float
) -> Proposal:
    """Return the same; a command asks before it verifies, and again for its report."""
    affinity = np.frombuffer(content).reshape(shape)
    seeds, tasks, _ = shape
    search = _by_programming if tasks <= EXACT else _by_programs
    everyone = tuple(range(seeds))
    if tasks <= EXACT:
        chances = np.random.default_rng(seed)
        count = min(draws, _MOST_COLUMNS // (seeds + 1)) if seeds > 2 else 0
        picks = [tuple(map(int, each)) for each in chances.integers(0, seeds, (count, seeds))]
        picks = [each for each in picks if len(set(each)) > 1]
    else:
        picks = [_without(everyone, one) for one in everyone] if seeds > 2 else []
    # Each draw is searched as a whole, and without each of its seeds in turn.
    samples = list(
        dict.fromkeys(part for each in (everyone, *picks) for part in (each, *_folds(each)) if part)
    )
    means = np.stack([affinity[list(each)].mean(0) for each in samples])
    found = dict(zip(samples, search(means, rules), strict=True))

    def chosen(each: tuple[int, ...]) -> _Chosen:
        return _fewest(affinity, each, found, rules)

    best = [found[everyone][count] for count in sorted(found[everyone])]
    predicted = [Predicted(p, tuple(map(float, totals(affinity, p, rules)))) for p in best]
    own = chosen(everyone)
    counted = Counter(chosen(each).partition for each in picks)
    return Proposal(
        chosen=next(each for each in predicted if each.partition == own.partition),
        best=tuple(predicted),
        frequencies=tuple((p, n / len(picks)) for p, n in counted.most_common()),
        at_stake=own.at_stake,
        little=max(margin, _MUCH * own.best),
    )


def _without(sample: tuple[int, ...], seed: int) -> tuple[int, ...]:
    return tuple(each for each in sample if each != seed)


def _folds(sample: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return a sample of seeds without each of its seeds in turn."""
    return [_without(sample, seed) for seed in sorted(set(sample))]


#: The best grouping of each number of networks.
_Best = Mapping[int, Partition]


class _Chosen(NamedTuple):
    """A grouping, the total of the best number of networks, and what that may bring more."""

    partition: Partition
    best: float
    at_stake: float


def _fewest(
    affinity: np.ndarray,
    sample: tuple[int, ...],
    found: Mapping[tuple[int, ...], _Best],
    rules: Rules,
) -> _Chosen:
    """Return the best grouping of as many networks as are needed.

    What a number of networks brings is predicted at seeds that had no part in the search: of many
    groupings that are equally good, noise makes one look best where it was searched. The fewest
    networks within two standard errors of the best number are enough.
    """
    different = sorted(set(sample))
    held_out: dict[int, list[float]] = {count: [] for count in found[sample]}
    for seed in different if len(different) > 1 else ():
        fold = found[_without(sample, seed)]
        for count, each in held_out.items():
            if count in fold:
                each.append(float(totals(affinity[[seed]], fold[count], rules)[0]))
    if not all(held_out.values()):  # a single seed: its own prediction has to do
        held_out = {
            count: [float(each) for each in totals(affinity[list(sample)], p, rules)]
            for count, p in found[sample].items()
        }
    best = max(held_out.values(), key=np.mean)
    for count in sorted(held_out):
        lost = np.subtract(best, held_out[count])
        error = lost.std(ddof=1) / math.sqrt(len(lost)) if len(lost) > 1 else 0.0
        mean, allowed = float(lost.mean()), _ERRORS * float(error)
        if mean <= allowed + 1e-12:
            return _Chosen(found[sample][count], float(np.mean(best)), mean + allowed)
    raise AssertionError("the best number of networks is within any error of itself")


# ------------------------------------------------------------------- up to 12 tasks: all groupings


@lru_cache(maxsize=4)
def _subsets(tasks: int) -> tuple[tuple[int, ...], ...]:
    """Return the tasks of each set, by its number: task t is in it where bit t is set."""
    return tuple(tuple(t for t in range(tasks) if number >> t & 1) for number in range(2**tasks))


def _by_programming(means: np.ndarray, rules: Rules) -> Sequence[_Best]:
    """Return the best grouping of every number of networks, for each of affinities `[D, n, n]`."""
    draws, tasks, _ = means.shape
    most, shares = min(rules.most or tasks, tasks), rules.shares(tasks)
    groups = _subsets(tasks)
    value = np.full((2**tasks, draws), -np.inf)
    for number, members in enumerate(groups):
        if members and rules.allow(members):
            gains = np.nan_to_num(members_gain(means, members), nan=-np.inf)
            value[number] = gains @ shares[list(members)]
    allowed: np.ndarray = np.any(value > -np.inf, axis=1)
    # best[s, m]: of the set s in m groups, for each draw; first[s, m] is the group of its first
    # task.
    best = np.full((2**tasks, most + 1, draws), -np.inf)
    first = np.zeros((2**tasks, most + 1, draws), dtype=np.int32)
    best[0, 0] = 0.0
    for whole in range(1, 2**tasks):
        lowest = whole & -whole
        rest = whole ^ lowest
        part = rest
        while True:  # every set that has the first task
            group = part | lowest
            if allowed[group]:
                total = value[group] + best[whole ^ group, :-1]
                better = total > best[whole, 1:]
                best[whole, 1:][better] = total[better]
                first[whole, 1:][better] = group
            if part == 0:
                break
            part = (part - 1) & rest
    found = []
    everything = 2**tasks - 1
    for draw in range(draws):
        each: dict[int, Partition] = {}
        for count in range(1, most + 1):
            if best[everything, count, draw] == -np.inf:
                continue
            left, parts = everything, []
            for m in range(count, 0, -1):
                group = int(first[left, m, draw])
                parts.append(groups[group])
                left ^= group
            each[count] = tuple(sorted(parts))
        if not each:
            raise _impossible(rules)
        found.append(each)
    return found


def _impossible(rules: Rules) -> UserError:
    most = f" in at most {rules.most} networks" if rules.most else ""
    return UserError(
        f"no grouping{most} keeps all rules: allow more networks, or drop a task that must or must "
        "not share with another"
    )


# ------------------------------------------------------------------------- more: integer programs


class _Program:
    """Partitions n tasks: a variable for each pair that shares a network, one for each first task.

    Of three tasks of which two pairs share, the third pair does too. The first task of a group has
    none before it that it shares with, and their number is that of the groups.
    """

    def __init__(self, tasks: int, rules: Rules) -> None:
        self.tasks, self.rules = tasks, rules
        self.pairs = [(i, j) for i in range(tasks) for j in range(i + 1, tasks)]
        self.place = {pair: number for number, pair in enumerate(self.pairs)}

    @cached_property
    def constraints(self) -> "list[scipy.optimize.LinearConstraint]":
        """What makes the variables a partition."""
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        count = 0

        def row(*terms: tuple[int, float]) -> None:
            nonlocal count
            for column, factor in terms:
                rows.append(count)
                columns.append(column)
                values.append(factor)
            count += 1

        at = self.place
        n, pairs = self.tasks, len(self.pairs)
        for i in range(n):
            for j in range(i + 1, n):
                for k in range(j + 1, n):
                    a, b, c = at[i, j], at[j, k], at[i, k]
                    for one, two, third in ((a, b, c), (a, c, b), (b, c, a)):
                        row((one, 1.0), (two, 1.0), (third, -1.0))
        triangles = count
        for j in range(n):  # a task with none before it is a first one
            row((pairs + j, 1.0), *((at[i, j], 1.0) for i in range(j)))
        width = pairs + n
        matrix = scipy.sparse.csr_matrix((values, (rows, columns)), shape=(count, width))
        found = [
            scipy.optimize.LinearConstraint(matrix[:triangles], -np.inf, 1.0),
            scipy.optimize.LinearConstraint(matrix[triangles:], 1.0, np.inf),
        ]
        if self.rules.most is not None:
            firsts = np.concatenate([np.zeros(pairs), np.ones(n)])
            found.append(scipy.optimize.LinearConstraint(firsts[None], -np.inf, self.rules.most))
        return found

    def solve(self, gains: np.ndarray) -> Partition | None:
        """Return the partition of the largest sum of gains `[n, n]` within groups.

        None where the rules allow none, or none was found in time.
        """
        pairs, n = len(self.pairs), self.tasks
        worth = np.array([gains[i, j] + gains[j, i] for i, j in self.pairs])
        low, high = np.zeros(pairs + n), np.ones(pairs + n)
        for a, b in self.rules.together:
            low[self.place[min(a, b), max(a, b)]] = 1.0
        for a, b in self.rules.apart:
            high[self.place[min(a, b), max(a, b)]] = 0.0
        solved = scipy.optimize.milp(
            np.concatenate([-worth, np.zeros(n)]),
            integrality=np.ones(pairs + n),
            bounds=scipy.optimize.Bounds(low, high),
            constraints=self.constraints,
            options={"time_limit": _SECONDS},
        )
        if solved.x is None:
            return None
        groups: list[list[int]] = []
        for task in range(n):
            for group in groups:
                if solved.x[self.place[group[0], task]] > 0.5:
                    group.append(task)
                    break
            else:
                groups.append([task])
        return tuple(map(tuple, groups))


def _by_programs(means: np.ndarray, rules: Rules) -> Sequence[_Best]:
    """Return the groupings that compete, for each of affinities `[D, n, n]`.

    Beside that of the program they are one network for all and one for each, where allowed.
    """
    tasks = means.shape[1]
    everyone = tuple(range(tasks))
    plain: list[Partition] = [(everyone,), tuple((task,) for task in everyone)]
    plain = [p for p in plain if _kept(p, rules)]
    program, shares = _Program(tasks, rules), rules.shares(tasks)
    found = []
    for each in means:
        worth = (each - np.nanmean(each[~np.eye(tasks, dtype=bool)])) * shares[:, None]
        solved = program.solve(np.nan_to_num(worth))
        candidates = [*plain, *([solved] if solved is not None else [])]
        if not candidates:
            raise _impossible(rules)
        found.append({len(p): p for p in candidates})
    return found


def _kept(partition: Partition, rules: Rules) -> bool:
    """Return whether a grouping keeps all rules."""
    few = rules.most is None or len(partition) <= rules.most
    return few and all(map(rules.allow, partition))
