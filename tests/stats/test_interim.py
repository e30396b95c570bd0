"""An experiment that goes on until it is decided, from the command line to its report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli.app import main
from bench.errors import UserError
from bench.launch import WorkerPool
from bench.spec.experiment import load_experiment
from bench.stats.group_sequential import Stage
from bench.store.records import Declaration

RUN_FILES = "runs/*/*/run.json"
NULL, OPEN = "toy:row+column~none", "toy:row+column~shuffled"


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """A pair that is decided at once, since its gains are exactly zero, and one that stays open."""
    path = tmp_path / "interim.toml"
    path.write_text(
        f'pair = ["{NULL}", "{OPEN}"]\nstrategy = "hard"\nbudget = "12steps"\nmargin = 1e-6\n'
        "train-size = 100\nvalidation-size = 0\ncurve-points = 1\nbatch-size = 16\n"
    )
    return ["run", str(path), "--until-decided", "--seeds", "12", "--workers", "1", "--results"]


def _declared(results: Path) -> Declaration:
    return Declaration.model_validate_json((results / "experiments/interim.json").read_bytes())


def _report(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / "reports/interim/gains.json").read_text())
    return found


def _run(arguments: list[str], folder: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main([*arguments, str(folder)])
    assert end.value.code == 0


def test_seeds_are_spent_on_the_pairs_that_have_no_verdict(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    _run(asked, results)
    declared = _declared(results)
    assert {cell.pair: len(cell.seeds) for cell in declared.rows} == {NULL: 9, OPEN: 12}
    # The analyses at 3, 6, 9 and 12 seeds: the first two are too early for any verdict.
    assert [{row.seeds for row in analysis.rows} for analysis in declared.interim_analyses] == [
        {3},
        {6},
        {9},
        {12},
    ]
    assert [row.pay_off for row in declared.interim_analyses[1].rows] == ["screen"] * 2
    at_nine = {(r.pair, r.target): r for r in declared.interim_analyses[2].rows}
    assert at_nine[NULL, "row"].pay_off == "equivalent"
    assert {row.pair for row in declared.interim_analyses[3].rows} == {OPEN}
    assert at_nine[OPEN, "row"].bound == pytest.approx(Stage((3, 6, 9, 12), 9).bound())

    rows = {(row["pair"], row["target"]): row for row in _report(results)["rows"]}
    assert rows[NULL, "row"]["planned"] == rows[NULL, "row"]["seeds"] == 9
    assert rows[OPEN, "row"]["seeds"] == 12
    # The analyses keep the p of their own tests; the table's p is that of all together.
    full = rows[OPEN, "row"]["against"]["full"]
    last = declared.interim_analyses[3].rows[0]
    assert last.p["full"] == max(full["p_t"], full["p_sign_flip"])
    assert full["level"] == last.bound < 0.05

    said = capsys.readouterr()
    assert "analysis 2 at 6 seeds (too few to reject): 0 of 2 pairs done" in said.err
    assert f"1 of 2 pairs done ({NULL})" in said.err
    table = (results / "reports/interim/table.md").read_text()
    assert "<summary>Interim analyses</summary>" in table
    assert "O'Brien–Fleming" in table
    # Runs that a decided pair alone would need were not trained: 3 more seeds of its strategy.
    assert len(list(results.glob(RUN_FILES))) == 12 * 2 + 9

    before = _report(results)
    _run(asked, results)
    assert "nothing to train" in capsys.readouterr().err
    assert _report(results) == before


def test_an_interrupted_experiment_goes_on_to_the_same_report(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [*asked[:2], "-p", NULL, "-s", "hard", "--name", "interim", *asked[2:]]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _run(asked, whole)
    left, run = [20], WorkerPool.run

    def stops(*arguments: Any) -> Any:
        for event in run(*arguments):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            yield event

    monkeypatch.setattr(WorkerPool, "run", stops)
    with pytest.raises(SystemExit) as end:
        main([*asked, str(broken)])
    assert end.value.code == 130
    _run(asked, broken)
    assert _declared(broken) == _declared(whole)


def test_the_flag_means_twenty_seeds_at_most(toy_experiment: Path) -> None:
    load: Callable[..., Any] = load_experiment
    assert load(str(toy_experiment), {"until_decided": True}).seeds == 20
    assert load(str(toy_experiment), {"until_decided": True, "seeds": 12}).seeds == 12
    assert load(str(toy_experiment), {}).seeds == 2
    text = toy_experiment.read_text()
    toy_experiment.write_text(text + "until-decided = true\n")
    assert load(str(toy_experiment), {}).seeds == 2
    toy_experiment.write_text(text.replace("seeds = 2\n", "until-decided = true\n"))
    assert load(str(toy_experiment), {}).seeds == 20
    toy_experiment.write_text(text + "until-decided = 1\n")
    with pytest.raises(UserError, match="until-decided: give true or false"):
        load(str(toy_experiment), {})
