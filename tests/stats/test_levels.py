"""A budget as a factor: several in one experiment, runs in common, and where a gain turns."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.app import main
from bench.errors import UserError
from bench.report.plots.levels import level_plot
from bench.report.text.levels import crossing
from bench.spec.budget import Budget
from bench.spec.experiment import Experiment, experiment_toml, load_experiment
from bench.stats.levels import Crossing, zero_crossing


def _at(gains: list[float], wobble: float = 0.0) -> np.ndarray:
    """Return ten seeds of gains at each budget; the wobble is the same at all of them."""
    shifts = wobble * np.linspace(-1, 1, 10)
    return np.array(gains)[None] + shifts[:, None]


def test_a_gain_turns_where_its_mean_crosses_zero_on_the_logarithm() -> None:
    found = zero_crossing([1.0, 4.0], _at([-1.0, 1.0]))
    assert found is not None
    assert found.at == pytest.approx(2.0)  # halfway between the logarithms
    assert (found.low, found.high) == pytest.approx((2.0, 2.0))
    later = zero_crossing([1.0, 2.0, 4.0], _at([-3.0, -1.0, 3.0]))
    assert later is not None
    assert later.at == pytest.approx(2.0 * 2**0.25)


def test_a_gain_of_one_sign_turns_nowhere_and_few_seeds_have_no_interval() -> None:
    assert zero_crossing([1.0, 2.0, 4.0], _at([1.0, 2.0, 3.0])) is None
    found = zero_crossing([1.0, 4.0], _at([-1.0, 1.0])[:7])
    assert found is not None
    assert math.isnan(found.low)


def test_the_interval_holds_the_crossing_and_may_leave_the_budgets() -> None:
    found = zero_crossing([1.0, 2.0, 4.0], _at([-2.0, 0.5, 3.0], wobble=1.0))
    assert found is not None
    assert 1.0 < found.low < found.at < found.high < 4.0
    # The mean of some draws is above zero at every budget, so it turned before the first.
    rising = zero_crossing([1.0, 2.0], _at([-0.2, 2.0], wobble=3.0))
    assert rising is not None
    assert rising.low == 0.0
    falling = zero_crossing([1.0, 2.0], _at([2.0, -0.2], wobble=3.0))
    assert falling is not None
    assert falling.high == math.inf


@pytest.mark.parametrize("true", [1.5, 2.0, 3.0])
def test_the_interval_of_the_crossing_holds_the_true_one(true: float) -> None:
    """Ten seeds, common noise and noise of each budget: 95 % intervals, 400 experiments."""
    rng = np.random.default_rng(1)
    amounts = np.array([1.0, 2.0, 4.0])
    means = 4 * (np.log(amounts) - math.log(true))
    held = total = 0
    for _ in range(400):
        noise = rng.normal(size=(10, 1)) + rng.normal(size=(10, 3)) / 2
        found = zero_crossing(list(amounts), means + noise)
        if found is not None:
            total += 1
            held += found.low <= true <= found.high
    assert total > 380
    assert 0.88 <= held / total <= 0.98


def test_a_crossing_is_said_to_two_digits_and_no_further_than_the_budgets() -> None:
    budgets = [Budget(1e9, "flop"), Budget(4e9, "flop")]
    assert crossing(None, budgets) == "–"
    assert crossing(Crossing(2.345e9, 1.5e9, 3e9), budgets) == "2.3 GFLOPs [1.5 GFLOPs, 3 GFLOPs]"
    assert crossing(Crossing(2e9, 0.0, math.inf), budgets) == (
        "2 GFLOPs [under 1 GFLOPs, over 4 GFLOPs]"
    )


def _experiment(budget: Any) -> Experiment:
    return Experiment.model_validate({"pair": "toy", "strategy": "hard", "budget": budget})


def test_of_several_budgets_the_largest_is_the_experiments_own() -> None:
    experiment = _experiment(["8gflop", "2gflop", "4gflop"])
    assert (experiment.budget, experiment.smaller_budgets) == ("8gflop", ("2gflop", "4gflop"))
    each = experiment.levels
    assert [one.name for one in each] == ["custom-2gflop", "custom-4gflop", "custom"]
    assert [one.budget for one in each] == ["2gflop", "4gflop", "8gflop"]
    assert not each[0].smaller_budgets
    assert _experiment(["8gflop"]) == _experiment("8gflop")


def test_the_resolved_file_has_the_same_budgets_and_a_flag_replaces_them(tmp_path: Path) -> None:
    path = tmp_path / "custom.toml"
    path.write_text(experiment_toml(_experiment(["8gflop", "2gflop"])))
    assert load_experiment(str(path), {}).smaller_budgets == ("2gflop",)
    again = load_experiment(str(path), {"budget": ["30steps"]})
    assert (again.budget, again.smaller_budgets) == ("30steps", ())


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [
        (["8gflop", "100steps"], "give all budgets in one unit"),
        (["8gflop", "8000mflop"], "give budgets that differ"),
        ([], "give one amount or several"),
        ([8], "give one amount or several"),
        (["8gflop", "much"], "budget 'much' is not an amount and a unit"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(
    tmp_path: Path, budgets: list[Any], reason: str
) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(f'pair = "toy"\nstrategy = "hard"\nbudget = {json.dumps(budgets)}\n')
    with pytest.raises(UserError, match=reason):
        load_experiment(str(path), {})


def test_budgets_that_do_not_go_together_are_told_as_the_flag_that_was_given() -> None:
    with pytest.raises(UserError) as error:
        load_experiment("default", {"budget": ["3gflop", "30steps"]})
    assert str(error.value) == "the flags: budget: give all budgets in one unit"


def test_several_budgets_share_runs_and_one_report_tells_of_all(
    toy_experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    arguments = ["run", str(toy_experiment), "--budget", "24steps", "--budget", "12steps"]
    arguments += ["--results", str(results), "--workers", "0"]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr()
    assert end.value.code == 0
    assert "level 1 of 2: 12 steps" in said.err
    # 14 runs each, but that the networks which share 24 steps are those that have all of 12.
    assert len(list(results.glob("runs/*/*/run.json"))) == 24
    reports = results / "reports"
    assert {path.name for path in reports.iterdir()} == {"toy", "toy-12steps"}
    document = json.loads((reports / "toy" / "gains.json").read_text())
    smaller = json.loads((reports / "toy-12steps" / "gains.json").read_text())
    rows = document["over_budgets"]["rows"]
    assert [row["target"] for row in rows] == ["row", "column"]
    for row, own, less in zip(rows, document["rows"], smaller["rows"], strict=True):
        first, second = row["budgets"]
        assert (first["budget"], second["budget"]) == ("12steps", "24steps")
        assert second["gains"]["full"]["mean"] == own["against"]["full"]["mean"]
        assert first["gains"]["full"]["mean"] == less["against"]["full"]["mean"]
    assert "<summary>At which budget?<" in (reports / "toy" / "table.md").read_text()
    assert "<summary>At which budget?<" not in (reports / "toy-12steps" / "table.md").read_text()
    assert (reports / "toy" / "budgets.png").is_file()
    assert re.search(r"^at +12 steps +24 steps", said.out, re.M)
    with pytest.raises(SystemExit):
        main(["report", "toy", "--results", str(results)])
    assert json.loads((reports / "toy" / "gains.json").read_text()) == document


def test_a_dry_run_of_several_budgets_is_one_document(
    toy_experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", str(toy_experiment), "--results", str(tmp_path / "r"), "--workers", "0"]
    arguments += ["--budget", "24steps", "--budget", "12steps", "--dry-run"]
    with pytest.raises(SystemExit):
        main([*arguments, "--json"])
    plans = json.loads(capsys.readouterr().out)["budgets"]
    assert [plan["total"]["runs"] for plan in plans] == [14, 14]
    with pytest.raises(SystemExit):
        main(arguments)
    out, err = capsys.readouterr()
    assert err.count("timing a step of ") == 1  # budgets share their prices
    assert "B = 12 steps" in out
    assert "B = 24 steps" in out
    assert not (tmp_path / "r").exists()


def test_fresh_runs_of_two_budgets_are_trained_once(
    toy_experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", str(toy_experiment), "--results", str(tmp_path / "r"), "--workers", "0"]
    with pytest.raises(SystemExit):
        main([*arguments, "--budget", "24steps", "--budget", "12steps", "--fresh"])
    said = capsys.readouterr().err
    assert "14 runs to train" in said
    assert "10 runs to train" in said


def test_one_budget_has_no_plot_over_levels() -> None:
    assert level_plot("x", []) == []


def test_several_training_sizes_are_levels_too(
    toy_experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    arguments = ["run", str(toy_experiment), "--train-size", "100", "--train-size", "40"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--results", str(results), "--workers", "0"])
    said = capsys.readouterr()
    assert end.value.code == 0
    assert "level 1 of 2: 40 training images" in said.err
    assert re.search(r"^at +40 images +100 images", said.out, re.M)
    reports = results / "reports"
    assert {path.name for path in reports.iterdir()} == {"toy", "toy-40images"}
    document = json.loads((reports / "toy" / "gains.json").read_text())
    assert document["over_budgets"]["rows"] == []
    for row in document["over_train_sizes"]["rows"]:
        assert [level["train_size"] for level in row["train_sizes"]] == [40, 100]
    assert "<summary>With how many images?<" in (reports / "toy" / "table.md").read_text()
    assert (reports / "toy" / "images.png").is_file()
    assert not (reports / "toy" / "budgets.png").exists()


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ([100, 100], "give training sizes that differ"),
        ([0, 100], "give 1 or more"),
        ([], "give one number of images or several"),
        ([100.5, 20], "give one number of images or several"),
    ],
)
def test_training_sizes_that_make_no_sense_are_refused(
    tmp_path: Path, sizes: list[Any], reason: str
) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(f'pair = "toy"\nstrategy = "hard"\nbudget = "9steps"\ntrain-size = {sizes}\n')
    with pytest.raises(UserError, match=reason):
        load_experiment(str(path), {})


def test_budgets_and_training_sizes_are_not_varied_at_once() -> None:
    both = {"budget": ["10steps", "20steps"], "train_size": [10, 20]}
    with pytest.raises(UserError, match="several budgets or several training sizes, not both"):
        load_experiment("smoke", both)
