"""What a reduced precision changes: the rows of one experiment, run in two precisions.

Both have the same seeds, data, initial weights, order and steps, so what differs is the rounding.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.stats.comparison import RowResult
from bench.stats.gains import Lookup, results, value
from bench.stats.tests import PairedResult, paired
from bench.store.records import Declaration, Row


@dataclass(frozen=True)
class FidelityRow:
    """A row in both precisions.

    `score` and `gain` are paired differences over seeds, reduced minus full precision, of the
    target's score and of its gain over `full`; positive where the reduced one is better.
    """

    full: RowResult
    reduced: RowResult
    score: PairedResult
    gain: PairedResult

    @property
    def agrees(self) -> bool:
        """Whether both precisions have the same verdict."""
        return self.full.verdict.name == self.reduced.verdict.name


def fidelity(full: Declaration, reduced: Declaration, find: Lookup) -> list[FidelityRow]:
    """Return every row in both precisions, from the records that `find` returns by key."""
    margin = full.experiment.margin
    rows = []
    found = zip(results(full, find), results(reduced, find), strict=True)
    declared = zip(full.rows, reduced.rows, strict=True)
    for (whole, rough), (ours, theirs) in zip(found, declared, strict=True):
        score = _difference(_scores(ours, find), _scores(theirs, find), margin)
        gain = _difference(whole.against["full"].gains, rough.against["full"].gains, margin)
        rows.append(FidelityRow(whole, rough, score, gain))
    return rows


def _scores(row: Row, find: Lookup) -> dict[int, float]:
    """Return the target's score by seed, higher being better."""
    found = {seed.seed: value(find(seed.strategy), row.target) for seed in row.seeds}
    return {seed: score for seed, score in found.items() if score is not None}


def _difference(
    full: Mapping[int, float], reduced: Mapping[int, float], margin: float
) -> PairedResult:
    return paired([reduced[seed] - full[seed] for seed in full if seed in reduced], margin)
