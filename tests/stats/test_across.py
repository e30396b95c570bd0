"""What rows say together, compared with small tables that are worked by hand."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.spec.budget import Audit
from bench.stats.across import (
    AcrossPairs,
    across_pairs,
    contrasts,
    expectations,
    interquartile_mean,
    shares_above,
    without_gains,
)
from bench.stats.comparison import Comparison, RowResult, Verdict
from bench.stats.group_sequential import SINGLE_ANALYSIS, Stage
from bench.stats.tests import paired
from bench.store.records import Outcome


def row(
    pair: str,
    target: str,
    gains: Mapping[int, float] | Sequence[float],
    *,
    strategy: str = "hard",
    expect: str | None = None,
    verdict: str = "inconclusive",
    placebo: str = "",
    steps: int = 10,
    used: float = 1.0,
    unit: str = "%",
    mean: float = 80.0,
    stage: Stage = SINGLE_ANALYSIS,
) -> RowResult:
    by_seed = dict(gains) if isinstance(gains, Mapping) else dict(enumerate(gains))
    margin = 1.0 if unit == "%" else mean / 100
    full = Comparison(
        anchor="full",
        gains=by_seed,
        scores={},
        result=paired(list(by_seed.values()), margin),
        p_holm=1.0,
        p_equivalence_holm=1.0,
        anchor_mean=mean,
        audits={seed: Audit("flop", used, 1.0) for seed in by_seed},
        steps=(steps, 10),
        flops=1.0,
        seconds=1.0,
        margin=margin,
        strategy="single",
        width=1.0,
        parameters=1,
        constant=False,
        population=None,
        stage=stage,
    )
    rest: dict[str, Any] = dict.fromkeys(RowResult.__dataclass_fields__)
    known = {
        "pair": pair,
        "strategy": strategy,
        "target": target,
        "expect": expect,
        "unit": unit,
        "against": {"full": full},
        "placebo": placebo,
        "verdict": Verdict(Outcome(verdict), Outcome(verdict), ""),
    }
    return RowResult(**{**rest, **known})


def test_the_interquartile_mean_is_that_of_the_middle_half_of_all_runs() -> None:
    gains = np.array([[0.0, 100.0], [1.0, 2.0], [3.0, -90.0], [4.0, 5.0]])
    # Sorted: -90 0 | 1 2 3 4 | 5 100.
    assert interquartile_mean(gains).value == 2.5
    assert math.isnan(interquartile_mean(gains).low)  # four seeds: too few for an interval


def test_one_wild_pair_does_not_move_the_interquartile_mean() -> None:
    calm = np.random.default_rng(0).normal(1, 0.1, size=(10, 6))
    wild = np.concatenate([calm, np.full((10, 1), 90.0)], axis=1)
    assert interquartile_mean(wild).value == pytest.approx(1, abs=0.1)
    found = interquartile_mean(wild)
    assert found.low < found.value < found.high


def test_seeds_that_are_drawn_with_all_their_pairs_do_not_average_out() -> None:
    # All pairs have the same draw, so ten seeds of five pairs are ten runs and not fifty.
    draws = np.random.default_rng(1).normal(size=(10, 1))
    one, five = (interquartile_mean(np.repeat(draws, k, axis=1)) for k in (4, 20))
    assert five.high - five.low == pytest.approx(one.high - one.low, rel=1e-6)


def test_a_share_counts_ties_half_and_is_a_mean_over_questions() -> None:
    gains = np.array([[1.0, 0.0], [-1.0, 2.0]] * 4)
    (found,) = shares_above(gains, [0.0], ties=0.5)
    assert found.value == (1 + 0.5 + 0 + 1) / 4
    assert found.low < found.value < found.high
    assert [s.value for s in shares_above(gains, [-2.0, 0.0, 3.0])] == [1.0, 0.5, 0.0]


def test_a_share_of_all_runs_has_the_bound_of_as_many_runs_as_there_are_seeds() -> None:
    # Clopper and Pearson (1934): 10 of 10 leaves 0.6915 at 95 %.
    (found,) = shares_above(np.ones((10, 3)), [0.0])
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.6915, abs=5e-5)


def test_pairs_are_put_together_by_strategy_seed_and_question() -> None:
    rows = [
        row("d:a+b", "a", [1.0, 2.0]),
        row("d:a+b", "b", [3.0, 4.0]),
        row("d:a+c", "a", {1: 5.0, 2: 9.0}),
        row("d:a+b~noise", "a", [7.0, 7.0], placebo="noise"),
        row("d:a+d", "a", [8.0, 8.0], used=1.2),
        row("d:a+b", "a", [1.0, 2.0], strategy="of one pair"),
        row("d:a+b", "a", [1.0, 2.0], strategy="unequal"),
        row("d:a+c", "a", [1.0, 2.0], strategy="unequal", used=1.2),
    ]
    assert without_gains(rows) == ["unequal"]
    (found,) = across_pairs(rows)
    assert found.strategy == "hard"
    assert found.questions == (("d:a+b", "a"), ("d:a+b", "b"), ("d:a+c", "a"))
    assert found.left_out == 1  # unequal budgets
    assert found.gains.tolist() == [[2.0, 4.0, 5.0]]  # the one seed that all have


def test_gains_in_other_units_count_in_hundredths_of_the_score() -> None:
    rows = [row("d:a+b", "a", [2.0]), row("d:a+c", "c", [3.0], unit="m", mean=60.0)]
    (found,) = across_pairs(rows)
    assert found.gains.tolist() == [[2.0, 5.0]]


def test_a_run_that_diverged_is_not_left_out() -> None:
    rows = [row("d:a+b", "a", [1.0] * 8), row("d:a+c", "a", [2.0] * 7, verdict="collapsed")]
    (found,) = across_pairs(rows)
    assert found.gains[7].tolist() == [1.0, -math.inf]
    assert found.improvement.value == 15 / 16
    assert found.interquartile_mean.value == pytest.approx(1.5, abs=0.2)
    assert isinstance(found, AcrossPairs)


RELATED = [6.0, 7.0, 5.0, 6.5, 6.0, 7.5, 5.5, 6.0]
UNRELATED = [1.0, 2.5, 0.5, 1.0, 1.5, 2.0, 0.0, 1.0]


def test_the_contrast_swaps_the_partner_of_one_target_at_each_seed() -> None:
    rows = [
        row("d:a+b", "a", RELATED, expect="positive"),
        row("d:a+b", "b", [50.0] * 8, expect="positive"),  # its partner was never swapped
        row("d:a+c", "a", UNRELATED, expect="none"),
        row("d:a+c", "c", [-50.0] * 8, expect="none"),
        row("d:a+b~noise", "a", [0.0] * 8, placebo="noise"),
        row("d:a+b~shuffled", "a", UNRELATED, placebo="shuffled"),
        row("d:a+b~none", "a", [77.0] * 8, placebo="none"),  # single-task training, no placebo
        row("d:a+f", "a", [88.0] * 8, expect="none", steps=5),  # dearer steps, so fewer of them
        row("e:a+c", "a", [99.0] * 8, expect="none"),  # another data set
    ]
    unrelated, noise, shuffled = contrasts(rows)
    expected = [a - b for a, b in zip(RELATED, UNRELATED, strict=True)]
    assert (unrelated.others, unrelated.targets) == ("unrelated", ("a",))
    assert unrelated.result == paired(expected)
    assert (noise.others, noise.result) == ("noise", paired(RELATED))
    assert (shuffled.others, shuffled.result) == ("shuffled", unrelated.result)
    # The smallest p-value of eight seeds, and Holm over three contrasts.
    assert unrelated.p_holm == 3 * 2 / 256
    assert unrelated.finding == noise.finding == "related gains more"


def test_a_contrast_of_several_targets_is_their_mean_at_each_seed() -> None:
    rows = [
        row("d:a+b", "a", RELATED, expect="positive"),
        row("d:a+b", "b", UNRELATED, expect="positive"),
        row("d:a+c", "a", UNRELATED, expect="negative"),
        row("d:b+c", "b", RELATED, expect="none"),
    ]
    (found,) = contrasts(rows)
    assert found.result.mean == 0
    assert found.finding == "inconclusive"


def test_few_seeds_make_no_contrast_certain_and_no_swap_makes_none() -> None:
    rows = [
        row("d:a+b", "a", RELATED[:7], expect="positive"),
        row("d:a+c", "a", UNRELATED[:7], expect="none"),
    ]
    assert contrasts(rows)[0].finding == "screen"
    assert contrasts(rows[:1]) == contrasts(rows[1:]) == []


def test_a_contrast_leaves_out_a_row_that_has_no_verdict() -> None:
    rows = [
        row("d:a+b", "a", RELATED[:7], expect="positive", verdict="collapsed"),
        row("d:a+c", "a", UNRELATED, expect="none"),
    ]
    assert contrasts(rows) == []  # the seed that diverged is the one that would be missing


def test_a_contrast_of_pairs_that_ended_at_a_look_is_corrected_for_the_looks() -> None:
    first, second = Stage((5, 10, 15, 20), 10), Stage((5, 10, 15, 20), 15)
    gains = [float(gain) for gain in np.random.default_rng(0).normal(0.8, 1, 15)]
    rows = [
        row("d:a+b", "a", gains, expect="positive", stage=second),
        row("d:a+c", "a", [0.0] * 10, expect="none", stage=first),
        # A pair that ended earlier and has no part in it.
        row("d:b+e", "e", [0.0] * 5, expect="none", stage=Stage((5, 10, 15, 20), 5)),
    ]
    (found,) = contrasts(rows)
    assert found.result == paired(gains[:10], level=first.bound())
    assert found.p_holm == first.repeated_p(found.result.p) > found.result.p


def test_expectations_come_true_where_the_outcome_at_equal_steps_says_so() -> None:
    rows = [
        row("d:a+b", "a", [], expect="positive", verdict="better"),
        row("d:a+b", "b", [], expect="positive", verdict="worse"),
        row("d:a+c", "a", [], expect="positive", verdict="inconclusive"),
        row("d:a+d", "a", [], expect="none", verdict="equivalent, slightly worse"),
        row("d:a+e", "a", [], expect="none", verdict="better"),
        row("d:a+f", "a", [], expect="none", verdict="collapsed"),
        row("d:a+g", "a", [], expect="negative", verdict="worse", strategy="soft"),
        row("d:a+h", "a", [], verdict="better"),
    ]
    # What sharing costs does not count: at equal compute all of them may be worse.
    rows = [
        replace(r, verdict=replace(r.verdict, pay_off=Outcome.WORSE))
        if r.verdict.pay_off is Outcome.BETTER
        else r
        for r in rows
    ]
    found = {(e.strategy, e.expect): e for e in expectations(rows)}
    counts = {key: (e.came_true, e.came_false, e.open) for key, e in found.items()}
    assert counts == {
        ("hard", "positive"): (1, 1, 1),
        ("hard", "none"): (1, 1, 1),
        ("soft", "negative"): (1, 0, 0),
    }
