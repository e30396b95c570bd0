"""Auxiliary tasks made from changed images: what they ask, of which images, and their placebos."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor

from bench.contracts import Auxiliary
from bench.errors import UserError
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy
from bench.strategies.colourisation import greyed
from bench.strategies.jigsaw import puzzled
from bench.strategies.rotation import rotated
from bench.tasks import ImageSet, TaskData
from bench.train.batches import Batches
from bench.train.load import fingerprint
from bench.train.loop import TrainingState
from bench.train.pricing import count, count_flops

CPU, META = torch.device("cpu"), torch.device("meta")
Toy = Callable[[str], TaskData]
PRETEXTS = ["rotation", "jigsaw", "colourisation"]


@pytest.fixture
def target(toy: Toy) -> TaskData:
    """The toy task, its images in colour."""
    row = toy("row")
    tint = torch.tensor([1.0, 0.5, 0.8])[:, None, None]
    parts = [
        (part.expand(-1, 3, -1, -1) * tint).byte() for part in (row.images.train, row.images.test)
    ]
    return replace(row, images=ImageSet("tinted", parts[0], parts[1]))


def _attached(strategy: str, target: TaskData) -> TaskData:
    (auxiliary,) = parse_strategy(strategy).auxiliaries
    assert isinstance(auxiliary, Auxiliary)
    (task,) = auxiliary.attach(target, [])
    return task


def _turned_back(data: TaskData) -> Tensor:
    assert data.train_labels is not None
    images: Tensor = rotated(data.images.train, (4 - data.train_labels) % 4)
    return images


def test_turning_by_quarters_is_counter_clockwise() -> None:
    image = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).view(1, 1, 2, 2)
    found = rotated(image.repeat(4, 1, 1, 1), torch.arange(4))
    assert found.flatten(1).tolist() == [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]


def test_a_rotation_turned_back_is_the_image(target: TaskData) -> None:
    task = _attached("rotation", target)
    assert torch.equal(_turned_back(task), target.images.train)
    assert task.train_labels is not None
    assert task.train_labels.bincount().min() > 50  # of 300 / 4


def test_a_puzzle_has_its_tiles_in_the_order_of_its_number() -> None:
    image = torch.tensor([[0, 1, 9], [2, 3, 9], [9, 9, 9]], dtype=torch.uint8).view(1, 1, 3, 3)
    found = puzzled(image.repeat(24, 1, 1, 1), torch.arange(24))
    tiles = {tuple(puzzle[0, :2, :2].flatten().tolist()) for puzzle in found}
    assert len(tiles) == 24
    assert torch.equal(found[0], image[0])
    assert found[5, 0, :2, :2].flatten().tolist() == [0, 3, 2, 1]  # the sixth: 0, 3, 2, 1
    assert (found[:, 0, 2] == 9).all()  # an odd row stays


def test_a_puzzle_of_larger_tiles_moves_them_whole() -> None:
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    (swapped,) = puzzled(image, torch.tensor([23]))[0]  # the last order: 3, 2, 1, 0
    assert swapped.tolist() == [[10, 11, 8, 9], [14, 15, 12, 13], [2, 3, 0, 1], [6, 7, 4, 5]]


def test_grey_is_the_luminance_in_all_channels() -> None:
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]])
    found = greyed(colours.byte().view(4, 3, 1, 1))
    assert found[:, 0].flatten().tolist() == [76, 150, 29, 255]
    assert torch.equal(found[:, 0], found[:, 2])


def test_the_colours_asked_for_are_the_targets_own_standardised(
    target: TaskData, recipe: Recipe
) -> None:
    data = [target, _attached("colourisation", target)]
    batch = next(iter(Batches(data, recipe, 0, CPU)))
    assert batch.images[0] is not None
    torch.testing.assert_close(batch.targets[1], batch.images[0])


def test_a_task_that_images_cannot_have_is_refused_with_the_reason(toy: Toy) -> None:
    with pytest.raises(UserError, match=r"needs images in colour; those of 'toy' are not"):
        _attached("colourisation", toy("row"))
    train, test = (torch.zeros(n, 1, 16, 20, dtype=torch.uint8) for n in (300, 100))
    wide = ImageSet("wide", train, test)
    with pytest.raises(UserError, match="square images; those of 'wide' are 16 × 20"):
        _attached("rotation", replace(toy("row"), images=wide))


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_it_draws_the_targets_images_in_the_targets_order(
    target: TaskData, recipe: Recipe, pretext: str
) -> None:
    """No image reaches the encoder through the auxiliary task that the target does not train on."""
    number = torch.arange(300)
    task = _attached(pretext, target)
    assert task.images.name == target.images.name
    marked = replace(task, task=target.task, train_labels=number)
    batches = Batches([replace(target, train_labels=number), marked], recipe, 4, CPU)
    ours, theirs = batches.split(target), batches.split(marked)
    assert torch.equal(ours.train, theirs.train)
    assert torch.equal(ours.validation, theirs.validation)
    for batch in islice(batches, 10):
        assert torch.equal(*batch.targets)


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_the_changed_images_are_made_once(target: TaskData, pretext: str) -> None:
    first, again = _attached(pretext, target), _attached(f"{pretext}@0.5", target)
    placebo = _attached(f"{pretext}@placebo=true", target)
    assert first.images is again.images is placebo.images
    assert first.train_labels is again.train_labels
    assert placebo.train_labels is _attached(f"{pretext}@placebo=true", target).train_labels
    assert len(first.images.test) == 0
    assert again.task.weight == 0.5
    assert not again.task.scored
    assert fingerprint([first]) == fingerprint([_attached(pretext, target)])


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_a_placebo_has_the_same_work_and_answers_of_other_images(
    target: TaskData, recipe: Recipe, pretext: str
) -> None:
    real, placebo = (_attached(f"{pretext}@placebo={on}", target) for on in ("false", "true"))
    assert real.train_labels is not None
    assert placebo.train_labels is not None
    differ = (real.train_labels != placebo.train_labels).flatten(
        1 if pretext == "colourisation" else 0
    )
    assert differ.float().mean() > 0.5
    flat = [d.train_labels.flatten().sort().values for d in (real, placebo)]  # type: ignore[union-attr]
    assert torch.equal(*flat)
    prices = [
        count(parse_strategy(f"{pretext}@placebo={on}"), [target, data], recipe, 1.0)[0].flops
        for on, data in (("false", real), ("true", placebo))
    ]
    assert prices[0] == prices[1]


@pytest.mark.parametrize("augment", ["none", "crop+flip"])
@pytest.mark.parametrize("pretext", PRETEXTS)
def test_it_trains_and_is_priced_as_it_costs(
    target: TaskData, recipe: Recipe, pretext: str, augment: str
) -> None:
    recipe = recipe.model_copy(update={"augment": augment})
    strategy, data = parse_strategy(pretext), [target, _attached(pretext, target)]
    state = TrainingState(strategy, data, recipe, 1.0, 0, CPU)
    batch = next(iter(Batches(data, recipe, 0, CPU)))
    (price,) = count(strategy, data, recipe, 1.0)
    assert count_flops(state, batch) == price.flops
    assert price.samples == 2 * recipe.batch_size
    (single,) = count(parse_strategy("single"), [target], recipe, 1.0)
    assert price.flops > 1.9 * single.flops


@pytest.mark.parametrize("gate", ["", "+cosine-gate"])
@pytest.mark.parametrize("pretext", PRETEXTS)
def test_the_exact_null_at_weight_zero_it_changes_no_bit_of_the_target(
    target: TaskData, recipe: Recipe, pretext: str, gate: str
) -> None:
    weights = []
    for text in ("hard", f"{pretext}@0{gate}"):
        strategy = parse_strategy(text)
        data = [target] if text == "hard" else [target, _attached(text, target)]
        state = TrainingState(strategy, data, recipe, 1.0, 3, CPU)
        for _ in state.train(Batches(data, recipe, 3, CPU), 12, [12]):
            pass
        weights.append(state.network.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_it_can_be_learned_and_its_placebo_cannot(target: TaskData, pretext: str) -> None:
    recipe = Recipe(train_size=250, validation_size=50, batch_size=32, learning_rate=1e-2)
    falls = []
    for strategy in (f"hard+{pretext}", f"hard+{pretext}@placebo=true"):
        data = [target, _attached(strategy, target)]
        state = TrainingState(parse_strategy(strategy), data, recipe, 1.0, 0, CPU)
        (losses,) = state.train(Batches(data, recipe, 0, CPU), 150, [150])
        falls.append(losses[-20:, 1].mean().item() / losses[:3, 1].mean().item())
    assert falls[0] < 0.75 * falls[1]


def test_reconstructing_another_image_is_the_same_work_and_cannot_be_learned(
    target: TaskData,
) -> None:
    recipe = Recipe(train_size=250, validation_size=50, batch_size=32, learning_rate=1e-2)
    falls, flops = [], []
    for text in ("reconstruction", "reconstruction@placebo=true"):
        strategy, data = parse_strategy(text), [target, _attached(text, target)]
        flops.append(count(strategy, data, recipe, 1.0)[0].flops)
        state = TrainingState(strategy, data, recipe, 1.0, 0, CPU)
        (losses,) = state.train(Batches(data, recipe, 0, CPU), 150, [150])
        falls.append(losses[-20:, 1].mean().item() / losses[:3, 1].mean().item())
    assert flops[0] == flops[1]
    assert falls[0] < 0.75 * falls[1]


def test_the_placebo_of_reconstruction_asks_for_standardised_pictures_of_other_images(
    target: TaskData, recipe: Recipe
) -> None:
    real, placebo = (_attached(f"reconstruction@placebo={on}", target) for on in ("false", "true"))
    assert placebo.images is target.images
    own, other = (
        next(iter(Batches([data], recipe, 0, CPU))).targets[0] for data in (real, placebo)
    )
    assert own.shape == other.shape
    assert not torch.equal(own, other)
    # The pool is the same pictures in another order, on one scale.
    assert placebo.train_labels is not None
    channels = placebo.task.type.targets(target.images.train, placebo.train_labels)
    assert channels.mean((0, 2, 3)).abs().max() < 1e-3
    assert (channels.std((0, 2, 3)) - 1).abs().max() < 1e-2


@pytest.mark.parametrize("strategy", ["rotation+cosine-gate", "colourisation+jigsaw+uncertainty"])
def test_auxiliary_tasks_join_with_other_parts(
    target: TaskData, recipe: Recipe, strategy: str
) -> None:
    parts = parse_strategy(strategy)
    data = [target, *(d for a in parts.auxiliaries for d in a.attach(target, []))]
    for device in (CPU, META):
        state = TrainingState(parts, data, recipe, 1.0, 0, device)
        for batch in islice(Batches(data, recipe, 0, device), 2):
            assert state.step(batch).shape == (len(data),)


def test_it_draws_as_many_images_as_the_target_does(target: TaskData, recipe: Recipe) -> None:
    fixed = replace(target, images=replace(target.images, drawn=40))
    data = [fixed, _attached("rotation", fixed)]
    assert len(Batches(data, recipe, 0, CPU).split(data[1]).train) == 40
