"""The choice of a grouping: exact, honest about ties, and within its rules."""

import math
from itertools import pairwise

import numpy as np
import pytest

from bench.errors import UserError
from bench.stats.partitions import (
    Partition,
    Rules,
    members_gain,
    partitions,
    propose,
    totals,
)


def world(
    blocks: Partition, seeds: int, noise: float, inside: float = 3.0, across: float = -2.0
) -> np.ndarray:
    """Return affinities `[S, n, n]`: one number within blocks, another across, and noise."""
    block = {task: number for number, group in enumerate(blocks) for task in group}
    n = len(block)
    mean = np.array(
        [[inside if block[i] == block[j] else across for j in range(n)] for i in range(n)]
    )
    values = mean + noise * np.random.default_rng(7).standard_normal((seeds, n, n))
    values[:, range(n), range(n)] = math.nan
    return np.asarray(values)


@pytest.mark.parametrize(("tasks", "bell"), [(1, 1), (2, 2), (3, 5), (5, 52), (7, 877)])
def test_there_are_as_many_groupings_as_bell_numbers_say(tasks: int, bell: int) -> None:
    found = list(partitions(tasks))
    assert len(found) == len(set(found)) == bell
    assert all(sorted(t for group in each for t in group) == list(range(tasks)) for each in found)


def test_a_gain_is_the_mean_of_what_companions_bring() -> None:
    affinity = np.array([[math.nan, 2.0, 4.0], [1.0, math.nan, 1.0], [0.0, -6.0, math.nan]])
    assert members_gain(affinity, (0, 1, 2)).tolist() == [3.0, 1.0, -3.0]
    assert members_gain(affinity, (0, 2)).tolist() == [4.0, 0.0]
    assert members_gain(affinity, (1,)).tolist() == [0.0]


def test_an_unknown_pair_is_left_out_of_the_mean() -> None:
    affinity = np.array([[math.nan, 2.0, math.nan], [1.0, math.nan, 1.0], [0.0, 1.0, math.nan]])
    assert members_gain(affinity, (0, 1, 2)).tolist()[0] == 2.0
    assert math.isnan(members_gain(affinity, (0, 2))[0])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "rules",
    [
        Rules(),
        Rules(most=2),
        Rules(together=((0, 3),), apart=((1, 2), (0, 4))),
        Rules(most=3, weights=(5.0, 1.0, 1.0, 1.0, 0.5)),
    ],
    ids=["free", "capped", "held", "weighed"],
)
def test_the_best_of_each_number_is_that_of_all_groupings(seed: int, rules: Rules) -> None:
    """Dynamic programming against every grouping, one by one."""
    affinity = np.random.default_rng(seed).standard_normal((1, 5, 5))
    found = {each.networks: each for each in propose(affinity, rules).best}
    for count in range(1, (rules.most or 5) + 1):
        allowed = [
            p for p in partitions(5) if len(p) == count and all(rules.allow(group) for group in p)
        ]
        if not allowed:
            assert count not in found
            continue
        values = [float(totals(affinity, p, rules)[0]) for p in allowed]
        assert found[count].mean == pytest.approx(max(values), abs=1e-12)
        assert found[count].partition in allowed


@pytest.mark.parametrize(
    "blocks", [((0, 1), (2, 3)), ((0, 2, 4), (1, 3, 5)), ((0,), (1, 2, 3, 4))], ids=str
)
def test_planted_blocks_are_proposed_and_stable(blocks: Partition) -> None:
    found = propose(world(blocks, seeds=5, noise=0.5), Rules())
    assert found.chosen.partition == blocks
    assert found.stable


def test_of_groupings_that_are_equally_good_the_fewest_networks_are_proposed() -> None:
    """In a large block every part of it is as good: noise alone would split it."""
    blocks = (tuple(range(0, 8, 2)), tuple(range(1, 8, 2)))
    found = propose(world(blocks, seeds=5, noise=1.0), Rules(), draws=20)
    assert found.chosen.partition == blocks
    assert max(found.best, key=lambda each: each.mean).networks > 2, "the search alone overfits"


def test_where_sharing_always_pays_one_network_is_proposed() -> None:
    everyone = (tuple(range(5)),)
    assert propose(world(everyone, 5, noise=0.3), Rules()).chosen.partition == everyone


def test_where_sharing_never_pays_each_task_has_a_network() -> None:
    alone = tuple((task,) for task in range(5))
    found = propose(world(alone, 5, noise=0.3), Rules())
    assert found.chosen.partition == alone
    assert found.chosen.mean == 0.0


def test_noise_is_no_stable_proposal() -> None:
    found = propose(world(((0, 1, 2), (3, 4, 5)), seeds=5, noise=20.0), Rules())
    assert not found.stable
    shares = [share for _, share in found.frequencies]
    assert sum(shares) == pytest.approx(1.0)
    assert all(a >= b for a, b in pairwise(shares))


def test_two_seeds_are_too_few_to_draw_again() -> None:
    found = propose(world(((0, 1), (2, 3)), seeds=2, noise=0.1), Rules())
    assert found.chosen.partition == ((0, 1), (2, 3))
    assert math.isnan(found.frequency)
    assert not found.stable


def test_the_same_affinities_give_the_same_proposal() -> None:
    affinity = world(((0, 1), (2, 3)), seeds=5, noise=4.0)
    assert propose(affinity, Rules()) == propose(affinity, Rules())


def test_a_cap_is_kept_where_more_networks_would_be_better() -> None:
    found = propose(world(((0, 1), (2, 3), (4, 5)), 5, noise=0.1), Rules(most=2))
    assert found.chosen.networks <= 2
    assert all(each.networks <= 2 for each in found.best)


@pytest.mark.parametrize("tasks", [4, 14])
def test_rules_that_contradict_each_other_are_named(tasks: int) -> None:
    affinity = world((tuple(range(tasks)),), 3, noise=0.1)
    with pytest.raises(UserError, match="no grouping"):
        propose(affinity, Rules(together=((0, 1),), apart=((0, 1),)))


def test_beyond_twelve_tasks_an_integer_program_finds_the_blocks() -> None:
    blocks = (tuple(range(0, 15, 3)), tuple(range(1, 15, 3)), tuple(range(2, 15, 3)))
    found = propose(world(blocks, seeds=4, noise=0.5), Rules())
    assert found.chosen.partition == blocks
    assert found.stable


def test_the_integer_program_keeps_the_rules() -> None:
    blocks = (tuple(range(0, 14, 2)), tuple(range(1, 14, 2)))
    rules = Rules(most=3, together=((0, 1),), apart=((2, 4),))
    chosen = propose(world(blocks, seeds=3, noise=0.1), rules).chosen.partition
    assert len(chosen) <= 3
    assert all(map(rules.allow, chosen))
