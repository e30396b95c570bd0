"""An experiment that is planned to a time: what fits, what it could detect, and its clock."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.api.within import Deadline, seeds_left
from bench.cli.app import main
from bench.contracts import DataSource
from bench.errors import UserError
from bench.launch.worker import answer
from bench.plan.plan import priced
from bench.plan.within import Pace, Planner, Rehearsed
from bench.spec.budget import Budget, cost
from bench.spec.duration import seconds_of
from bench.spec.experiment import Experiment, load_experiment
from bench.store.records import Record
from bench.store.store import Store
from tests.conftest import plain_record

ASKED: dict[str, Any] = {
    "pair": "toy:row+column",
    "strategy": "hard",
    "budget": "1flop",
    "train_size": 160,
    "validation_size": 50,
    "batch_size": 16,
    "device": "cpu",
}


@pytest.fixture(name="planner", scope="module")
def _planner(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    folder = tmp_path_factory.mktemp("prices")
    experiment = Experiment.model_validate(ASKED)
    draft = priced(experiment, DataSource(), Store(folder), lambda _: None, answer)
    return Planner(draft, workers=2)


def _paced(planner: Planner, step: float, set_up: float = 1.0, spread: float = 2.0) -> Rehearsed:
    return Rehearsed({arm: Pace(step, 0.0, set_up) for arm in planner.priced.paces}, spread)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("2h", 7200), ("90s", 90), ("1h30m", 5400), (" 1.5H ", 5400)],
)
def test_a_time_is_read_in_hours_minutes_and_seconds(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "ten", "-5m", "0m", "10m later", "m", "1e3m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="give a time such as 10m"):
        seconds_of(text)


@pytest.mark.parametrize("seconds", [100.0, 400.0, 1600.0])
def test_what_is_planned_takes_the_time_that_there_is(planner: Planner, seconds: float) -> None:
    heard = _paced(planner, step=0.05)
    found = planner.schedule(seconds, heard)
    assert 0.88 * seconds <= found.seconds <= seconds
    assert found.seeds >= 8


def test_more_time_buys_more_passes_and_after_many_of_them_more_seeds(planner: Planner) -> None:
    heard = _paced(planner, step=0.05)
    short, long, longest = (planner.schedule(t, heard) for t in (100.0, 1600.0, 1e6))
    assert short.passes < long.passes <= longest.passes
    assert short.seeds <= long.seeds < longest.seeds <= 30
    assert planner.schedule(1600.0, heard, seeds=13).seeds == 13


def test_too_short_a_time_screens_and_says_what_would_decide(planner: Planner) -> None:
    heard = _paced(planner, step=0.05, set_up=10.0)
    found = planner.schedule(100.0, heard)
    assert 1 <= found.seeds < 8
    promise = planner.promise(found, heard)
    assert promise.startswith(f"nothing can be decided: {found.seeds} seed")
    with pytest.raises(UserError, match="give more time"):
        planner.schedule(3.0, heard)


def test_a_promise_follows_from_the_spread_and_the_seeds(planner: Planner) -> None:
    heard = _paced(planner, step=0.05)
    found = planner.schedule(400.0, heard)
    assert "a true gain of 2" in planner.promise(found, heard)
    unknown = Rehearsed(heard.paces)
    assert "not known" in planner.promise(found, unknown)


def test_the_budget_leaves_no_side_more_than_the_audit_allows(planner: Planner) -> None:
    heard = _paced(planner, step=0.05)
    for seconds in (120.0, 250.0, 700.0):
        budget = planner.schedule(seconds, heard).budget
        jobs = planner._jobs(budget, range(1))
        used = {a: cost(job.prices, job.spec.steps, "flop") for a, (job,) in jobs.items()}
        for row in planner._draft.rows:
            for name in ("full", "split"):
                spent = sum(used[arm] for arm in row.anchors[name].values())
                assert used[row.arm] == pytest.approx(spent, rel=0.005)


def test_rehearsals_give_the_pace_and_the_spread(planner: Planner) -> None:
    rehearsals = planner.rehearsals(600.0)
    (count,) = {len(jobs) for jobs in rehearsals.values()}
    assert count == 3
    records: dict[str, Record] = {}
    for arm, jobs in rehearsals.items():
        assert {job.spec.split for job in jobs} == {"validation"}
        for job in jobs:
            assert job.spec.seed < 0  # no row is scored at it
            gain = {-1: 1.0, -2: 3.0, -3: 5.0}[job.spec.seed] if len(arm.tasks) > 1 else 0.0
            record = plain_record(job.key, 50.0 + gain, 1.0)
            assert record.ledger is not None
            steps = sum(job.spec.steps)
            ledger = replace(
                record.ledger,
                steps=job.spec.steps,
                used={"s": 0.1 * steps, "flop": 1.0},
                evaluation_seconds=0.01 * job.evaluated,
            )
            update = {
                "spec": job.spec,
                "scores": dict.fromkeys(arm.scored, record.scores["t"]),
                "seconds": 0.1 * steps + 0.01 * job.evaluated + 2.0,
                "ledger": ledger,
            }
            records[job.key] = record.model_copy(update=update)
    heard = planner.heard(rehearsals, records)
    for pace in heard.paces.values():
        assert (pace.step, pace.image, pace.set_up) == pytest.approx((0.1, 0.01, 2.0))
    assert heard.spread == pytest.approx(2.0)
    assert math.isnan(planner.heard(rehearsals, {}).spread)


@pytest.mark.parametrize(
    ("took", "left", "seeds"),
    [
        (60.0, 58.4, 4),  # as planned
        (60.0, 98.4, 8),  # quicker: no more than the spare ones
        (120.0, 58.4, 2),  # slower: as many as a verdict needs
        (60.0, -10.0, 2),
    ],
)
def test_the_clock_decides_the_seeds_and_keeps_a_verdict(
    monkeypatch: pytest.MonkeyPatch, took: float, left: float, seeds: int
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    assert seeds_left(6, 10, took, Deadline(left), rows=2) == seeds


def _run(folder: Path, *more: str) -> int:
    question = "run -p toy:row+column -s hard --train-size 40 --validation-size 20"
    with pytest.raises(SystemExit) as end:
        main([*question.split(), "--results", str(folder), *more])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_a_run_within_a_time_is_found_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A time that every machine has, and bounds that end long before it.
    monkeypatch.setattr("bench.plan.within._MOST_PASSES", 2)
    monkeypatch.setattr("bench.plan.within._MOST_SEEDS", 10)
    timed = ("--within", "2h", "--name", "timed", "--workers", "1")
    assert _run(tmp_path, *timed) == 0
    said = capsys.readouterr().err
    assert "rehearsals to train" in said
    assert "planned to the time" in said
    before = Store(tmp_path).experiment("timed")
    assert before.changes == 0
    assert len(before.rows[0].seeds) == before.experiment.seeds
    assert _run(tmp_path, *timed) == 0
    said = capsys.readouterr().err
    assert "planned before" in said
    assert "nothing to train" in said


def test_a_plan_to_a_time_leaves_its_budget_and_its_seeds(tmp_path: Path) -> None:
    asked = "plan -p toy:row+column -s hard --train-size 40 --validation-size 20 --name left"
    with pytest.raises(SystemExit) as end:
        main([*asked.split(), "--within", "2h", "--results", str(tmp_path)])
    assert end.value.code == 0
    left = load_experiment(str(tmp_path / "plans/left.toml"), {})
    assert Budget.parse(left.budget).axis == "flop"
    assert (left.seeds, left.smaller_budgets) == (30, ())  # as many as are ever planned


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--within", "10m", "--budget", "5steps"), "the time decides the budget"),
        (("--within", "10m", "--tune", "4"), "leave out tuning"),
        (("--within", "soon"), "give a time such as 10m"),
        (("--within", "10m", "--validation-size", "0"), "raise --validation-size"),
    ],
)
def test_what_does_not_go_with_a_time_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], why: str
) -> None:
    assert _run(tmp_path, *more) == 2
    assert why in capsys.readouterr().err
    assert not list(tmp_path.glob("*/*"))
