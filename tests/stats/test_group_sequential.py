"""Bounds against the multivariate normal, and the whole rule on simulated experiments."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from bench.spec.experiment import Experiment
from bench.stats.group_sequential import Stage, schedule, stage
from bench.stats.tests import ALPHA, holm

ANALYSES = (5, 10, 15, 20)
REPLICATIONS = 40_000
#: Three standard errors of a rate of 5 % over so many replications.
ERROR = 3 * math.sqrt(0.05 * 0.95 / REPLICATIONS)


def _bounds(alpha: float = ALPHA) -> list[float]:
    return [Stage(ANALYSES, seen).bound(alpha) for seen in ANALYSES]


def _p_values(draws: np.ndarray, null: float = 0.0) -> np.ndarray:
    """Return the two-sided p-values `[..., look]` of t tests on the seeds `[..., n]` so far."""
    found = []
    for n in ANALYSES:
        d = draws[..., :n]
        t = (d.mean(-1) - null) / (d.std(-1, ddof=1) / math.sqrt(n))
        found.append(2 * stats.t.sf(np.abs(t), n - 1))
    return np.stack(found, -1)


def test_the_bounds_are_the_published_ones() -> None:
    # docs/protocol.md: .0001, .0056, .0216, .0411. The first look is under eight seeds: it spends
    # nothing, and what it would have spent, 2 − 2Φ(1.96 / √¼) = .0001, is left to the others.
    assert [round(bound, 4) for bound in _bounds()] == [0, 0.0056, 0.0216, 0.0411]
    assert round(2 * stats.norm.sf(stats.norm.isf(0.025) / math.sqrt(0.25)), 4) == 0.0001


@pytest.mark.parametrize("alpha", [0.05, 0.005, 0.3])
def test_the_looks_together_err_as_the_multivariate_normal_says(alpha: float) -> None:
    shares = np.array([0.5, 0.75, 1.0])
    correlation = np.sqrt(np.minimum.outer(shares, shares) / np.maximum.outer(shares, shares))
    z = stats.norm.isf(np.array(_bounds(alpha)[1:]) / 2)
    for looks in (1, 2, 3):
        law = stats.multivariate_normal(np.zeros(looks), correlation[:looks, :looks])
        inside = law.cdf(z[:looks], lower_limit=-z[:looks])
        spent = 2 * stats.norm.sf(stats.norm.isf(alpha / 2) / math.sqrt(shares[looks - 1]))
        assert 1 - inside == pytest.approx(spent, abs=2e-5)


def test_a_repeated_p_value_rejects_where_the_bound_does() -> None:
    for seen, bound in zip(ANALYSES[1:], _bounds()[1:], strict=True):
        at = Stage(ANALYSES, seen)
        assert at.repeated_p(bound) == pytest.approx(ALPHA)
        assert at.repeated_p(at.bound(0.003)) == pytest.approx(0.003)
        assert at.repeated_p(0.0) < 1e-6
        assert at.repeated_p(1.0) == 1
        assert math.isnan(at.repeated_p(float("nan")))
        values = [at.repeated_p(p) for p in np.geomspace(1e-9, 1, 60)]
        assert values == sorted(values)


def test_a_first_look_of_five_seeds_rejects_nothing() -> None:
    at = Stage(ANALYSES, 5)
    assert (at.bound(), at.repeated_p(1e-9), at.repeated_one_sided_p(1e-9)) == (0, 1, 0.5)


def test_an_experiment_that_is_looked_at_once_is_judged_as_ever() -> None:
    experiment = Experiment(pair=("d:t",), strategy=("s",), budget="1s", seeds=12)
    at = stage(experiment, 12)
    assert at.bound(0.01) == 0.01
    assert (at.repeated_p(0.03), at.repeated_one_sided_p(0.03)) == (0.03, 0.03)


@pytest.mark.parametrize(
    ("most", "analyses"),
    [(20, ANALYSES), (12, (3, 6, 9, 12)), (30, (8, 15, 23, 30)), (2, (1, 2))],
)
def test_analyses_are_at_every_quarter_of_the_seeds(most: int, analyses: Sequence[int]) -> None:
    assert schedule(most) == analyses


def _ever_rejected(p: np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    return np.asarray((p <= np.array(_bounds(alpha))).any(-1))


def _sign_flip_p(draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the sign-flip p-values `[..., look]`, over the flips that are drawn and the given."""
    found = []
    for n in ANALYSES:
        flips = np.vstack([np.ones(n), rng.choice([-1.0, 1.0], size=(1999, n))])
        sums = np.abs(draws[:, :n] @ flips.T)
        found.append((sums >= sums[:, :1] * (1 - 1e-12)).mean(-1))
    return np.stack(found, -1)


