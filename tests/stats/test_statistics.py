import math

import numpy as np
import pytest
from scipy import stats

from bench.stats.tests import (
    _flipped_sums,
    benjamini_hochberg,
    detectable_effect,
    holm,
    minimum_detectable_gain,
    non_inferiority_p,
    paired,
    paired_p,
    seeds_to_detect,
    sign_flip_p,
    smallest_sign_flip_p,
    t_detectable_effect,
)

# Darwin's maize (1876), as Fisher analysed it in The Design of Experiments (1935): 15 pairs,
# differences in eighths of an inch. Fisher gives t = 2.148 and 1726 of 32768 for the sign flips.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_the_t_statistic_of_darwins_maize_is_fishers() -> None:
    result = paired(DARWIN, margin=1.0)
    t = result.mean / (result.sd / math.sqrt(15))
    assert t == pytest.approx(2.148, abs=5e-4)
    assert result.p_t == pytest.approx(0.0497, abs=5e-5)


def test_the_sign_flip_test_of_darwins_maize_is_fishers() -> None:
    assert sign_flip_p(np.array(DARWIN, dtype=float)) == pytest.approx(1726 / 32768, abs=1e-9)


def _exactly(images: np.ndarray) -> float:
    """Return the sign-flip p-value of differences in whole images, counted in whole numbers."""
    n = len(images)
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    return float((np.abs(signs @ images) >= abs(images.sum())).mean())


@pytest.mark.parametrize("test_images", [500, 1000, 2000, 10_000])
def test_the_sign_flip_test_counts_ties_of_accuracies_exactly(test_images: int) -> None:
    # Accuracies are multiples of an image. Written in percent, equal sums of their differences
    # differ in the last bits; near the ceiling half of all p-values were off by that, up to .30.
    rng = np.random.default_rng(test_images)
    for _ in range(200):
        ours, theirs = rng.binomial(test_images, (0.991, 0.99), size=(10, 2)).T
        gains = 100 * ours / test_images - 100 * theirs / test_images
        assert sign_flip_p(gains) == _exactly(ours - theirs)


def test_a_tie_that_rounding_hides_is_a_tie() -> None:
    # As when one seed's gain cancels the others': the mean is far smaller than its rounding.
    gains = np.array([0.1, 0.2, -0.3, 0.7, 0.1, -0.8])
    assert gains.sum() != 0
    assert sign_flip_p(gains) == _exactly(np.array([1, 2, -3, 7, 1, -8])) == 1.0


def test_over_more_than_16_seeds_the_sign_flip_test_is_near_the_exact_one() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        d = rng.normal(0.4, 1, size=18)
        signs = 1.0 - 2 * ((np.arange(2**18)[:, None] >> np.arange(18)) & 1)
        exact = float((np.abs(signs @ d) >= abs(d.sum()) * (1 - 1e-12)).mean())
        assert sign_flip_p(d) == pytest.approx(exact, abs=4 * math.sqrt(exact / 2**16) + 2**-16)


@pytest.mark.parametrize("n", [8, 12, 20])
def test_many_rows_at_once_have_the_p_values_of_each(n: int) -> None:
    rng = np.random.default_rng(n)
    many = rng.normal(0.5, 1, size=(n, 70)).round(1)  # with ties
    many[:, 0], many[:, 1] = 0.0, 2.0
    expected = [paired(list(column)).p for column in many.T]
    assert paired_p(many) == pytest.approx(expected, abs=1e-12)


def test_rejecting_needs_both_tests() -> None:
    result = paired(DARWIN, margin=1.0)
    assert result.p_t < 0.05 < result.p_sign_flip == result.p


def test_the_interval_covers_the_mean_at_its_rate() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0.7, 1.3, size=(4000, 6))
    results = [stats.ttest_1samp(d, 0).confidence_interval(0.95) for d in draws[:5]]
    for d, interval in zip(draws[:5], results, strict=True):
        ours = paired(list(d), margin=1.0)
        assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    half = stats.t.ppf(0.975, 5) * draws.std(axis=1, ddof=1) / math.sqrt(6)
    covered = np.abs(draws.mean(axis=1) - 0.7) <= half
    assert covered.mean() == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 4000))


def test_no_difference_at_all_is_certain() -> None:
    result = paired([0.0] * 10, margin=1.0)
    assert (result.mean, result.low, result.high) == (0, 0, 0)
    assert (result.p_t, result.p_sign_flip, result.p_equivalence) == (1, 1, 0)


def test_the_same_gain_at_every_seed_is_certain_too() -> None:
    result = paired([0.1 + 0.2] * 10, margin=0.1)
    assert (result.p_t, result.p_equivalence) == (0, 1)
    assert result.p_sign_flip == smallest_sign_flip_p(10)


@pytest.mark.parametrize("values", [[], [1.5]])
def test_too_few_seeds_give_nan_and_no_error(values: list[float]) -> None:
    result = paired(values, margin=1.0)
    assert result.n == len(values)
    assert math.isnan(result.low)
    assert math.isnan(result.p)


def test_five_seeds_can_never_reject_at_five_percent() -> None:
    assert sign_flip_p(np.array([3.0, 3.1, 2.9, 3.3, 3.2])) == smallest_sign_flip_p(5) > 0.05
    assert smallest_sign_flip_p(10) == 2 / 1024


def test_holm_adjusts_as_published() -> None:
    # Holm's step-down on four hypotheses, worked by hand: 4 × .005, 3 × .01, 2 × .03, 1 × .04.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_counts_a_test_that_gave_no_p_value() -> None:
    adjusted = holm([0.01, float("nan")])
    assert adjusted[0] == 0.02
    assert math.isnan(adjusted[1])


