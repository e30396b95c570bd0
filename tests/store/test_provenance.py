"""Records name the commits of the harness and of the user; no key follows from them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
from bench.store.provenance import package_versions, provenance, revisions
from bench.train.run import attempt
from tests.conftest import toy_jobs

ROOT = Path(__file__).parents[2]


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(name="repository")
def _repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository of a user's own with one commit; the working folder is inside it."""
    folder = tmp_path / "mine"
    inside = folder / "experiments"
    inside.mkdir(parents=True)
    (inside / "toy.toml").write_text("seeds = 2\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    monkeypatch.chdir(inside)
    provenance.cache_clear()
    yield folder
    provenance.cache_clear()


def test_the_repository_of_the_working_folder_is_recorded(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert revisions()["repository"] == head
    (repository / "notes.py").touch()  # in no plugin folder
    assert revisions()["repository"] == head
    (repository / "experiments/toy.toml").write_text("seeds = 3\n")
    assert revisions()["repository"] == f"{head}+changes"


def test_a_plugin_that_is_in_no_commit_is_a_change(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = git(repository, "rev-parse", "HEAD")
    plugins, elsewhere = repository / "plugins", tmp_path / "elsewhere"
    for folder in (plugins, elsewhere):
        (folder / "strategies").mkdir(parents=True)
    monkeypatch.setattr(bench, "plugin_folders", [plugins, elsewhere])
    (elsewhere / "strategies/other.py").touch()
    assert revisions()["repository"] == head
    (plugins / "strategies/mine.py").touch()
    assert revisions()["repository"] == f"{head}+changes"
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "two")
    assert revisions()["repository"] == git(repository, "rev-parse", "HEAD")


def test_the_harness_is_no_repository_of_a_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT / "tests")
    own = revisions()
    assert "repository" not in own
    monkeypatch.chdir(tmp_path)
    assert revisions() == own
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))  # as in a hook
    assert revisions() == own
    monkeypatch.setenv("PATH", "")
    assert revisions() == {}


def test_a_repository_without_a_commit_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    monkeypatch.chdir(tmp_path)
    assert "repository" not in revisions()


def test_a_record_has_the_repository_and_its_key_does_not_follow_from_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = toy_jobs(tmp_path / "results", "hard", "toy:row+column")
    record, _ = attempt(jobs[0])
    assert record.status == "ok"
    assert record.provenance["repository"] == git(repository, "rev-parse", "HEAD")
    assert {"torch", "torchvision", "numpy", "torchmetrics", "pillow"} <= record.provenance.keys()
    monkeypatch.chdir(tmp_path)
    provenance.cache_clear()
    again = toy_jobs(tmp_path / "results", "hard", "toy:row+column")
    assert [job.key for job in again] == [job.key for job in jobs]


def test_the_packages_of_a_plugin_are_recorded_with_their_versions() -> None:
    pytest.importorskip("timm")
    from importlib.metadata import version

    from bench.spec.registry import networks

    assert package_versions([networks().found["timm"](model="resnet18")]) == {
        "safetensors": version("safetensors"),
        "timm": version("timm"),
    }
