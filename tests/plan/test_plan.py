from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import Dataset, DataSource
from bench.errors import UserError
from bench.plan.plan import Plan, make_plan
from bench.spec.experiment import Experiment
from bench.store.records import AnchorName
from bench.store.store import Store

SMALL: dict[str, Any] = {
    "train_size": 100,
    "validation_size": 50,
    "batch_size": 16,
    "curve_points": 2,
    "device": "cpu",
}


def _plan(tmp_path: Path, **values: Any) -> Plan:
    asked: dict[str, Any] = {"pair": "toy:row+column", "strategy": "hard", "budget": "50steps"}
    experiment = Experiment(**{**SMALL, **asked, "seeds": 2, **values})
    return make_plan(experiment, DataSource(), Store(tmp_path), lambda _: None)


def _labels(plan: Plan) -> list[str]:
    return [f"{job.spec.label} {job.spec.budget}" for job in plan.jobs if job.spec.seed == 0]


def test_a_pair_brings_its_three_anchors(tmp_path: Path) -> None:
    assert _labels(_plan(tmp_path)) == [
        "hard on toy:row+column 50steps",
        "single on toy:row 50steps",
        "single on toy:row 25steps",
        "single on toy:column 25steps",
        "single on toy:row, width 0.72 25steps",
        "single on toy:column, width 0.72 25steps",
        "single on toy:column 50steps",
    ]


def test_the_slim_networks_together_have_the_shared_networks_parameters(tmp_path: Path) -> None:
    prices = {job.spec.label: job.prices[0].parameters for job in _plan(tmp_path).jobs}
    slim = sum(count for label, count in prices.items() if "width" in label)
    assert slim == pytest.approx(prices["hard on toy:row+column"], rel=0.03)


def test_a_strategy_as_large_as_two_networks_has_them_for_its_slim_anchor(tmp_path: Path) -> None:
    plan = _plan(tmp_path, strategy="cross-stitch")
    anchors = plan.declaration.rows[0].seeds[0].anchors
    assert anchors["slim"] == anchors["split"]


def test_a_network_that_cannot_be_narrower_has_its_split_anchor_for_slim(tmp_path: Path) -> None:
    plan = _plan(tmp_path, network="linear")
    anchors = plan.declaration.rows[0].seeds[0].anchors
    assert anchors["slim"] == anchors["split"]


def test_runs_that_rows_share_are_planned_once(tmp_path: Path) -> None:
    plan = _plan(tmp_path, pair=["toy:row+column", "toy:row+low"], strategy=["hard", "pcgrad"])
    assert len({job.key for job in plan.jobs}) == len(plan.jobs)
    assert sum(label == "single on toy:row 50steps" for label in _labels(plan)) == 1


def test_an_auxiliary_run_serves_one_task_and_is_held_against_full_alone(tmp_path: Path) -> None:
    plan = _plan(tmp_path, strategy="partner")
    runs = [job.spec for job in plan.jobs if job.spec.strategy == "hard+partner"]
    assert {(spec.tasks, spec.scored) for spec in runs} == {
        (("row", "column"), ("row",)),
        (("column", "row"), ("column",)),
    }
    assert all(
        list(cell.seeds[0].anchors) == ["full", "same-steps"] for cell in plan.declaration.rows
    )


def test_a_strategy_that_needs_no_partner_is_one_row_in_all_pairs(tmp_path: Path) -> None:
    plan = _plan(tmp_path, pair=["toy:row+column", "toy:row+low"], strategy="reconstruction")
    assert [(cell.pair, cell.target) for cell in plan.declaration.rows] == [
        ("toy:row+column", "row"),
        ("toy:row+column", "column"),
        ("toy:row+low", "low"),
    ]


