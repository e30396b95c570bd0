"""Creatures: the factors are what they claim to be, and the tasks read what they claim to read."""

from itertools import combinations, product

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from bench.contracts import DataSource
from bench.datasets.creatures import (
    FACTORS,
    RELATIVE,
    Creatures,
    draw_factors,
    kin,
    render,
    species,
)
from bench.errors import UserError
from bench.images import content_digest
from bench.randomness import stream
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_dataset, parse_pairs
from bench.task_types import MISSING
from bench.tasks import TaskData
from bench.train.load import task_data
from bench.train.splits import draw_split

SHAPE, COAT = torch.tensor(list(product(range(4), range(4)))).T
#: SHA-256 of images and labels, in part.
DIGESTS = {
    "train": "2a60cb6f0d41d0d8",
    "test": "82152de059c5c70e",
    "species": "b027b029cedd114b",
    "kin": "28c9c126d56d796b",
    "relative": "28c9c126d56d796b",
    "shape": "e4578285f3047a0b",
    "coat": "c6e992f593f448db",
    "hue": "fbe953d02fe7ff64",
    "position": "d855b797bbcb5c87",
    "background": "4cfcb9b9670c04dc",
    "pose": "4a1bc0aa8b8c9acc",
}


@pytest.fixture(scope="module")
def data() -> dict[str, TaskData]:
    loaded: dict[str, TaskData] = Creatures().load(DataSource())
    return loaded


def _labels(data: dict[str, TaskData], task: str) -> Tensor:
    train, test = data[task].train_labels, data[task].test_labels
    assert train is not None
    assert test is not None
    return torch.cat([train, test])


def _load(knobs: str = "") -> dict[str, TaskData]:
    name = f"creatures@{knobs}"
    return {task: task_data(name, task, DataSource()) for task in Creatures.tasks}


def _train(data: dict[str, TaskData], task: str) -> Tensor:
    labels = data[task].train_labels
    assert labels is not None
    return labels


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


# -------------------------------------------------------------------------------------- the dials


