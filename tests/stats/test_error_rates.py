"""Simulated studies: every procedure has the error rate, the power and the coverage it states.

Each study repeats an experiment some thousand times with a fixed seed. A rate is held to what is
stated within three standard errors of such a simulation, and one that is stated as a bound to that
side of it.
"""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.stats.across import interquartile_mean, shares_above
from bench.stats.crossed import crossed
from bench.stats.robust import hodges_lehmann, outlying
from bench.stats.tests import (
    benjamini_hochberg,
    detectable_effect,
    holm,
    non_inferiority_p,
    paired,
    sign_flip_p,
)

ROUNDS = 4000
Rows = np.ndarray[Any, np.dtype[np.float64]]


def error(rate: float, rounds: int = ROUNDS) -> float:
    """Three standard errors of a rate."""
    return 3 * math.sqrt(rate * (1 - rate) / rounds)


def rate(what: str, hits: Any) -> float:
    """Return how often something happened; `pytest -s` shows it."""
    share = float(np.mean(hits))
    print(f"{what}: {100 * share:.1f} %")
    return share


def flips(d: Rows, signs: Rows | None = None) -> Rows:
    """Return the two-sided sign-flip p-values of the rows of `d`, written as its definition."""
    n = d.shape[-1]
    every = 1.0 - 2 * ((np.arange(2**n if signs is None else 0)[:, None] >> np.arange(n)) & 1)
    extreme = np.abs(d @ (every if signs is None else signs).T) >= np.abs(
        d.sum(-1, keepdims=True)
    ) * (1 - 1e-12)
    return np.asarray(extreme.mean(-1))


def both(d: Rows) -> Rows:
    """Return the p-values that a verdict rests on, of the rows of `d`."""
    return np.asarray(np.maximum(stats.ttest_1samp(d, 0, axis=-1).pvalue, flips(d)))


def test_the_simulations_have_the_p_values_of_the_harness() -> None:
    rng = np.random.default_rng(0)
    for d in rng.normal(0.5, 1, size=(20, 8)):
        assert flips(d[None])[0] == pytest.approx(sign_flip_p(d))
        assert both(d[None])[0] == pytest.approx(paired(list(d)).p)


@pytest.mark.parametrize("n", [8, 10])
@pytest.mark.parametrize("shape", ["normal", "skewed draws", "heavy tails"])
def test_no_gain_is_called_one_at_most_as_often_as_stated(n: int, shape: str) -> None:
    rng = np.random.default_rng(1)
    size = (ROUNDS, n)
    d = {
        "normal": lambda: rng.normal(size=size),
        # A difference of two equal draws is symmetric, whatever each of them is like.
        "skewed draws": lambda: rng.exponential(size=size) - rng.exponential(size=size),
        "heavy tails": lambda: rng.standard_t(3, size=size),
    }[shape]()
    assert rate(f"false gain, {n} seeds, {shape}", both(d) <= 0.05) <= 0.05 + error(0.05)
    assert (flips(d) <= 0.05).mean() == pytest.approx(0.05, abs=error(0.05) + 2.0**-n)


@pytest.mark.parametrize(
    ("shape", "called"), [("exponential", 0.089), ("lognormal", 0.155), ("one in ten", 0.348)]
)
def test_skewed_gains_are_called_more_often_than_stated_and_that_is_said(
    shape: str, called: float
) -> None:
    """The limit of both tests: they take gains to be symmetric. The true mean is zero."""
    rng = np.random.default_rng(10)
    size = (ROUNDS, 10)
    d = {
        "exponential": lambda: rng.exponential(size=size) - 1,
        "lognormal": lambda: rng.lognormal(size=size) - math.exp(0.5),
        "one in ten": lambda: np.where(rng.random(size) < 0.1, -9.0, 1.0),
    }[shape]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # some tables have one value only
        p = np.array([paired(list(row)).p for row in d])
    found = rate(f"called, 10 seeds, {shape}", p <= 0.05)
    assert found == pytest.approx(called, abs=error(called))
    if shape == "one in ten":
        # A rare collapse that was seen is named, and takes the verdict away.
        collapsed = (d < 0).any(1)
        named = [bool(outlying(dict(enumerate(row)))) for row in d[(d < 0).sum(1) == 1]]
        assert all(named)
        assert (p[collapsed] <= 0.05).mean() < 0.05


