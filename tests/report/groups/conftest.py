"""Results of `bench group` made up in memory: as plausible as they are false."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from bench.decide.groupings import GroupingResult, Option, named, verdict
from bench.decide.pairs import Candidate, TargetGains
from bench.stats.affinities import Affinities, Scored
from bench.stats.partitions import Proposal, Rules, propose
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


def make_result(
    tasks: int | Sequence[str] = 5,
    world: str = "",
    *,
    seeds: int = 10,
    blocks: int = 2,
    noise: float = 0.3,
    unit: str = "%",
    draws: int = 40,
    affinity_seeds: int = 5,
    most: int | None = None,
) -> GroupingResult:
    """Return a result: of a world it is verified, else a proposal."""
    if isinstance(tasks, int):
        tasks = [*NAMES, *(f"attribute {n}" for n in range(len(NAMES), tasks))][:tasks]
    found = affinities(tasks, blocks, affinity_seeds, noise, "pairs", unit)
    proposal: Proposal = propose(found.values, Rules(most=most), draws=draws)
    grouping = named(proposal.chosen.partition, tasks)
    options: list[Option] = []
    if world:
        (one, one_first), (grouped, grouped_first) = WORLDS[world]
        count = len(grouping)
        wide = 8.0 if world == "undecided" else 0.5
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
            options.append(Option(name, groups, own))
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
        proposal=proposal,
        scored=(scored,),
        options=tuple(options),
        verdict=verdict(options) if options else None,
        costs={"affinities": 5e12, "verification": 2e13, "every group": 4e14},
    )


@pytest.fixture(name="make_result", scope="session")
def _make_result() -> Callable[..., GroupingResult]:
    return make_result


@pytest.fixture(name="hostile", scope="session")
def _hostile() -> GroupingResult:
    return make_result(HOSTILE, "grouping")
