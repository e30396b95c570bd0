"""Interim analyses of a growing number of seeds: the bounds that keep the overall error.

The bounds are of the O'Brien–Fleming type: Lan and DeMets' (1983) spending function says how much
of the error may be spent by each share of the seeds. The recursion of Armitage, McPherson and Rowe
(1969) finds the bound that spends it. scipy has neither.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

from bench.spec.experiment import Experiment
from bench.stats.tests import ALPHA
from bench.store.records import SCREEN_BELOW

ANALYSES = 4
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
#: Smaller p-values are beyond the quadrature; as this one they reject all the same.
_TINY = 1e-12


def schedule(seeds: int) -> tuple[int, ...]:
    """Return the seeds at which an experiment of at most `seeds` is analysed: every quarter."""
    return tuple(
        dict.fromkeys(math.ceil(seeds * analysis / ANALYSES) for analysis in range(1, ANALYSES + 1))
    )


@dataclass(frozen=True)
class Stage:
    """An interim analysis after `seen` seeds, of those planned after each number in `analyses`.

    One that is too early for any verdict spends nothing.
    """

    analyses: tuple[int, ...]
    seen: int

    @property
    def _fractions(self) -> tuple[float, ...]:
        """The shares of the seeds at the analyses that may reject, up to this one."""
        return tuple(n / self.analyses[-1] for n in self.analyses if SCREEN_BELOW <= n <= self.seen)

    def bound(self, alpha: float = ALPHA) -> float:
        """Return the two-sided p-value to reach here, so that all analyses together err `alpha`."""
        if len(self.analyses) == 1:
            return alpha
        return _bounds(self._fractions, alpha)[-1] if self._fractions else 0.0

    def repeated_p(self, p: float) -> float:
        """Return the smallest error of all analyses at which a two-sided `p` rejects here.

        Jennison and Turnbull (1989). It is a p-value whenever the experiment is stopped, and
        for whatever reason.
        """
        if len(self.analyses) == 1 or math.isnan(p):
            return p
        return _inverse(self._fractions, p) if self._fractions else 1.0

    def repeated_one_sided_p(self, p: float) -> float:
        """Return the same for a one-sided `p`."""
        if len(self.analyses) == 1 or math.isnan(p):
            return p
        return max(p, self.repeated_p(min(1.0, 2 * p)) / 2)


#: Where there are no interim analyses.
SINGLE_ANALYSIS = Stage((1,), 1)


def stage(experiment: Experiment, seeds: int) -> Stage:
    """Return the analysis at which a row of so many planned seeds stands."""
    planned = schedule(experiment.seeds) if experiment.until_decided else (seeds,)
    return Stage(planned, seeds)


@lru_cache(maxsize=4096)
def _bounds(fractions: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """Return the two-sided nominal p-value of each analysis, for ascending shares of the seeds.

    The sum of the differences is a Brownian motion at those shares. `density` is its sub-density
    where no analysis has crossed yet, times the quadrature's weights.
    """
    nodes, density = np.zeros(1), np.ones(1)
    before, spent = 0.0, 0.0
    found = []
    for fraction in fractions:
        deviation = math.sqrt(fraction - before)
        spend = 2 * float(scipy.special.ndtr(scipy.special.ndtri(alpha / 2) / math.sqrt(fraction)))

        def excess(
            edge: float,
            nodes: np.ndarray = nodes,
            density: np.ndarray = density,
            deviation: float = deviation,
            due: float = spend - spent,
        ) -> float:
            outside = scipy.special.ndtr((nodes - edge) / deviation)
            outside += scipy.special.ndtr((-nodes - edge) / deviation)
            return float(density @ outside) - due

        edge = float(scipy.optimize.brentq(excess, 0.0, 40.0))
        found.append(2 * float(scipy.special.ndtr(-edge / math.sqrt(fraction))))
        inside = edge * _NODES
        kernel = np.exp(-(((inside[:, None] - nodes) / deviation) ** 2) / 2)
        density = (kernel @ density) * edge * _WEIGHTS / (deviation * math.sqrt(2 * math.pi))
        nodes, before, spent = inside, fraction, spend
    return tuple(found)


@lru_cache(maxsize=4096)
def _inverse(fractions: tuple[float, ...], p: float) -> float:
    """Return the error whose bound at the last of the analyses is `p`."""
    p, most = max(p, _TINY), 1 - 1e-9
    if _bounds(fractions, most)[-1] <= p:
        return 1.0

    def excess(log_alpha: float) -> float:
        return math.log(_bounds(fractions, math.exp(log_alpha))[-1] / p)

    # All analyses together err no less than p, but for rounding.
    return math.exp(scipy.optimize.brentq(excess, math.log(p / 2), math.log(most)))