def test_equivalence_is_two_one_sided_tests() -> None:
    rng = np.random.default_rng(1)
    d = rng.normal(0.1, 0.5, size=10)
    t_low = (d.mean() + 1) / (d.std(ddof=1) / math.sqrt(10))
    t_high = (d.mean() - 1) / (d.std(ddof=1) / math.sqrt(10))
    by_hand = max(stats.t.sf(t_low, 9), stats.t.cdf(t_high, 9))
    assert paired(list(d), margin=1.0).p_equivalence == pytest.approx(by_hand)


def test_differences_are_the_same_by_their_own_size_whatever_their_unit() -> None:
    tiny = [1e-13 * x for x in DARWIN]
    assert paired(tiny).p_t == pytest.approx(paired(DARWIN).p_t)
    assert paired(tiny).sd == pytest.approx(1e-13 * paired(DARWIN).sd)


def test_without_a_margin_there_is_no_equivalence() -> None:
    assert math.isnan(paired(DARWIN).p_equivalence)
    assert math.isnan(paired([0.0] * 10, margin=math.nan).p_equivalence)


def test_to_be_not_inferior_is_a_one_sided_t_test() -> None:
    t = (np.mean(DARWIN) + 5) / (np.std(DARWIN, ddof=1) / math.sqrt(15))
    assert non_inferiority_p(DARWIN, 5) == pytest.approx(stats.t.sf(t, 14))
    assert [non_inferiority_p([-2.0] * 8, margin) for margin in (2.5, 2.0)] == [0, 1]
    assert math.isnan(non_inferiority_p([1.0], 1.0))


# Benjamini & Hochberg (1995), section 3.2: 15 p-values of a trial. At 5 % their procedure calls
# four of them, Bonferroni's and Hochberg's three.
TRIAL = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
TRIAL += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]


def test_the_false_discovery_rate_calls_what_was_published() -> None:
    assert sum(q <= 0.05 for q in benjamini_hochberg(TRIAL)) == 4
    assert sum(p <= 0.05 for p in holm(TRIAL)) == 3
    assert benjamini_hochberg([0.01, math.nan])[0] == 0.02
    assert benjamini_hochberg([]) == []


def test_ten_seeds_detect_one_standard_deviation() -> None:
    # Cohen (1988): 80 % power, two-sided 5 %, n = 10 needs d = 1.00; n = 34 needs 0.50.
    assert t_detectable_effect(10) == pytest.approx(1.00, abs=0.005)
    assert t_detectable_effect(34) == pytest.approx(0.50, abs=0.01)


@pytest.mark.parametrize("n", range(6, 60))
def test_more_seeds_detect_less(n: int) -> None:
    assert detectable_effect(n + 1) < detectable_effect(n)


def test_where_the_sign_flip_test_cannot_reject_no_gain_is_detectable() -> None:
    assert math.isinf(detectable_effect(5))
    assert math.isinf(detectable_effect(10, 0.05 / 26))
    assert math.isfinite(detectable_effect(10, 0.05 / 25))
    assert math.isinf(minimum_detectable_gain(0.0, 5))
    assert math.isnan(minimum_detectable_gain(1.0, 1))


def test_a_family_asks_for_more_seeds() -> None:
    alone, family = seeds_to_detect(0.5, 1.0), seeds_to_detect(0.5, 1.0, level=0.05 / 15)
    assert alone == 34  # Cohen, as above
    assert family is not None
    assert family > 1.5 * alone


def test_an_unknown_spread_says_nothing_of_the_seeds_needed() -> None:
    assert seeds_to_detect(1.0, math.nan) is None


def test_seeds_to_detect_is_the_inverse_of_the_detectable_gain() -> None:
    n = seeds_to_detect(0.5, sd=1.0)
    assert n is not None
    assert minimum_detectable_gain(1.0, n) <= 0.5 < minimum_detectable_gain(1.0, n - 1)
    assert seeds_to_detect(-0.5, sd=1.0) == n
    assert seeds_to_detect(1e-6, sd=1.0) is None
    assert seeds_to_detect(0.0, sd=1.0) is None


def test_a_loss_of_the_whole_margin_is_called_none_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    called = [
        non_inferiority_p(list(rng.normal(-2, 1.5, 6)), margin=2) <= 0.05 for _ in range(2000)
    ]
    assert np.mean(called) == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 2000))


def test_differences_that_are_all_the_same_lie_above_the_margin_or_do_not() -> None:
    assert non_inferiority_p([-0.3] * 8, margin=0.5) == 0
    assert non_inferiority_p([-0.5] * 8, margin=0.5) == 1
    assert math.isnan(non_inferiority_p([0.0], margin=0.5))


@pytest.mark.parametrize("n", [2, 3, 8, 14, 40])
@pytest.mark.parametrize("level", [0.05, 0.003])
def test_the_t_figures_are_those_of_scipy(n: int, level: float) -> None:
    gains = np.random.default_rng(n).normal(0.4, 1.0, n)
    result = paired(gains.tolist(), margin=1.0, level=level)
    one = stats.ttest_1samp(gains, 0.0)
    interval = one.confidence_interval(1 - level)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert result.p_t == pytest.approx(one.pvalue, rel=1e-12)
    sides = [stats.ttest_1samp(sign * gains, -1.0, alternative="greater") for sign in (1, -1)]
    assert result.p_equivalence == pytest.approx(max(side.pvalue for side in sides), rel=1e-12)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 20])
def test_tabulated_sums_are_those_of_every_pattern_of_signs(n: int) -> None:
    gains = np.random.default_rng(n).normal(size=(n, 3))
    if n <= 16:
        bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
    else:
        bits = np.random.default_rng(0).integers(0, 2, size=(2**16, n))
    np.testing.assert_allclose(_flipped_sums(gains), (1.0 - 2.0 * bits) @ gains, atol=1e-12)
