"""The overlaid data sets: fixed pairs of images, training and test images kept apart."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.contracts import Dataset, DataSource
from bench.datasets._idx import Labelled
from bench.datasets._overlay import overlay, pair_up
from bench.datasets.fashion_mnist import load_garments
from bench.datasets.mnist import load_digits
from bench.datasets.multi_fashion import MultiFashion
from bench.datasets.multi_mixed import MultiMixed
from bench.datasets.multimnist import MultiMNIST
from bench.errors import UserError

Load = Callable[[DataSource], tuple[Labelled, Labelled]]

SIDES = [
    (MultiMNIST(), load_digits, load_digits),
    (MultiFashion(), load_garments, load_garments),
    (MultiMixed(), load_digits, load_garments),
]
IDS = [dataset.name for dataset, *_ in SIDES]

every_dataset = pytest.mark.parametrize("dataset", [dataset for dataset, *_ in SIDES], ids=IDS)
with_sides = pytest.mark.parametrize(("dataset", "left", "right"), SIDES, ids=IDS)


def test_the_overlay_is_the_pixelwise_maximum() -> None:
    left, right = torch.randint(0, 256, (2, 5, 28, 28), generator=torch.manual_seed(0)).byte()
    nothing = torch.zeros_like(left)
    alone = torch.maximum(overlay(left, nothing), overlay(nothing, right))
    # Resizing averages, so a maximum taken before it is at least the one taken after it.
    assert (overlay(left, right) >= alone).all()
    flat = overlay(torch.full_like(left, 60), torch.full_like(left, 200))
    assert flat.unique().max() == 200
    assert flat[:, 0, 0].unique().tolist() == [60]
    assert flat[:, 14, 14].unique().tolist() == [200]


def test_left_is_at_the_top_left_and_right_at_the_bottom_right() -> None:
    white, black = torch.full((1, 28, 28), 255).byte(), torch.zeros(1, 28, 28).byte()
    left, right = overlay(white, black)[0], overlay(black, white)[0]
    assert left[0, 0] == right[-1, -1] == 255
    assert left[-1, -1] == right[0, 0] == 0
    assert torch.equal(left, right.flip(0, 1))


def test_sides_of_different_size_are_told_with_both_sizes(root: Path) -> None:
    train, test = load_digits(DataSource(root))
    with pytest.raises(UserError, match=r"multi-mixed needs.*found 60 and 20: check.*--root"):
        pair_up(train, test, "multi-mixed", "train")


@every_dataset
def test_both_tasks_read_the_same_images(root: Path, dataset: Dataset) -> None:
    data = dataset.load(DataSource(root))
    assert list(data) == list(dataset.tasks)
    assert list(data)[:2] == ["left", "right"]
    assert len({id(each.images) for each in data.values()}) == 1
    assert data["left"].images.name == dataset.name
    assert data["left"].images.train.shape == (60, 1, 28, 28)
    assert data["left"].images.test.shape == (20, 1, 28, 28)
    assert data["left"].images.train.dtype == torch.uint8
    assert [data[side].task.outputs for side in ("left", "right")] == [10, 10]
    for side in ("left", "right"):
        if (parity := data.get(f"{side}-parity")) is not None:
            digits, odd = data[side].train_labels, parity.train_labels
            assert digits is not None
            assert odd is not None
            assert torch.equal(odd, digits % 2)


@every_dataset
def test_loading_twice_gives_the_same_data(root: Path, dataset: Dataset) -> None:
    first, second = (dataset.load(DataSource(root))["right"] for _ in range(2))
    assert torch.equal(first.images.train, second.images.train)
    assert torch.equal(first.images.test, second.images.test)
    assert first.train_labels is not None
    assert second.train_labels is not None
    assert torch.equal(first.train_labels, second.train_labels)


@with_sides
def test_each_label_is_that_of_the_image_drawn_there(
    root: Path, dataset: Dataset, left: Load, right: Load
) -> None:
    data = dataset.load(DataSource(root))
    above, below = left(DataSource(root))[0], right(DataSource(root))[0]
    images, labels = data["left"].images.train[:, 0], data["right"].train_labels
    assert labels is not None
    assert data["left"].train_labels is not None
    assert torch.equal(data["left"].train_labels, above.classes)
    # Each image is its own left one overlaid with one whose class is the right label.
    for image, first, label in zip(images, above.images, labels, strict=True):
        candidates = below.images[below.classes == label]
        overlaid = overlay(first.expand_as(candidates), candidates)
        assert (overlaid == image).all((1, 2)).any()


@with_sides
def test_every_image_is_used_once_on_each_side(
    root: Path, dataset: Dataset, left: Load, right: Load
) -> None:
    above, below = left(DataSource(root))[0], right(DataSource(root))[0]
    # Marked by its place in the file, an image can be followed to where it was drawn.
    marks = torch.arange(60)
    _, first, second = pair_up(
        Labelled(above.images, marks), Labelled(below.images, marks), dataset.name, "train"
    )
    assert torch.equal(first, marks)
    assert torch.equal(second.sort().values, marks)
    assert not torch.equal(second, marks)


@every_dataset
def test_training_and_test_images_never_mix(root: Path, dataset: Dataset) -> None:
    # The tiny sets draw training images in greys up to 100 and test images from 200.
    images = dataset.load(DataSource(root))["left"].images
    assert images.train.max() <= 100
    assert images.test.max() > 100


@every_dataset
def test_no_root_is_told_as_by_the_set_it_is_made_from(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="--root DIR"):
        dataset.load(DataSource())


def test_a_mixed_set_names_the_collection_that_is_missing(root: Path) -> None:
    for file in (root / "FashionMNIST" / "raw").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="FashionMNIST is not in"):
        MultiMixed().load(DataSource(root))
