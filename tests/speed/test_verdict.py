"""Table 6: how many seeds a question needs, and which runs each way to answer it takes."""

import math

import pytest

from bench.speed.verdict import Spread, own_baselines, seeds_needed, unpaired_seeds
from bench.stats.tests import seeds_to_detect
from bench.store.records import Row, SeedRuns


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_unpaired_seeds_are_those_of_cohens_tables(effect: float, seeds: int) -> None:
    # Cohen (1988), table 2.4.1: power .80 of a two-sided test at .05.
    sd = 3.0
    assert unpaired_seeds(effect * sd, sd, sd, 0.05) == seeds


def test_a_gain_beyond_reach_or_without_spread_has_no_number_or_the_least() -> None:
    assert unpaired_seeds(1e-4, 1.0, 1.0, 0.05) is None
    assert unpaired_seeds(1.0, 0.0, 0.0, 0.05) == 2


def test_the_least_certain_row_says_how_many_seeds_all_need() -> None:
    rows = [Spread(paired=1.0, shared=2.0, alone=2.0), Spread(paired=3.0, shared=1.0, alone=1.0)]
    found = seeds_needed(rows, gain=2.0)
    assert found.paired == seeds_to_detect(2.0, 3.0, level=0.025)
    assert found.unpaired == unpaired_seeds(2.0, 2.0, 2.0, 0.025)
    assert seeds_needed([*rows, Spread(math.inf, 1.0, 1.0)], gain=2.0).paired is None


def _row(strategy: str, target: str) -> Row:
    alone = {"a": "0" * 31 + "a", "b": "0" * 31 + "b"}
    runs = SeedRuns(
        seed=0,
        strategy={"x": "1", "y": "2"}[strategy] * 32,
        anchors={"full": {target: alone[target]}},
    )
    return Row(pair="p", strategy=strategy, target=target, expect=None, seeds=(runs,))


def test_own_baselines_are_trained_once_for_each_strategy() -> None:
    rows = [_row(strategy, target) for strategy in "xy" for target in "ab"]
    keys = list(own_baselines(rows))
    assert [key[-1] for key in keys] == ["1", "a", "b", "2", "a", "b"]
