"""Simulated studies of whole verdicts: how often a table has a word for what is not there.

Made-up records go through everything that makes a verdict: pairing, both tests, Holm over the
family of each anchor, and the words. A rate is held to what is stated within three standard errors.
"""

import math

import numpy as np
import pytest

from bench.spec.experiment import Experiment
from bench.stats.gains import results
from bench.store.records import (
    AnchorName,
    Declaration,
    Outcome,
    Record,
    Row,
    SeedRuns,
)
from tests.stats.test_gains import _record

ROUNDS, ROWS, SEEDS = 250, 4, 10
#: Three standard errors of a rate of 5 %.
ERROR = 3 * math.sqrt(0.05 * 0.95 / ROUNDS)


def _table(
    rng: np.random.Generator, transfer: float, price: float, steps: int
) -> list[tuple[Outcome | None, Outcome | None]]:
    """Return both halves of the verdicts of a table whose rows have these true effects.

    Rows share the run of `full`, as strategies on one target do; it takes 1,000 steps. Where a row
    takes as many, it is `same-steps` too.
    """
    records: dict[str, Record] = {}
    rows = []
    seed_noise = rng.normal(0, 1.5, SEEDS)
    for number in range(ROWS):
        runs = []
        for seed in range(SEEDS):
            base = 80 + seed_noise[seed]
            # Of one seed all rows have one full network; its own noise is drawn once.
            full = f"f{seed}"
            if full not in records:
                records[full] = _record(full, base + rng.normal())
            same = full
            if steps != 1000:
                same = f"e{number}x{seed}"
                score = base + price + rng.normal()
                records[same] = _record(same, score, used=1e6 * steps, steps=steps)
            ours = f"s{number}x{seed}"
            gained = transfer + (price if steps != 1000 else 0.0)
            records[ours] = _record(ours, base + gained + rng.normal(), steps=steps)
            anchors: dict[AnchorName, dict[str, str]] = {
                "full": {"t": full},
                "same-steps": {"t": same},
            }
            runs.append(SeedRuns(seed=seed, strategy=ours, anchors=anchors))
        rows.append(
            Row(pair="d:t+p", strategy=f"s{number}", target="t", expect=None, seeds=tuple(runs))
        )
    experiment = Experiment(
        pair=("d:t+p",), strategy=("s0",), budget="1e9flop", margin=1.0, seeds=SEEDS
    )
    declaration = Declaration(experiment=experiment, rows=tuple(rows))
    found = results(declaration, records.get)
    return [(row.verdict.transfer, row.verdict.pay_off) for row in found]


def _rates(transfer: float, price: float, steps: int) -> tuple[float, float, float, float]:
    """Return how many tables have a row that is: transfer, negative transfer, pays, does not."""
    rng = np.random.default_rng(0)
    hits = np.zeros(4)
    for _ in range(ROUNDS):
        halves = _table(rng, transfer, price, steps)
        for place, (half, word) in enumerate(
            (half, word) for half in (0, 1) for word in (Outcome.BETTER, Outcome.WORSE)
        ):
            hits[place] += any(row[half] is word for row in halves)
    shares = hits / ROUNDS
    print(f"transfer {transfer}, price {price}: {100 * shares} % of tables")
    return tuple(shares.tolist())


@pytest.mark.parametrize(("price", "steps"), [(0.0, 1000), (-4.0, 600), (+4.0, 1600)])
def test_without_transfer_a_table_has_the_word_in_at_most_five_of_a_hundred(
    price: float, steps: int
) -> None:
    good, bad, pays, costs = _rates(0.0, price, steps)
    assert good + bad <= 0.05 + ERROR
    # The price is a fact, and is found as what it is: never as the other half.
    if price < 0:
        assert costs > 0.95
        assert pays == 0
    elif price > 0:
        assert pays > 0.95
        assert costs == 0
    else:
        assert pays + costs <= 0.05 + ERROR


@pytest.mark.parametrize("transfer", [4.0, -4.0])
def test_a_transfer_that_the_price_eats_is_told_and_does_not_pay_is_not(transfer: float) -> None:
    good, bad, pays, costs = _rates(transfer, -transfer, 600)
    assert (good if transfer > 0 else bad) > 0.95
    assert (bad if transfer > 0 else good) == 0
    assert pays + costs <= 0.05 + ERROR
