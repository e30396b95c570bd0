"""The gate's judgement, against numbers worked out by hand or by scipy."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.gate.baseline import Baseline, BaselineArm, BaselineRow, Scores
from bench.gate.judge import Finding, check, exit_code, undecidable, unused_seeds
from bench.spec.experiment import Experiment

SEEDS = range(10)
ALONE = [50.0, 52, 49, 51, 50, 53, 48, 50, 51, 49]
SHARED = [58.0, 61, 57, 60, 58, 62, 55, 57, 60, 58]


def arm(values: Sequence[float], task: str = "a", **fields: Any) -> BaselineArm:
    scores = Scores(
        metric="accuracy",
        unit=fields.pop("unit", "%"),
        higher_is_better=fields.pop("higher_is_better", True),
        by_seed=dict(enumerate(values)),
    )
    fixed = {"data": "data", "flops": 1e6, "parameters": 1000, "peak_bytes": 10**6}
    return BaselineArm.model_validate({**fixed, "scores": {task: scores}, **fields})


def baseline(arms: Mapping[str, BaselineArm] | None = None, **fields: Any) -> Baseline:
    """A pair with one strategy and one target, unless other arms are given."""
    arms = {"hard": arm(SHARED), "single": arm(ALONE), **(arms or {})}
    rows = [
        BaselineRow(pair="toy:a+b", strategy=name, target="a", arm=name, alone="single")
        for name in arms
        if name != "single"
    ]
    asked: dict[str, Any] = {"pair": "toy:a+b", "strategy": "hard", "budget": "100steps"}
    experiment = Experiment.model_validate(asked | fields.pop("experiment", {}))
    made = {"torch": "2.15.0", "device": "cpu", "processor": "a", **fields.pop("made", {})}
    return Baseline(experiment=experiment, made=made, rows=tuple(rows), arms=dict(arms))


def plus(values: Any, change: Any) -> list[float]:
    return list(np.asarray(values) + np.asarray(change))


def found(findings: Sequence[Finding], quantity: str, name: str = "hard") -> Finding:
    (finding,) = [f for f in findings if f.quantity == quantity and f.name.startswith(name)]
    return finding


def test_what_is_the_same_passes_and_says_so() -> None:
    findings = check(baseline(), baseline())
    assert {f.status for f in findings} == {"PASS"}
    assert found(findings, "score").sentence == "the same at all 10 seeds"
    assert found(findings, "gain").remark == "EQUIVALENT"
    assert exit_code(findings, inconclusive_fails=True) == 0


def test_a_loss_at_every_seed_is_decided_by_its_size() -> None:
    for loss, status in ((1.5, "FAIL"), (0.5, "PASS")):
        findings = check(baseline(), baseline({"hard": arm(plus(SHARED, -loss))}))
        assert found(findings, "score").status == found(findings, "gain").status == status
        assert found(findings, "score", "single").status == "PASS"


NOISE = [0.4, -0.6, 0.1, 0.5, -0.3, -0.2, 0.6, -0.5, 0.2, -0.2]


def _sign_flip(differences: Sequence[float]) -> float:
    """One-sided and exact, by writing down all 2^n signs."""
    d, mean = np.asarray(differences), np.mean(differences)
    flipped = [np.mean(d * signs) for signs in itertools.product((1, -1), repeat=len(d))]
    return float(np.mean(np.asarray(flipped) <= mean + 1e-12))


def test_failing_needs_the_size_and_both_tests() -> None:
    differences = plus(NOISE, -1.3)
    findings = check(baseline(), baseline({"hard": arm(plus(SHARED, differences))}))
    finding = found(findings, "score")
    t = stats.ttest_1samp(differences, 0, alternative="less").pvalue
    flips = _sign_flip(differences)
    assert flips > t
    # The two cells of the row are worse by the same; the single-task network is the third.
    assert finding.p_worse == pytest.approx(3 * flips)
    assert (finding.status, finding.remark) == ("FAIL", "")
    assert finding.sentence == "worse by 1.3 points, more than the margin of 1 points"
    assert exit_code(findings, inconclusive_fails=False) == 1


def test_passing_is_a_t_test_against_the_margin() -> None:
    differences = plus(NOISE, -0.3)
    finding = found(check(baseline(), baseline({"hard": arm(plus(SHARED, differences))})), "score")
    t = (np.mean(differences) + 1) / (np.std(differences, ddof=1) / math.sqrt(10))
    assert finding.p_not_worse == pytest.approx(stats.t.sf(t, 9))
    assert (finding.status, finding.sentence) == ("PASS", "not worse by 1 points")


def test_what_noise_hides_is_inconclusive_and_says_what_would_decide() -> None:
    differences = plus(np.asarray(NOISE) * 8, -0.5)
    findings = check(baseline(), baseline({"hard": arm(plus(SHARED, differences))}))
    finding = found(findings, "score")
    assert finding.status == "INCONCLUSIVE"
    sd = np.std(differences, ddof=1)
    # The normal approximation for 80 % power at 5 %, one-sided: (1.645 + 0.842)² (sd / margin)².
    seeds = int(finding.sentence.partition("about ")[2].split()[0])
    assert seeds == pytest.approx(6.18 * float(sd) ** 2, rel=0.1)
    assert exit_code(findings, inconclusive_fails=True) == 3
    assert exit_code(findings, inconclusive_fails=False) == 0


def test_a_loss_that_noise_hides_says_how_many_seeds_would_fail_it_after_holm() -> None:
    differences = plus(np.asarray(NOISE) * 8, -1.5)
    finding = found(check(baseline(), baseline({"hard": arm(plus(SHARED, differences))})), "score")
    assert finding.status == "INCONCLUSIVE"
    assert finding.sentence.endswith("seeds would show a loss of this size")
    # One of three cells: 5 % / 3, one-sided, so (2.128 + 0.842)² (sd / loss)², and a t test's more.
    ratio = float(np.std(differences, ddof=1)) / 1.5
    seeds = int(finding.sentence.partition("about ")[2].split()[0])
    assert seeds == pytest.approx(8.82 * ratio**2 + 2, abs=1)


def test_one_seed_has_no_spread_to_reckon_with() -> None:
    one = {"hard": arm(SHARED[:1]), "single": arm(ALONE[:1])}
    lower = {"hard": arm(plus(SHARED[:1], -0.5)), "single": arm(ALONE[:1])}
    finding = found(check(baseline(one), baseline(lower)), "score")
    assert finding.sentence == "undecided over one seed; one seed has no spread: run two or more"


def test_a_margin_in_per_cent_of_nothing_is_said_to_be_none() -> None:
    error: Any = {"unit": "m", "higher_is_better": False}
    none = {"hard": arm([0.0] * 10, **error), "single": arm(ALONE, **error)}
    some = {"hard": arm([0.1, 0.0] * 5, **error), "single": arm(ALONE, **error)}
    finding = found(check(baseline(none), baseline(some)), "score")
    assert "a margin in per cent of it is nothing" in finding.sentence


def test_a_better_single_task_network_is_a_loss_of_transfer() -> None:
    findings = check(baseline(), baseline({"single": arm(plus(ALONE, 3))}))
    assert found(findings, "score").status == "PASS"
    assert found(findings, "gain").status == "FAIL"
    assert found(findings, "score", "single").status == "PASS"


def test_a_worse_single_task_network_does_not_hide_behind_a_larger_gain() -> None:
    findings = check(baseline(), baseline({"single": arm(plus(ALONE, -3))}))
    assert found(findings, "gain").status == "PASS"
    assert found(findings, "score", "single").status == "FAIL"


def test_where_lower_is_better_a_higher_score_fails() -> None:
    error: Any = {"unit": "m", "higher_is_better": False}
    old = {"hard": arm(SHARED, **error), "single": arm(ALONE, **error)}
    new = {"hard": arm(plus(SHARED, 2), **error), "single": arm(ALONE, **error)}
    findings = check(baseline(old), baseline(new))
    assert found(findings, "score").status == found(findings, "gain").status == "FAIL"
    # A point means nothing in metres: the margin is a hundredth of the baseline's score.
    assert found(findings, "score").margin == pytest.approx(np.mean(SHARED) / 100)
    assert {f.status for f in check(baseline(new), baseline(old))} == {"PASS"}


def test_the_margin_can_be_given() -> None:
    now = baseline({"hard": arm(plus(SHARED, -1.5))})
    assert found(check(baseline(), now, margin=2), "score").status == "PASS"
    assert found(check(baseline(experiment={"margin": 2.0}), now), "score").status == "PASS"


def test_rows_that_came_or_went_are_named() -> None:
    more = baseline({"soft": arm(SHARED)})
    gone = found(check(more, baseline()), "row", "soft")
    assert (gone.name, gone.status) == ("soft on toy:a+b → a", "MISSING")
    assert exit_code(check(more, baseline()), inconclusive_fails=True) == 5
    assert found(check(baseline(), more), "row", "soft").status == "NEW"
    assert exit_code(check(baseline(), more), inconclusive_fails=True) == 0


def test_a_row_that_went_still_counts_for_holm() -> None:
    now = {"hard": arm(plus(SHARED, plus(NOISE, -1.3)))}
    alone = found(check(baseline(), baseline(now)), "score").p_worse
    before = baseline({"soft": arm(SHARED)})
    assert found(check(before, baseline(now)), "score").p_worse == pytest.approx(alone * 5 / 3)


def test_a_run_that_went_wrong_is_an_error_with_its_reason() -> None:
    broken = arm(SHARED[:9], trouble={9: "failed: RuntimeError: planted"})
    findings = check(baseline(), baseline({"hard": broken}))
    assert found(findings, "score").status == found(findings, "gain").status == "ERROR"
    assert found(findings, "score").sentence == "hard, seed 9: failed: RuntimeError: planted"
    assert exit_code(findings, inconclusive_fails=True) == 4
    # A seed that is lost on both sides is no news.
    assert (
        found(check(baseline({"hard": broken}), baseline({"hard": broken})), "score").status
        == "PASS"
    )


def test_a_cell_without_any_score_is_an_error_that_says_so() -> None:
    none = baseline({"hard": arm([])})
    finding = found(check(none, baseline()), "score")
    assert (finding.status, finding.sentence) == ("ERROR", "no seed has a score on both sides")


def test_other_seeds_than_the_baselines_are_not_asked_for() -> None:
    more = {"hard": arm([*SHARED, 0.0]), "single": arm([*ALONE, 90.0])}
    assert {f.status for f in check(baseline(), baseline(more))} == {"PASS"}


def test_quality_binds_only_where_the_budget_buys_every_version_the_same() -> None:
    seconds: Any = {"experiment": {"budget": "3s"}}
    findings = check(
        baseline(**seconds), baseline({"hard": arm(plus(SHARED, -5), flops=2e6)}, **seconds)
    )
    assert (found(findings, "score").status, found(findings, "score").binding) == ("FAIL", False)
    assert found(findings, "FLOPs").binding


def test_what_is_counted_may_not_rise() -> None:
    now = {"hard": arm(SHARED, flops=1e6 + 1, parameters=999)}
    findings = check(baseline(), baseline(now))
    assert (found(findings, "FLOPs").status, found(findings, "FLOPs").sentence) == (
        "FAIL",
        "+0.0001 % a step",
    )
    assert (found(findings, "parameters").status, found(findings, "parameters").remark) == (
        "PASS",
        "LOWER",
    )
    assert found(findings, "peak bytes").sentence == "the same"
    assert exit_code(findings, inconclusive_fails=True) == 1


def test_another_torch_may_count_otherwise_but_builds_the_same_network() -> None:
    now = {"hard": arm(SHARED, flops=2e6, parameters=1001)}
    findings = check(baseline(), baseline(now, made={"torch": "2.16.0"}))
    assert (found(findings, "FLOPs").status, found(findings, "FLOPs").binding) == ("FAIL", False)
    assert found(findings, "parameters").binding


RATIOS = [1.0, 1.02, 0.98, 1.01, 0.99, 1.03, 0.97, 1.0, 1.01, 0.99]


@pytest.mark.parametrize(
    ("factor", "status"), [(1.0, "PASS"), (1.05, "PASS"), (1.095, "INCONCLUSIVE"), (1.2, "FAIL")]
)
def test_seconds_are_judged_by_size_and_rank(factor: float, status: str) -> None:
    before, now = (
        baseline({"hard": arm(SHARED, seconds=[f * r for r in RATIOS])}) for f in (1.0, factor)
    )
    finding = found(check(before, now), "seconds")
    assert (finding.status, finding.binding) == (status, False)
    assert found(check(before, now, gate_time=True), "seconds").binding
    assert finding.now / finding.before == pytest.approx(factor)


def test_what_is_gravest_decides_the_exit_code() -> None:
    statuses = ["PASS", "NEW", "INCONCLUSIVE", "MISSING", "ERROR", "FAIL"]
    codes = [0, 0, 3, 5, 4, 1]
    for last, code in enumerate(codes):
        findings = [Finding("n", "q", s, "") for s in statuses[: last + 1]]  # type: ignore[arg-type]
        assert exit_code(findings, inconclusive_fails=True) == code
    advisory = [Finding("n", "q", "FAIL", "", binding=False)]
    assert exit_code(advisory, inconclusive_fails=True) == 0


def test_a_baseline_with_too_few_seeds_for_its_cells_says_so() -> None:
    # Three cells: 3 / 2^5 is over 5 %, 3 / 2^6 under.
    few = {"hard": arm(SHARED[:5]), "single": arm(ALONE[:5])}
    assert "give 6 seeds or more" in undecidable(baseline(few), baseline(few))
    enough = baseline({"hard": arm(SHARED[:6]), "single": arm(ALONE[:6])})
    assert not undecidable(enough, enough)
    # It is the seeds of both sides that can decide.
    assert "with 5 seeds" in undecidable(baseline(), baseline(few))


def test_seeds_that_were_not_run_again_are_told() -> None:
    few = {"hard": arm(SHARED[:7]), "single": arm(ALONE[:7])}
    assert unused_seeds(baseline(), baseline(few)).startswith("3 of the baseline's 10 seeds")
    assert not unused_seeds(baseline(few), baseline())
    # A run that went wrong was run, and is an error of its own.
    broken = {"hard": arm(SHARED[:9], trouble={9: "failed: planted"}), "single": arm(ALONE[:9])}
    assert not unused_seeds(baseline(), baseline(broken))


def _with_same_steps(scores: Sequence[float]) -> Baseline:
    """A pair whose strategy takes other steps than `full`."""
    plain = baseline({"single, 80 steps": arm(scores)})
    (row, *_) = plain.rows
    rows = (row.model_copy(update={"same_steps": "single, 80 steps"}),)
    return plain.model_copy(update={"rows": rows})


def test_a_drop_in_transfer_is_gated_beside_the_gain() -> None:
    before = _with_same_steps(plus(ALONE, -2))
    assert found(check(before, before), "transfer").status == "PASS"
    # The single-task network gets better at equal steps; the gain at equal compute stays.
    findings = check(before, _with_same_steps(plus(ALONE, 1)))
    assert found(findings, "transfer").status == "FAIL"
    assert found(findings, "gain").status == "PASS"
    assert found(findings, "transfer").change is not None


def test_a_row_whose_steps_became_those_of_full_keeps_its_transfer() -> None:
    before = _with_same_steps(ALONE)
    findings = check(before, baseline())
    assert found(findings, "transfer").sentence == "the same at all 10 seeds"
    assert len([f for f in findings if f.quantity == "FLOPs"]) == 2
