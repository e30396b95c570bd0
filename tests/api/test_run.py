"""`bench.run` and `bench.plan`: what they take, return and tell."""

import logging
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.api.progress import Quiet, Tally
from bench.api.run import Fields, Flags
from bench.api.session import Session
from bench.cli.options import EVERY
from bench.spec.experiment import Experiment

TINY: dict[str, Any] = {
    "name": "tiny",
    "pair": "toy:row+column",
    "strategy": "hard",
    "seeds": 2,
    "budget": "12steps",
    "train_size": 100,
    "validation_size": 50,
    "curve_points": 2,
    "batch_size": 16,
}
#: It goes wrong at step 100.
FAILING = {**TINY, "strategy": "faulty", "budget": "120steps", "seeds": 1}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny experiment is finished."""
    folder = tmp_path_factory.mktemp("trained") / "results"
    bench.run(TINY, results=folder, workers=0)
    return folder


def test_flags_are_those_of_the_command_line() -> None:
    assert set(Fields.__annotations__) == set(EVERY)
    beside = set(Flags.__annotations__) - set(Fields.__annotations__)
    assert beside == {field.name for field in fields(Session)} | {"within", "fresh"}


def test_a_run_writes_its_report_and_returns_it(results: Path) -> None:
    report = bench.run(TINY, results=results, workers=0)
    assert (report.counts.ok, report.counts.planned) == (14, 14)
    assert {"table.md", "gains.json", "gains.png"} <= report.files.keys()
    assert report.folder == results / "reports/tiny"
    assert {row.target for row in report.results} == {"row", "column"}


@pytest.mark.parametrize("kind", ["a dictionary", "an experiment", "a file"])
def test_an_experiment_is_given_in_any_form(results: Path, tmp_path: Path, kind: str) -> None:
    asked: Any = {**TINY, "seeds": 5}
    if kind == "an experiment":
        asked = bench.Experiment.model_validate(asked)
    if kind == "a file":
        asked = tmp_path / "tiny.toml"
        asked.write_text((results / "reports/tiny/experiment.toml").read_text())
    preview = bench.plan(asked, seeds=2, results=results, workers=0)
    assert preview.experiment == Experiment.model_validate(TINY)
    assert set(preview.arms["finished"]) == {2}  # these are the runs that are finished


def test_a_plan_says_what_would_run_and_leaves_nothing(tmp_path: Path) -> None:
    preview = bench.plan(TINY, budget=["12steps", "24steps"], results=tmp_path / "r", workers=0)
    assert preview.levels == ("tiny-12steps", "tiny")
    arms = preview.arms
    assert set(arms["experiment"]) == {"tiny-12steps", "tiny"}
    shared = arms[(arms["experiment"] == "tiny") & arms["arm"].str.startswith("hard")].iloc[0]
    assert (shared["steps"], shared["runs"], shared["phase"]) == (24, 2, 1)
    assert any("2 seeds give a first look only" in line for line in preview.warnings)
    assert "2 seeds give a first look only" in preview._repr_html_()
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"seed": 3}, "unknown flag 'seed': did you mean 'seeds'"),
        ({"strategy": "hrad"}, "unknown strategy 'hrad': did you mean 'hard'"),
        ({"seeds": 0}, "seeds: give 1 or more"),
        ({"workers": "many"}, "give a number, or auto"),
        ({"seeds": 5_000_000}, "--yes"),
        ({"within": "1m", "budget": "12steps"}, "the time decides the budget"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    tmp_path: Path, asked: dict[str, Any], why: str
) -> None:
    with pytest.raises(bench.UserError, match=why):
        bench.run(**{"results": tmp_path / "r", **asked})
    assert not (tmp_path / "r").exists()


def test_a_key_that_an_experiment_lacks_is_told(tmp_path: Path) -> None:
    with pytest.raises(bench.UserError, match="unknown key 'strategi': did you mean 'strategy'"):
        bench.run({**TINY, "strategi": "hard"}, results=tmp_path)


def test_nothing_is_printed_where_no_logging_is_set_up(tmp_path: Path) -> None:
    script = (
        "import bench, sys; "
        f"report = bench.run({FAILING!r}, results=sys.argv[1], workers=1); "
        "assert report.counts.failed == 1"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_there_is_to_tell_is_logged(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bench")
    bench.run(TINY, results=results, workers=0)
    assert "all 14 runs are finished already; nothing to train" in caplog.messages
    assert {record.levelno for record in caplog.records} == {logging.INFO}


def test_a_failure_is_a_warning_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = bench.run(FAILING, results=tmp_path, workers=1)
    assert (report.counts.failed, report.counts.ok) == (1, 6)
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage().partition(":")[0] for record in told] == ["failed"]


def test_progress_goes_to_whoever_asks_for_it(tmp_path: Path) -> None:
    seen: list[Tally] = []

    class Kept(Quiet):
        def bar(self, jobs: int, work: float, what: str) -> Tally:
            seen.append(Tally(jobs, work, what))
            return seen[-1]

    bench.run(TINY, seeds=1, results=tmp_path, workers=0, progress=Kept())
    (tally,) = seen
    assert (tally.done, tally.jobs, tally.what, tally.now) == (7, 7, "runs", "")


def test_an_interrupt_is_raised_and_the_same_call_goes_on(tmp_path: Path) -> None:
    class Pressed(Tally):
        def show(self) -> None:
            if self.done == 3:
                raise KeyboardInterrupt

    class Impatient(Quiet):
        def bar(self, jobs: int, work: float, what: str) -> Tally:
            return Pressed(jobs, work, what)

    with pytest.raises(KeyboardInterrupt, match="stopped; 3 of 14 runs are finished and kept"):
        bench.run(TINY, results=tmp_path, workers=1, progress=Impatient())
    assert bench.run(TINY, results=tmp_path, workers=0).counts.ok == 14


def test_names_of_the_package_are_listed_and_no_others_are_made_up() -> None:
    assert set(bench.__all__) <= set(dir(bench))
    for name in bench.__all__:
        assert getattr(bench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        bench.runn  # type: ignore[attr-defined]  # noqa: B018