@pytest.mark.parametrize("n", [8, 10, 20])
def test_the_hodges_lehmann_interval_holds_the_centre_of_symmetric_gains(n: int) -> None:
    rng = np.random.default_rng(11)
    found = [hodges_lehmann(row) for row in rng.standard_t(3, size=(1000, n))]
    held = rate(f"Hodges–Lehmann, {n} seeds", [x.low <= 0 <= x.high for x in found])
    assert held >= 0.95 - error(0.05, 1000)
    calm = [bool(outlying(dict(enumerate(row)))) for row in rng.normal(size=(ROUNDS, n))]
    assert rate(f"a normal seed is named, {n} seeds", calm) < 0.06


@pytest.mark.parametrize("anchors", ["shared", "own"])
def test_a_table_without_a_gain_has_a_false_verdict_at_most_as_often_as_stated(
    anchors: str,
) -> None:
    rng = np.random.default_rng(2)
    rows, n, rounds = 6, 10, 2000
    d = rng.normal(size=(rounds, rows, n))
    d -= rng.normal(size=(rounds, 1 if anchors == "shared" else rows, n))
    p = both(d.reshape(-1, n)).reshape(rounds, rows)
    false = rate(f"false table, anchors {anchors}", [min(holm(list(x))) <= 0.05 for x in p])
    assert false <= 0.05 + error(0.05, rounds)


def test_a_gain_at_the_margin_is_called_equivalent_at_most_as_often_as_stated() -> None:
    rng = np.random.default_rng(3)
    d = rng.normal(1.0, 0.3, size=(1000, 10))
    p = [max(non_inferiority_p(x, 1.0), non_inferiority_p(-x, 1.0)) for x in d]
    false = rate("false equivalence", np.array(p) <= 0.05)
    assert false == pytest.approx(0.05, abs=error(0.05, 1000))


@pytest.mark.parametrize(("n", "rows"), [(8, 1), (10, 1), (12, 1), (10, 15), (12, 15), (9, 12)])
def test_the_detectable_gain_is_found_in_four_of_five_experiments(n: int, rows: int) -> None:
    rng = np.random.default_rng(4)
    level = 0.05 / rows
    d = rng.normal(detectable_effect(n, level), 1, size=(ROUNDS, n))
    found = rate(f"power, {n} seeds, {rows} rows", both(d) <= level * (1 + 1e-9))
    assert found == pytest.approx(0.8, abs=error(0.8))


def test_over_more_seeds_the_sign_flip_test_finds_what_the_t_test_finds() -> None:
    rng = np.random.default_rng(5)
    d = rng.normal(detectable_effect(20), 1, size=(1000, 20))
    sampled = flips(d, rng.choice([-1.0, 1.0], size=(20_000, 20)))
    t = np.asarray(stats.ttest_1samp(d, 0, axis=-1).pvalue)
    found = rate("power, 20 seeds", np.maximum(t, sampled) <= 0.05)
    assert found == pytest.approx(0.8, abs=error(0.8, 1000))


def test_the_exploratory_tables_have_the_false_discovery_rate_that_is_stated() -> None:
    rng = np.random.default_rng(6)
    rounds, lines, real = 2000, 20, 5
    z = rng.normal(size=(rounds, lines)) + np.where(np.arange(lines) < real, 3.0, 0.0)
    p = 2 * stats.norm.sf(np.abs(z))
    shares = []
    for line in p:
        called = np.array(benjamini_hochberg(list(line))) <= 0.05
        shares.append(called[real:].sum() / max(1, called.sum()))
    # 5 % of the lines that are null, which are 15 of 20 (Benjamini & Hochberg 1995, theorem 1).
    false = rate("false discoveries", shares)
    assert false == pytest.approx(0.05 * 15 / 20, abs=3 * np.std(shares) / rounds**0.5)


