"""Tuning: what is chosen from given records, and that it is fair, apart from the test and kept."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cli.app import main
from bench.contracts import DataSource
from bench.errors import UserError
from bench.plan.plan import Plan, make_plan
from bench.plan.tuning import choose
from bench.spec.budget import Budget, Ledger, Price
from bench.spec.experiment import Experiment, Recipe, load_experiment
from bench.store.records import Record, Score, Status
from bench.store.store import Store
from bench.tasks import TaskData
from bench.train.load import task_data
from bench.train.run import attempt
from tests.conftest import plain_spec

SMALL: dict[str, Any] = {
    "train_size": 100,
    "validation_size": 50,
    "batch_size": 16,
    "curve_points": 2,
    "device": "cpu",
    "seeds": 2,
    "tune": 3,
}


def _record(
    scores: Mapping[str, float | None], status: Status = "ok", higher: bool = True
) -> Record:
    names = tuple(scores)
    spec = plain_spec(tasks=names, scored=names, seed=-1, split="validation")
    price = Price(flops=1, samples=1, peak_bytes=1, parameters=1)
    metric = {
        task: {"m": Score(value=value, unit="%", higher_is_better=higher, primary=True)}
        for task, value in scores.items()
    }
    return Record(
        key="a",
        status=status,
        spec=spec,
        data_fingerprint="",
        code_fingerprint="",
        scores={} if status == "failed" else metric,
        ledger=Ledger(Budget(10, "steps"), (price,), (10,), {"steps": 10, "flop": 10}, 0.0),
    )


# ---------------------------------------------------------------------------------- the choice


def test_the_best_trial_is_chosen_and_the_recipe_wins_ties() -> None:
    found = choose([[_record({"t": value})] for value in (80, 70, 88, 88)])
    assert found.index == 2
    assert found.gains == pytest.approx((0, -1 / 8, 1 / 11, 1 / 11))
    assert choose([[_record({"t": 80})]] * 3).index == 0


def test_a_lower_score_is_better_where_the_metric_says_so() -> None:
    found = choose([[_record({"t": value}, higher=False)] for value in (2.0, 1.0, 4.0)])
    assert found.index == 1
    assert found.gains == pytest.approx((0, 0.5, -0.5))


def test_tasks_count_by_their_relative_gain_whatever_their_unit() -> None:
    """By hand: +10 of 90 and −0.1 of 1.0 are +0.1 and −0.1 of the larger; +0.05 of 1.0 is less."""
    trials = [{"a": 90, "b": 1.0}, {"a": 100, "b": 0.9}, {"a": 90, "b": 1.0 / 0.95}]
    found = choose([[_record(scores)] for scores in trials])
    assert found.gains == pytest.approx((0, 0, 0.025))
    assert found.index == 2


def test_seeds_of_a_trial_are_averaged() -> None:
    trials = [(80, 80), (90, 60), (85, 79)]
    assert choose([[_record({"t": v}) for v in values] for values in trials]).index == 2


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_trial_that_went_wrong_is_never_chosen(status: Status) -> None:
    wrong = [_record({"t": 99}, status)]
    found = choose([[_record({"t": 50})], wrong, [_record({"t": 40})]])
    assert (found.index, found.gains[1]) == (0, None)
    assert choose([wrong, [_record({"t": 40})], [_record({"t": 50})]]).index == 2
    assert choose([wrong, [None], wrong]).index == 0
    half = [_record({"t": 99}), wrong[0]]
    assert choose([[_record({"t": 50})] * 2, half]).index == 0


def test_a_task_that_nobody_can_score_decides_nothing() -> None:
    trials = [{"a": 50, "b": None}, {"a": 60, "b": None}]
    assert choose([[_record(scores)] for scores in trials]).index == 1
    assert choose([[_record({"a": 0.0})], [_record({"a": 0.1})]]).index == 1
    assert choose([[_record({"a": 50})], [_record({"a": None})]]).gains[1] is None


# ---------------------------------------------------------------------------------- the plan


def _plan(tmp_path: Path, **values: Any) -> Plan:
    asked: dict[str, Any] = {"pair": "toy:row+column", "strategy": "hard", "budget": "20steps"}
    experiment = Experiment(**{**SMALL, **asked, **values})
    return make_plan(experiment, DataSource(), Store(tmp_path), lambda _: None)


def _run(plan: Plan) -> dict[str, Record]:
    return {job.key: attempt(job)[0] for job in plan.trials}


def test_every_arm_has_equally_many_trials_of_its_own_budget(tmp_path: Path) -> None:
    plan = _plan(tmp_path, strategy=["hard", "cagrad", "reconstruction"], tune=4, tune_seeds=2)
    scored = {(j.spec.label, j.spec.budget, j.spec.steps): j for j in plan.jobs}
    rates: dict[object, list[tuple[float, int]]] = {}
    for job in plan.trials:
        spec = job.spec
        base = spec.strategy.partition("@")[0]
        arm = (spec.model_copy(update={"strategy": base}).label, spec.budget, spec.steps)
        rates.setdefault(arm, []).append((spec.recipe.learning_rate, spec.seed))
        assert job.prices == scored[arm].prices
    assert rates.keys() == scored.keys()
    assert {len(found) for found in rates.values()} == {8}
    assert len({tuple(found) for found in rates.values()}) == 1


def test_tuning_seeds_are_never_those_that_rows_are_scored_at(tmp_path: Path) -> None:
    plan = _plan(tmp_path, tune_seeds=5, seeds=5)
    tried = {job.spec.seed for job in plan.trials}
    assert len(tried) == 5
    assert tried.isdisjoint(job.spec.seed for job in plan.jobs)
    # Whatever is asked: seeds that rows are scored at are counted up from 0.
    assert max(tried) < 0 <= min(job.spec.seed for job in plan.jobs)


def test_arms_that_pairs_share_are_tuned_once(tmp_path: Path) -> None:
    one = _plan(tmp_path)
    two = _plan(tmp_path, pair=["toy:row+column", "toy:row+low"])
    keys = [job.key for job in two.trials]
    assert len(set(keys)) == len(keys)
    assert {job.key for job in one.trials} < set(keys)


def test_without_tuning_there_are_no_trials_and_nothing_is_chosen(tmp_path: Path) -> None:
    plan = _plan(tmp_path, tune=0)
    assert not plan.trials
    assert not plan.declaration.tuning
    assert all(job.tuning is None for job in plan.jobs)


def test_a_tuned_plan_has_the_chosen_values_the_cost_and_the_names_that_were_asked_for(
    tmp_path: Path,
) -> None:
    plan = _plan(tmp_path, strategy=["hard", "cagrad"])
    records: dict[str, Record] = {}
    for job in plan.trials:  # the second trial is the best of every arm
        record = _record(dict.fromkeys(job.spec.scored, 50.0))
        second = job.spec.recipe.learning_rate > 2 * Recipe().learning_rate
        if second:
            record = _record(dict.fromkeys(job.spec.scored, 60.0))
        records[job.key] = record.model_copy(update={"key": job.key})
    tuned = plan.tuned(records.get)
    asked = [cell.strategy for cell in tuned.declaration.rows]
    assert asked == [cell.strategy for cell in plan.declaration.rows]
    assert len(tuned.jobs) == len(plan.jobs)
    for before, after in zip(plan.jobs, tuned.jobs, strict=True):
        assert after.key != before.key
        assert (after.prices, after.spec.steps) == (before.prices, before.spec.steps)
        assert after.spec.recipe.learning_rate > 2 * before.spec.recipe.learning_rate
        assert after.spec.recipe.curve_points == 2
        assert (after.spec.split, after.spec.trials) == ("test", 3)
        assert after.tuning is not None
        assert (after.tuning.runs, after.tuning.used["steps"]) == (3, 30)
        if "cagrad" in before.spec.strategy:
            assert after.spec.strategy.startswith("hard+cagrad@c=")
    cells = {seed.strategy for cell in tuned.declaration.rows for seed in cell.seeds}
    assert cells <= {job.key for job in tuned.jobs}
    arm = tuned.declaration.tuning[0]
    assert (arm.label, arm.chosen) == ("hard on toy:row+column", 1)
    assert arm.trials[1].values["learning rate"] == tuned.jobs[0].spec.recipe.learning_rate
    assert tuned.declaration.tuning_keys == records.keys()
    assert tuned.declaration.tuning_keys.isdisjoint(tuned.declaration.keys)


def test_an_arm_that_cannot_be_priced_has_no_trials_and_holds_up_no_other(tmp_path: Path) -> None:
    plan = _plan(tmp_path, strategy=["hard", "faulty@raise,time"])
    assert not any("faulty" in job.spec.strategy for job in plan.trials)
    tuned = plan.tuned(lambda key: None)
    assert any(job.fault for job in tuned.jobs)
    assert all("faulty" not in arm.label for arm in tuned.declaration.tuning)


def test_tuning_is_part_of_what_is_declared(tmp_path: Path) -> None:
    families = [_plan(tmp_path, tune=n).declaration.family for n in (0, 2, 3)]
    assert len(set(families)) == 3


def test_the_rate_and_the_decay_change_no_price(tmp_path: Path) -> None:
    from bench.spec.registry import parse_strategy
    from bench.train.pricing import price_name

    data = [task_data("toy", name, DataSource()) for name in ("row", "column")]
    recipes = [Recipe(), Recipe(learning_rate=0.1, weight_decay=0.3), Recipe(batch_size=8)]
    names = [price_name(parse_strategy("hard"), data, r, 1.0) for r in recipes]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tune = 1", "the first trial is the recipe itself"),
        ("tune = -2", "tune"),
        ("tune = 4\nvalidation-size = 0", "raise validation-size"),
        ("tune-seeds = 0", "tune-seeds"),
        ("tune-seed = 2", "did you mean 'tune-seeds'"),
    ],
)
def test_tuning_that_can_choose_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'pair = "a:b+c"\nstrategy = "hard"\nbudget = "5steps"\n{text}\n')
    with pytest.raises(UserError, match=message):
        load_experiment(str(path), {})


# ---------------------------------------------------------------------------------- the runs


def _poisoned(data: TaskData) -> TaskData:
    """Return a task whose test images are too small for any network, and its labels no classes."""
    labels = data.test_labels
    assert labels is not None
    pixels = data.images.test[:, :, :2, :2]
    images = replace(data.images, test=pixels)
    return replace(data, images=images, test_labels=torch.full_like(labels, 99))


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be done with any test set."""
    kept = cache(lambda name: _poisoned(task_data("toy", name, DataSource())))
    monkeypatch.setattr("bench.train.job.task_data", lambda dataset, name, source: kept(name))


