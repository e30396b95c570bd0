"""Creatures: the factors are what they claim to be, and the tasks read what they claim to read."""

from itertools import combinations, product

import pytest
import torch
from bench.datasets.creatures import FACTORS, Creatures, draw_factors, kin, render, species
from torch import Tensor

from bench.contracts import DataSource
from bench.randomness import stream
from bench.tasks import TaskData

SHAPE, COAT = torch.tensor(list(product(range(4), range(4)))).T


@pytest.fixture(scope="module")
def data() -> dict[str, TaskData]:
    loaded: dict[str, TaskData] = Creatures().load(DataSource())
    return loaded


def _labels(data: dict[str, TaskData], task: str) -> Tensor:
    train, test = data[task].train_labels, data[task].test_labels
    assert train is not None
    assert test is not None
    return torch.cat([train, test])


def _table(first: Tensor, second: Tensor) -> Tensor:
    """Return how often each pair of classes occurs, `[4, 4]`."""
    return (4 * first + second).bincount(minlength=16).view(4, 4)


def test_loading_twice_gives_the_same_data(data: dict[str, TaskData]) -> None:
    again = Creatures().load(DataSource())
    assert torch.equal(data["species"].images.train, again["species"].images.train)
    assert torch.equal(data["species"].images.test, again["species"].images.test)
    for task in data:
        assert torch.equal(_labels(data, task), _labels(again, task))


def test_the_data_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    render(draw_factors(8, stream(0, "test")), stream(0, "test"))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_task_reads_the_same_images(data: dict[str, TaskData]) -> None:
    assert list(data) == list(Creatures.tasks)
    assert len({id(d.images) for d in data.values()}) == 1
    images = data["species"].images
    assert images.name == "creatures"
    assert images.train.shape == (6000, 3, 24, 24)
    assert images.test.shape == (2000, 3, 24, 24)
    assert images.train.dtype == torch.uint8


def test_training_and_test_images_differ(data: dict[str, TaskData]) -> None:
    images = data["species"].images
    assert not torch.equal(images.train[:2000], images.test)


@pytest.mark.parametrize("task", list(Creatures.tasks))
def test_labels_are_four_balanced_classes(data: dict[str, TaskData], task: str) -> None:
    labels = _labels(data, task)
    assert labels.dtype == torch.int64
    assert data[task].task.outputs == 4
    counts = labels.bincount()
    assert len(counts) == 4
    # A class of 8,000 fair draws strays by 5 standard deviations once in a million worlds.
    assert (counts - 2000).abs().max() < 5 * (8000 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize(("first", "second"), list(combinations(FACTORS, 2)))
def test_factors_are_independent(data: dict[str, TaskData], first: str, second: str) -> None:
    table = _table(_labels(data, first), _labels(data, second))
    chi_square = ((table - 500.0).square() / 500).sum()
    assert chi_square < 33.7  # the 99.99th percentile of χ² with 9 degrees of freedom


def test_species_and_kin_are_functions_of_body_and_coat(data: dict[str, TaskData]) -> None:
    both = _labels(data, "shape"), _labels(data, "coat")
    assert torch.equal(species(*both), _labels(data, "species"))
    assert torch.equal(kin(*both), _labels(data, "kin"))


def test_species_and_kin_need_both_factors() -> None:
    # Bodies and coats known alone leave at least two classes open, each as likely.
    for task in (species, kin):
        for factor in (SHAPE, COAT):
            table = _table(factor, task(SHAPE, COAT))
            assert (table.amax(1) <= 2).all()


def test_species_and_kin_say_nothing_about_each_other() -> None:
    assert (_table(species(SHAPE, COAT), kin(SHAPE, COAT)) == 1).all()


@pytest.mark.parametrize("factor", FACTORS)
def test_every_level_of_a_factor_changes_the_image(factor: str) -> None:
    base = {name: torch.zeros(1, dtype=torch.int64) for name in FACTORS}
    images = [
        render({**base, factor: torch.tensor([level])}, stream(0, "test")).float()
        for level in range(4)
    ]
    for one, other in combinations(images, 2):
        # The same stream draws the same nuisances and noise, so only the factor differs.
        assert (one - other).abs().max() > 15


def test_images_of_the_same_factors_differ_by_nuisance() -> None:
    factors = {name: torch.zeros(2, dtype=torch.int64) for name in FACTORS}
    one, other = render(factors, stream(0, "test"))
    assert not torch.equal(one, other)


def test_every_creature_shows_and_few_are_cut_off() -> None:
    factors = draw_factors(400, stream(0, "test"))
    images = render(factors, stream(0, "render")).float()
    coloured = images.amax(1) - images.amin(1) > 80  # the ground is grey
    border = torch.ones(24, 24, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert (coloured.sum((1, 2)) > 20).all()
    assert coloured[:, border].any(1).float().mean() < 0.2
