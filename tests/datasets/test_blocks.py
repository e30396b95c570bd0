"""Blocks of teachers: they share as many features as they say, and nothing else."""

import pytest
import torch
from torch import Tensor

from bench.contracts import DataSource
from bench.datasets.blocks import DRAWN, FEATURES, MOST_TASKS, SIGNAL, SIGNS, Blocks, answers
from bench.errors import UserError
from bench.spec.registry import declared_pairs, parse_dataset
from bench.tasks import TaskData
from bench.train.rows import Standardise

#: Standard deviation of the error of a correlation or a mean over so many images, times five.
IMAGES = 100_000
TOLERANCE = 5 * IMAGES**-0.5


def loaded(**knobs: float) -> dict[str, TaskData]:
    return Blocks(**knobs).load(DataSource())  # type: ignore[arg-type]


def labels(data: TaskData) -> tuple[Tensor, Tensor]:
    assert data.train_labels is not None
    assert data.test_labels is not None
    return data.train_labels, data.test_labels


def answered(blocks: Blocks) -> Tensor:
    """Return the answers `[n, N]` of all teachers to the same images."""
    x = torch.randn(IMAGES, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    directions = blocks.features().values()
    return torch.stack([answers(x, v, SIGNS[t % 8]) for t, v in enumerate(directions)])


@pytest.mark.parametrize(
    ("blocks", "size", "within", "across"),
    [
        (2, 2, 1.0, 0.0),
        (2, 2, 0.0, 0.0),
        (2, 2, 1.0, 1.0),
        (2, 3, 0.75, 0.25),
        (3, 2, 0.5, 0.5),
        (4, 3, 0.0, 0.0),
        (1, 5, 0.5, 0.0),
    ],
)
def test_two_tasks_share_the_stated_part_of_their_features(
    blocks: int, size: int, within: float, across: float
) -> None:
    world = Blocks(blocks, size, within, across)
    v = world.features()
    block = {task: number for number, group in enumerate(world.grouping) for task in group}
    assert list(v) == list(world.tasks) == list(block)
    for one in v:
        for other in v:
            same = within if block[one] == block[other] else across
            shared = round(FEATURES * (1.0 if one == other else same))
            expected = torch.diag(torch.tensor([1.0] * shared + [0.0] * (FEATURES - shared)))
            torch.testing.assert_close(v[one].T @ v[other], expected, atol=1e-5, rtol=0)


def test_answers_have_mean_zero_the_stated_scale_and_are_uncorrelated() -> None:
    for world in (Blocks(), Blocks(across=1.0), Blocks(within=0.0), Blocks(3, 4, within=0.0)):
        found = answered(world)
        assert found.mean(1).abs().max() < SIGNAL * TOLERANCE
        expected = torch.full((len(found),), SIGNAL)
        torch.testing.assert_close(found.std(1), expected, rtol=0.02, atol=0)
        assert (torch.corrcoef(found) - torch.eye(len(found))).abs().max() < TOLERANCE


def test_answers_correlate_by_the_signs_of_the_features_they_share() -> None:
    # Of half of their features a1 and a2 read (−, +) and (+, +), and of those b1 reads (+, −).
    found = torch.corrcoef(answered(Blocks(across=0.5)))
    shared = SIGNS[:4, :2] @ SIGNS[:4, :2].T / FEATURES
    assert float(shared[0, 2]) == -0.5
    torch.testing.assert_close(found[0, 2:], shared[0, 2:], atol=TOLERANCE, rtol=0)


def test_the_signs_are_two_orthogonal_bases() -> None:
    for basis in SIGNS.split(FEATURES):
        assert torch.equal(basis @ basis.T, FEATURES * torch.eye(FEATURES))
    assert torch.equal(SIGNS[:FEATURES].sum(1), torch.full((FEATURES,), 2.0))


def test_training_labels_carry_noise_of_variance_one_and_test_labels_none() -> None:
    data, v = loaded(), Blocks().features()
    shown = Standardise(data["a1"].images, torch.device("cpu"))
    train, test = (
        shown(part.permute(0, 2, 3, 1)).contiguous()
        for part in (data["a1"].images.train, data["a1"].images.test)
    )
    noises = []
    for task, signs in zip(data, SIGNS[:4], strict=True):
        noisy, exact = labels(data[task])
        torch.testing.assert_close(exact, answers(test, v[task], signs), atol=1e-4, rtol=0)
        noises.append(noisy - answers(train, v[task], signs))
    noise = torch.stack(noises)
    # 10,000 labels a task: the noise of one says nothing of that of another.
    torch.testing.assert_close(torch.cov(noise), torch.eye(4), atol=0.08, rtol=0)
    assert noise.mean(1).abs().max() < 0.05


def test_all_tasks_are_on_one_set_of_images() -> None:
    data = loaded(blocks=2, size=3)
    assert list(data) == ["a1", "a2", "a3", "b1", "b2", "b3"]
    assert len({id(each.images) for each in data.values()}) == 1
    assert data["a1"].images.drawn == DRAWN


def test_a_world_is_the_same_every_time_and_worlds_differ() -> None:
    first, again, other = loaded(world=1), loaded(world=1), loaded(world=2)
    assert first["a1"].images.name != other["a1"].images.name
    assert torch.equal(first["a1"].images.train, again["a1"].images.train)
    assert not torch.equal(first["a1"].images.train, other["a1"].images.train)
    features = Blocks(world=1).features()["b2"], Blocks(world=2).features()["b2"]
    assert not torch.equal(*features)
    for one, same, different in zip(
        *map(labels, (first["b2"], again["b2"], other["b2"])), strict=True
    ):
        assert torch.equal(one, same)
        assert not torch.equal(one, different)


def test_what_is_shared_changes_no_image_and_no_answer_of_the_first_task() -> None:
    planted, nothing, everything = loaded(), loaded(within=0.0), loaded(across=1.0)
    for other in (nothing, everything):
        assert torch.equal(planted["a1"].images.train, other["a1"].images.train)
        assert torch.equal(labels(planted["a1"])[1], labels(other["a1"])[1])
        assert not torch.equal(labels(planted["b1"])[1], labels(other["b1"])[1])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ("within=0.3", "within is a multiple of 1/4 in 0 to 1, not 0.3"),
        ("across=1.25", "across is a multiple of 1/4 in 0 to 1"),
        ("within=0.5,across=0.75", "across is at most within, 0.5, not 0.75"),
        ("blocks=7", f"make 2 to {MOST_TASKS} tasks, not 7 × 2"),
        ("blocks=1,size=1", f"make 2 to {MOST_TASKS} tasks, not 1 × 1"),
        ("blocks=-2,size=-2", f"make 2 to {MOST_TASKS} tasks"),
    ],
)
def test_knobs_that_no_world_can_have_are_refused(knobs: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_dataset(f"blocks@{knobs}")


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ("", {"a1+a2": "positive", "a1+b1": "negative"}),
        ("@across=1", {"a1+a2": "positive", "a1+b1": "positive"}),
        ("@within=0", {"a1+a2": "negative", "a1+b1": "negative"}),
        ("@within=0.5", {"a1+a2": None, "a1+b1": "negative"}),
        ("@size=1", {"a1+b1": "negative"}),
        ("@blocks=1", {"a1+a2": "positive"}),
    ],
)
def test_pairs_expect_what_the_features_say(knobs: str, expected: dict[str, str | None]) -> None:
    pairs = declared_pairs(parse_dataset(f"blocks{knobs}"))
    assert {"+".join(pair.tasks): pair.expect for pair in pairs} == expected


def test_the_most_tasks_have_all_features_to_themselves() -> None:
    together = torch.cat(list(Blocks(6, 2, within=0.0).features().values()), dim=1)
    assert together.shape == (49, MOST_TASKS * FEATURES)
    torch.testing.assert_close(together.T @ together, torch.eye(48), atol=1e-5, rtol=0)
