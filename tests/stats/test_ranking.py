"""Which strategy is best: by hand, and how often the procedure errs."""

import numpy as np
import pytest

from bench.stats.ranking import _groups, ranked_by


def test_the_best_mean_is_first_and_what_is_surely_worse_is_told() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(10, 1))
    scores = base + np.array([0.0, 3.0, 2.9]) + 0.1 * rng.normal(size=(10, 3))
    ranked, groups = ranked_by(["a", "b", "c"], scores)
    names = [r.strategy for r in ranked]
    assert set(names[:2]) == {"b", "c"}
    assert names[2] == "a"
    assert set(ranked[2].beaten_by) == {"b", "c"}
    assert ranked[2].probability_best == 0
    assert sum(r.probability_best for r in ranked) == pytest.approx(1)
    assert ranked[0].mean == pytest.approx(scores.mean(0).max())
    assert groups in {((0, 1),), ()}


def test_equal_strategies_share_the_probability_and_one_group() -> None:
    scores = np.repeat(np.random.default_rng(1).normal(size=(10, 1)), 4, axis=1)
    ranked, groups = ranked_by(list("abcd"), scores)
    assert [r.probability_best for r in ranked] == pytest.approx([0.25] * 4)
    assert groups == ((0, 3),)
    assert all(not r.beaten_by for r in ranked)


def test_groups_are_the_longest_runs_of_which_no_two_lie_apart() -> None:
    apart = np.zeros((5, 5), dtype=bool)
    for a, b in ((0, 3), (0, 4), (1, 4), (2, 4), (3, 4)):
        apart[a, b] = apart[b, a] = True
    assert _groups(apart) == ((0, 2), (1, 3))


def test_equal_strategies_are_told_apart_at_most_as_often_as_stated() -> None:
    """Six strategies without any difference: all fifteen pairs under one correction."""
    rng = np.random.default_rng(2)
    rounds = 400
    false = 0
    for _ in range(rounds):
        scores = rng.normal(size=(10, 1)) + rng.normal(size=(10, 6))
        ranked, _ = ranked_by(list("abcdef"), scores)
        false += any(r.beaten_by for r in ranked)
    assert false / rounds <= 0.05 + 3 * (0.05 * 0.95 / rounds) ** 0.5


def test_the_probability_of_being_best_is_near_that_of_the_truth() -> None:
    """One strategy ahead by its standard error: it is best of two in 84 % of draws."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(100):
        difference = rng.normal(size=20)
        difference += 20**-0.5 * difference.std(ddof=1) - difference.mean()
        scores = np.stack([difference, np.zeros(20)], axis=1)
        (first, _), _ = ranked_by(["a", "b"], scores)
        found.append(first.probability_best)
    assert np.mean(found) == pytest.approx(0.84, abs=0.02)


def test_who_left_a_race_counts_in_the_family_and_looks_are_paid_for() -> None:
    rng = np.random.default_rng(4)
    scores = np.stack([rng.normal(0, 1, 12), np.zeros(12)], axis=1) + np.array([1.3, 0.0])
    (_, second), _ = ranked_by(["a", "b"], scores)
    assert second.beaten_by == ("a",)
    (_, second), _ = ranked_by(["a", "b"], scores, compared=20)
    assert second.beaten_by == ()
    asked: list[float] = []

    def repeated(p: float) -> float:
        asked.append(p)
        return 1.0

    (_, second), _ = ranked_by(["a", "b"], scores, repeated=repeated)
    assert second.beaten_by == ()
    assert len(asked) == 1
