"""Budgets that follow from the images: epochs, and where single-task networks converge."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.cli.app import main
from bench.contracts import DataSource
from bench.errors import UserError
from bench.launch.worker import answer
from bench.plan.pilot import SEEDS, Pilots
from bench.spec.budget import AskedBudget, Budget
from bench.spec.experiment import Experiment, load_experiment
from bench.store.records import Record, Score
from bench.store.store import Store
from bench.train.job import Job
from tests.conftest import plain_record

ASKED: dict[str, Any] = {
    "pair": "toy:row+column",
    "strategy": "hard",
    "budget": "converged",
    "train_size": 100,
    "validation_size": 50,
    "batch_size": 16,
    "device": "cpu",
}


def _pilots(folder: Path, **how: Any) -> Pilots:
    experiment = Experiment.model_validate(ASKED | how)
    return Pilots.of(experiment, DataSource(), Store(folder), lambda _: None, answer)


def _train(score: Callable[[str, int], float]) -> Callable[..., Mapping[str, Record]]:
    """Return what 'trains' jobs to a score that follows from their task and steps."""

    def train(jobs: Sequence[Job], budget: Budget) -> Mapping[str, Record]:
        found = {}
        for job in jobs:
            (task,), record = job.spec.scored, plain_record(job.key, 0.0, 1.0)
            value = score(task, sum(job.spec.steps))
            metric = Score(value=value, unit="%", higher_is_better=True, primary=True)
            update = {"spec": job.spec, "scores": {task: {"accuracy": metric}}}
            found[job.key] = record.model_copy(update=update)
        return found

    return train


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("converged", 1.0, "converged"),
        ("converged/4", 0.25, "converged"),
        (" Converged / 2 ", 0.5, "converged"),
        ("20epochs", 20.0, "epochs"),
        ("1 epoch", 1.0, "epochs"),
        ("3gflop", 3e9, "flop"),
    ],
)
def test_a_budget_may_be_asked_in_what_a_plan_makes_an_amount_of(
    text: str, amount: float, unit: str
) -> None:
    asked = AskedBudget.parse(text)
    assert asked.unit == unit
    assert asked.amount == pytest.approx(amount)


@pytest.mark.parametrize("text", ["converged/0.5", "converged*2", "convergd", "0epochs"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        AskedBudget.parse(text)


def test_an_amount_is_written_as_it_is_read() -> None:
    for text in ("60gflop", "1.5tflop", "250steps", "12.5s", "999flop"):
        assert Budget.parse(text).text == text


def test_epochs_are_passes_over_a_seeds_training_images(tmp_path: Path) -> None:
    experiment = _pilots(tmp_path, budget=["20epochs", "5epochs"]).in_steps()
    # 100 images in batches of 16 are 7 steps.
    assert (experiment.budget, experiment.smaller_budgets) == ("140steps", ("35steps",))


def test_pilots_double_the_budget_until_no_network_gains_the_margin(tmp_path: Path) -> None:
    pilots = _pilots(tmp_path)
    # `column` learns four times as slowly as `row`.
    rate = {"row": 25.0, "column": 100.0}

    def score(task: str, steps: int) -> float:
        return 80 * (1 - math.exp(-steps / rate[task]))

    pilot = pilots.search(_train(score))
    assert pilot is not None
    assert pilot.converged
    steps = [level.steps["toy:column"] for level in pilot.levels]
    assert steps[0] >= 64
    gains = [score("column", b) - score("column", a) for a, b in pairwise(steps)]
    # The last two doublings bring less than a point each on average, and none before did.
    means = [(a + b) / 2 for a, b in pairwise(gains)]
    assert means[-1] < 1 <= min(means[:-1])
    assert pilot.budget == pilot.levels[-2].budget
    assert gains[-1] < 1
    settled = pilots.settled(pilot)
    assert Budget.parse(settled.budget).amount == Budget.parse(pilot.levels[-2].budget).amount


def test_fractions_of_a_converged_budget_are_budgets_of_their_own(tmp_path: Path) -> None:
    pilots = _pilots(tmp_path, budget=["converged/4", "converged", "converged/2"])
    pilot = pilots.search(_train(lambda task, steps: 80.0))
    assert pilot is not None
    settled = pilots.settled(pilot)
    amounts = [Budget.parse(text).amount for text in (*settled.smaller_budgets, settled.budget)]
    assert amounts == pytest.approx([amounts[-1] / 4, amounts[-1] / 2, amounts[-1]])


def test_a_bound_ends_the_pilots_and_says_that_the_budget_may_be_short(tmp_path: Path) -> None:
    pilots = _pilots(tmp_path, at_most="500steps")
    pilot = pilots.search(_train(lambda task, steps: steps / 50))
    assert pilot is not None
    assert not pilot.converged
    assert max(level.steps["toy:row"] for level in pilot.levels) <= 500
    assert Budget.parse(pilot.budget).axis == "steps"


def test_pilots_see_no_seed_of_a_row_and_no_test_image(tmp_path: Path) -> None:
    pilots = _pilots(tmp_path)
    jobs = [job for each in pilots.jobs(Budget(64, "steps")).values() for job in each]
    assert len(jobs) == 2 * SEEDS
    assert all(job.spec.seed < 0 and job.spec.split == "validation" for job in jobs)
    # 300 images in the pool: those that are not trained on score the pilots.
    recipe = jobs[0].spec.recipe
    assert (recipe.train_size, recipe.validation_size) == (100, 200)


def test_a_pilot_that_diverges_is_told_and_finds_no_budget(tmp_path: Path) -> None:
    def train(jobs: Sequence[Job], budget: Budget) -> Mapping[str, Record]:
        found = _train(lambda task, steps: 50.0)(jobs, budget)
        update = {"status": "diverged", "reason": "the loss of row was not finite by step 3"}
        return {key: record.model_copy(update=update) for key, record in found.items()}

    with pytest.raises(UserError, match=r"no converged budget: a pilot of .* diverged: the loss"):
        _pilots(tmp_path).search(train)


def test_a_converged_budget_needs_held_out_images() -> None:
    with pytest.raises(UserError, match="pilots are scored on the validation split"):
        load_experiment("smoke", {"budget": ["converged"], "validation_size": 0})


def test_a_bound_without_a_converged_budget_is_refused() -> None:
    with pytest.raises(UserError, match="at-most: it bounds a converged budget"):
        load_experiment("smoke", {"budget": ["30steps"], "at_most": "60steps"})


def test_images_of_ones_own_have_a_converged_budget_unless_one_is_given() -> None:
    own = {"pair": ["folder:photos/labels.csv:a+b"], "strategy": ["hard"]}
    experiment = load_experiment("default", own)
    assert (experiment.budget, experiment.smaller_budgets) == ("converged", ())
    assert experiment.train_size is None
    assert load_experiment("default", {**own, "budget": ["1tflop"]}).budget == "1tflop"
    drawn = load_experiment("default", {"pair": ["creatures:coat"], "strategy": ["hard"]})
    assert drawn.budget != "converged"


def test_a_run_finds_its_budget_keeps_its_pilots_and_tells_what_they_cost(
    toy_experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    arguments = ["run", str(toy_experiment), "--budget", "converged", "--at-most", "150steps"]
    arguments += ["--results", str(results), "--workers", "0"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--dry-run"])
    assert "a dry run trains no pilots" in capsys.readouterr().err
    assert not results.exists()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr().err
    assert end.value.code == 0
    assert "8 of 8 pilots at 128 steps" in said
    assert "Not converged at 128 steps, where --at-most 150steps ends the pilots" in said
    document = json.loads((results / "reports/toy/gains.json").read_text())
    assert document["experiment"]["budget"] == "128steps"
    pilot = document["pilot"]
    assert [level["budget"] for level in pilot["levels"]] == ["64steps", "128steps"]
    assert pilot["cost"]["runs"] == 2 * 2 * SEEDS
    assert pilot["cost"]["used"].keys() == {"flop", "steps", "samples"}
    assert pilot["cost"]["used"]["steps"] == 2 * SEEDS * (64 + 128)
    measured = json.loads((results / "reports/toy/measured.json").read_text())
    assert measured["pilot"]["device_seconds"] > 0
    table = (results / "reports/toy/table.md").read_text()
    assert "<summary>Pilots</summary>" in table
    assert "16 pilots took" in table
    with pytest.raises(SystemExit):
        main(arguments)
    said = capsys.readouterr().err
    assert said.count("nothing to train") == 3
    with pytest.raises(SystemExit):
        main(["report", "toy", "--results", str(results)])
    assert json.loads((results / "reports/toy/gains.json").read_text()) == document
