"""Results of `bench group` made up in memory: as plausible as they are false."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from bench.decide.groupings import Apart, GroupingResult, Option, named, verdict
from bench.decide.pairs import Candidate, TargetGains
from bench.spec.budget import Budget
from bench.spec.grouping import GroupExperiment
from bench.stats.affinities import Affinities, Scored
from bench.stats.partitions import Partition, Predicted, Proposal, Rules, totals
from bench.store.groupings import OptionName
from bench.store.records import Use

NAMES = ("gender", "season", "colour", "category", "usage", "brand", "sleeve", "collar")
#: Names that a terminal, a page, a spreadsheet or a log would obey, or that are long.
HOSTILE = (
    "<script>alert(1)</script>",
    "=cmd|'/c calc'!A0",
    "a|b`c",
    "\x1b[31mred\u202e",
    "##[error]stop",
    "a_name_that_goes_on_and_on_and_names_everything_that_it_is_about_in_one_word",
)
#: The mean gain of a task with one network and with the grouping, in points: of all but the first
#: task, and of the first.
WORLDS: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "one network": ((1.5, 1.5), (1.2, 1.2)),
    "grouping": ((1.5, -6.0), (1.5, 1.5)),
    "separate": ((-0.1, -6.0), (-0.1, -5.0)),
    "trade": ((5.0, -6.0), (5.0, -5.0)),
    "undecided": ((-1.0, -1.0), (-1.0, -1.0)),
}


def use(networks: int) -> Use:
    """Return what networks cost to use, each the same."""
    return Use(
        parameters=60_000 * networks,
        flops_per_image=1e6 * networks,
        seconds_alone=1e-3 * networks,
        seconds_in_batch=1e-4 * networks,
        peak_bytes=10**6 * networks,
    )


def candidate(
    tasks: Sequence[str],
    means: Sequence[float],
    networks: int,
    seeds: int = 10,
    spread: float = 0.5,
    seed: int = 0,
    name: str = "",
) -> Candidate:
    """Return an option's gains with the given means; all options of a seed share half of noise."""
    rng, shared = np.random.default_rng(seed), np.random.default_rng(99)
    targets = []
    for task, mean in zip(tasks, means, strict=True):
        noise = spread * (rng.normal(size=seeds) + shared.normal(size=seeds)) / math.sqrt(2)
        gains = {n: float(mean + each) for n, each in enumerate(noise - noise.mean())}
        targets.append(TargetGains(task, gains, margin=1.0, reference=80.0))
    return Candidate(
        name or f"option{seed}",
        tuple(targets),
        parameters=60_000 * networks,
        parameters_apart=60_000 * len(tasks),
        flops=1.0,
        use=use(networks),
        use_apart=use(len(tasks)),
    )


def affinities(
    tasks: Sequence[str], blocks: int, seeds: int, noise: float, method: str, unit: str
) -> Affinities:
    """Return affinities of tasks in blocks that help each other and harm others."""
    rng = np.random.default_rng(len(tasks))
    count = len(tasks)
    block = np.arange(count) % blocks
    values = np.where(block[:, None] == block[None, :], 1.5, -1.5)
    values = values + noise * rng.normal(size=(seeds, count, count))
    values[:, np.eye(count, dtype=bool)] = np.nan
    return Affinities(method, tuple(tasks), values, unit, flops=3e12 * count)


def partition(tasks: int, blocks: int, networks: int) -> Partition:
    """Return a grouping of tasks in blocks: merged where there are fewer networks, else split."""
    groups = [[t for t in range(tasks) if t % blocks % networks == b] for b in range(blocks)]
    alone: list[list[int]] = []
    while len([g for g in groups if g]) + len(alone) < networks:
        alone.append([max(groups, key=len).pop()])
    return tuple(sorted(tuple(group) for group in (*groups, *alone) if group))