@pytest.mark.parametrize(
    ("seeds", "examples", "a", "b", "c"),
    [(10, 200, 1.0, 0.0, 4.0), (10, 200, 0.01, 4.0, 4.0), (8, 60, 0.3, 1.0, 5.0)],
)
def test_the_interval_over_seeds_and_images_holds_the_gain_as_often_as_stated(
    seeds: int, examples: int, a: float, b: float, c: float
) -> None:
    rng = np.random.default_rng(7)
    rounds = 2000
    held = []
    for _ in range(rounds):
        effects = rng.normal(size=(seeds, 1)) * a**0.5 + rng.normal(size=examples) * b**0.5
        found = crossed(0.3 + effects + rng.normal(size=(seeds, examples)) * c**0.5)
        assert found is not None
        held.append(found.low <= 0.3 <= found.high)
    covered = rate(f"seeds × images, {seeds} × {examples}, variances {a}, {b}, {c}", held)
    assert covered == pytest.approx(0.95, abs=error(0.95, rounds))


def _pairs(rng: np.random.Generator, means: Rows, common: float, seeds: int) -> Rows:
    """Return gains `[seeds, pairs]`; `common` is the share of variance that a seed has in all."""
    own = rng.normal(size=(seeds, len(means))) * math.sqrt(1 - common)
    return np.asarray(means + own + rng.normal(size=(seeds, 1)) * math.sqrt(common))


@pytest.mark.parametrize(
    ("means", "common"), [(np.full(4, 0.5), 0.0), (np.linspace(-4, 4, 15), 0.5)]
)
def test_the_interval_of_the_interquartile_mean_holds_it_nearly_as_often_as_stated(
    means: Rows, common: float
) -> None:
    # A bootstrap over ten seeds: about 93 to 96 % at a nominal 95 %, whether seeds have draws in
    # common or not.
    rng = np.random.default_rng(8)
    rounds = 400
    truth = float(stats.trim_mean(_pairs(rng, means, common, 20_000).ravel(), 0.25))
    found = [
        interquartile_mean(_pairs(rng, means, common, 10), resamples=800) for _ in range(rounds)
    ]
    held = rate(
        f"interquartile mean, {len(means)} pairs, {common} in common",
        [f.low <= truth <= f.high for f in found],
    )
    assert held == pytest.approx(0.945, abs=0.015 + error(0.95, rounds))


@pytest.mark.parametrize("means", [np.full(4, 0.5), np.linspace(-4, 4, 15)])
def test_runs_that_are_drawn_pair_by_pair_make_it_too_narrow(means: Rows) -> None:
    # As Agarwal et al. (2021) draw them, where half of the variance is the seed's in all pairs.
    rng = np.random.default_rng(10)
    truth = float(stats.trim_mean(_pairs(rng, means, 0.5, 20_000).ravel(), 0.25))
    held = []
    for _ in range(300):
        gains = _pairs(rng, means, 0.5, 10)
        drawn = gains[rng.integers(0, 10, (500, *gains.shape)), np.arange(len(means))]
        middle = stats.trim_mean(drawn.reshape(500, -1), 0.25, axis=1)
        low, high = np.quantile(middle, [0.025, 0.975])
        held.append(low <= truth <= high)
    assert rate(f"pair by pair, {len(means)} pairs", held) < 0.9


@pytest.mark.parametrize("common", [0.0, 0.9])
@pytest.mark.parametrize("mean", [0.0, 1.0, 2.5])
def test_the_interval_of_a_share_of_runs_holds_it_at_least_as_often_as_stated(
    mean: float, common: float
) -> None:
    rng = np.random.default_rng(9)
    rounds = 1000
    truth = stats.norm.cdf(mean)
    found = [
        shares_above(_pairs(rng, np.full(4, mean), common, 10), [0.0])[0] for _ in range(rounds)
    ]
    held = rate(
        f"share of {truth:.3f}, {common} in common", [f.low <= truth <= f.high for f in found]
    )
    assert held >= 0.95 - error(0.95, rounds)