def test_a_placebo_partner_is_neither_scored_nor_trained_alone(tmp_path: Path) -> None:
    plan = _plan(tmp_path, pair="toy:row+column~shuffled")
    assert _labels(plan) == [
        "hard on toy:row+column~shuffled 50steps",
        "single on toy:row 50steps",
    ]
    (cell,) = plan.declaration.rows
    assert (cell.target, cell.expect) == ("row", "none")


def test_a_flop_budget_buys_each_arm_its_own_steps(tmp_path: Path) -> None:
    plan = _plan(tmp_path, budget="1gflop", strategy=["hard", "cross-stitch"])
    for job in plan.jobs:
        part = 1e9 if job.spec.budget == "1000000000flop" else 5e8
        assert job.spec.steps == (int(part // job.prices[0].flops),)
    steps = {j.spec.strategy: sum(j.spec.steps) for j in plan.jobs if len(j.spec.tasks) == 2}
    assert steps["hard"] > 1.9 * steps["cross-stitch"]


def test_a_budget_in_seconds_buys_the_same_steps_again(tmp_path: Path) -> None:
    first, second = (_plan(tmp_path, budget="0.5s") for _ in range(2))
    assert [job.key for job in first.jobs] == [job.key for job in second.jobs]
    assert all(job.spec.steps[0] > 1 for job in first.jobs)


def test_a_key_depends_on_what_defines_a_run(tmp_path: Path) -> None:
    plans = [
        _plan(tmp_path),
        _plan(tmp_path, learning_rate=0.1),
        _plan(tmp_path, budget="51steps"),
        _plan(tmp_path, train_size=99),
    ]
    keys = [{job.key for job in plan.jobs} for plan in plans]
    assert all(keys[0].isdisjoint(other) for other in keys[1:])
    assert keys[0] == {job.key for job in _plan(tmp_path, margin=3.0, name="other").jobs}


def test_more_seeds_keep_the_runs_of_fewer(tmp_path: Path) -> None:
    few, many = ({job.key for job in _plan(tmp_path, seeds=n).jobs} for n in (2, 3))
    assert few < many


def test_a_budget_too_small_for_one_step_says_the_price(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"buys no step of .*one step costs .* flop"):
        _plan(tmp_path, budget="10flop")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": "lenett"}, "did you mean 'lenet'"),
        ({"strategy": "hrad"}, "did you mean 'hard'"),
        ({"pair": "toy:row", "strategy": "partner"}, "needs a partner"),
        ({"train_size": 5000}, "--train-size"),
        ({"device": "npu"}, "--device npu: torch"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _plan(tmp_path, **values)


def test_a_plan_says_what_the_data_are_and_that_changes_no_family(tmp_path: Path) -> None:
    plan = _plan(tmp_path, pair=["toy:row+column~shuffled", "toy:low+row"])
    assert plan.declaration.data == (
        "toy: 300 training and 100 test images, 16 × 16 grey; each seed draws 100 to train on and "
        "50 to validate on",
        "row: classification, 4 classes, scored by accuracy",
        "column: classification, 4 classes, scored by accuracy",
        "low: classification, 2 classes, scored by accuracy",
    )
    other = plan.declaration.model_copy(update={"data": ("something else",)})
    assert other.family == plan.declaration.family


def test_a_data_set_is_checked_once_with_all_its_tasks_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def check(self: Dataset, source: DataSource, tasks: Collection[str]) -> None:
        asked.append(list(tasks))
        raise UserError("two things are wrong")

    monkeypatch.setattr(Dataset, "check", check)
    with pytest.raises(UserError, match="two things are wrong"):
        _plan(tmp_path, pair=["toy:row+column~none", "toy:low+row"])
    assert asked == [["row", "column", "low"]]


def test_a_plan_warns_of_what_keeps_verdicts_from_being_reached(tmp_path: Path) -> None:
    few, coarse = _plan(tmp_path, budget="51steps").warnings
    assert "first look" in few
    assert "hard on toy:row+column against split 2.0% apart" in coarse
    assert len(_plan(tmp_path, budget="50steps").warnings) == 1
    many = _plan(
        tmp_path,
        seeds=8,
        pair=["toy:row+column", "toy:row+low"],
        budget="400steps",
        strategy=["hard", "partner", "cross-stitch", "pcgrad"],
    )
    assert [note for note in many.warnings if "Holm" in note]
    assert not _plan(tmp_path, seeds=10, budget="400steps").warnings


def test_all_strategies_but_the_reference_are_held_against_its_run_too(tmp_path: Path) -> None:
    plan = _plan(tmp_path, strategy=["hard", "pcgrad", "partner"], reference="hard")
    found = {
        (cell.strategy, cell.target): cell.seeds[0].anchors.get("reference")
        for cell in plan.declaration.rows
    }
    hard = next(cell.seeds[0].strategy for cell in plan.declaration.rows)
    assert found["hard", "row"] is None
    for strategy in ("hard+pcgrad", "hard+partner"):
        assert found[strategy, "row"] == {"row": hard}
        assert found[strategy, "column"] == {"column": hard}


def test_a_reference_that_is_no_row_is_planned_all_the_same(tmp_path: Path) -> None:
    plan = _plan(tmp_path, strategy="pcgrad", reference="hard+uniform")
    assert "hard on toy:row+column 50steps" in _labels(plan)
    with pytest.raises(UserError, match="did you mean 'hard'"):
        _plan(tmp_path, strategy="pcgrad", reference="hrad")


def _anchors(plan: Plan) -> dict[tuple[str, str], dict[AnchorName, dict[str, str]]]:
    """Return the keys of what each row is compared with at the first seed."""
    cells = plan.declaration.rows
    return {(c.strategy, c.target): {**c.seeds[0].anchors} for c in cells}


def _lenet(width: float, outputs: list[int]) -> int:
    """Return the parameters of a LeNet with heads, for the toy's grey images of 16 × 16 pixels."""
    a, b, f = (round(channels * width) for channels in (10, 20, 50))
    return (25 + 1) * a + (25 * a + 1) * b + (b + 1) * f + sum((f + 1) * n for n in outputs)


def _lenet_flops(width: float, outputs: int) -> int:
    """Return the FLOPs of a step of it: two a multiplication, of 16 images.

    A forward pass, the gradients of the weights, and those of the inputs but for the first layer's.
    """
    a, b, f = (round(channels * width) for channels in (10, 20, 50))
    first, others = 25 * a * 12**2, 25 * a * b * 2**2 + b * f + f * outputs
    return 2 * 16 * (2 * first + 3 * others)


@pytest.mark.parametrize("strategy", ["cross-stitch", "mtan", "ensemble@3"])
def test_wide_is_the_single_network_whose_step_costs_nearest_to_the_rows(
    tmp_path: Path, strategy: str
) -> None:
    plan = _plan(tmp_path, strategy=strategy, also_against="wide")
    jobs = {job.key: job for job in plan.jobs}
    for cell in plan.declaration.rows:
        (key,) = cell.seeds[0].anchors["wide"].values()
        ours, wide = jobs[cell.seeds[0].strategy], jobs[key]
        assert (wide.spec.tasks, wide.spec.strategy) == ((cell.target,), "single")
        assert wide.spec.budget == ours.spec.budget
        assert wide.prices[0].flops == _lenet_flops(wide.spec.width, 4)
        nearest = min(
            abs(_lenet_flops(hundredths / 100, 4) - ours.prices[0].flops)
            for hundredths in range(1, 1000)
        )
        assert abs(wide.prices[0].flops - ours.prices[0].flops) == nearest
        # A lenet's sizes above width 1 lie up to 9.4 % of their mean apart: half to either side.
        assert wide.prices[0].flops == pytest.approx(ours.prices[0].flops, rel=0.05)


@pytest.mark.parametrize("strategy", ["cross-stitch", "mtan", "mmoe@2,0.7", "branch@2"])
def test_same_size_is_plain_sharing_with_nearest_to_the_rows_parameters(
    tmp_path: Path, strategy: str
) -> None:
    plan = _plan(tmp_path, strategy=strategy, also_against="same-size")
    jobs = {job.key: job for job in plan.jobs}
    keys = {cell.seeds[0].anchors["same-size"][cell.target] for cell in plan.declaration.rows}
    (key,) = keys  # one run has both targets
    ours, same = jobs[plan.declaration.rows[0].seeds[0].strategy], jobs[key]
    assert (same.spec.tasks, same.spec.strategy) == (("row", "column"), "hard")
    assert same.spec.budget == ours.spec.budget
    assert same.prices[0].parameters == _lenet(same.spec.width, [4, 4])
    nearest = min(
        abs(_lenet(hundredths / 100, [4, 4]) - ours.prices[0].parameters)
        for hundredths in range(1, 1000)
    )
    assert abs(same.prices[0].parameters - ours.prices[0].parameters) == nearest
    assert same.prices[0].parameters == pytest.approx(ours.prices[0].parameters, rel=0.04)


def test_wide_takes_the_steps_of_a_row_whose_phases_have_prices_of_their_own(
    tmp_path: Path,
) -> None:
    plan = _plan(tmp_path, strategy="reconstruction+finetune", also_against="wide", budget="1gflop")
    jobs = {job.key: job for job in plan.jobs}
    seed = plan.declaration.rows[0].seeds[0]
    ours, (wide,) = jobs[seed.strategy], (jobs[key] for key in seed.anchors["wide"].values())
    assert len(ours.spec.steps) > 1
    mean = 1e9 / sum(ours.spec.steps)
    nearest = min(abs(_lenet_flops(hundredths / 100, 4) - mean) for hundredths in range(1, 1000))
    # Whole steps: the budget of each phase may leave one that it does not buy.
    assert abs(wide.prices[0].flops - mean) == pytest.approx(nearest, abs=2 * mean / 160)


def test_no_network_is_trained_twice_to_be_held_against(tmp_path: Path) -> None:
    """A shared step on the same images costs what a single one does: `wide` would be `full`."""
    strategies, both = ["hard", "pcgrad", "cross-stitch"], ["wide", "same-size"]
    plan = _plan(tmp_path, strategy=strategies, reference="hard", also_against=both)
    found = {row: list(anchors) for row, anchors in _anchors(plan).items()}
    anchors = ["full", "same-steps", "split", "slim"]
    assert found["hard", "row"] == anchors
    assert found["hard+pcgrad", "row"] == [*anchors, "reference", "wide"]
    assert found["cross-stitch", "row"][4:] == ["reference", "wide", "same-size"]
    # Without a reference, plain sharing of the same size is that of full width, already a row.
    plan = _plan(tmp_path, strategy=strategies, also_against=both)
    keys = {cell.strategy: cell.seeds[0].strategy for cell in plan.declaration.rows}
    assert _anchors(plan)["hard+pcgrad", "row"]["same-size"] == {"row": keys["hard"]}


def test_the_anchor_at_equal_steps_takes_the_steps_of_the_row(tmp_path: Path) -> None:
    # An odd step of cross-stitch costs two single ones, a step of plain sharing hardly more.
    strategies = ["hard", "cross-stitch", "partner+finetune"]
    plan = _plan(tmp_path, strategy=strategies, budget="60mflop")
    jobs = {job.key: job for job in plan.jobs}
    rows = {(row.strategy, row.target): row for row in plan.declaration.rows}

    def steps(strategy: str, anchor: AnchorName) -> tuple[tuple[int, ...], tuple[int, ...]]:
        seed = rows[strategy, "row"].seeds[0]
        anchored = jobs[seed.anchors[anchor]["row"]]
        assert anchored.spec.strategy == "single"
        assert anchored.spec.tasks == ("row",)
        return jobs[seed.strategy].spec.steps, anchored.spec.steps

    assert (
        rows["hard", "row"].seeds[0].anchors["same-steps"]
        == (rows["hard", "row"].seeds[0].anchors["full"])
    )
    own, same = steps("cross-stitch", "same-steps")
    assert own == same < steps("cross-stitch", "full")[1]
    # Of a run in phases only those count that train the target.
    (partner, target), (same_,) = steps("hard+partner+finetune", "same-steps")
    assert same_ == target
    assert partner > 0
    assert rows["hard+partner+finetune", "row"].target_phases == (1,)
    assert rows["cross-stitch", "row"].target_phases == ()


def test_a_row_that_sees_no_partner_has_no_expectation(tmp_path: Path) -> None:
    plan = _plan(tmp_path, strategy=["hard", "reconstruction", "partner"])
    expected = {row.strategy: row.expect for row in plan.declaration.rows}
    assert expected["hard+reconstruction"] is None
    assert expected["hard"] == expected["hard+partner"] == "positive"


def test_an_auxiliary_run_is_held_against_a_network_of_its_cost_but_not_of_its_size(
    tmp_path: Path,
) -> None:
    both = ["wide", "same-size"]
    plan = _plan(tmp_path, strategy="reconstruction", also_against=both)
    anchors = list(_anchors(plan)["hard+reconstruction", "row"])
    assert anchors == ["full", "same-steps", "wide"]


def test_a_network_that_cannot_be_matched_is_told_of(tmp_path: Path) -> None:
    plan = _plan(tmp_path, strategy="mtan", network="linear", also_against="same-size")
    (note,) = (w for w in plan.warnings if "same-size" in w)
    # 256 weights a feature and heads of 4: 272 in the plain network, 536 in the next wider one.
    assert note.startswith("same-size of mtan on toy:row+column has -6% parameters")


def test_a_row_that_shares_nothing_is_told_of(tmp_path: Path) -> None:
    plan = _plan(tmp_path, pair="toy:row", strategy=["hard", "reconstruction"])
    (note,) = (w for w in plan.warnings if "one task" in w)
    assert note.startswith("hard on toy:row has one task, so nothing is shared")
    assert not [w for w in _plan(tmp_path).warnings if "one task" in w]


def test_a_method_that_has_one_task_at_a_time_is_told_of(tmp_path: Path) -> None:
    def notes(*strategies: str) -> list[str]:
        plan = _plan(tmp_path, strategy=list(strategies))
        return [w for w in plan.warnings if "one task at a time" in w]

    (note,) = notes("pcgrad+partner+finetune")
    assert note.startswith("hard+pcgrad+partner+finetune on toy:row+column trains one task at a")
    assert "so pcgrad has nothing" in note
    # Pretraining on two tasks, or no phases at all: there is something to weigh.
    assert not notes("partner+finetune", "uncertainty+partner+reconstruction+finetune", "pcgrad")


def test_methods_that_are_one_for_two_tasks_stand_together_and_say_so(tmp_path: Path) -> None:
    asked = ["pcgrad", "hard", "upgrad", "mgda", "upgrad+reconstruction", "branch@1+upgrad"]
    cells = _plan(tmp_path, strategy=asked).declaration.rows
    assert [(c.strategy, c.same_as) for c in cells if c.target == "column"] == [
        ("hard+pcgrad", ""),
        ("hard+upgrad", "hard+pcgrad"),
        ("hard", ""),
        ("hard+mgda", ""),
        ("hard+upgrad+reconstruction", "hard+pcgrad+reconstruction"),
        ("branch+upgrad", "branch+pcgrad"),
    ]
    three = _plan(tmp_path, pair="toy:row+column+low", strategy=["pcgrad", "upgrad"])
    assert not any(cell.same_as for cell in three.declaration.rows)
