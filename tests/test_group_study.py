"""The study of groupings: what it computes of runs, and what it writes."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bench.stats.affinities import Affinities

FOLDER = Path(__file__).parents[1] / "results/reference/groups"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("group_study", FOLDER / "study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scores_of_groups_become_gains_in_percent_of_the_task_alone(study: ModuleType) -> None:
    alone, pair = np.array([[-2.0], [-4.0], [9.9]]), np.array([[-1.0, -2.0], [-2.0, -4.0], [0, 0]])
    scores = {("a",): alone, ("b",): alone, ("a", "b"): pair}
    assert study.gains_of(scores, [0, 1])["a", "b"].tolist() == [50.0, 0.0]
    assert study.best_as_trained({key: each[:2] for key, each in scores.items()}, "ab") == (
        ("a", "b"),
    )


def test_ranks_that_are_predicted_correlate_by_one_and_reversed_ones_by_minus_one(
    study: ModuleType,
) -> None:
    # Of task i, partner j takes a tenth of i + j off a risk of 10, at each of five seeds.
    tasks = ("a", "b", "c")
    gained = np.add.outer([0.1, 0.2, 0.3], [0.01, 0.02, 0.04])
    scores: dict[tuple[str, ...], np.ndarray] = {(t,): np.full((5, 1), -10.0) for t in tasks}
    for i, j in ((0, 1), (0, 2), (1, 2)):
        pair = np.array([gained[i, j], gained[j, i]])
        scores[tasks[i], tasks[j]] = np.tile(pair - 10, (5, 1))
    for sign in (1, -1):
        found = Affinities("pairs", tasks, np.tile(sign * gained, (5, 1, 1)), "%", 0.0)
        assert study.rank_correlation(found, scores, 2) == pytest.approx(sign)


def test_a_small_study_trains_every_group_and_writes_its_three_files(
    study: ModuleType, tmp_path: Path
) -> None:
    design = study.Design(worlds=1, steps={"short": 4}, seeds=3, exhaustive=1)
    study.main(tmp_path, tmp_path / "results", design)
    found = json.loads((tmp_path / "study.json").read_text("utf-8"))
    assert [row["method"] for row in found["proposals"]] == ["pairs", "look-ahead", "cosine"]
    assert {row["outcome"] for row in found["proposals"]} <= set(study.OUTCOMES)
    costs = found["flops"]["short"]
    assert costs["joint"] < costs["pairs"] < costs["higher-order"] < costs["every group"]
    assert (tmp_path / "recovery.png").stat().st_size > 10_000
    page = (tmp_path / "study.md").read_text("utf-8")
    study.main(tmp_path)
    assert (tmp_path / "study.md").read_text("utf-8") == page
