"""What `bench new` writes, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.cli.app import main
from bench.cli.new import begin, next_steps
from bench.errors import UserError
from bench.spec.registry import COMPONENTS

BEGUN = {
    "begun-sharing": ("strategy", "sharing"),
    "begun-weighting": ("strategy", None),
    "begun-aggregation": ("strategy", "aggregation"),
    "begun-schedule": ("strategy", "schedule"),
    "begun-auxiliary": ("strategy", "auxiliary"),
    "begun-network": ("network", None),
    "begun-data": ("dataset", None),
}


def test_every_template_passes_validation_as_it_stands(tmp_path: Path) -> None:
    for name, (what, component) in BEGUN.items():
        arguments = ["new", what, name, "--folder", str(tmp_path)]
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--component", component] if component else arguments)
        assert end.value.code == 0
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "bench", "validate", "--json", *BEGUN],
        env={**os.environ, "BENCH_PLUGINS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reports = json.loads(done.stdout)
    assert [(r["plugin"], r["outcome"]) for r in reports] == [(name, "ok") for name in BEGUN]
    assert [r["component"] for r in reports][:5] == [*COMPONENTS]
    # With a phase for the target alone, a silent partner leaves it fewer steps.
    skipped = {(r["component"], f["check"]) for r in reports for f in r["findings"] if f["reason"]}
    assert skipped == {("schedule", "null")}


def test_a_new_plugin_goes_to_the_users_folder_and_says_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "plugin_folders", [tmp_path / "mine", tmp_path / "other"])
    with pytest.raises(SystemExit):
        main(["new", "strategy", "quiet-tasks"])
    said = capsys.readouterr()
    path = tmp_path / "mine" / "strategies" / "quiet_tasks.py"
    assert path.is_file()
    assert str(path) in said.out
    assert "\n  python -m bench validate quiet-tasks\n" in said.err

    elsewhere = begin("dataset", "quiet-data", None, tmp_path / "third")
    steps = next_steps("dataset", "quiet-data", elsewhere)
    assert f"BENCH_PLUGINS={tmp_path / 'third'}{os.pathsep}{tmp_path / 'mine'}" in steps
    assert "run -p quiet-data" in steps


def test_without_folders_of_the_users_it_goes_to_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "plugin_folders", [])
    monkeypatch.setattr(bench, "checkout", tmp_path)
    assert begin("dataset", "quiet", None, None) == tmp_path / "datasets" / "quiet.py"
    # Those that ship stand in the package.
    assert begin("network", "quiet", None, None) == tmp_path / "bench" / "networks" / "quiet.py"
    monkeypatch.setattr(bench, "checkout", None)
    with pytest.raises(UserError, match="--folder DIR, and set BENCH_PLUGINS=DIR"):
        begin("dataset", "quiet", None, None)


@pytest.mark.parametrize(
    ("what", "name", "message"),
    [
        ("strategy", "MyMethod", "small letters and digits, .* such as 'mymethod'"),
        ("strategy", "my_method", "such as 'my-method'"),
        ("strategy", "hard+mine", "such as 'hard-mine'"),
        ("strategy", "2nd", "such as 'nd'"),
        ("strategy", "../mine", "such as 'mine'"),
        ("strategy", "…", "such as 'my-method'"),
        ("strategy", "class", "such as 'my-class'"),
        ("dataset", "dataset", "such as 'my-dataset'"),
        ("strategy", "hard", r"taken: choose another \(`list strategies`"),
        ("dataset", "toy", r"taken: choose another \(`list datasets`"),
        ("network", "lenet", r"taken: choose another \(`list networks`"),
        ("network", "heads", "taken"),
        ("strategy", "broken", "taken"),
    ],
)
def test_a_name_that_is_unfit_or_taken_is_refused_with_the_mend(
    tmp_path: Path, what: str, name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        begin(what, name, None, tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.rglob("*.py"))


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    path = begin("strategy", "quiet", None, tmp_path)
    path.write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        begin("strategy", "quiet", None, tmp_path)
    assert path.read_text() == "mine"


def test_a_data_set_has_no_sort(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a data set has none"):
        begin("dataset", "quiet", "aggregation", tmp_path)
    with pytest.raises(UserError, match="a network has none"):
        begin("network", "quiet", "aggregation", tmp_path)
