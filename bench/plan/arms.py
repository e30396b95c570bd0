"""From an experiment to its rows: what each trains, and what it is compared with.

Anchors and references are added here, at the widths that make them as large as they have to be.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from bench.errors import UserError
from bench.spec.budget import TOLERANCE
from bench.spec.experiment import Experiment, Recipe, RunSpec
from bench.spec.registry import (
    Strategy,
    default_strategy,
    parse_network,
    parse_pairs,
    parse_strategy,
    single_task,
)
from bench.store.records import AnchorName
from bench.tasks import Pair

#: No network is made wider than this many hundredths to match another.
_WIDEST = 1600
#: Why rows have no anchor that takes networks of another width.
ONE_WIDTH = "it has one width, so nothing is compared with slim, wide or same-size"


@dataclass(frozen=True)
class Arm:
    """What is trained, before a budget or a seed: the unit that has one price."""

    dataset: str
    tasks: tuple[str, ...]
    scored: tuple[str, ...]
    strategy: str
    width: float = 1.0
    share: float = 1
    """The arm gets the budget divided by this."""
    like: "Arm | None" = None
    """The arm gets no budget, but as many steps as this one trains its task for."""


@dataclass(frozen=True)
class RowPlan:
    """A row before the keys of its runs are known."""

    pair: Pair
    strategy: str
    target: str
    arm: Arm
    same_as: str
    anchors: Mapping[AnchorName, Mapping[str, Arm]]


class Sizes(Protocol):
    """What sizes rows: `bench.plan.survey.Survey` knows it. None stands for what cannot be told.

    Each raises `UserError` where it is the user's to fix.
    """

    def parameters(self, arm: Arm) -> float | None:
        """Return how many parameters an arm's network has."""

    def flops(self, arm: Arm) -> float | None:
        """Return the FLOPs of an arm's step."""

    def tasks(self, arm: Arm) -> int | None:
        """Return how many tasks an arm trains."""


Size = Callable[[Arm], float | None]


class _UnsizedError(Exception):
    """An arm has no size."""


def fitted(
    arms: Sequence[Arm],
    like: Sequence[Arm],
    size: Size,
    widest: int = _WIDEST,
) -> list[Arm]:
    """Return arms at the one width at which they together are as large as other arms together.

    To a hundredth, and at most `widest` hundredths. At width 1 where an audit would not tell that
    from the other arms, or no width is nearer: those networks may be trained already.
    """

    def at(hundredths: int) -> list[Arm]:
        return [replace(arm, width=hundredths / 100) for arm in arms]

    def excess(hundredths: int) -> float:
        return sum(map(sized, at(hundredths))) - goal

    def sized(arm: Arm) -> float:
        if (found := size(arm)) is None:
            raise _UnsizedError
        return found

    try:
        goal = sum(map(sized, like))
        if abs(excess(100)) <= TOLERANCE["flop"] * goal:
            return at(100)
        low, high = 1, 100
        while high < widest and excess(high) < 0:
            low, high = high, min(2 * high, widest)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if excess(middle) <= 0 else (low, middle)
        return at(min((100, high, low), key=lambda hundredths: abs(excess(hundredths))))
    except _UnsizedError:
        return at(100)  # one cannot be built; its pricing will say why


def single_arm(dataset: str, task: str, share: float = 1) -> Arm:
    """Return the single-task network of a task."""
    return Arm(dataset, (task,), (task,), single_task().name, share=share)


def rows_of(experiment: Experiment, sizes: Sizes) -> list[RowPlan]:
    """Return the rows of an experiment; one that two pairs share stands under the first."""
    rows: dict[tuple[str, Arm], RowPlan] = {}
    for group in experiment.groups:
        pairs = [pair for text in group.pair for pair in parse_pairs(text)]
        for pair in pairs:
            found = [
                row
                for text in group.strategy
                for row in _rows_of_pair(pair, parse_strategy(text), experiment, sizes)
            ]
            # Strategies that are one finding stand together, where the first of them was asked.
            order = [row.same_as or row.strategy for row in found]
            for row in sorted(
                found,
                key=lambda r: (pair.tasks.index(r.target), order.index(r.same_as or r.strategy)),
            ):
                rows.setdefault((row.target, row.arm), row)
    return list(rows.values())


def _rows_of_pair(
    pair: Pair, strategy: Strategy, experiment: Experiment, sizes: Sizes
) -> list[RowPlan]:
    targets, widths = pair.targets, parse_network(experiment.network).widths
    rows = []
    for target in targets:
        arm = _arm(pair, strategy, target)
        rivals: dict[AnchorName, dict[str, Arm]]
        alone = single_arm(pair.dataset, target)
        rivals = {"full": {target: alone}, "same-steps": {target: replace(alone, like=arm)}}
        # A placebo is no task that anyone would train alone, so there is no pair to split a budget
        # over: such a row asks one thing, whether the target gains.
        shares = len(pair.tasks)
        if not strategy.auxiliaries and shares > 1 and len(targets) == shares:
            split = [single_arm(pair.dataset, task, shares) for task in targets]
            rivals["split"] = dict(zip(targets, split, strict=True))
            if widths:
                # An arm larger than these together gains nothing from wider ones here.
                slim = fitted(split, [arm], sizes.parameters, widest=100)
                rivals["slim"] = dict(zip(targets, slim, strict=True))
        for name, reference in _references(pair, strategy, target, arm, experiment, sizes):
            if reference != arm and {target: reference} not in rivals.values():
                rivals[name] = {target: reference}
        same_as = strategy.same_for_two if sizes.tasks(arm) == 2 else ""
        rows.append(RowPlan(pair, strategy.name, target, arm, same_as, rivals))
    return rows


def _references(
    pair: Pair,
    strategy: Strategy,
    target: str,
    arm: Arm,
    experiment: Experiment,
    sizes: Sizes,
) -> Iterator[tuple[AnchorName, Arm]]:
    """Yield what a row is compared with with the whole budget, beside its anchors.

    It may be the row itself, or what the row is compared with already.
    """
    if experiment.reference is not None:
        yield "reference", _arm(pair, parse_strategy(experiment.reference), target)
    if not parse_network(experiment.network).widths:
        return
    if "wide" in experiment.also_against:
        alone = [single_arm(pair.dataset, target)]
        yield "wide", fitted(alone, [arm], sizes.flops)[0]
    # What an auxiliary task adds, a decoder say, is no part of the network that is scored.
    if "same-size" in experiment.also_against and not strategy.auxiliaries:
        plain = [_arm(pair, default_strategy(), target)]
        yield "same-size", fitted(plain, [arm], sizes.parameters)[0]


def _arm(pair: Pair, strategy: Strategy, target: str) -> Arm:
    """Return what a strategy trains of a pair: an auxiliary one serves one target alone."""
    if not strategy.auxiliaries:
        return Arm(pair.dataset, pair.tasks, pair.targets, strategy.name)
    partners = [t for t in pair.tasks if t != target] if strategy.uses_partners else []
    if strategy.uses_partners and not partners:
        raise UserError(f"strategy '{strategy.name}' needs a partner; {pair.name} has none")
    return Arm(pair.dataset, (target, *partners), (target,), strategy.name)


def arm_spec(arm: Arm, recipe: Recipe, device: str) -> RunSpec:
    """Return the specification of an arm's run before it has a budget and a seed."""
    return RunSpec(
        dataset=arm.dataset,
        tasks=arm.tasks,
        scored=arm.scored,
        strategy=arm.strategy,
        width=arm.width,
        budget="",
        steps=(),
        seed=0,
        device=device,
        recipe=recipe,
    )
