"""MultiMNIST: fixed pairs of overlaid digits, training and test digits kept apart."""

from pathlib import Path

import pytest
import torch
from bench.datasets.mnist import load_digits
from bench.datasets.multimnist import MultiMNIST, overlay, pair_up

from bench.contracts import DataSource
from bench.errors import UserError


def test_both_tasks_read_the_same_images(root: Path) -> None:
    data = MultiMNIST().load(DataSource(root))
    assert list(data) == ["left", "right"]
    assert data["left"].images is data["right"].images
    assert data["left"].images.train.shape == (60, 1, 28, 28)
    assert data["left"].images.test.shape == (20, 1, 28, 28)
    assert data["left"].images.train.dtype == torch.uint8
    assert [d.task.outputs for d in data.values()] == [10, 10]


def test_loading_twice_gives_the_same_data(root: Path) -> None:
    first, second = (MultiMNIST().load(DataSource(root))["right"] for _ in range(2))
    assert torch.equal(first.images.train, second.images.train)
    assert torch.equal(first.images.test, second.images.test)
    assert first.train_labels is not None
    assert second.train_labels is not None
    assert torch.equal(first.train_labels, second.train_labels)


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


def test_each_label_is_that_of_the_digit_drawn_there(root: Path) -> None:
    train, _ = load_digits(DataSource(root))
    images, left, right = pair_up(train, "train")
    assert torch.equal(left, train.digits)
    # Each image is its own left digit overlaid with one whose digit is the right label.
    for image, first, label in zip(images, train.images, right, strict=True):
        candidates = train.images[train.digits == label]
        overlaid = overlay(first.expand_as(candidates), candidates)
        assert (overlaid == image).all((1, 2)).any()


def test_every_digit_is_used_once_on_each_side(root: Path) -> None:
    train, _ = load_digits(DataSource(root))
    _, left, right = pair_up(train, "train")
    assert torch.equal(left.sort().values, right.sort().values)
    assert not torch.equal(left, right)


def test_training_and_test_digits_never_mix(root: Path) -> None:
    # The tiny set draws training digits with grey 100 and test digits with grey 200.
    images = MultiMNIST().load(DataSource(root))["left"].images
    assert images.train.max() <= 100
    assert images.test.max() > 100


def test_no_root_is_told_as_by_mnist() -> None:
    with pytest.raises(UserError, match="--root DIR"):
        MultiMNIST().load(DataSource())
