"""Times blame the code where nearly all of them do, and not where they scatter about the limit."""

import pytest

from tests.benchmarks.evidence import shown_over


@pytest.mark.parametrize(
    ("over", "under", "blamed"),
    [(16, 0, True), (15, 1, True), (14, 2, False), (10, 0, True), (9, 1, False)],
)
def test_a_limit_is_exceeded_where_nearly_all_rounds_exceed_it(
    over: int, under: int, blamed: bool
) -> None:
    assert shown_over([1.04] * over + [1.02] * under, 1.03) is blamed
