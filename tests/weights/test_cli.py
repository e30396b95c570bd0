"""`run --save-weights`: what is kept follows from the decision, and the card's lines run."""

import re
import runpy
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.api import weights as command
from bench.cli.app import main
from bench.contracts import DataSource
from bench.decide.pairs import Choice, Decision, TaskSet, decisions
from bench.store.store import Store
from bench.train import load as load_module
from bench.train.load import task_data
from bench.weights import load
from bench.weights.file import read_saved, read_tensors

pytest.importorskip("safetensors")

TOY = (
    "run -p toy:row+column -s hard --seeds 2 --budget 12steps --train-size 100 "
    "--validation-size 50 --curve-points 2 --batch-size 16 --name toys --workers 0 -q"
)


@pytest.fixture(autouse=True, scope="module")
def _forget_data() -> Iterator[None]:
    """Forget what was loaded: of many results folders each has a cache of its own."""
    yield
    load_module._load.cache_clear()
    task_data.cache_clear()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder in which all runs are finished."""
    folder = tmp_path_factory.mktemp("trained") / "results"
    assert _run(folder) == 0
    return folder


def _run(results: Path, *more: str) -> object:
    with pytest.raises(SystemExit) as end:
        main([*TOY.split(), "--results", str(results), *more])
    return end.value.code


def _decided(monkeypatch: pytest.MonkeyPatch, choice: Choice) -> None:
    """Let everything be decided in one way, whatever the results."""

    def decided(*given: object) -> list[TaskSet]:
        found = []
        for tasks in decisions(*given):  # type: ignore[arg-type]
            strategy = "hard" if choice is Choice.SHARE else ""
            decision = Decision(choice, tasks.decision.candidates, strategy, 0.01)
            found.append(TaskSet(tasks.pair, decision))
        return found

    monkeypatch.setattr(command, "decisions", decided)


def _trained_again(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which the key of every run is added that is trained for its weights."""
    keys: list[str] = []
    train = command._train

    def train_and_tell(path: Path, job: object, *others: object) -> object:
        keys.append(job.key)  # type: ignore[attr-defined]
        return train(path, job, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "_train", train_and_tell)
    return keys


def _weights(results: Path) -> Mapping[str, Path]:
    return {p.name: p for p in sorted((results / "reports/toys/weights").glob("*"))}


def _accuracy(path: Path, task: str) -> float:
    data = task_data("toy", task, DataSource())
    assert data.test_labels is not None
    answers = load(path)(data.images.test)[task]
    return 100 * (answers.argmax(1) == data.test_labels).double().mean().item()


def _copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "results"))


