"""The interval over seeds and test images, compared with textbook arithmetic."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from bench.stats.crossed import crossed
from bench.stats.tests import paired


def test_the_variances_are_those_of_the_expected_mean_squares() -> None:
    rng = np.random.default_rng(0)
    a, b, c = 2.0, 3.0, 5.0
    d = [
        crossed(
            rng.normal(size=(6, 1)) * a**0.5
            + rng.normal(size=9) * b**0.5
            + rng.normal(size=(6, 9)) * c**0.5
        )
        for _ in range(3000)
    ]
    assert np.mean([x.seeds for x in d if x]) == pytest.approx(a, rel=0.05)
    assert np.mean([x.examples for x in d if x]) == pytest.approx(b, rel=0.05)
    assert np.mean([x.residual for x in d if x]) == pytest.approx(c, rel=0.02)


def test_a_table_is_worked_by_hand() -> None:
    # Lines have the means 2 and 6, columns 3, 5 and 4; mean squares 24, 2 and 0 by hand.
    d = np.array([[1.0, 3.0, 2.0], [5.0, 7.0, 6.0]])
    found = crossed(d)
    assert found is not None
    assert (found.seeds, found.examples, found.residual) == pytest.approx((8, 1, 0))
    # The variance of the mean is 8/2 + 1/3; Satterthwaite: (26/6)² / ((24/6)²/1 + (2/6)²/2).
    freedom = (26 / 6) ** 2 / (4**2 + (1 / 3) ** 2 / 2)
    assert found.freedom == pytest.approx(freedom)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(26 / 6)
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half))


def test_images_that_all_answer_alike_leave_the_interval_of_the_seeds() -> None:
    gains = np.array([0.3, 1.2, -0.4, 0.8, 0.9, 0.1, 0.5, 1.4])
    found = crossed(np.repeat(gains[:, None], 40, axis=1))
    alone = paired(list(gains))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_a_negative_estimate_makes_no_interval_narrower() -> None:
    # Where lines cancel out within columns, the mean square of a side is under the residual's.
    rng = np.random.default_rng(1)
    for lines, columns in product((True, False), repeat=2):
        d = rng.normal(size=(6, 30))
        d -= d.mean(1, keepdims=True) if lines else 0
        d -= d.mean(0) if columns else 0
        found = crossed(d)
        assert found is not None
        variance = found.seeds / 6 + found.examples / 30 + found.residual / 180
        half = stats.t.ppf(0.975, found.freedom) * math.sqrt(variance)
        assert found.high - found.mean == pytest.approx(half)
        assert min(found.seeds, found.examples) >= 0


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (0, 0), (5,)])
def test_one_seed_or_one_image_has_no_such_interval(shape: tuple[int, ...]) -> None:
    assert crossed(np.ones(shape)) is None


def test_differences_that_are_all_the_same_have_an_interval_of_a_point() -> None:
    found = crossed(np.zeros((8, 20)))
    assert found is not None
    assert (found.low, found.mean, found.high) == (0, 0, 0)
