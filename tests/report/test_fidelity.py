"""What a reduced precision changes: paired by seed, against differences that are planted."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.cli.fidelity import check_fidelity
from bench.cli.session import Session
from bench.errors import UserError
from bench.report import fidelity_markdown, fidelity_table
from bench.spec.experiment import Experiment
from bench.stats.fidelity import fidelity
from bench.store.records import Outcome, Record
from bench.store.store import Store

PAIR = "creatures:species+kin"


def _shifted(record: Record, by: float) -> Record:
    scores = {
        task: {name: replace(s, value=(s.value or 0) + by) for name, s in own.items()}
        for task, own in record.scores.items()
    }
    return record.model_copy(update={"scores": scores})


def test_changes_of_scores_and_gains_are_those_that_are_planted(
    make_world: Callable[..., Any],
) -> None:
    world = make_world([PAIR], ["hard"], trouble={})
    cells = world.declaration.rows
    renamed = {key: f"{key[::-1]}" for key in world.records}
    text = world.declaration.model_dump_json()
    for key, other in renamed.items():
        text = text.replace(key, other)
    reduced = type(world.declaration).model_validate_json(text)
    records = dict(world.records)
    shared = {seed.strategy for cell in cells for seed in cell.seeds}
    for key, record in world.records.items():
        records[renamed[key]] = _shifted(record, 0.5 if key in shared else 2.0)
    for row in fidelity(world.declaration, reduced, records.get):
        assert row.score.n == 10
        assert row.score.mean == pytest.approx(0.5)
        assert row.score.sd == pytest.approx(0, abs=1e-9)
        assert row.gain.mean == pytest.approx(-1.5)


def test_both_precisions_are_run_reported_and_compared(tmp_path: Path) -> None:
    experiment = Experiment(
        name="toy",
        pair=("toy:row+column",),
        strategy=("hard",),
        seeds=2,
        budget="12steps",
        train_size=100,
        validation_size=50,
        batch_size=16,
        curve_points=2,
        device="cpu",
    )
    assert not check_fidelity(experiment, Session(results=tmp_path, workers="1"))
    declared = {d.experiment.name: d for d in Store(tmp_path).declarations()}
    assert {d.experiment.precision for d in declared.values()} == {"fp32", "bf16"}
    rows = fidelity(declared["toy"], declared["toy-bf16"], Store(tmp_path).load)
    assert [row.score.n for row in rows] == [2, 2]
    page = (tmp_path / "reports" / "toy-bf16" / "fidelity.md").read_text()
    assert page == fidelity_markdown(rows)
    assert "2 of 2 verdicts are the same" in page


def test_in_a_terminal_of_80_columns_no_name_or_figure_is_broken(
    make_world: Callable[..., Any],
) -> None:
    world = make_world([PAIR], ["hard", "hard+reconstruction"], trouble={})
    rows = fidelity(world.declaration, world.declaration, world.find)
    whole = replace(rows[0].full, strategy="hard+partner@decay=linear+frozen-probe")
    rough = replace(
        rows[0].reduced, verdict=replace(rows[0].reduced.verdict, pay_off=Outcome.WORSE)
    )
    rows = [replace(rows[0], full=whole, reduced=rough), *rows[1:]]
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as captured:
        console.print(fidelity_table(rows))
    words = captured.get().split()
    told = {"creatures:species+kin", "hard+partner@", "decay=linear+frozen-", "probe", "±0.00"}
    assert told < set(words)
    assert words.count("creatures:species+kin") == 2  # once a target
    assert words.count("pay") == 1  # where the verdicts differ


def test_a_tuned_experiment_is_refused(tmp_path: Path) -> None:
    experiment = Experiment(pair=("toy",), strategy=("hard",), budget="30steps", tune=4)
    with pytest.raises(UserError, match="take tune = 4 out"):
        check_fidelity(experiment, Session(results=tmp_path, workers="1"))


def test_a_budget_in_seconds_is_refused(tmp_path: Path) -> None:
    experiment = Experiment(pair=("toy",), strategy=("hard",), budget="3s")
    with pytest.raises(UserError, match="--budget in flop"):
        check_fidelity(experiment, Session(results=tmp_path, workers="1"))