def proposal(values: np.ndarray, blocks: int, frequencies: Sequence[float]) -> Proposal:
    """Return a proposal of the blocks, with how often they and the next groupings came out."""
    count = values.shape[-1]
    numbers = range(1, count + 1) if count <= 12 else sorted({1, blocks, count})
    best = [partition(count, blocks, number) for number in numbers]
    predicted = {p: Predicted(p, tuple(map(float, totals(values, p, Rules())))) for p in best}
    chosen = partition(count, blocks, blocks)
    rivals = [chosen, *(p for p in best if p != chosen)]
    drawn = tuple(zip(rivals, frequencies, strict=False))
    return Proposal(predicted[chosen], tuple(predicted.values()), drawn)


def make_result(
    tasks: int | Sequence[str] = 5,
    world: str = "",
    *,
    seeds: int = 10,
    blocks: int = 2,
    unit: str = "%",
    frequencies: Sequence[float] = (0.95, 0.05),
    affinity_seeds: int = 5,
    spread: float = 0.5,
) -> GroupingResult:
    """Return a result: of a world it is verified, else a proposal."""
    if isinstance(tasks, int):
        tasks = [*NAMES, *(f"attribute {n}" for n in range(len(NAMES), tasks))][:tasks]
    found = affinities(tasks, blocks, affinity_seeds, 0.3, "pairs", unit)
    proposed = proposal(found.values, blocks, frequencies)
    grouping = named(proposed.chosen.partition, tasks)
    options: list[Option] = []
    apart = None
    if world:
        (one, one_first), (grouped, grouped_first) = WORLDS[world]
        count = len(grouping)
        wide = 8.0 if world == "undecided" else spread
        shuffled = tuple(
            tuple(tasks[(tasks.index(task) + 1) % len(tasks)] for task in group)
            for group in grouping
        )
        for number, (name, groups, rest, first) in enumerate(
            (
                (OptionName.ONE, (tuple(tasks),), one, one_first),
                (OptionName.GROUPING, grouping, grouped, grouped_first),
                (OptionName.RANDOM, shuffled, grouped - 3, grouped_first - 3),
                (OptionName.SLIM, tuple((t,) for t in tasks), grouped - 0.1, grouped_first),
            )
        ):
            means = [first, *[rest] * (len(tasks) - 1)]
            networks = count if name is OptionName.SLIM else len(groups)
            own = candidate(tasks, means, networks, seeds, wide, number, str(name))
            steps = tuple(128 * len(tasks) // networks for _ in range(networks))
            options.append(Option(name, groups, own, steps))
        lost = [-first / 10, *[-0.2] * (len(tasks) - 1)]
        apart = Apart(
            Budget(len(tasks) * 1e10, "flop"),
            (128,) * len(tasks),
            candidate(tasks, lost, len(tasks), seeds, spread / 2, 9, "half the budget"),
        )
    other = Affinities("cosine", tuple(tasks), found.values / 10, "", 1e12)
    scored = Scored(
        "pairs",
        tuple(((tasks[0], tasks[1], tasks[n]), tasks[n]) for n in range(2, len(tasks))),
        tuple(float(n) for n in range(2, len(tasks))),
        tuple(float(n % 3) for n in range(2, len(tasks))),
        rho=0.8,
        low=0.5,
        high=0.93,
    )
    return GroupingResult(
        tasks=tuple(tasks),
        affinities=(found, other),
        proposal=proposed,
        scored=(scored,),
        options=tuple(options),
        verdict=verdict(options) if options else None,
        costs={"affinities": 5e12, "verification": 2e13, "every group": 4e14},
        apart=apart,
    )


@pytest.fixture(name="experiment", scope="session")
def _experiment() -> GroupExperiment:
    return GroupExperiment(
        name="wardrobe",
        description="What is in a picture of clothes.",
        pair=("creatures:species+kin",),
        strategy=("hard",),
        budget="1e10flop",
        seeds=10,
        at_most_networks=3,
    )


@pytest.fixture(name="make_result", scope="session")
def _make_result() -> Callable[..., GroupingResult]:
    return make_result


@pytest.fixture(name="hostile", scope="session")
def _hostile() -> GroupingResult:
    return make_result(HOSTILE, "grouping")
