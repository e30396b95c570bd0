"""From the records of an arm's trials to the one that is chosen: pure functions of records.

Trials are scored on the validation split alone; `docs/protocol.md` says what that can tell.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.store.records import Record


@dataclass(frozen=True)
class Choice:
    """Which trial is chosen, and how each did.

    `gains` are over the first trial that ended well, the recipe unless it went wrong: the mean over
    the arm's scored tasks of the difference as a share of the larger of the two scores. None is a
    trial that failed or diverged.
    """

    index: int
    gains: tuple[float | None, ...]


def choose(trials: Sequence[Sequence[Record | None]]) -> Choice:
    """Choose among trials, each the runs of one at every tuning seed.

    The first of equals wins, and so the recipe where nothing beats it. A trial of which any run
    failed, diverged or is missing is not chosen where another ended well.
    """
    scores = [_scores(runs) for runs in trials]
    base = next((found for found in scores if found is not None), {})
    gains = [None if found is None else _gain(found, base) for found in scores]
    ranks = [-math.inf if gain is None else gain for gain in gains]
    return Choice(ranks.index(max(ranks)), tuple(gains))


def _scores(runs: Sequence[Record | None]) -> Mapping[str, float] | None:
    """Return the mean score over seeds of each task that has one; None where a run went wrong."""
    finished = [run for run in runs if run is not None and run.status == "ok"]
    if len(finished) < len(runs):
        return None
    tasks = finished[0].spec.scored
    values = {task: [run.value(task) for run in finished] for task in tasks}
    return {
        task: statistics.mean(known)
        for task, found in values.items()
        if len(known := [value for value in found if value is not None]) == len(found)
    }


def _gain(scores: Mapping[str, float], base: Mapping[str, float]) -> float | None:
    """Return the mean relative gain over the tasks of `base`; None where one of them is missing."""
    if not base.keys() <= scores.keys():
        return None
    # A share of the larger score stays finite where the recipe scores 0.
    gains = [
        (scores[task] - value) / (max(abs(scores[task]), abs(value)) or 1.0)
        for task, value in base.items()
    ]
    return statistics.mean(gains) if gains else 0.0
