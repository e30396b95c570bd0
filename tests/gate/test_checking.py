"""`check`, `baseline` and `compare` as a user meets them: exit codes for the right reasons."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.cli.app import main
from bench.gate.baseline import read_baseline, snapshot
from bench.spec.experiment import load_experiment
from bench.store.store import Store
from tests.conftest import PLUGINS

ROOT = Path(__file__).parents[2]

EXPERIMENT = """
pair = "toy:row+column"
strategy = "hard"
seeds = 8
budget = "12steps"
train-size = 100
validation-size = 0
curve-points = 1
batch-size = 16
"""


@dataclass(frozen=True)
class Said:
    code: object
    out: str
    err: str


Here = Callable[..., Said]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished experiment and its baseline, both called toy."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "toy.toml").write_text(EXPERIMENT)
    before = Path.cwd()
    os.chdir(folder)
    try:
        for arguments in (["run", "toy.toml", "--workers", "1"], ["baseline", "set", "toy"]):
            with pytest.raises(SystemExit) as end:
                main(arguments)
            assert not end.value.code
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Here]:
    """Run the command line in the folder of the finished experiment, whose baseline may change."""
    monkeypatch.chdir(trained)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    kept = (trained / "results/baselines/toy.json").read_bytes()

    def call(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return Said(end.value.code or 0, *capsys.readouterr())

    yield call
    (trained / "results/baselines/toy.json").write_bytes(kept)


def _changed(change: Callable[[dict[str, Any]], None]) -> None:
    path = Path("results/baselines/toy.json")
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def _lift(document: dict[str, Any], by: Callable[[int], float]) -> None:
    scores = document["arms"]["hard on toy:row+column"]["scores"]["row"]["by_seed"]
    for seed in scores:
        scores[seed] += by(int(seed))


CHECK = ("check", "--baseline", "toy", "--time", "off")


def test_the_same_runs_pass(here: Here) -> None:
    done = here(*CHECK)
    assert done.code == 0
    assert "PASS · EQUIVALENT" in done.out
    document = json.loads(Path("results/reports/toy/check.json").read_text())
    assert {f["status"] for f in document["findings"]} == {"PASS"}
    assert {f["quantity"] for f in document["findings"]} == {
        "score",
        "gain",
        "FLOPs",
        "parameters",
        "peak bytes",
    }


def test_a_loss_exits_with_1_and_names_the_cell(here: Here) -> None:
    _changed(lambda document: _lift(document, lambda seed: 20.0))
    done = here(*CHECK, "--json")
    assert done.code == 1
    lost = [f for f in json.loads(done.out)["findings"] if f["status"] == "FAIL"]
    assert {(f["name"], f["quantity"]) for f in lost} == {
        ("hard on toy:row+column → row", "score"),
        ("hard on toy:row+column → row", "gain"),
    }
    assert here(*CHECK, "--margin", "30").code == 0


def test_noise_exits_with_3_unless_it_is_to_warn(here: Here) -> None:
    _changed(lambda document: _lift(document, lambda seed: 15.0 * (-1) ** seed))
    done = here(*CHECK)
    assert done.code == 3
    assert "undecided over 8 seeds" in done.out
    assert here(*CHECK, "--on-inconclusive", "warn").code == 0


def test_a_lost_run_exits_with_4_and_its_name(here: Here, trained: Path) -> None:
    declared = json.loads((trained / "results/experiments/toy.json").read_text())
    key = declared["rows"][0]["seeds"][3]["strategy"]
    record = trained / "results" / "runs" / key[:2] / key / "run.json"
    kept = record.read_bytes()
    record.unlink()
    try:
        done = here(*CHECK)
        again = here("baseline", "set", "toy")
    finally:
        record.write_bytes(kept)
    assert done.code == 4
    assert "hard on toy:row+column, seed 3: the run is missing" in " ".join(done.out.split())
    assert again.code == 2
    assert "1 runs of toy failed or are missing" in again.err


def test_runs_that_another_version_wrote_are_said_to_be_why_nothing_is_found(
    here: Here, trained: Path
) -> None:
    kept = {path: path.read_bytes() for path in (trained / "results/runs").glob("*/*/run.json")}
    for path, content in kept.items():
        path.write_text(json.dumps(json.loads(content) | {"ledger": {"price": {}}}))
    try:
        done = here(*CHECK)
        planned = here("power")
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert done.code == 2
    note, error = done.err.splitlines()
    assert "run the experiment again, or read them with that version" in note
    assert error.startswith("error: no run of hard on toy:row+column is there")
    assert note in planned.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no baseline at results/baselines/toy.json (No such file or directory)"),
        ("{", "is no baseline that this version reads (Invalid JSON"),
        ('{"schema_version": 2}', "(schema_version: Input should be 1)"),
        ("[1]", "is no baseline"),
        ("\x00\xff", "is no baseline"),
    ],
)
def test_a_missing_or_corrupt_baseline_exits_with_5_and_the_mend(
    here: Here, content: str | None, message: str
) -> None:
    path = Path("results/baselines/toy.json")
    path.unlink() if content is None else path.write_text(content)
    done = here(*CHECK)
    assert done.code == 5
    (line,) = done.err.splitlines()
    assert message in line
    assert "`python -m bench baseline set NAME` makes one" in line


def _without_an_arm(document: dict[str, Any]) -> None:
    del document["arms"]["single on toy:row"]


def _other_rate(document: dict[str, Any]) -> None:
    document["experiment"].update(learning_rate=0.1, budget="13steps")


def _other_data(document: dict[str, Any]) -> None:
    document["arms"]["single on toy:row"]["data"] = "0" * 64


def _other_metric(document: dict[str, Any]) -> None:
    document["arms"]["single on toy:row"]["scores"]["row"]["metric"] = "hits"


def _other_device(document: dict[str, Any]) -> None:
    document["made"]["device"] = "NVIDIA H200"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_an_arm, "is damaged: it has no values of 'single on toy:row'"),
        (_other_rate, "budget is 13steps in the baseline and 12steps now; learning-rate is 0.1"),
        (_other_data, "the data of toy:row are not those of the baseline"),
        (
            _other_metric,
            "row is scored by hits [%], higher is better in the baseline and by accuracy [%]",
        ),
        (_other_device, "the baseline was made on an accelerator, and this on a CPU"),
    ],
)
def test_a_foreign_baseline_exits_with_5_and_says_what_differs(
    here: Here, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    _changed(change)
    done = here(*CHECK)
    assert done.code == 5
    assert message in done.err


def test_a_baseline_without_rows_is_no_success(here: Here) -> None:
    _changed(lambda document: document.update(rows=[]))
    done = here(*CHECK)
    assert done.code == 5
    assert "is damaged: it has no rows" in done.err
    assert here("baseline", "show", "toy").code == 5


@pytest.mark.parametrize(
    ("how", "reason"),
    [("quit", "its process ended with exit code 0"), ("exit", "SystemExit: 0")],
)
def test_a_plugin_that_ends_while_it_is_timed_costs_the_timing_alone(
    here: Here, monkeypatch: pytest.MonkeyPatch, how: str, reason: str
) -> None:
    monkeypatch.setenv("BENCH_TEST_DOOM", how)
    said = f"a step of hard on toy:row+column cannot be timed: {reason}"
    done = here("check", "--baseline", "toy")
    assert done.code == 0
    assert f"note: device-seconds are not compared: {said}" in done.err
    assert here("check", "--baseline", "toy", "--time", "gate").code == 5
    kept = Path("results/baselines/toy.json").read_bytes()
    done = here("baseline", "set", "toy")
    assert done.code == 2
    assert f"error: {said}; --no-time leaves it out" in done.err
    assert Path("results/baselines/toy.json").read_bytes() == kept


def test_rows_that_nobody_ran_exit_with_5(here: Here) -> None:
    def more(document: dict[str, Any]) -> None:
        document["rows"].append({**document["rows"][0], "strategy": "soft"})

    _changed(more)
    done = here(*CHECK)
    assert done.code == 5
    assert "soft on toy:row+column → row" in done.out
    assert "1 MISSING" in done.out


def test_wrong_usage_exits_with_2(here: Here) -> None:
    assert here(*CHECK, "--results", "nowhere").code == 5  # no baseline there
    done = here("check", "--baseline", "results/baselines/toy.json", "--results", "nowhere")
    assert done.code == 2
    assert "no experiment in 'nowhere': `python -m bench run toy`" in done.err
    assert here(*CHECK, "--margin", "0").code == 2
    assert "names no baseline" in here("check", "--baseline", "../toy").err
    assert "did you mean 'toy'?" in here("baseline", "set", "toys").err


def test_what_ci_reads(here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _changed(lambda document: _lift(document, lambda seed: 20.0))
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = here(*CHECK, "--junit", tmp_path / "check.xml")
    assert "::error title=FAIL%3A score::hard on toy:row+column → row: worse by 20" in done.err
    assert summary.read_text().startswith("before\n## Gate of toy: 2 FAIL, ")
    suite = ElementTree.parse(tmp_path / "check.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("2", "0")
    assert len(suite.findall("testcase/failure")) == 2


def test_seconds_are_timed_here_and_told(here: Here) -> None:
    done = here("check", "--baseline", "toy", "--json", "--on-inconclusive", "warn")
    timed = [f for f in json.loads(done.out)["findings"] if f["quantity"] == "seconds"]
    assert {f["name"] for f in timed} == {
        "hard on toy:row+column",
        "single on toy:row",
        "single on toy:column",
    }
    assert all(f["now"] > 0 and not f["binding"] for f in timed)

    def elsewhere(document: dict[str, Any]) -> None:
        document["made"]["processor"] = "Abacus"

    _changed(elsewhere)
    done = here("check", "--baseline", "toy")
    assert done.code == 0
    assert "the baseline was timed on Abacus and cpu" in done.err
    assert here("check", "--baseline", "toy", "--time", "gate").code == 5


def test_baselines_are_listed_and_shown(here: Here) -> None:
    assert "toy" in here("baseline", "show").out
    assert json.loads(here("baseline", "show", "--json").out)[0]["seeds"] == 8
    assert "hard on toy:row+column → row" in here("baseline", "show", "toy").out
    assert json.loads(here("baseline", "show", "toy", "--json").out)["schema_version"] == 1
    assert here("baseline", "show", "--results", "nowhere").code == 5


def test_two_folders_or_baselines_are_compared(here: Here) -> None:
    assert here("compare", "results", "results").code == 0
    assert here("compare", "results/baselines/toy.json", "results").code == 0
    _changed(lambda document: _lift(document, lambda seed: 20.0))
    assert here("compare", "results/baselines/toy.json", "results").code == 1
    assert here("compare", "results", "results/baselines/toy.json").code == 0
    assert "no git revision" in here("compare", "results", "nowhere").err


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("fact", ["commit", "repository"])
def test_the_runs_of_two_revisions_are_compared(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, here: Here, fact: str
) -> None:
    # The records name the commit that made them, of the harness or of the user's repository; here
    # they are copied to stand for another's too.
    monkeypatch.chdir(tmp_path)
    _git("init", "-q")
    _git("commit", "-q", "--allow-empty", "-m", "before any run")
    commits = []
    for text in ("one", "two"):
        _git("commit", "-q", "--allow-empty", "-m", text)
        commits.append(_git("rev-parse", "HEAD"))
    results = tmp_path / "results"
    (results / "experiments").mkdir(parents=True)
    declared = (trained / "results/experiments/toy.json").read_text()
    (results / "experiments/toy.json").write_text(declared)
    for path in (trained / "results/runs").glob("*/*/run.json"):
        record = json.loads(path.read_text())
        for commit, drop in zip(commits, (0, 25), strict=True):
            key = record["key"] if not drop else f"{record['key'][:-3]}two"
            made = {**record, "key": key, "examples": None}
            made["provenance"] = {**record["provenance"], fact: commit}
            made["scores"] = json.loads(json.dumps(record["scores"]))
            for score in made["scores"].values():
                score["accuracy"]["value"] -= drop
            folder = results / "runs" / key[:2] / key
            folder.mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps(made))
    assert here("compare", "HEAD~1", "HEAD~1").code == 0
    done = here("compare", "HEAD~1", "HEAD", "--json")
    assert done.code == 1
    lost = [f for f in json.loads(done.out)["findings"] if f["status"] == "FAIL"]
    assert {f["quantity"] for f in lost} == {"score"}  # all networks lost alike: no gain changed
    assert all(f["change"]["mean"] == pytest.approx(-25) for f in lost)
    assert "check it out, without changes, and run" in here("compare", "HEAD~2", "HEAD").err
    # What a commit does not change keeps the commit that trained it, and is that commit's too.
    _git("commit", "-q", "--allow-empty", "-m", "three")
    assert here("compare", "HEAD", "HEAD").code == 0
    assert here("compare", "HEAD~2", "HEAD").code == 0  # as the declared runs are those of one
    assert here("compare", "HEAD", "HEAD~1").code == 1


def test_an_arm_of_two_rows_keeps_the_seeds_of_both(trained: Path) -> None:
    store = Store(trained / "results", read_only=True)
    (declaration,) = store.declarations()
    first, second = declaration.rows
    # As where an experiment went on for one pair and ended for the other.
    short = second.model_copy(update={"seeds": second.seeds[:4]})
    found = snapshot(declaration.model_copy(update={"rows": (first, short)}), store.load)
    scores = found.baseline.arms["hard on toy:row+column"].scores
    assert list(scores["row"].by_seed) == list(range(8))


PLUGIN = '''
"""A weighting for tests."""

from dataclasses import dataclass

from torch import nn

from bench.contracts import Weighting


class _Scaled(nn.Module):
    def forward(self, losses, weights):
        return (losses * weights).sum() * SCALE


@dataclass(frozen=True)
class Scaled(Weighting):
    """The mean loss, by a factor."""

    name = "scaled"
    summary = "a factor"
    paper = "none"

    def build(self, tasks, shared):
        """Return it."""
        return _Scaled()
'''


@pytest.mark.slow
def test_other_code_of_a_users_own_passes_or_fails_by_what_it_learns(tmp_path: Path) -> None:
    plugin = tmp_path / "plugins" / "strategies" / "scaled.py"
    plugin.parent.mkdir(parents=True)
    text = EXPERIMENT.replace('"hard"', '"scaled"').replace("12steps", "60steps")
    (tmp_path / "toy.toml").write_text(text)
    environment = {**os.environ, "BENCH_PLUGINS": f"{PLUGINS}{os.pathsep}{tmp_path / 'plugins'}"}

    def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "bench", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    plugin.write_text(PLUGIN.replace("SCALE", "1.0"))
    assert bench("run", "toy.toml").returncode == 0
    assert bench("baseline", "set", "toy", "--no-time").returncode == 0

    plugin.write_text(PLUGIN.replace("SCALE", "1.0") + "\n# Other text, the same numbers.\n")
    stale = bench(*CHECK)
    assert "made by other code than is here now" in stale.stderr
    again = bench("run", "toy.toml")
    assert "nothing to train" not in again.stderr
    same = bench(*CHECK)
    assert same.returncode == 0, same.stdout
    assert "other code" not in same.stderr

    plugin.write_text(PLUGIN.replace("SCALE", "0.0"))
    assert bench("run", "toy.toml").returncode == 0
    worse = bench(*CHECK)
    assert worse.returncode == 1, worse.stdout
    assert "hard+scaled on toy:row+column → row" in worse.stdout


def test_the_committed_baseline_is_of_the_shipped_experiment() -> None:
    committed = read_baseline(ROOT / "results/baselines/ci.json")
    assert committed.experiment == load_experiment("ci", {})
    assert all(arm.seconds and not arm.trouble for arm in committed.arms.values())
