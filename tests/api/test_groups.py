"""`bench group`: from tasks to a verified answer, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bench
from bench.errors import UserError
from bench.plan.group_time import GroupSchedule
from bench.spec.budget import Budget
from bench.spec.grouping import GroupExperiment
from bench.store.store import Store
from tests.conftest import CommandLine

QUICK: dict[str, Any] = {
    "pair": "toy:row+column+low",
    "budget": "12steps",
    "seeds": 2,
    "affinity_seeds": 3,
    "train_size": 100,
    "validation_size": 50,
    "curve_points": 2,
    "batch_size": 16,
    "network": "lenet",
    "workers": 0,
    "progress": False,
}
FLAGS = [
    *("-p", "toy:row+column+low", "--budget", "12steps", "--seeds", "2", "--affinity-seeds", "3"),
    *("--train-size", "100", "--validation-size", "50", "--curve-points", "2"),
    *("--batch-size", "16", "--workers", "0"),
]
TASKS = ("row", "column", "low")


def ask(folder: Path, **how: Any) -> bench.GroupReport:
    return bench.group(results=folder, **(QUICK | how))


def test_pairs_propose_and_fresh_seeds_verify(tmp_path: Path) -> None:
    report = ask(tmp_path)
    declared = report.declaration
    assert [n.tasks for n in declared.affinity.alone] == [(task,) for task in TASKS]
    assert [n.tasks for n in declared.affinity.groups] == [
        ("row", "column"),
        ("row", "low"),
        ("column", "low"),
    ]
    assert report.result.affinities[0].values.shape == (3, 3, 3)
    assert sorted(task for group in report.grouping for task in group) == sorted(TASKS)
    assert report.choice == "undecided", "two seeds decide nothing"
    assert {o.name.value for o in report.result.options} >= {"one network", "grouping"}
    store = Store(tmp_path, read_only=True)
    affinity = [store.load(k) for n in declared.affinity.networks for k in n.keys]
    assert declared.verification is not None
    verified = [store.load(k) for n in declared.verification.networks for k in n.keys]
    assert all(r and r.spec.split == "validation" and r.spec.seed < 0 for r in affinity)
    assert all(r and r.spec.split == "test" and r.spec.seed >= 0 for r in verified)
    # Every network that measures affinities takes the same steps.
    assert {r.spec.steps for r in affinity if r} == {(12,)}


def test_all_ways_to_serve_the_tasks_have_one_total_budget(tmp_path: Path) -> None:
    report, store = ask(tmp_path), Store(tmp_path, read_only=True)
    runs = report.declaration.verification
    assert runs is not None
    for networks in (runs.apart, *(option.networks for option in runs.options)):
        records = [store.load(network.runs[0].key) for network in networks]
        assert sum(sum(r.spec.steps) for r in records if r) == 3 * 12


def test_one_joint_run_measures_all_tasks(tmp_path: Path) -> None:
    report = ask(tmp_path, affinity="joint", propose_only=True)
    assert [each.method for each in report.result.affinities] == ["look-ahead", "cosine"]
    joint = report.declaration.affinity.joint
    assert joint is not None
    assert joint.tasks == TASKS
    assert not report.declaration.affinity.groups
    assert report.choice == ""
    assert report.declaration.verification is None


def test_triples_check_what_pairs_predict(tmp_path: Path) -> None:
    report = ask(tmp_path, affinity="higher-order", propose_only=True)
    (checked,) = report.result.scored
    assert checked.cases == tuple((TASKS, task) for task in TASKS)


def test_a_second_call_trains_nothing_and_says_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = ask(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("run.json")}
    document = (first.folder / "grouping.json").read_bytes()
    again = ask(tmp_path)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("run.json")} == before
    assert (again.folder / "grouping.json").read_bytes() == document
    loaded = bench.load_groups(tmp_path, "grouping")
    assert loaded.sentence == again.sentence


def test_tasks_on_images_of_their_own_can_be_grouped(tmp_path: Path) -> None:
    report = ask(tmp_path, pair="teachers:target+partner", network="mlp")
    assert report.result.tasks == ("target", "partner")


def test_rules_reach_the_choice(tmp_path: Path) -> None:
    report = ask(tmp_path, together="row+low", apart="row+column", propose_only=True)
    assert report.grouping == (("row", "low"), ("column",))


def test_a_cap_on_inference_becomes_a_number_of_networks(tmp_path: Path) -> None:
    report = ask(tmp_path, at_most_flops="1.01x", propose_only=True)
    assert report.declaration.most == 1
    assert report.grouping == (TASKS,)
    wide = ask(tmp_path, at_most_flops="9x", propose_only=True, name="wide")
    assert wide.declaration.most is not None
    assert wide.declaration.most >= 3


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"pair": "toy:row"}, "one task"),
        ({"pair": "toy:row+column~noise"}, "placebo"),
        ({"pair": ("toy:row+column", "toy:row+low")}, "one set of tasks"),
        ({"pair": "toy:row*column*low"}, "several sets"),
        ({"strategy": "hard+reconstruction"}, "serves one task"),
        ({"strategy": ("hard", "branch@1")}, "one strategy"),
        ({"affinity": "joint", "strategy": "hard+uncertainty"}, "only shares"),
        ({"together": "row+colour"}, "task of --together"),
        ({"together": "row"}, "two tasks or more"),
        ({"weight": "row=-1"}, "above 0"),
        ({"weight": "row"}, "task of --weight"),
        ({"at_most_flops": "0.5x"}, "1x or more"),
        ({"at_most_flops": "many"}, "such as 1.5x"),
        ({"validation_size": 0}, "validation"),
        ({"together": "row+column", "apart": "row+column"}, "no grouping"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_refused_with_its_reason(
    tmp_path: Path, how: dict[str, Any], why: str
) -> None:
    with pytest.raises(UserError, match=why):
        ask(tmp_path, **how)


def test_a_question_of_groups_has_no_tuning(tmp_path: Path) -> None:
    path = tmp_path / "q.toml"
    path.write_text('pair = "toy:row+column+low"\nstrategy = "hard"\nbudget = "9steps"\ntune = 3\n')
    with pytest.raises(UserError, match="no tune"):
        bench.group(path, results=tmp_path)


def test_the_command_shows_and_leaves_what_it_found(bench: CommandLine, tmp_path: Path) -> None:
    done = bench("group", *FLAGS)
    assert done.returncode == 0, done.stderr
    assert "affinities propose" in done.stderr
    folder = next(tmp_path.rglob("reports/grouping"))
    document = json.loads((folder / "grouping.json").read_text())
    assert set(document["tasks"]) == set(TASKS)
    for name in ("report.html", "table.md", "table.csv", "affinity.png", "front.png"):
        assert (folder / name).is_file(), name
    # The report can be made again from records, and its file asks the same question.
    (folder / "grouping.json").unlink()
    assert bench("report", "grouping").returncode == 0
    assert json.loads((folder / "grouping.json").read_text()) == document
    again = bench("group", folder / "experiment.toml", "--workers", "0")
    assert "nothing to train" in again.stderr, again.stderr


def _photographs(folder: Path, tasks: int, count: int = 60) -> Path:
    """Write small grey images and a table with a binary column for each task."""
    rng = np.random.default_rng(0)
    names = [f"t{n}" for n in range(tasks)]
    lines = [",".join(["image", *names])]
    for n in range(count):
        labels = rng.integers(0, 2, tasks)
        pixels = np.full((16, 16), 40 + 120 * labels[0]) + rng.integers(0, 30, (16, 16))
        Image.fromarray(pixels.astype("uint8")).save(folder / f"{n}.png")
        lines.append(",".join([f"{n}.png", *map(str, labels)]))
    table = folder / "labels.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def test_a_table_of_ones_own_is_configured_proposed_and_verified(tmp_path: Path) -> None:
    table = _photographs(tmp_path, 3)
    asked: dict[str, Any] = {"budget": "8steps", "seeds": 2, "affinity_seeds": 2, "workers": 0}
    report = bench.group(
        f"{table}:t0+t1+t2", results=tmp_path / "r", at_most_networks=2, progress=False, **asked
    )
    assert report.experiment.at_most_networks == 2
    assert report.name.endswith("-groups")
    assert report.experiment.pair[0].startswith("folder")
    assert {option.name.value for option in report.result.options} >= {"one network", "grouping"}


def test_more_than_twelve_columns_are_measured_by_one_joint_run(tmp_path: Path) -> None:
    table = _photographs(tmp_path, 14)
    columns = "+".join(f"t{n}" for n in range(14))
    report = bench.group(
        f"{table}:{columns}", results=tmp_path / "r", budget="16steps", affinity_seeds=2,
        propose_only=True, workers=0, progress=False, network="lenet",
    )  # fmt: skip
    assert report.declaration.method == "joint"
    assert report.result.affinities[0].values.shape == (2, 14, 14)
    assert sorted(t for group in report.grouping for t in group) == sorted(report.result.tasks)


def test_a_dry_run_trains_and_leaves_nothing(bench: CommandLine, tmp_path: Path) -> None:
    done = bench("group", *FLAGS, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["steps"] == 12
    assert next(part["runs"] for part in found["parts"]) == 3 * (3 + 3)
    assert not list(tmp_path.rglob("run.json"))


def test_without_tasks_the_error_says_how_they_are_named(bench: CommandLine) -> None:
    done = bench("group")
    assert done.returncode == 2
    assert "-p labels.csv:a+b+c" in done.stderr


def test_the_number_of_tasks_chooses_the_method() -> None:
    asked = GroupExperiment(pair=("toy:row+column",), strategy=("hard",), budget="9steps")
    assert [asked.method(n) for n in (2, 8, 9, 40)] == ["pairs", "pairs", "joint", "joint"]


def test_a_plan_of_very_many_runs_has_to_be_meant(tmp_path: Path) -> None:
    """As `run` asks; a question of groups counts its own runs."""
    with pytest.raises(UserError, match=r"plans 90,018 runs.*--yes goes on"):
        ask(tmp_path, seeds=5000)  # 18 networks each, and 6 at 3 seeds
    with pytest.raises(UserError, match="cannot be planned, even with --yes"):
        ask(tmp_path, seeds=100_000_000, yes=True)


def test_a_question_is_planned_to_a_time_with_even_totals_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.plan.group_time._MOST", 40)
    monkeypatch.setattr("bench.plan.group_time._SEEDS", ((2, 2),))
    monkeypatch.setattr("bench.api.groups._as_time_allows", lambda plan, *_: plan)
    asked = {k: v for k, v in QUICK.items() if k not in ("budget", "seeds", "affinity_seeds")}
    report = bench.group(results=tmp_path, within="2h", name="timed", **asked)
    assert (report.experiment.seeds, report.experiment.affinity_seeds) == (2, 2)
    assert report.result.apart is not None
    assert 30 <= min(report.result.apart.steps) <= 40
    # What steps are not bought for leaves every way with the same total.
    shares = [option.candidate.flops for option in report.result.options if option.name != "slim"]
    assert all(share == pytest.approx(1, abs=0.005) for share in shares)
    kept = len(list(tmp_path.rglob("run.json")))
    again = bench.group(results=tmp_path, within="2h", name="timed", **asked)
    assert len(list(tmp_path.rglob("run.json"))) == kept
    assert again.sentence == report.sentence


def test_a_time_in_which_little_can_be_learned_is_told_with_what_helps() -> None:
    schedule = GroupSchedule(Budget(1e9, "flop"), 8, 3, seconds=60.0, passes=0.19)
    assert schedule.warning.startswith("that is 0.19 of a pass over the training images")
    assert "--network" in schedule.warning
    assert not replace(schedule, passes=1.0).warning