def test_share_keeps_the_shared_network_of_the_first_seed_and_trains_it_alone(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = _copied(trained, tmp_path)
    _decided(monkeypatch, Choice.SHARE)
    keys = _trained_again(monkeypatch)
    assert _run(results, "--save-weights") == 0  # after all runs are finished
    assert [*_weights(results)] == ["row+column.md", "row+column.safetensors"]
    path = _weights(results)["row+column.safetensors"]
    assert str(path) in capsys.readouterr().out
    saved = read_saved(path)
    assert (saved.run.strategy, saved.run.seed, keys) == ("hard", 0, [saved.run.key])
    record = Store(results).load(saved.run.key)
    assert record is not None
    for task in ("row", "column"):
        assert saved.run.scores[task]["accuracy"] == record.value(task)
        assert _accuracy(path, task) == pytest.approx(record.value(task))

    before = path.read_bytes()
    assert _run(results, "--save-weights") == 0
    assert len(keys) == 1  # it is there
    path.write_bytes(b"damaged")
    assert _run(results, "--save-weights") == 0
    assert len(keys) == 2
    assert path.read_bytes() == before


def test_separate_keeps_the_single_task_network_of_each_task(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = _copied(trained, tmp_path)
    _decided(monkeypatch, Choice.SEPARATE)
    assert _run(results, "--save-weights") == 0
    assert [*_weights(results)] == [
        *("column.md", "column.safetensors", "row.md", "row.safetensors"),
    ]
    for task in ("row", "column"):
        path = _weights(results)[f"{task}.safetensors"]
        saved = read_saved(path)
        assert (saved.run.strategy, saved.run.budget) == ("single", "12steps")
        assert [each.name for each in saved.tasks] == [task]
        assert _accuracy(path, task) == pytest.approx(saved.run.scores[task]["accuracy"])


@pytest.mark.parametrize("choice", [Choice.TRADE, Choice.UNDECIDED])
def test_what_recommends_nothing_saves_nothing_and_says_so(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    choice: Choice,
) -> None:
    results = _copied(trained, tmp_path)
    _decided(monkeypatch, choice)
    assert _run(results, "--save-weights") == 0
    assert not _weights(results)
    said = f"no weights are saved for row and column: nothing is recommended ({choice})"
    assert said in capsys.readouterr().out


def test_a_former_decision_is_told_and_its_files_stay(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = _copied(trained, tmp_path)
    old = results / "reports/toys/weights/old.safetensors"
    old.parent.mkdir()
    old.touch()
    _decided(monkeypatch, Choice.UNDECIDED)
    with pytest.raises(SystemExit):
        main([*TOY.removesuffix(" -q").split(), "--results", str(results), "--save-weights"])
    assert "earlier decision: old.safetensors" in capsys.readouterr().err
    assert old.exists()


def test_without_the_package_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert _run(tmp_path / "results", "--save-weights") == 2
    assert "pip install 'mtl-sharing-bench[weights]'" in capsys.readouterr().err
    assert not (tmp_path / "results" / "runs").exists()


def test_a_worker_process_saves_the_same_tensors(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _decided(monkeypatch, Choice.SHARE)
    found = []
    for workers in ("0", "1"):
        results = _copied(trained, tmp_path / workers)
        assert _run(results, "--save-weights", "--workers", workers) == 0
        found.append(read_tensors(_weights(results)["row+column.safetensors"]))
    assert found[0].keys() == found[1].keys()
    assert all(tensor.equal(found[1][name]) for name, tensor in found[0].items())


def test_the_lines_of_the_card_run_and_answer_as_the_harness_evaluates(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = _copied(trained, tmp_path)
    _decided(monkeypatch, Choice.SHARE)
    assert _run(results, "--save-weights") == 0
    page = _weights(results)["row+column.md"].read_text("utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(lines.strip().splitlines()) <= 10
    data = {task: task_data("toy", task, DataSource()) for task in ("row", "column")}
    folder = results / "reports/toys/weights"
    names = []
    for number, image in enumerate(data["row"].images.test):
        names.append(f"{number}.png")
        Image.fromarray(np.asarray(image[0])).save(folder / names[-1])
    monkeypatch.chdir(folder)
    Path("use.py").write_text(lines)
    monkeypatch.setattr(sys, "argv", ["use.py", *names])
    capsys.readouterr()
    ran = runpy.run_path("use.py")
    record = Store(results).load(read_saved(folder / "row+column.safetensors").run.key)
    assert record is not None
    examples = Store(results).examples(record)
    for task, each in data.items():
        assert each.test_labels is not None
        right = ran["answers"][task].argmax(1) == each.test_labels
        assert right.numpy().tolist() == examples[task].astype(bool).tolist()
    assert len(capsys.readouterr().out.splitlines()) == len(names)


def test_the_card_says_what_the_network_is(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = _copied(trained, tmp_path)
    _decided(monkeypatch, Choice.SHARE)
    assert _run(results, "--save-weights") == 0
    page = _weights(results)["row+column.md"].read_text("utf-8")
    for said in (
        "# row, column: a trained network",
        "- strategy: `hard`",
        "- seed: 0, the first of 2 that ended well",
        "16 × 16 pixels, grey",
        "| row | classification |",
        "4, without names",
        "pip install 'mtl-sharing-bench[weights]'",
        "| column | accuracy (%) |",
    ):
        assert said in page
