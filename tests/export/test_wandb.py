"""The reader that comes with wandb finds the numbers of the records in its offline files."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.clean import any_markdown, printable
from bench.export import exporter, write_export
from tests.export.conftest import EVIL, NAME, Finished

pytest.importorskip("wandb")


@pytest.fixture(name="folder", scope="module")
def _folder(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "wandb"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("WANDB_MODE", "online")  # which an export does not follow
        write_export(exporter("wandb"), finished.exported, folder)
    return folder


def read(folder: Path, key: str) -> dict[str, list[dict[str, Any]]]:
    """Return what the log of a run has, by kind."""
    (path,) = folder.glob(f"wandb/offline-run-*-{key}/run-{key}.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        found.setdefault(entry["type"], []).append(entry[entry["type"]])
    return found


def summary(log: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {name: value for entry in log["summary"] for name, value in entry["update"].items()}


def test_the_report_holds_the_numbers_of_gains_json(finished: Finished, folder: Path) -> None:
    log = read(folder, "report")
    found, figures = summary(log), finished.gain_figures()
    assert {name: found[name] for name in figures} == figures
    (run,) = log["run"]
    config, verdicts = run["config"]["update"], finished.verdicts()
    assert {name: config[name] for name in verdicts} == verdicts
    assert (run["project"], run["job_type"]) == (NAME, "report")
    assert run["notes"] == any_markdown(EVIL)


def test_each_run_holds_its_curve_its_scores_and_its_settings(
    finished: Finished, folder: Path
) -> None:
    runs = {path.name.rpartition("-")[2] for path in folder.glob("wandb/offline-run-*")}
    assert runs == {"report", *(key[:16] for key in finished.declaration.keys)}
    for record in finished.finished_runs()[::20]:
        log = read(folder, record.key[:16])
        found = summary(log)
        points = [entry["item"] for entry in log["history"]]
        assert [point["_step"] for point in points] == [point.step for point in record.curve]
        for task in record.spec.scored:
            name = f"validation/{printable(task)}"
            expected = [point.scores[task] for point in record.curve]
            assert [point[name] for point in points] == expected
            value = record.primary(task).value
            assert found.get(f"test/{printable(task)}/accuracy") == value
        (run,) = log["run"]
        assert run["config"]["update"]["seed"] == record.spec.seed
        assert run["config"]["update"]["strategy"] == printable(record.spec.strategy)
        assert "\x1b" not in run["display_name"]


def test_plots_and_files_of_the_report_are_there(finished: Finished, folder: Path) -> None:
    (files,) = folder.glob("wandb/offline-run-*-report/files")
    for name, path in finished.exported.files.items():
        assert (files / name).read_bytes() == path.read_bytes()
        assert not (files / name).is_symlink()
    shown = {path.read_bytes() for path in (files / "media/images/plots").glob("*.png")}
    assert {path.read_bytes() for path in finished.exported.plots.values()} == shown