def test_without_dials_the_world_is_what_it_always_was(data: dict[str, TaskData]) -> None:
    # Content as at commit 2d7bf93, before there were dials, with torch 2.15 on x86-64: the
    # committed reference results rest on it.
    images = data["species"].images
    tensors = {"train": images.train, "test": images.test}
    tensors |= {task: _labels(data, task) for task in data}
    assert {name: content_digest(tensor)[:16] for name, tensor in tensors.items()} == DIGESTS
    assert images.drawn is None


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ("shared=3", "shared is 0, 1 or 2, not 3"),
        ("shared=-1", "shared is"),
        ("noise=1.1", "noise is from 0 to 1"),
        ("noise=nan", "noise is"),
        ("labels=0", "labels is above 0"),
        ("labels=1.5", "labels is"),
        ("train=6001", "train is from 1 to 6000"),
        ("side=15", "side is from 16 to 64"),
        ("side=65", "side is"),
    ],
)
def test_a_dial_out_of_range_is_the_users_to_mend(knobs: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        parse_dataset(f"creatures@{knobs}")


def test_the_declared_pairs_have_no_dial_in_them() -> None:
    assert [pair.name for pair in parse_pairs("creatures")] == [
        "creatures:species+kin",
        "creatures:species+background",
    ]


def test_the_partner_has_as_many_factors_in_common_as_the_dial_says() -> None:
    for shared, (plain, turning) in RELATIVE.items():
        assert len({plain, turning} & {"shape", "coat"}) == shared
        factors = {name: torch.zeros(16, dtype=torch.int64) for name in FACTORS}
        factors[plain], factors[turning] = SHAPE, COAT
        data = _load(f"shared={shared}")
        read = _labels(data, plain), _labels(data, turning)
        assert torch.equal(_labels(data, "relative"), species(*read))


def test_the_partner_with_all_in_common_is_kin(data: dict[str, TaskData]) -> None:
    assert torch.equal(_labels(data, "relative"), _labels(data, "kin"))


@pytest.mark.parametrize("shared", list(RELATIVE))
def test_the_partner_says_nothing_about_species_at_any_value(shared: int) -> None:
    every = dict(zip(FACTORS, torch.tensor(list(product(range(4), repeat=6))).T, strict=True))
    plain, turning = (every[factor] for factor in RELATIVE[shared])
    table = _table(species(every["shape"], every["coat"]), species(plain, turning))
    assert (table == 4**6 // 16).all()  # every pair of classes as often: no information


@pytest.mark.parametrize("shared", [0, 1])
def test_the_dial_of_relatedness_changes_no_other_task(
    data: dict[str, TaskData], shared: int
) -> None:
    other = _load(f"shared={shared}")
    assert torch.equal(other["species"].images.train, data["species"].images.train)
    for task in data:
        assert torch.equal(_labels(other, task), _labels(data, task)) == (task != "relative")


def test_noise_redraws_its_share_of_all_training_labels(data: dict[str, TaskData]) -> None:
    some, more = _load("noise=0.2"), _load("noise=0.6")
    assert torch.equal(some["species"].images.train, data["species"].images.train)
    wrong = {}
    for task, clean in data.items():
        assert torch.equal(some[task].test_labels, clean.test_labels)  # type: ignore[arg-type]
        wrong[task] = _train(some, task) != _train(data, task)
        # A quarter of what is redrawn stays right: 900 of 6,000 are wrong, with deviation 15.
        assert abs(int(wrong[task].sum()) - 900) < 5 * 15
        # Where little noise hits, more hits as well, and redraws the same class.
        assert torch.equal(_train(some, task)[wrong[task]], _train(more, task)[wrong[task]])
    # Each task's noise is its own: a task and its twin are not wrong together.
    both = (wrong["kin"] & wrong["relative"]).sum()
    assert abs(int(both) - 6000 * 0.15**2) < 5 * 12
    assert (_train(_load("noise=1"), "hue") == _train(data, "hue")).float().mean() < 0.3


def test_label_noise_says_nothing_about_the_true_class() -> None:
    noisy, clean = _train(_load("noise=1"), "species"), _train(_load("shared=2"), "species")
    chi_square = ((_table(noisy, clean) - 375.0).square() / 375).sum()
    assert chi_square < 44.3  # the 99.99th percentile of χ² with 15 degrees of freedom


def test_only_the_labels_of_species_go_missing(data: dict[str, TaskData]) -> None:
    few, half = _load("labels=0.1"), _load("labels=0.5")
    for dialled, count in ((few, 600), (half, 3000)):
        known = dialled["species"].known[0]
        assert int(known.sum()) == count
        assert torch.equal(_train(dialled, "species")[known], _train(data, "species")[known])
        assert (_train(dialled, "species")[~known] == MISSING).all()
        for task in dialled:
            assert dialled[task].known[1].all()
            assert task == "species" or torch.equal(_labels(dialled, task), _labels(data, task))
    assert not (few["species"].known[0] & ~half["species"].known[0]).any()


def test_train_is_what_a_seed_draws_whatever_the_recipe_says() -> None:
    images = _load("train=50")["species"].images
    assert images.train.shape[0] == 6000
    split = draw_split(images, Recipe(train_size=100, validation_size=20), seed=0)
    assert (len(split.train), len(split.validation)) == (50, 20)


@pytest.mark.parametrize("side", [16, 40])
def test_a_larger_image_shows_the_same_scene(data: dict[str, TaskData], side: int) -> None:
    dialled = _load(f"side={side}")
    assert dialled["species"].images.image == (3, side, side)
    assert torch.equal(_labels(dialled, "species"), _labels(data, "species"))
    small, large = (
        functional.interpolate(d["species"].images.test[:200].float(), (8, 8), mode="area")
        for d in (data, dialled)
    )
    # Another image than its own would be off by 40 levels of 255.
    assert (small - large).abs().mean() < 8
    assert (small - large.roll(1, 0)).abs().mean() > 25


def test_disjoint_tasks_are_on_a_draw_of_their_own(data: dict[str, TaskData]) -> None:
    apart = _load("disjoint=true")
    own, others = apart["species"].images, apart["kin"].images
    assert all(apart[task].images is others for task in apart if task != "species")
    assert own.name == "creatures" != others.name
    assert torch.equal(own.train, data["species"].images.train)
    assert torch.equal(_labels(apart, "species"), _labels(data, "species"))
    for part in (others.train, others.test):
        assert not any(torch.equal(part[:2000], old) for old in (own.train[:2000], own.test))
    both = _labels(apart, "shape"), _labels(apart, "coat")
    assert torch.equal(kin(*both), _labels(apart, "kin"))
