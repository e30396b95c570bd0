"""`--metric`: what gains are computed in, for any data set, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cli.app import main
from bench.contracts import DataSource
from bench.errors import UserError
from bench.plan.plan import Plan, make_plan
from bench.spec.experiment import Experiment, Recipe, experiment_toml, load_experiment
from bench.store.records import Record
from bench.store.store import Store
from bench.task_types import Classification, MultiLabel, Regression
from bench.tasks import Task
from bench.train.run import execute

SMALL: dict[str, Any] = {
    "train_size": 100,
    "validation_size": 50,
    "batch_size": 16,
    "curve_points": 1,
    "device": "cpu",
    "seeds": 1,
    "budget": "4steps",
}


def _plan(tmp_path: Path, *metric: str, pair: str = "toy:row+column") -> Plan:
    experiment = Experiment(**SMALL, pair=(pair,), strategy=("hard",), metric=metric)
    return make_plan(experiment, DataSource(), Store(tmp_path), lambda _: None)


def _shared(plan: Plan) -> Record:
    """Return the record of the shared network."""
    return execute(plan.jobs[0])[0]


def _primary(record: Record) -> dict[str, str]:
    return {
        task: name
        for task, scores in record.scores.items()
        for name, score in scores.items()
        if score.primary
    }


@pytest.mark.parametrize(
    ("given", "row", "column"),
    [
        ((), "accuracy", "accuracy"),
        (("balanced accuracy",), "balanced accuracy", "balanced accuracy"),
        (("row=nll",), "nll", "accuracy"),
        (("balanced accuracy", "row=nll"), "nll", "balanced accuracy"),
        (("macro-f1", "row=Balanced_Accuracy"), "balanced accuracy", "macro F1"),
    ],
)
def test_gains_are_computed_in_the_metric_that_is_chosen(
    tmp_path: Path, given: tuple[str, ...], row: str, column: str
) -> None:
    plan = _plan(tmp_path, *given)
    told = [line.rpartition("scored by ")[2] for line in plan.declaration.data[1:3]]
    assert told == [row, column]
    assert _primary(_shared(plan)) == {"row": row, "column": column}


def test_a_metric_changes_the_key_of_a_run_and_no_number_but_which_counts(tmp_path: Path) -> None:
    usual, other = _plan(tmp_path), _plan(tmp_path, "nll")
    assert usual.jobs[0].key != other.jobs[0].key
    assert usual.jobs[0].prices == other.jobs[0].prices  # and it was timed once
    one, two = _shared(usual), _shared(other)
    assert {
        task: {name: score.value for name, score in scores.items()}
        for task, scores in one.scores.items()
    } == {
        task: {name: score.value for name, score in scores.items()}
        for task, scores in two.scores.items()
    }
    assert one.data_fingerprint == two.data_fingerprint


def test_without_a_choice_documents_are_as_they_were_before_there_was_one() -> None:
    assert "metric" not in Recipe().model_dump()
    assert "metric" not in Experiment(**SMALL, pair=("toy",), strategy=("hard",)).model_dump()
    chosen = Recipe(metric=("nll",))
    assert Recipe.model_validate(chosen.model_dump(mode="json")) == chosen


def test_the_order_in_which_metrics_are_given_is_nothing() -> None:
    assert Recipe(metric=("b=MAE", "a=nll")) == Recipe(metric=("a=nll", "b=MAE"))


def test_it_is_in_the_file_of_an_experiment(tmp_path: Path) -> None:
    given = Experiment(**SMALL, pair=("toy",), strategy=("hard",), metric=("row=nll",))
    (tmp_path / "mine.toml").write_text(experiment_toml(given))
    assert load_experiment(str(tmp_path / "mine.toml"), {}).metric == ("row=nll",)
    (tmp_path / "short.toml").write_text('pair = "toy"\nstrategy = "hard"\nbudget = "4steps"\n')
    with (tmp_path / "short.toml").open("a") as file:
        file.write('metric = "nll"\n')
    assert load_experiment(str(tmp_path / "short.toml"), {}).metric == ("nll",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ("f1",),
            "task 'row' has no metric 'f1': give one of accuracy, balanced accuracy, macro F1, "
            "nll, calibration error, for this task alone as --metric 'row=NAME'",
        ),
        (("column=MAE",), "task 'column' has no metric 'MAE': give one of accuracy"),
        (("rwo=nll",), "unknown task of --metric 'rwo': did you mean 'row'?"),
    ],
)
def test_a_metric_or_task_that_there_is_not_says_which_there_are(
    tmp_path: Path, given: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError) as error:
        _plan(tmp_path, *given)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("nll", "accuracy"), "give one metric for all tasks"),
        (("row=nll", "row=accuracy"), "give one metric for row"),
        (("row=",), "give the name of a metric, or TASK=NAME"),
    ],
)
def test_what_cannot_be_meant_is_an_error_of_its_flag(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=f"the flags: metric: {said}"):
        load_experiment("smoke", {"metric": given})


def test_each_type_has_its_own_metrics() -> None:
    assert Task("a", MultiLabel(), 3).by("macro F1").metrics[0].name == "macro F1"
    assert [m.name for m in Task("a", Regression(), 1).by("R²").metrics] == ["R²", "MAE"]
    assert [m.name for m in Task("a", Regression(), 1).metrics] == ["MAE", "R²"]
    chosen = Task("a", Classification(balanced=True), 2).by("accuracy")
    assert chosen.metrics[0].name == "accuracy"


def test_the_report_is_in_it_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--train-size", "100", "--validation-size", "50", "--batch-size", "16"]
    flags += ["--budget", "4steps", "--seeds", "2", "--workers", "0", "--device", "cpu"]
    with pytest.raises(SystemExit) as end:
        main(
            [
                "run",
                *("-p", "toy:row+column", "-s", "hard", "--metric", "row=nll"),
                *flags,
                *("--results", str(tmp_path)),
            ]
        )
    assert end.value.code == 0
    report = tmp_path / "reports/custom"
    rows = json.loads((report / "gains.json").read_text())["rows"]
    assert {row["target"]: row["metric"] for row in rows} == {"row": "nll", "column": "accuracy"}
    assert "| metric | row=nll |" in (report / "table.md").read_text()
    assert "row: classification, 4 classes, scored by nll" in capsys.readouterr().err
