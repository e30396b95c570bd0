"""Teachers that share features: they share as many as they say, and nothing else."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contracts import DataSource
from bench.datasets.teachers import DRAWN, SIGNAL, SIGNS, Teachers, answers, features
from bench.errors import UserError
from bench.spec.registry import parse_dataset
from bench.train.rows import Standardise

ROOT = Path(__file__).parents[2]
OVERLAPS = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize("overlap", [*OVERLAPS, 0.125])
def test_the_teachers_share_the_stated_part_of_their_features(overlap: float) -> None:
    v = features(overlap)
    products = v["target"].T @ v["partner"]
    shared = round(8 * overlap)
    expected = torch.diag(torch.tensor([1.0] * shared + [0.0] * (8 - shared)))
    torch.testing.assert_close(products, expected, atol=1e-5, rtol=0)
    for own in v.values():
        torch.testing.assert_close(own.T @ own, torch.eye(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_answers_have_the_stated_scale_and_are_uncorrelated(overlap: float) -> None:
    x = torch.randn(100_000, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    both = torch.stack([answers(x, v, SIGNS[task]) for task, v in features(overlap).items()])
    # Five standard deviations of a mean and of a correlation; the kurtosis is near a normal's.
    assert both.mean(1).abs().max() < 5 * SIGNAL * 100_000**-0.5
    torch.testing.assert_close(both.std(1), torch.tensor([SIGNAL, SIGNAL]), rtol=0.02, atol=0)
    assert abs(float(torch.corrcoef(both)[0, 1])) < 5 * 100_000**-0.5


@pytest.mark.parametrize("overlap", ["0.3", "1.5", "-0.125"])
def test_an_overlap_that_eight_features_cannot_have_is_refused(overlap: str) -> None:
    with pytest.raises(UserError, match="a multiple of 1/8 in 0 to 1"):
        parse_dataset(f"teachers@overlap={overlap}")


def test_the_overlap_changes_the_partners_labels_and_nothing_else() -> None:
    none, all_ = (Teachers(overlap).load(DataSource()) for overlap in (0.0, 1.0))
    for task in DRAWN:
        assert torch.equal(none[task].images.train, all_[task].images.train)
        before, after = none[task].train_labels, all_[task].train_labels
        assert before is not None
        assert after is not None
        assert torch.equal(before, after) == (task == "target")


@pytest.mark.parametrize("task", list(DRAWN))
def test_test_labels_are_the_answers_to_what_a_network_is_shown(task: str) -> None:
    data = Teachers(0.5).load(DataSource())[task]
    shown = Standardise(data.images, torch.device("cpu"))(data.images.test.permute(0, 2, 3, 1))
    expected = answers(shown.contiguous(), features(0.5)[task], SIGNS[task])
    assert data.test_labels is not None
    torch.testing.assert_close(data.test_labels, expected, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def committed() -> dict[tuple[str, str], dict[str, Any]]:
    """The comparison with `full` of every row of the reference report, by pair and target."""
    path = ROOT / "results/reference/teachers/gains.json"
    rows = json.loads(path.read_text("utf-8"))["rows"]
    return {(row["pair"], row["target"]): row["against"]["full"] for row in rows}


def test_the_committed_gain_rises_with_every_step_of_the_overlap(
    committed: dict[tuple[str, str], dict[str, Any]],
) -> None:
    # 0.5 is the default, which a name leaves out.
    names = [f"teachers@overlap={o}" if o != 0.5 else "teachers" for o in OVERLAPS]
    intervals = [committed[f"{n}:target+partner", "target"]["interval_95"] for n in names]
    for (_, high), (low, _) in pairwise(intervals):
        assert high < low
    assert intervals[0][1] < 0 < intervals[-1][0]


def test_the_committed_placebos_gain_nothing(
    committed: dict[tuple[str, str], dict[str, Any]],
) -> None:
    pair = "teachers@overlap=1.0:target+partner"
    assert committed[f"{pair}~shuffled", "target"]["interval_95"][1] < 0
    assert set(committed[f"{pair}~none", "target"]["gains_by_seed"].values()) == {0.0}
