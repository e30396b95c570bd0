"""What each task gets from each other one, from records: pure functions of them.

Gains are relative: percent of the mean score of the task's own single-task network (Maninis et al.
2019), so that tasks of different metrics can be added up.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from bench.stats.gains import Lookup, value
from bench.stats.partitions import members_gain
from bench.store.groupings import GroupDeclaration, NetworkRuns
from bench.store.records import CurvePoint, Record

#: Draws of the groups behind the interval of a rank correlation, and the fewest groups for one.
_DRAWS, _FEWEST = 2000, 4


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


#: What each task of a group gained in percent, by the group's tasks and then by task.
Trained = Mapping[tuple[str, ...], Mapping[str, float]]


def affinities(declaration: GroupDeclaration, find: Lookup) -> tuple[Affinities, ...]:
    """Return the affinities of all methods that the runs of a declaration measure.

    The one that proposes comes first. Seeds without all of their runs are left out; where none is
    left, nothing is returned.
    """
    runs = declaration.affinity
    if runs.joint is not None:
        return tuple(
            found
            for name, read in (("look-ahead", _look_ahead), ("cosine", _cosine))
            if len((found := _of_joint(declaration, find, name, read)).values)
        )
    found = _of_pairs(declaration, find)
    return (found,) if len(found.values) else ()


def trained_groups(declaration: GroupDeclaration, find: Lookup) -> Trained:
    """Return what the tasks of larger groups than pairs gained, where affinities trained any."""
    gains, trained = _Gains.of(declaration, find), {}
    for network in declaration.affinity.groups:
        if len(network.tasks) > 2:
            each = {task: gains.of_task(network, task) for task in network.tasks}
            trained[network.tasks] = {t: statistics.fmean(g) for t, g in each.items() if g}
    return trained


@dataclass(frozen=True)
class _Gains:
    """The scores of single-task networks by task and seed, and what finds those of groups."""

    alone: Mapping[str, Mapping[int, float]]
    find: Lookup

    @classmethod
    def of(cls, declaration: GroupDeclaration, find: Lookup) -> "_Gains":
        alone = {
            network.tasks[0]: {
                run.seed: score
                for run in network.runs
                if (score := value(find(run.key), network.tasks[0])) is not None
            }
            for network in declaration.affinity.alone
        }
        return cls(alone, find)

    def at(self, network: NetworkRuns, task: str, seed: int) -> float | None:
        """Return what a task gained in a network at a seed, in percent; None where unknown."""
        own = self.alone.get(task, {})
        run = next(run for run in network.runs if run.seed == seed)
        score = value(self.find(run.key), task)
        if score is None or seed not in own or not (mean := statistics.fmean(own.values())):
            return None
        return 100 * (score - own[seed]) / abs(mean)

    def of_task(self, network: NetworkRuns, task: str) -> list[float]:
        """Return what a task gained in a network at every seed that is known."""
        found = (self.at(network, task, run.seed) for run in network.runs)
        return [gain for gain in found if gain is not None]


def _flops(networks: Sequence[NetworkRuns], find: Lookup) -> float:
    records = (find(run.key) for network in networks for run in network.runs)
    return sum(r.ledger.used["flop"] for r in records if r is not None and r.ledger is not None)


def _of_pairs(declaration: GroupDeclaration, find: Lookup) -> Affinities:
    tasks, runs = declaration.tasks, declaration.affinity
    pairs = [network for network in runs.groups if len(network.tasks) == 2]
    gains, place = _Gains.of(declaration, find), {task: t for t, task in enumerate(tasks)}
    seeds = [run.seed for run in runs.alone[0].runs]
    tables = []
    for seed in seeds:
        table = np.full((len(tasks), len(tasks)), math.nan)
        for network in pairs:
            for task, other in (network.tasks, network.tasks[::-1]):
                found = gains.at(network, task, seed)
                table[place[task], place[other]] = math.nan if found is None else found
        tables.append(table)
    return Affinities(
        "pairs", tasks, _whole(tables, len(tasks)), "%", _flops([*runs.alone, *pairs], find)
    )


def _whole(tables: Sequence[np.ndarray], tasks: int) -> np.ndarray:
    """Return the tables of seeds that have a number for all pairs, `[S, n, n]`."""
    off = ~np.eye(tasks, dtype=bool)
    kept = [table for table in tables if np.isfinite(table[off]).all()]
    return np.stack(kept) if kept else np.empty((0, tasks, tasks))


def _of_joint(
    declaration: GroupDeclaration,
    find: Lookup,
    method: str,
    read: Callable[[CurvePoint, str, str], float | None],
) -> Affinities:
    """Return affinities that joint runs recorded along their curves, the mean over points."""
    tasks, joint = declaration.tasks, declaration.affinity.joint
    assert joint is not None

    def table(record: Record) -> np.ndarray:
        found = np.full((len(tasks), len(tasks)), math.nan)
        for i, task in enumerate(tasks):
            for j, other in enumerate(tasks):
                each = [x for point in record.curve if (x := read(point, task, other)) is not None]
                if i != j and each:
                    found[i, j] = statistics.fmean(each)
        return found

    records = [r for run in joint.runs if (r := find(run.key)) is not None and r.status == "ok"]
    values = _whole([table(record) for record in records], len(tasks))
    return Affinities(method, tasks, values, "", _flops([joint], find))


def _look_ahead(point: CurvePoint, task: str, other: str) -> float | None:
    """Return what steps for the other task took off the task's loss, in percent of it."""
    effect = point.effects.get(other, {}).get(task)
    return None if effect is None else 100 * effect


def _cosine(point: CurvePoint, task: str, other: str) -> float | None:
    return point.cosine(task, other)


def scored(found: Affinities, trained: Trained) -> Scored | None:
    """Return how the predictions of affinities compare with what groups gained; None without any.

    The interval is that of percentiles over draws of the groups, since tasks of one group come of
    the same runs.
    """
    place = {task: t for t, task in enumerate(found.tasks)}
    groups: list[tuple[tuple[str, ...], list[tuple[str, float, float]]]] = []
    for group, gains in trained.items():
        predicted = members_gain(found.mean, [place[task] for task in group])
        lines = [
            (task, float(expected), gains[task])
            for task, expected in zip(group, predicted, strict=True)
            if task in gains and math.isfinite(expected)
        ]
        if lines:
            groups.append((group, lines))
    if not groups:
        return None
    cases = tuple((group, task) for group, lines in groups for task, _, _ in lines)
    every = [line for _, lines in groups for line in lines]
    expectations, gained = [x for _, x, _ in every], [y for _, _, y in every]
    low = high = math.nan
    if len(groups) >= _FEWEST:
        chances = np.random.default_rng(0)
        drawn = []
        for _ in range(_DRAWS):
            picks = chances.integers(0, len(groups), len(groups))
            lines = [line for pick in picks for line in groups[pick][1]]
            drawn.append(_rho([x for _, x, _ in lines], [y for _, _, y in lines]))
        low, high = (float(q) for q in np.nanquantile(drawn, (0.025, 0.975)))
    rho = _rho(expectations, gained)
    return Scored(found.method, cases, tuple(expectations), tuple(gained), rho, low, high)


def _rho(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation; NaN where one side is constant or there are too few."""
    if len(one) < 3 or len(set(one)) < 2 or len(set(other)) < 2:
        return math.nan
    return float(scipy.stats.spearmanr(one, other).statistic)
