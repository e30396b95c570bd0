"""Fashion-MNIST: three columns of labels on the same images."""

from pathlib import Path

import pytest
import torch
from torchvision.datasets import FashionMNIST as Torchvision

from bench.contracts import DataSource
from bench.datasets.fashion_mnist import FashionMNIST, brightness


@pytest.mark.usefixtures("no_download")
def test_every_task_reads_the_same_images(root: Path) -> None:
    data = FashionMNIST().load(DataSource(root))
    assert list(data) == list(FashionMNIST.tasks)
    assert len({id(d.images) for d in data.values()}) == 1
    images = data["garment"].images
    assert images.train.shape == (60, 1, 28, 28)
    assert images.test.shape == (20, 1, 28, 28)
    assert images.train.dtype == torch.uint8


def test_labels_are_int64_within_the_classes(root: Path) -> None:
    for data in FashionMNIST().load(DataSource(root)).values():
        for labels in (data.train_labels, data.test_labels):
            assert labels is not None
            assert labels.dtype == torch.int64
            assert 0 <= labels.min() <= labels.max() < data.task.outputs


def test_group_is_a_function_of_the_garment(root: Path) -> None:
    data = FashionMNIST().load(DataSource(root))
    garment, group = data["garment"].train_labels, data["group"].train_labels
    assert garment is not None
    assert group is not None
    names = [Torchvision.classes[index] for index in garment]
    members = [{n for n, g in zip(names, group, strict=True) if g == i} for i in range(5)]
    assert members == [
        {"T-shirt/top", "Pullover", "Shirt"},
        {"Trouser"},
        {"Dress", "Coat"},
        {"Sandal", "Sneaker", "Ankle boot"},
        {"Bag"},
    ]


def test_brightness_bins_are_quarters_of_the_training_images(root: Path) -> None:
    data = FashionMNIST().load(DataSource(root))["brightness"]
    assert data.train_labels is not None
    assert data.test_labels is not None
    assert data.train_labels.bincount(minlength=4).tolist() == [15, 15, 15, 15]
    # The tiny set's greys are 41 to 100 in training, and brighter than any of them in the test.
    greys = data.images.train.amax((1, 2, 3)).long()
    assert torch.equal(data.train_labels, (greys - 41) // 15)
    assert data.test_labels.unique().tolist() == [3]


def test_brightness_bins_do_not_depend_on_the_test_images(root: Path) -> None:
    before = FashionMNIST().load(DataSource(root))["brightness"].train_labels
    path = root / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = path.read_bytes()
    path.write_bytes(content[:16] + bytes(len(content) - 16))
    after = FashionMNIST().load(DataSource(root))["brightness"]
    assert before is not None
    assert after.train_labels is not None
    assert after.test_labels is not None
    assert torch.equal(before, after.train_labels)
    assert after.test_labels.unique().tolist() == [0]


def test_brightness_is_that_of_the_garment_whatever_its_size() -> None:
    images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    images[0, 10:12] = 90
    images[1, :, 1:] = 90
    images[2, 0, :2] = torch.tensor([50, 255])
    assert brightness(images).tolist() == [90, 90, 152.5]


def test_brightness_of_an_empty_image_is_zero() -> None:
    assert brightness(torch.zeros(1, 28, 28, dtype=torch.uint8)).item() == 0
