"""What plots show of a large experiment: the ends of it, with a word on the rest."""

import math
from itertools import product
from types import SimpleNamespace
from typing import Any

from bench.report.selection import best_and_worst, extremes, first_pairs


def rows(pairs: int, strategies: int) -> list[Any]:
    """Return rows whose gains rise with the number of the strategy, and a little with the pair."""
    return [
        SimpleNamespace(
            pair=f"p{pair:02}",
            target=target,
            strategy=f"s{strategy:02}",
            against={"full": SimpleNamespace(result=SimpleNamespace(mean=strategy + pair / 100))},
        )
        for pair, target, strategy in product(range(pairs), "ab", range(strategies))
    ]


def test_few_rows_are_all_shown_in_their_order_without_a_remark() -> None:
    found = rows(pairs=3, strategies=15)
    for selection in (extremes(found), first_pairs(found), best_and_worst(found)):
        assert selection.of(found) == found
        assert selection.title("name") == "name"


def test_of_many_rows_the_highest_and_the_lowest_gains_are_shown_in_their_order() -> None:
    found = rows(pairs=4, strategies=20)
    selection = extremes(found, most=40)
    shown = selection.of(found)
    assert [row for row in found if row in shown] == shown
    gains = sorted(row.against["full"].result.mean for row in found)
    assert sorted(row.against["full"].result.mean for row in shown) == gains[:10] + gains[-30:]
    assert selection.title("name") == "name (of 160 rows the 30 highest and 10 lowest gains)"


def test_a_row_without_a_gain_is_among_the_lowest() -> None:
    found = rows(pairs=4, strategies=20)
    found[7].against["full"].result.mean = math.nan
    assert found[7] in extremes(found, most=40).of(found)


def test_of_many_strategies_the_best_and_the_worst_of_each_pair_are_shown() -> None:
    found = rows(pairs=2, strategies=16)
    selection = best_and_worst(found)
    names = [f"s{number:02}" for number in (0, 1, 2, *range(6, 16))]
    assert [row.strategy for row in selection.of(found)] == names * 4
    assert selection.remark == "of 16 strategies the 10 best and 3 worst, others grey"


def test_of_many_pairs_the_first_are_shown() -> None:
    found = rows(pairs=30, strategies=1)
    selection = first_pairs(found)
    assert {row.pair for row in selection.of(found)} == {f"p{number:02}" for number in range(12)}
    assert selection.remark == "the first 12 of 30 pairs"
