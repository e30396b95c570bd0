"""The companion of the mean, for few seeds and for thousands."""

import tracemalloc
import warnings

import numpy as np
import pytest

from bench.stats import robust, tests
from bench.stats.robust import HodgesLehmann, hodges_lehmann


def test_means_that_are_not_listed_are_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    for gains in (rng.standard_t(3, 300), rng.integers(-4, 5, 300).astype(float), np.ones(300)):
        monkeypatch.setattr(robust, "_LISTED", 300)
        listed = hodges_lehmann(gains)
        monkeypatch.setattr(robust, "_LISTED", 10)
        found = hodges_lehmann(gains)
        assert found.estimate == pytest.approx(listed.estimate, abs=1e-12)
        # The normal law may leave out one mean more or less at each end.
        means = np.sort(np.add.outer(gains, gains)[np.triu_indices(300)] / 2)
        for one, other in ((found.low, listed.low), (found.high, listed.high)):
            low, high = np.searchsorted(means, [other - 1e-12, other + 1e-12])
            around = means[max(0, low - 1) : high + 1]
            assert around[0] - 1e-12 <= one <= around[-1] + 1e-12


def test_the_normal_law_leaves_out_as_many_means_as_the_exact_one() -> None:
    exact = np.searchsorted(robust._signed_rank_law(500), [0.025, 0.0005], side="right")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robust, "_LISTED", 10)
        normal = [robust._left_out(500, level) for level in (0.05, 0.001)]
    assert np.abs(exact - normal) == pytest.approx(0, abs=40)  # of 125,250
    assert normal[0] == pytest.approx(exact[0], abs=1)


def test_thousands_of_seeds_take_memory_that_grows_as_they_do() -> None:
    gains = np.random.default_rng(6).normal(0.3, 1, 5000)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = hodges_lehmann(gains)
        tests.sign_flip_p(gains)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found, HodgesLehmann)
    assert found.low < found.estimate < found.high
    assert found.estimate == pytest.approx(0.3, abs=0.05)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 / np.sqrt(5000 * 3 / np.pi), rel=0.1)
    assert tests.minimum_detectable_gain(1, 5000) == pytest.approx(2.8 / np.sqrt(5000), rel=0.01)
    assert peak < 2e8  # all means are 1e8 bytes, and all bits of the patterns 2.6e9


def test_patterns_of_signs_are_those_that_one_draw_gives() -> None:
    bits = np.random.default_rng(0).integers(0, 2, size=(2**16, 21))
    packed = np.packbits(bits, axis=1, bitorder="little")
    assert [part.tolist() for part in tests._patterns(21)] == packed.T.tolist()