@pytest.mark.usefixtures("poison")
def test_a_trial_never_reads_the_test_set(tmp_path: Path) -> None:
    plan = _plan(tmp_path, pair="toy:row", tune=2)
    scored, _ = attempt(plan.jobs[0])
    assert scored.status == "failed"  # the poison works
    for job in plan.trials:
        record, examples = attempt(job)
        assert record.status == "ok", record.detail
        assert record.spec.split == "validation"
        # 50 validation images: a test set has 100.
        value = record.primary("row").value
        assert value is not None
        assert value * 50 / 100 == pytest.approx(round(value * 50 / 100))
        assert record.scores["row"]["accuracy"].value == record.curve[-1].scores["row"]
        assert not examples


def test_the_test_set_changes_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def choices() -> tuple[Sequence[int], list[object]]:
        plan = _plan(tmp_path, pair="toy:row", budget="40steps", tune=4)
        records = _run(plan)
        arms = plan.tuned(records.get).declaration.tuning
        return [arm.chosen for arm in arms], [record.scores for record in records.values()]

    before = choices()
    kept = cache(lambda name: task_data("toy", name, DataSource()))

    def flipped(dataset: str, name: str, source: DataSource) -> TaskData:
        data = kept(name)
        assert data.test_labels is not None
        return replace(data, test_labels=3 - data.test_labels)

    monkeypatch.setattr("bench.train.job.task_data", flipped)
    assert choices() == before