@pytest.mark.parametrize("law", ["normal", "uniform", "laplace", "exponential"])
def test_four_looks_with_both_tests_err_in_five_percent(law: str) -> None:
    rng, replications = np.random.default_rng(0), 8_000
    arms = getattr(rng, law)(size=(2, replications, 20))  # a gain is a difference of two alike
    draws = arms[0] - arms[1]
    p_t = _p_values(draws)
    p = np.maximum(p_t, _sign_flip_p(draws, rng))
    error = 3 * math.sqrt(0.05 * 0.95 / replications)
    assert 0.03 < _ever_rejected(p).mean() < ALPHA + error
    # Looking four times without bounds errs far more often, so the study can tell.
    assert (p_t <= ALPHA).any(-1).mean() > 0.1


def test_a_true_gain_is_found_almost_as_often_and_with_fewer_seeds() -> None:
    rng = np.random.default_rng(1)
    # 0.66 standard deviations are found by 20 seeds in 80 % of experiments of one look.
    p = _p_values(rng.normal(0.66, 1, size=(REPLICATIONS, 20)))
    once, looks = (p[:, -1] <= ALPHA).mean(), p <= np.array(_bounds())
    spent = np.where(looks.any(-1), np.array(ANALYSES)[looks.argmax(-1)], 20)
    assert once == pytest.approx(0.80, abs=0.01)
    assert looks.any(-1).mean() > once - 0.02
    assert spent.mean() < 17


def test_equivalence_is_wrongly_found_in_five_percent_at_most() -> None:
    rng = np.random.default_rng(2)
    draws = rng.normal(1, 0.5, size=(REPLICATIONS, 20))  # on the margin itself: not equivalent
    found = np.zeros(REPLICATIONS, dtype=bool)
    for look, n in enumerate(ANALYSES[1:], 1):
        at, d = Stage(ANALYSES, n), draws[:, :n]
        error = d.std(-1, ddof=1) / math.sqrt(n)
        above = stats.t.sf((d.mean(-1) + 1) / error, n - 1)
        below = stats.t.cdf((d.mean(-1) - 1) / error, n - 1)
        # The p-value that is just small enough, in place of forty thousand inversions.
        enough = at.bound(2 * ALPHA) / 2
        assert at.repeated_one_sided_p(enough) == pytest.approx(ALPHA), look
        found |= np.maximum(above, below) <= enough
    assert 0.03 < found.mean() < ALPHA + ERROR


def test_the_intervals_of_all_looks_hold_the_gain_together() -> None:
    rng = np.random.default_rng(3)
    draws = rng.normal(0.4, 1, size=(REPLICATIONS, 20))
    missed = np.zeros(REPLICATIONS, dtype=bool)
    for n, bound in zip(ANALYSES[1:], _bounds()[1:], strict=True):
        d = draws[:, :n]
        half = stats.t.isf(bound / 2, n - 1) * d.std(-1, ddof=1) / math.sqrt(n)
        missed |= np.abs(d.mean(-1) - 0.4) > half
    assert missed.mean() < ALPHA + ERROR


def test_holm_over_pairs_that_stop_when_they_please_errs_in_five_percent_of_tables() -> None:
    """Six rows in three pairs, four of them true nulls; a pair stops when its rows are rejected."""
    rng, tables = np.random.default_rng(4), 2_000
    common = rng.normal(size=(tables, 1, 20))  # rows share their anchor, so they hang together
    draws = math.sqrt(0.5) * (rng.normal(size=(tables, 6, 20)) + common)
    draws[:, 4:] += 1.0
    p = _p_values(draws)
    # Inverting each p-value costs milliseconds; between points so dense a line does as well.
    grid = np.geomspace(1e-12, 1, 400)
    repeated = np.ones_like(p)
    for look, n in enumerate(ANALYSES[1:], 1):
        curve = [Stage(ANALYSES, n).repeated_p(float(x)) for x in grid]
        repeated[..., look] = np.exp(np.interp(np.log(p[..., look]), np.log(grid), np.log(curve)))
    false, found = 0, 0
    for table in repeated:
        at = [0, 0, 0]
        while True:
            adjusted = np.array(holm([table[row, at[row // 2]] for row in range(6)]))
            rejected = adjusted <= ALPHA
            further = [
                pair
                for pair in range(3)
                if at[pair] < 3 and not rejected[2 * pair : 2 * pair + 2].all()
            ]
            if not further:
                break
            for pair in further:
                at[pair] += 1
        false += int(rejected[:4].any())
        found += int(rejected[4:].all())
    assert false / tables < ALPHA + 3 * math.sqrt(0.05 * 0.95 / tables)
    assert false / tables > 0.02
    assert found / tables > 0.6
