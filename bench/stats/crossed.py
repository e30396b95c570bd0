"""The interval over seeds and test examples: what other test images would have given too.

All seeds are scored on the same test images, so a gain is a table of paired differences with a line
a seed and a column an image. Both are drawn from more of their sort: the model is that of two
crossed random effects,

    d[s, e] = gain + a[s] + b[e] + c[s, e],

with variances A, B and C. The mean of the table has the variance A/S + B/E + C/(SE). Seeds alone
(the Student t interval of a row) leave B out: they speak of these test images.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy

from bench.stats.tests import ALPHA


@dataclass(frozen=True)
class CrossedResult:
    """The mean of a table of differences, with its interval over both its sides.

    `seeds`, `examples` and `residual` are the estimated variances A, B and C; each is at least 0.
    `freedom` are the degrees of freedom of the interval.
    """

    mean: float
    low: float
    high: float
    seeds: float
    examples: float
    residual: float
    freedom: float


def crossed(differences: np.ndarray, level: float = ALPHA) -> CrossedResult | None:
    """Return the interval of the mean of `differences` `[seeds, examples]`; None under two of one.

    It leaves out `level`.

    A and B are estimated without bias from the mean squares of lines, columns and residuals
    (Searle, Casella & McCulloch 1992). The variance of the mean is then
    (MS_seeds + MS_examples − MS_residual) / SE. An estimate below 0 counts as 0, which makes the
    interval wider. The degrees of freedom are Satterthwaite's (1946).
    """
    d = np.asarray(differences, dtype=float)
    if d.ndim != 2 or min(d.shape) < 2:
        return None
    s, e = d.shape
    mean = float(d.mean())
    lines, columns = d.mean(1), d.mean(0)
    line = e * float(np.square(lines - mean).sum())
    column = s * float(np.square(columns - mean).sum())
    rest = float(np.square(d - lines[:, None] - columns + mean).sum())
    free = (s - 1, e - 1, (s - 1) * (e - 1))
    ms = (line / free[0], column / free[1], rest / free[2])
    seeds, examples = max(0.0, ms[0] - ms[2]) / e, max(0.0, ms[1] - ms[2]) / s
    # What of each mean square is in the variance of the mean, times SE: 1, 1, −1 where neither
    # estimate was below 0.
    parts = (float(seeds > 0), float(examples > 0))
    weights = (*parts, 1 - sum(parts))
    variance = sum(w * m for w, m in zip(weights, ms, strict=True)) / (s * e)
    if variance <= 0:
        return CrossedResult(mean, mean, mean, seeds, examples, ms[2], math.inf)
    spread = sum((w * m / (s * e)) ** 2 / f for w, m, f in zip(weights, ms, free, strict=True))
    freedom = variance**2 / spread
    half = float(scipy.stats.t.ppf(1 - level / 2, freedom)) * math.sqrt(variance)
    return CrossedResult(mean, mean - half, mean + half, seeds, examples, ms[2], freedom)