def test_tuning_finds_a_better_learning_rate_than_a_bad_recipes(tmp_path: Path) -> None:
    """A rate of 1e-4 learns nothing in 60 steps; one eight times as high learns something."""
    values = {"pair": "toy:row", "budget": "100steps", "learning_rate": 1e-4, "seeds": 3}
    scores = []
    for tune in (0, 8):
        plan = _plan(tmp_path, **values, tune=tune)
        plan = plan.tuned(_run(plan).get) if tune else plan
        found = [attempt(job)[0].value("row") for job in plan.jobs]
        scores.append(sum(value for value in found if value is not None) / len(found))
    recipe, tuned = scores
    assert tuned > recipe + 15


EXPERIMENT = """
pair = "toy:row+column"
strategy = ["hard", "cagrad"]
reference = "hard"
seeds = 2
budget = "12steps"
train-size = 100
validation-size = 50
curve-points = 2
batch-size = 16
tune = 3
"""


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    """Run the command line in this process, without plots, and return what it said: out, error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.report.write.drawings", lambda *_: {})

    def call(*arguments: object) -> tuple[str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert end.value.code == 0, said.err
        return said.out, said.err

    return call


@pytest.fixture
def tuned_experiment(tmp_path: Path) -> Path:
    """An experiment of 8 arms: 24 trials and 16 runs."""
    path = tmp_path / "toy.toml"
    path.write_text(EXPERIMENT)
    return path


def test_a_tuned_experiment_runs_in_two_rounds_once_and_reports_both(
    run: Callable[..., tuple[str, str]], tuned_experiment: Path, tmp_path: Path
) -> None:
    planned = json.loads(run("run", tuned_experiment, "--dry-run", "--json")[0])
    assert (planned["tuning"]["to_train"], planned["total"]["to_train"]) == (24, 16)
    assert planned["tuning"]["expected_seconds"] > 0
    assert "24 trials to train" in run("run", tuned_experiment, "--dry-run")[0]
    assert not (tmp_path / "results").exists()

    first, told = run("run", tuned_experiment)
    assert "24 of 24 trials" in told
    assert "16 of 16 runs" in told
    second, told = run("run", tuned_experiment)
    assert "all 24 trials are finished already" in told
    assert "all 16 runs are finished already" in told
    assert second == first == run("report")[0]
    finished = json.loads(run("run", tuned_experiment, "--dry-run", "--json")[0])
    assert (finished["tuning"]["to_train"], finished["total"]["to_train"]) == (0, 0)

    records = [json.loads(p.read_text()) for p in tmp_path.glob("results/runs/*/*/run.json")]
    trials = [r for r in records if r["spec"]["split"] == "validation"]
    scored = [r for r in records if r["spec"]["split"] == "test"]
    assert (len(trials), len(scored)) == (24, 16)
    assert not any(r["examples"] for r in trials)
    for record in scored:
        assert record["spec"]["trials"] == record["ledger"]["tuning"]["runs"] == 3
        assert record["ledger"]["tuning"]["used"]["flop"] > 0
        assert [record["ledger"]["used"]["steps"]] == record["ledger"]["steps"]

    report = tmp_path / "results/reports/toy"
    document = json.loads((report / "gains.json").read_text("utf-8"))
    assert {row["strategy"] for row in document["rows"]} == {"hard", "hard+cagrad"}
    by_key = {record["key"]: record for record in records}
    arms = document["tuning"]["arms"]
    assert len(arms) == 8
    measured = json.loads((report / "measured.json").read_text("utf-8"))["tuning"]
    assert [each["arm"] for each in measured] == [each["arm"] for each in arms]
    assert all(each["device_seconds"] > 0 for each in measured)
    for arm in arms:
        values = arm["trials"][arm["chosen"]]["values"]
        rates = [by_key[key]["spec"]["recipe"]["learning_rate"] for key in arm["trials"][0]["runs"]]
        assert rates == [3e-3]
        own = [r for r in scored if r["spec"]["recipe"]["learning_rate"] == values["learning rate"]]
        assert own
        spent = sum(by_key[k]["ledger"]["used"]["flop"] for t in arm["trials"] for k in t["runs"])
        assert arm["cost"]["flops"] == spent
        assert arm["cost"]["share_of_scored_flops"] == pytest.approx(1.5)
    table = (report / "table.md").read_text("utf-8")
    section = table.partition("<summary>Tuning</summary>")[2].partition("</details>")[0]
    assert "8 arms were tuned with 3 trials each: 24 runs" in section
    assert "`hard+cagrad on toy:row+column`" in section
    assert "learning rate" in section


def test_an_interrupted_tuning_goes_on_where_it_was(
    run: Callable[..., tuple[str, str]], tuned_experiment: Path, tmp_path: Path
) -> None:
    whole, _ = run("run", tuned_experiment)
    lost = [
        path
        for path in tmp_path.glob("results/runs/*/*/run.json")
        if json.loads(path.read_text())["spec"]["seed"] < 0
    ][:5]
    for path in lost:
        path.unlink()
    again, told = run("run", tuned_experiment)
    assert "5 trials to train (19 are finished already)" in told
    assert "all 16 runs are finished already" in told
    assert again == whole


def test_a_report_without_tuning_has_no_section_on_it(tmp_path: Path) -> None:
    from bench.report.text.table import markdown

    table = markdown(_plan(tmp_path, tune=0).declaration, [], {})
    assert "<summary>Tuning" not in table
    assert "one recipe for all" in table
