"""The committed default report, recomputed from its records by code that shares none with bench."""

import json
import math
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cli.app import main
from tests.independent import Experiment, differences

REPORT = Path(__file__).parents[1] / "results/reference/default"


@pytest.fixture(name="results", scope="module")
def _results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with the records and the report of the committed default."""
    folder = tmp_path_factory.mktemp("results")
    with tarfile.open(REPORT / "records.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "reports").mkdir()
    shutil.copytree(REPORT, folder / "reports" / "default")
    return folder


def test_every_figure_and_word_of_the_report_follows_from_its_records(results: Path) -> None:
    experiment = Experiment(results, "default")
    assert len(experiment.report["rows"]) == 7
    assert not list(differences(experiment))


@pytest.mark.parametrize(
    ("row", "path", "value", "told"),
    [
        (0, ("against", "full", "p_sign_flip"), 0.01, "hard, full, p_sign_flip"),
        (5, ("against", "same-steps", "mean"), 0.6, "hard+reconstruction, same-steps, mean"),
        (5, ("price", "mean"), -8.0, "hard+reconstruction, price"),
        (5, ("verdict", "transfer"), "better", "hard+reconstruction, transfer"),
        (3, ("verdict", "pay_off"), "inconclusive", "hard, pay_off"),
    ],
)
def test_a_figure_that_was_changed_is_found(
    results: Path, row: int, path: tuple[str, ...], value: object, told: str
) -> None:
    experiment = Experiment(results, "default")
    *outer, last = path
    place = experiment.report["rows"][row]
    for key in outer:
        place = place[key]
    assert place[last] != value
    place[last] = value
    (found,) = differences(experiment)
    assert told in found


def test_the_records_give_the_committed_report_again(results: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["report", "default", "--results", str(results)])
    assert end.value.code == 0
    # A change of words or statistics has to be reported anew: see results/reference/README.md.
    again, committed = (
        json.loads((folder / "gains.json").read_text("utf-8"))
        for folder in (results / "reports" / "default", REPORT)
    )
    assert list(_apart(again, committed)) == []


def _apart(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """Yield where two documents differ by more than the rounding of another processor."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        for key, value in ours.items():
            yield from _apart(value, theirs[key], f"{where}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            yield from _apart(a, b, f"{where}/{index}")
    elif isinstance(ours, float) and isinstance(theirs, float):
        if not math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-9):
            yield f"{where}: {ours} now, {theirs} committed"
    elif ours != theirs:
        yield f"{where}: {ours} now, {theirs} committed"
