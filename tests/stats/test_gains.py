"""Verdicts from records that are written by hand: what is asked of `gains` is arithmetic."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from bench.report.text.wording import short_budget, skew
from bench.spec.budget import Budget, Ledger, Price
from bench.spec.experiment import Experiment
from bench.stats.comparison import RowResult
from bench.stats.crossed import crossed
from bench.stats.gains import Examples, _target_steps, results
from bench.stats.verdicts import standing
from bench.store.records import (
    REFERENCES,
    AnchorName,
    Declaration,
    Outcome,
    Record,
    Row,
    Score,
    SeedRuns,
    Status,
)
from tests.conftest import plain_spec

PRICE = Price(flops=1e6, samples=32, peak_bytes=1, parameters=100, seconds=0.01)
FLOPS = Budget(1e9, "flop")
WOBBLE = [0.3, -0.2, 0.1, -0.4, 0.2, 0.5, -0.1, -0.3, 0.4, 0.0]


def _record(
    key: str,
    score: float | None,
    *,
    used: float = 1e9,
    status: Status = "ok",
    higher: bool = True,
    reason: str = "",
    budget: Budget = FLOPS,
    steps: int = 1000,
) -> Record:
    spec = plain_spec(budget="1e9flop", steps=(steps,))
    metric = Score(value=score, unit="%", higher_is_better=higher, primary=True)
    return Record(
        key=key,
        status=status,
        reason=reason,
        spec=spec,
        data_fingerprint="",
        code_fingerprint="",
        scores={} if status == "failed" else {"t": {"accuracy": metric}},
        ledger=None
        if status == "failed"
        else Ledger(
            budget,
            (PRICE,),
            (steps,),
            {"flop": used, "steps": steps, "s": used / 1e8, "samples": 64e3},
            0.0,
        ),
    )


def _judge(
    ours: Sequence[float | None],
    anchors: Mapping[AnchorName, Sequence[float]],
    change: Callable[[dict[str, Record]], None] = lambda _: None,
    margin: float = 1.0,
    higher: bool = True,
    examples: Examples = lambda _: {},
    until_decided: bool = False,
) -> RowResult:
    """Build one cell: `split` and `slim` share the budget between two tasks, as in a pair."""
    records: dict[str, Record] = {}
    seeds = []
    for seed, score in enumerate(ours):
        records[f"s{seed}"] = _record(f"s{seed}", score, higher=higher)
        keys: dict[AnchorName, dict[str, str]] = {}
        for name, scores in anchors.items():
            share = 2 if name in ("split", "slim") else 1
            keys[name] = {}
            for task in ("t", "partner")[:share]:
                key = f"{name.replace('-', '')}{seed}{task}"
                records[key] = _record(key, scores[seed], used=1e9 / share, higher=higher)
                keys[name][task] = key
        seeds.append(SeedRuns(seed=seed, strategy=f"s{seed}", anchors=keys))
    change(records)
    cell = Row(pair="d:t+partner", strategy="hard", target="t", expect=None, seeds=tuple(seeds))
    experiment = Experiment(
        pair=("d:t+partner",),
        strategy=("hard",),
        budget="1e9flop",
        margin=margin,
        seeds=2 * len(ours) if until_decided else len(ours),
        until_decided=until_decided,
    )
    return results(Declaration(experiment=experiment, rows=(cell,)), records.get, examples)[0]


def _around(mean: float, wobble: float = 1.0) -> list[float]:
    return [mean + wobble * w for w in WOBBLE]


FLAT = [80.0] * 10


def test_a_gain_is_strategy_minus_anchor_at_the_same_seed() -> None:
    row = _judge(_around(82), {"full": FLAT})
    assert row.against["full"].gains[3] == pytest.approx(82 - 0.4 - 80)
    assert row.against["full"].result.mean == pytest.approx(2 + sum(WOBBLE) / 10)
    assert row.against["full"].relative_gain == pytest.approx((2 + sum(WOBBLE) / 10) / 80)


def test_a_gain_in_an_error_is_positive_when_the_error_falls() -> None:
    row = _judge([4.0] * 10, {"full": [5.0] * 10}, higher=False)
    assert row.against["full"].result.mean == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ours", "anchors", "verdict"),
    [
        (_around(83), {"full": FLAT}, "pays"),
        (_around(77), {"full": FLAT}, "does not pay"),
        (_around(80.1), {"full": FLAT}, "equivalent"),
        (_around(80.5, 5), {"full": FLAT}, "inconclusive"),
        (
            _around(77),
            {"full": FLAT, "split": [70.0] * 10, "slim": [69.0] * 10},
            "does not pay · compute saving",
        ),
        (
            _around(80),
            {"full": FLAT, "split": [75.0] * 10, "slim": FLAT},
            "equivalent · compute saving",
        ),
        (_around(80), {"full": FLAT, "split": FLAT, "slim": [75.0] * 10}, "equivalent"),
        (_around(83), {"full": FLAT, "split": [70.0] * 10, "slim": [69.0] * 10}, "pays"),
        # Significant and negligible: a loss that was shown to be small is no negative word.
        ([80.3] * 10, {"full": FLAT}, "equivalent, slightly better"),
        ([79.48] * 10, {"full": FLAT}, "equivalent, slightly worse"),
        (_around(83)[:5], {"full": FLAT}, "screen"),
    ],
)
def test_the_verdict_follows_from_the_anchors(
    ours: list[float], anchors: Mapping[AnchorName, Sequence[float]], verdict: str
) -> None:
    row = _judge(ours, anchors)
    assert row.verdict.name == verdict
    assert row.verdict.sentence


#: A mean gain and its wobble that come to each outcome.
GAINS: Mapping[Outcome, tuple[float, float]] = {
    Outcome.BETTER: (3.0, 1.0),
    Outcome.WORSE: (-3.0, 1.0),
    Outcome.EQUIVALENT: (-0.05, 1.0),
    Outcome.SLIGHTLY_BETTER: (0.25, 0.1),
    Outcome.SLIGHTLY_WORSE: (-0.35, 0.1),
    Outcome.INCONCLUSIVE: (0.5, 5.0),
}
TRANSFERS = {
    Outcome.BETTER: "Transfers: ",
    Outcome.WORSE: "Negative transfer: ",
    Outcome.INCONCLUSIVE: "Transfer is inconclusive: ",
}
PAYS = {
    Outcome.BETTER: "Pays: ",
    Outcome.WORSE: "Does not pay: ",
    Outcome.INCONCLUSIVE: "Pay-off is inconclusive: ",
}
NEGLIGIBLE = {
    Outcome.EQUIVALENT: "No difference above 1 point: ",
    Outcome.SLIGHTLY_BETTER: "No difference above 1 point, slightly better: ",
    Outcome.SLIGHTLY_WORSE: "No difference above 1 point, slightly worse: ",
}


def _two_halves(transfer: Outcome, pay_off: Outcome) -> RowResult:
    """Return a row of 1,000 steps where a single-task network of the same budget takes 1,600."""
    ours = _around(80)
    anchors: dict[AnchorName, list[float]] = {}
    for name, outcome in (("same-steps", transfer), ("full", pay_off)):
        mean, wobble = GAINS[outcome]
        anchors[name] = [  # type: ignore[index]
            score - gain for score, gain in zip(ours, _around(mean, wobble), strict=True)
        ]

    def longer(records: dict[str, Record]) -> None:
        for seed, score in enumerate(anchors["full"]):
            records[f"full{seed}t"] = _record(f"full{seed}t", score, steps=1600)
        for seed, score in enumerate(anchors["same-steps"]):
            records[f"samesteps{seed}t"] = _record(f"samesteps{seed}t", score, used=0.625e9)

    return _judge(ours, anchors, longer)


@pytest.mark.parametrize("pay_off", GAINS)
@pytest.mark.parametrize("transfer", GAINS)
def test_the_words_tell_transfer_and_pay_off_apart(transfer: Outcome, pay_off: Outcome) -> None:
    row = _two_halves(transfer, pay_off)
    verdict = row.verdict
    assert (verdict.transfer, verdict.pay_off) == (transfer, pay_off)
    words = dict.fromkeys([transfer.transfer, pay_off.pay_off])
    assert verdict.name == " · ".join(words)
    gains = {name: comparison.result.mean for name, comparison in row.against.items()}
    first = TRANSFERS.get(transfer) or NEGLIGIBLE[transfer]
    second = PAYS.get(pay_off) or NEGLIGIBLE[pay_off]
    assert verdict.sentence.startswith(f"{first}{gains['same-steps']:+.2f} points at equal steps")
    why = "a step for this task costs 1.6 times as much: it takes 1,000 steps and a single-task "
    assert f"{second}{gains['full']:+.2f} points at equal FLOPs, as {why}network 1,600" in (
        verdict.sentence
    )
    assert "At equal steps: " in verdict.certainty
    assert "At equal FLOPs: " in verdict.certainty
    undecided = Outcome.INCONCLUSIVE in (transfer, pay_off)
    assert verdict.undecided is undecided


def test_a_gain_is_transfer_plus_price_at_every_seed() -> None:
    row = _two_halves(Outcome.BETTER, Outcome.WORSE)
    full, same = row.against["full"], row.against["same-steps"]
    assert row.price is not None
    assert row.price.mean == pytest.approx(full.result.mean - same.result.mean)
    assert row.price.mean == pytest.approx(-6.0)
    assert same.steps == (1000, 1000)
    assert full.steps == (1000, 1600)
    assert (same.audits[0].axis, same.audited) == ("steps", True)
    assert full.seconds == pytest.approx(1.0)


def test_where_one_run_is_both_anchors_one_comparison_has_both_words() -> None:
    better = _judge(_around(83), {"full": FLAT, "same-steps": FLAT})
    assert better.price is None
    assert better.verdict.name == "transfer · pays"
    assert "Transfers and pays: +3.05 points at equal FLOPs and steps (1,000)." in (
        better.verdict.sentence
    )
    worse = _judge(_around(77), {"full": FLAT, "same-steps": FLAT})
    assert worse.verdict.name == "negative transfer · does not pay"
    assert worse.verdict.sentence.startswith("Negative transfer, and does not pay: -2.95 points")
    assert list(better.distinct) == ["full"]


def test_unequal_compute_takes_the_pay_off_away_and_not_the_transfer() -> None:
    def overspend(records: dict[str, Record]) -> None:
        records["s4"] = _record("s4", 83.0, used=1.006e9)

    row = _judge(_around(83), {"full": FLAT, "same-steps": FLAT}, overspend)
    assert row.verdict.name == "transfer · unequal budgets"
    assert row.verdict.sentence.startswith("Transfers: +3.03 points at equal steps (1,000). ")
    assert "differs by +0.6% from that of full" in row.verdict.sentence


@pytest.mark.parametrize("outcome", GAINS)
def test_equal_steps_of_unequal_compute_say_nothing_of_pay_off(outcome: Outcome) -> None:
    mean, wobble = GAINS[outcome]
    steps = Budget(1000, "steps")

    def in_steps(records: dict[str, Record]) -> None:
        for seed, score in enumerate(_around(80 + mean, wobble)):
            records[f"s{seed}"] = _record(f"s{seed}", score, budget=steps, used=1.3e9)
        for seed, score in enumerate(_around(74, 0.5)):
            for task in ("t", "partner"):
                key = f"split{seed}{task}"
                records[key] = _record(key, score, budget=Budget(500, "steps"), steps=500)

    row = _judge(FLAT, {"full": FLAT, "same-steps": FLAT, "split": FLAT}, in_steps)
    assert (row.verdict.transfer, row.verdict.pay_off) == (outcome, None)
    assert row.verdict.name == outcome.transfer
    assert not row.verdict.beats_split
    assert row.verdict.undecided is (outcome is Outcome.INCONCLUSIVE)
    first = TRANSFERS.get(outcome) or NEGLIGIBLE[outcome]
    assert row.verdict.sentence.startswith(first)
    assert row.verdict.sentence.endswith("Nothing is said of pay-off: it used 1.3 times the FLOPs.")
    assert "pays" not in row.verdict.sentence.lower()


def test_equal_samples_of_other_steps_say_nothing_of_pay_off() -> None:
    samples = Budget(64_000, "samples")

    def in_samples(records: dict[str, Record]) -> None:
        for key, steps, used in (("s", 1000, 2e9), ("full", 2000, 1e9), ("samesteps", 1000, 5e8)):
            for seed in range(10):
                name = f"{key}{seed}{'' if key == 's' else 't'}"
                old = records[name].value("t")
                records[name] = _record(name, old, budget=samples, steps=steps, used=used)

    row = _judge(_around(83), {"full": _around(79), "same-steps": FLAT}, in_samples)
    assert row.verdict.name == "transfer"
    assert row.verdict.sentence.endswith(
        "Nothing is said of pay-off: +4.00 points at equal samples (and 2.0 times the FLOPs)."
    )


@pytest.mark.parametrize(
    ("lost", "wobble", "short"), [(5.0, 1.0, True), (0.2, 1.0, False), (1.0, 1.0, None)]
)
def test_a_budget_is_short_where_a_share_of_it_costs_more_than_the_margin(
    lost: float, wobble: float, short: bool | None
) -> None:
    row = _judge(_around(83), {"full": FLAT, "split": _around(80 - lost, wobble)})
    assert row.short is not None
    assert row.short.mean == pytest.approx(lost - sum(WOBBLE) / 10)
    assert row.budget_is_short is short
    word = {True: "budget short", False: "budget long enough", None: "budget perhaps short"}[short]
    assert short_budget(row).startswith(f"{word}: half of it costs +")
    assert short_budget(_judge(_around(83), {"full": FLAT})) == ""


def test_a_seed_that_drives_a_gain_is_named_with_what_the_others_say() -> None:
    """One single-task run at 74.7 % among 99 %: the mean gain is its collapse."""
    anchor = [99.0 + 0.1 * w for w in WOBBLE]
    anchor[3] = 74.7
    row = _judge([99.1 + 0.1 * w for w in reversed(WOBBLE)], {"full": anchor})
    full = row.against["full"]
    assert full.outlying == (3,)
    assert full.skewed
    assert full.result.mean > 2
    assert full.robust is not None
    assert full.robust.estimate == pytest.approx(0.1, abs=0.03)
    told = skew(row)
    assert told.startswith(f"Seed 3 ({full.gains[3]:+.2f}) lies far from the others; ")
    assert f"is {full.robust.estimate:+.2f} [" in told
    assert skew(_judge(_around(83), {"full": FLAT})) == ""


def test_steps_of_phases_without_the_target_are_none_of_its_own() -> None:
    row = _two_halves(Outcome.BETTER, Outcome.BETTER)
    assert row.verdict.sentence.count("1,000") == 2
    spec = plain_spec(steps=(400, 600))
    record = _record("s0", 80.0).model_copy(update={"spec": spec})
    declared = Row(
        pair="d:t+u", strategy="s", target="t", expect=None, target_phases=(1,), seeds=()
    )
    assert _target_steps(record, declared) == 600
    assert _target_steps(record, declared.model_copy(update={"target_phases": ()})) == 1000


def test_the_margin_decides_what_is_equivalent() -> None:
    assert _judge(_around(80.1), {"full": FLAT}, margin=0.2).verdict.name == "inconclusive"


def test_an_undecided_row_says_how_many_seeds_would_decide() -> None:
    sentence = _judge(_around(80.5, 5), {"full": FLAT}).verdict.sentence
    seeds = int(sentence.split("about ")[1].split(" seeds")[0])
    assert 10 < seeds < 100
    assert "a true gain of 1 point with 80 % power" in sentence


def test_unequal_budgets_take_the_verdict_away() -> None:
    def overspend(records: dict[str, Record]) -> None:
        records["s4"] = _record("s4", 99.0, used=1.006e9)

    row = _judge(_around(83), {"full": FLAT}, overspend)
    assert row.verdict.name == "unequal budgets"
    assert "+0.6%" in row.verdict.sentence
    assert row.against["full"].deviation == pytest.approx(0.006)


def test_the_budget_of_two_networks_is_audited_as_a_whole() -> None:
    row = _judge(_around(83), {"full": FLAT, "split": FLAT})
    assert row.against["split"].audited
    assert row.against["split"].audits[0].reference == 1e9

    def spend_on_the_partner(records: dict[str, Record]) -> None:
        records["split0partner"] = _record("split0partner", 80.0, used=6e8)

    assert (
        not _judge(_around(83), {"full": FLAT, "split": FLAT}, spend_on_the_partner)
        .against["split"]
        .audited
    )


def test_a_diverged_run_stays_in_the_mean_and_is_counted() -> None:
    def diverge(records: dict[str, Record]) -> None:
        records["s2"] = _record("s2", 10.0, status="diverged", reason="loss was not finite")

    row = _judge(FLAT, {"full": FLAT}, diverge)
    assert (row.collapsed, row.failed, row.seeds) == (1, 0, 10)
    assert row.against["full"].result.mean == pytest.approx(-7.0)
    assert row.reasons == ("s on d:t: loss was not finite",)


def test_a_failed_run_is_missing_from_the_gains_and_shown_with_its_reason() -> None:
    def fail(records: dict[str, Record]) -> None:
        records["s2"] = _record("s2", None, status="failed", reason="planted")
        records["full5t"] = _record("full5t", None, status="failed", reason="also planted")
        del records["s7"]

    row = _judge(FLAT, {"full": FLAT}, fail)
    assert (row.failed, row.seeds) == (2, 7)
    assert row.reasons == ("s on d:t: also planted", "s on d:t: planted")
    assert row.verdict.name == "screen"


def test_a_run_that_diverged_early_is_no_unequal_budget() -> None:
    def diverge(records: dict[str, Record]) -> None:
        records["s2"] = _record("s2", 10.0, used=1e8, status="diverged", reason="not finite")

    row = _judge(_around(70), {"full": FLAT}, diverge)
    assert row.against["full"].deviation == 0
    assert row.against["full"].flops == pytest.approx(1)  # it is held to what it was allotted
    assert row.verdict.name == "does not pay"


def test_runs_that_diverged_without_a_score_take_the_verdict_away() -> None:
    def diverge(records: dict[str, Record]) -> None:
        for key in ("s2", "s6"):
            records[key] = _record(key, None, status="diverged", reason="not finite")

    row = _judge(_around(83), {"full": FLAT}, diverge)
    assert (row.verdict.name, row.collapsed, row.seeds) == ("collapsed", 2, 8)
    assert "2 runs diverged" in row.verdict.sentence


def test_a_seed_whose_budget_cannot_be_audited_does_not_count() -> None:
    def lose(records: dict[str, Record]) -> None:
        for seed in range(10):
            records[f"split{seed}partner"] = _record(
                f"split{seed}partner", None, status="failed", reason="planted"
            )

    row = _judge(_around(83), {"full": FLAT, "split": FLAT}, lose)
    assert not row.against["split"].gains
    assert not row.against["split"].audited
    assert row.verdict.name == "pays"
    assert "No seed has all the runs of split, so nothing is said against it." in (
        row.verdict.sentence
    )


def _spend(name: str, used: float) -> Callable[[dict[str, Record]], None]:
    def change(records: dict[str, Record]) -> None:
        for seed in range(10):
            scores = records[f"{name}{seed}t"].primary("t")
            records[f"{name}{seed}t"] = _record(f"{name}{seed}t", scores.value, used=used)

    return change


LOSES: Mapping[AnchorName, Sequence[float]] = {
    "full": FLAT,
    "split": [70.0] * 10,
    "slim": [69.0] * 10,
}


@pytest.mark.parametrize(
    ("anchor", "used", "name"),
    [
        ("full", 0.9e9, "unequal budgets · compute saving"),
        ("split", 0.4e9, "does not pay"),
        ("slim", 0.4e9, "does not pay · compute saving"),
    ],
)
def test_an_anchor_with_another_budget_takes_away_only_what_it_would_say(
    anchor: AnchorName, used: float, name: str
) -> None:
    row = _judge(_around(77), LOSES, _spend(anchor, used))
    assert [c.audited for c in row.against.values()].count(False) == 1
    assert row.verdict.name == name
    assert f"% from that of {anchor}, so" in row.verdict.sentence


def test_two_sides_that_never_change_show_nothing() -> None:
    row = _judge(FLAT, {"full": FLAT})
    assert row.verdict.name == "no variation"
    assert not row.against["full"].equivalent
    # The exact null: the gain is 0 at every seed, of scores that differ from seed to seed.
    null = _judge(_around(80), {"full": _around(80)}).verdict
    assert null.name == "equivalent"
    assert null.certainty.endswith("The gain is the same at every seed.")


def _with_floor(floor: float) -> Callable[[dict[str, Record]], None]:
    def change(records: dict[str, Record]) -> None:
        for key, record in records.items():
            score = dataclasses.replace(record.scores["t"]["accuracy"], floor=floor)
            records[key] = record.model_copy(update={"scores": {"t": {"accuracy": score}}})

    return change


@pytest.mark.parametrize(
    ("ours", "full", "floor", "higher", "verdict"),
    [
        (_around(80), _around(80, 0.5), 81.0, True, "nothing learned"),
        # By chance a little above it is not above it.
        (_around(80.1), _around(80.1, 2.0), 80.0, True, "nothing learned"),
        (FLAT, FLAT, 80.0, True, "nothing learned"),
        # Nor is what is surely above it by less than the margin of one point.
        (_around(80.6, 0.1), _around(80.4, 0.1), 80.0, True, "nothing learned"),
        (_around(81.6, 0.1), _around(81.4, 0.1), 80.0, True, "equivalent, slightly better"),
        (_around(70), _around(77), 80.0, True, "nothing learned"),
        # One side has learned something, so that the other is worse than it is a finding.
        (_around(70), _around(83), 80.0, True, "does not pay"),
        (_around(84), _around(80), 80.0, True, "pays"),
        (_around(80), _around(80), 20.0, True, "equivalent"),
        (_around(80), _around(80), 79.0, False, "nothing learned"),
        (_around(80), _around(80), 120.0, False, "equivalent"),
        (_around(79)[:3], _around(79)[:3], 80.0, True, "nothing learned"),
        (_around(82)[:3], _around(81)[:3], 80.0, True, "screen"),
    ],
)
def test_where_neither_side_beats_the_floor_there_is_no_verdict(
    ours: list[float], full: list[float], floor: float, higher: bool, verdict: str
) -> None:
    row = _judge(ours, {"full": full}, _with_floor(floor), higher=higher)
    assert row.verdict.name == verdict
    assert row.against["full"].floor == floor
    if verdict == "nothing learned":
        assert row.against["full"].sign == 0
        assert not row.against["full"].equivalent
        assert f"sees no image ({floor:g} %)" in row.verdict.sentence
        assert not row.verdict.undecided


def test_no_budget_is_long_enough_where_nothing_was_learned() -> None:
    anchors: dict[AnchorName, list[float]] = {"full": _around(80), "split": _around(79.9)}
    assert _judge(_around(80), anchors).budget_is_short is False
    row = _judge(_around(80), anchors, _with_floor(79.8))
    assert row.verdict.name == "nothing learned"
    assert row.budget_is_short is None


def test_that_nothing_was_learned_is_said_once() -> None:
    anchors: dict[AnchorName, list[float]] = {"full": _around(77), "same-steps": _around(76)}

    def change(records: dict[str, Record]) -> None:
        _with_floor(80.0)(records)
        for key, record in records.items():
            if key.startswith("s"):  # the row, and the anchor that takes its steps
                spec = record.spec.model_copy(update={"steps": (500,)})
                records[key] = record.model_copy(update={"spec": spec})

    row = _judge(_around(70), anchors, change)
    assert row.against["full"].steps != row.against["same-steps"].steps
    assert row.verdict.name == "nothing learned"
    assert row.verdict.sentence.count("Nothing was learned") == 1


def test_a_score_of_zero_has_no_hundredths() -> None:
    def in_metres(records: dict[str, Record]) -> None:
        for key, record in records.items():
            score = dataclasses.replace(record.scores["t"]["accuracy"], unit="m")
            records[key] = record.model_copy(update={"scores": {"t": {"error": score}}})

    row = _judge(_around(0.1), {"full": [0.0] * 10}, in_metres)
    assert math.isnan(row.against["full"].margin)
    assert math.isnan(row.against["full"].p_equivalence_holm)
    assert row.verdict.name == "inconclusive"


def test_the_certainty_of_a_verdict_is_said_in_plain_words() -> None:
    sure = _judge(_around(83), {"full": FLAT}).verdict.certainty
    # The smallest p of ten seeds is 2/1024.
    assert sure.startswith("Significant (Holm-adjusted p = 0.002). 95 % interval: ")
    result = _judge(_around(83), {"full": FLAT}).against["full"].result
    assert f"{result.low:+.2f} to {result.high:+.2f} points." in sure
    unsure = _judge(_around(80.5, 5), {"full": FLAT})
    assert unsure.verdict.certainty.startswith("Not significant. 95 % interval: ")
    missed = unsure.against["full"].family_detectable_gain
    assert unsure.verdict.certainty.endswith(
        f"Power is below 80 % for true gains under {missed:.3g} points."
    )


def test_the_gain_over_test_images_too_is_that_of_crossed_random_effects() -> None:
    rng = np.random.default_rng(0)
    images = {
        f"{side}{seed}{'t' if side == 'full' else ''}": (rng.random(50) < 0.8).astype("f4")
        for side in ("s", "full")
        for seed in range(10)
    }

    def score(records: dict[str, Record]) -> None:
        for key, right in images.items():
            records[key] = _record(key, 100 * float(right.mean()))

    def examples(key: str) -> dict[str, np.ndarray]:
        return {"t": images[key]} if key in images else {}

    row = _judge(FLAT, {"full": FLAT}, score, examples=examples)
    ours = np.array([images[f"s{seed}"] - images[f"full{seed}t"] for seed in range(10)])
    found, expected = row.against["full"].population, crossed(100 * ours)
    assert found is not None
    assert expected is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(row.against["full"].result.mean)

    def another_metric(records: dict[str, Record]) -> None:
        score(records)
        records["s3"] = _record("s3", 61.0)  # no mean of its images, as F1 is none

    assert (
        _judge(FLAT, {"full": FLAT}, another_metric, examples=examples).against["full"].population
        is None
    )
    assert _judge(FLAT, {"full": FLAT}, score).against["full"].population is None


def test_seconds_are_audited_over_all_seeds_and_counts_at_each() -> None:
    def spend(seconds: Sequence[float]) -> Callable[[dict[str, Record]], None]:
        def change(records: dict[str, Record]) -> None:
            for seed, used in enumerate(seconds):
                records[f"s{seed}"] = _record(
                    f"s{seed}", 83.0, used=used * 1e8, budget=Budget(10, "s")
                )

        return change

    wobbling = _judge(FLAT, {"full": FLAT}, spend([10.8, 9.2] * 5)).against["full"]
    assert wobbling.audited
    assert wobbling.deviation == pytest.approx(0)
    assert not _judge(FLAT, {"full": FLAT}, spend([10.8] * 10)).against["full"].audited


def test_equal_steps_are_not_called_equal_compute() -> None:
    def dear(records: dict[str, Record]) -> None:
        for seed in range(10):
            records[f"s{seed}"] = _record(
                f"s{seed}", 83.0, used=2.5e9, budget=Budget(1000, "steps")
            )

    sentence = _judge(FLAT, {"full": _around(80)}, dear).verdict.sentence
    assert "at equal steps (and 2.5 times the FLOPs)" in sentence
    assert "at equal FLOPs." in _judge(_around(83), {"full": FLAT}).verdict.sentence


def test_too_few_seeds_are_never_significant() -> None:
    row = _judge(_around(83)[:7], {"full": FLAT})
    assert row.against["full"].p_holm < 0.05
    assert row.against["full"].sign == 0


def test_equivalence_is_corrected_over_the_family_too() -> None:
    alone = _judge(_around(80.1), {"full": FLAT}).against["full"]
    assert alone.p_equivalence_holm == alone.result.p_equivalence


def test_a_row_without_any_result_is_a_row() -> None:
    row = _judge(FLAT, {"full": FLAT}, lambda records: records.clear())
    assert row.verdict.name == "no result"
    assert row.failed == 10
    assert math.isnan(row.score_mean)


def test_a_row_that_one_test_alone_finds_is_not_said_to_be_clear() -> None:
    gains = [2.5, 2.0, 1.1, -0.5, 0.7, 1.4, -0.6, 1.1]
    row = _judge([80 + gain for gain in gains], {"full": [80.0] * 8})
    result = row.against["full"].result
    assert result.p_t < 0.05 < result.p_sign_flip
    assert result.low > 0
    assert row.verdict.name == "inconclusive"
    assert "Significant on its own" not in row.verdict.certainty


def test_holm_corrects_over_the_declared_family_of_an_anchor() -> None:
    alone = _judge(_around(80.3), {"full": FLAT}).against["full"]
    assert alone.p_holm == alone.result.p
    assert alone.result.p < 0.05


def test_a_margin_is_in_points_of_a_percentage_and_in_per_cent_of_any_other_score() -> None:
    def in_metres(records: dict[str, Record]) -> None:
        for key, record in records.items():
            score = dataclasses.replace(record.scores["t"]["accuracy"], unit="m")
            records[key] = record.model_copy(update={"scores": {"t": {"error": score}}})

    assert _judge(_around(82), {"full": FLAT}, margin=2).against["full"].margin == 2
    row = _judge(_around(82), {"full": FLAT}, in_metres, margin=2)
    assert row.against["full"].margin == pytest.approx(0.02 * 80)


def _add_errors(records: dict[str, Record]) -> None:
    for key, record in records.items():
        error = 3.0 if key.startswith("s") else 4.0
        other = Score(value=error, unit="m", higher_is_better=False, primary=False)
        scores = {"t": {**record.scores["t"], "error": other}}
        records[key] = record.model_copy(update={"scores": scores})


def test_the_other_metrics_are_corrected_for_looks_too() -> None:
    row = _judge(_around(82), {"full": FLAT}, _add_errors, until_decided=True)
    # Ten of twenty seeds, the first look that may reject: Φ(Φ⁻¹(p / 2) √½) twice.
    expected = 2 * stats.norm.cdf(stats.norm.ppf(1 / 1024) * math.sqrt(0.5))
    assert row.metrics["error"].q == pytest.approx(expected, rel=1e-4)


def test_the_other_metrics_are_shown_with_gains_that_are_positive_where_better() -> None:
    row = _judge(_around(82), {"full": FLAT}, _add_errors)
    assert row.metric == "accuracy"
    error = row.metrics["error"]
    assert (error.score_mean, error.anchor_mean, error.gains.mean) == (3, 4, 1)
    assert row.metrics["accuracy"].gains.mean == row.against["full"].result.mean
    # Ten equal gains: the smallest p-value of ten seeds, and one line in the exploratory table.
    assert error.q == error.gains.p == 2 / 1024
    assert math.isnan(row.metrics["accuracy"].q)


def test_the_longest_wait_for_images_of_a_row_and_its_anchors_is_kept() -> None:
    def wait(records: dict[str, Record]) -> None:
        for key, share in (("s3", 0.02), ("full4t", 0.12)):
            ledger = records[key].ledger
            assert ledger is not None
            waited = dataclasses.replace(ledger, stall=share)
            records[key] = records[key].model_copy(update={"ledger": waited})

    assert _judge(_around(82), {"full": FLAT}, wait).stall == 0.12


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize(
    ("ours", "theirs", "word"),
    [
        (_around(82), FLAT, "better"),
        (_around(78), FLAT, "worse"),
        (_around(80.0, 0.2), FLAT, "equivalent"),
        (_around(80.5, 5), FLAT, "inconclusive"),
        (_around(82)[:4], FLAT[:4], "screen"),
    ],
)
def test_a_row_stands_to_a_reference_without_a_change_of_its_verdict(
    ours: list[float], theirs: list[float], word: str, name: AnchorName
) -> None:
    full = [90.0] * len(ours)
    row = _judge(ours, {"full": full, name: theirs})
    assert standing(row.references[name]) == word
    assert row.verdict == _judge(ours, {"full": full}).verdict
    assert list(row.against) == ["full"]


def test_unequal_budgets_void_the_standing_and_not_the_verdict() -> None:
    def overspend(records: dict[str, Record]) -> None:
        ledger = records["reference3t"].ledger
        assert ledger is not None
        more = dataclasses.replace(ledger, used={**ledger.used, "flop": 1.02e9})
        records["reference3t"] = records["reference3t"].model_copy(update={"ledger": more})

    row = _judge(_around(83), {"full": FLAT, "reference": FLAT}, overspend)
    assert standing(row.references["reference"]) == "unequal budgets"
    assert row.verdict.name == "pays"


def test_each_reference_has_a_family_of_its_own_for_holm() -> None:
    """Two rows are compared with `wide` and one of them against `same-size` too."""
    records = {f"s{i}": _record(f"s{i}", score) for i, score in enumerate(_around(80.3))}
    records |= {f"f{i}": _record(f"f{i}", score) for i, score in enumerate(FLAT)}

    def cell(strategy: str, *names: AnchorName) -> Row:
        seeds = [
            SeedRuns(
                seed=i,
                strategy=f"s{i}",
                anchors={name: {"t": f"f{i}"} for name in ("full", *names)},
            )
            for i in range(10)
        ]
        return Row(pair="d:t+u", strategy=strategy, target="t", expect=None, seeds=tuple(seeds))

    cells = (cell("a", "wide"), cell("b", "wide", "same-size"))
    experiment = Experiment(pair=("d:t+u",), strategy=("a", "b"), budget="1e9flop")
    first, second = results(Declaration(experiment=experiment, rows=cells), records.get)
    p = first.against["full"].result.p
    assert 0 < p < 0.4
    assert first.references["wide"].p_holm == pytest.approx(2 * p)
    assert second.references["wide"].p_holm == pytest.approx(2 * p)
    assert second.references["same-size"].p_holm == p
    assert list(first.references) == ["wide"]


def test_a_comparison_knows_the_network_that_it_is_with() -> None:
    def widen(records: dict[str, Record]) -> None:
        for key, record in records.items():
            if key.startswith("wide"):
                spec = record.spec.model_copy(update={"strategy": "alone", "width": 1.3})
                assert record.ledger is not None
                price = dataclasses.replace(PRICE, parameters=170)
                ledger = dataclasses.replace(record.ledger, prices=(price,))
                records[key] = record.model_copy(update={"spec": spec, "ledger": ledger})

    wide = _judge(_around(82), {"full": FLAT, "wide": FLAT}, widen).references["wide"]
    assert (wide.strategy, wide.width, wide.parameters) == ("alone", 1.3, 170)


def test_the_same_gain_is_not_significant_in_one_family_and_open_in_the_other() -> None:
    """Two rows whose families differ: the first row's runs are both anchors, the second's not."""
    records: dict[str, Record] = {}
    rows = []
    noisy = [80.0 - 5 * w for w in WOBBLE]
    for name, scores, alone in (("one", _around(80.34, 1.2), FLAT), ("two", FLAT, noisy)):
        seeds = []
        for seed in range(10):
            own, full, same = (f"{name}{what}{seed}" for what in ("own", "full", "same"))
            records[own] = _record(own, scores[seed])
            records[full] = _record(full, FLAT[seed] - 9 * (name == "two") * (1 + WOBBLE[seed]))
            records[same] = _record(same, alone[seed])
            steps = full if name == "one" else same
            anchors: dict[AnchorName, dict[str, str]] = {
                "full": {"t": full},
                "same-steps": {"t": steps},
            }
            if name == "two":
                longer = records[full].spec.model_copy(update={"steps": (1600,)})
                records[full] = records[full].model_copy(update={"spec": longer})
            seeds.append(SeedRuns(seed=seed, strategy=own, anchors=anchors))
        rows.append(
            Row(pair=f"d:{name}", strategy="s", target="t", expect=None, seeds=tuple(seeds))
        )
    experiment = Experiment(pair=("d:t",), strategy=("s",), budget="1e9flop", seeds=10)
    declaration = Declaration(experiment=experiment, rows=tuple(rows))
    first, second = results(declaration, records.get)
    # Raw p-values of the first row are the same; its families are not.
    assert first.against["full"].result == first.against["same-steps"].result
    raw = first.against["full"].result.p
    assert second.against["full"].result.p < raw < second.against["same-steps"].result.p
    for comparison in first.against.values():
        assert comparison.p_holm == pytest.approx(2 * raw)
    assert first.verdict.transfer == first.verdict.pay_off
