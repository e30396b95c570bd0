"""When paired times show that a limit is exceeded, and when they only scatter."""

from collections.abc import Sequence

from scipy import stats

#: How often a code whose median is at the limit may be blamed.
LEVEL = 0.001


def shown_over(ratios: Sequence[float], limit: float) -> bool:
    """Return whether the median of ratios is shown to be over a limit, by a one-sided sign test.

    A median alone exceeds a limit of a few hundredths by chance where other work shares the
    machine.
    """
    over = sum(ratio > limit for ratio in ratios)
    return bool(stats.binomtest(over, len(ratios), alternative="greater").pvalue <= LEVEL)
