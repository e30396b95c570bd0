"""MNIST: three columns of labels on the same images."""

from pathlib import Path

import pytest
import torch

from bench.contracts import DataSource
from bench.datasets.mnist import MNIST, slant


@pytest.mark.usefixtures("no_download")
def test_every_task_reads_the_same_images(root: Path) -> None:
    data = MNIST().load(DataSource(root))
    assert list(data) == list(MNIST.tasks)
    assert len({id(d.images) for d in data.values()}) == 1
    images = data["digit"].images
    assert images.train.shape == (60, 1, 28, 28)
    assert images.test.shape == (20, 1, 28, 28)
    assert images.train.dtype == torch.uint8


def test_labels_are_int64_within_the_classes(root: Path) -> None:
    for data in MNIST().load(DataSource(root)).values():
        for labels in (data.train_labels, data.test_labels):
            assert labels is not None
            assert labels.dtype == torch.int64
            assert 0 <= labels.min() <= labels.max() < data.task.outputs


def test_parity_is_that_of_the_digit(root: Path) -> None:
    data = MNIST().load(DataSource(root))
    digit, parity = data["digit"].train_labels, data["parity"].train_labels
    assert digit is not None
    assert parity is not None
    assert torch.equal(digit % 2, parity)


def test_slant_bins_are_quarters_of_the_training_images(root: Path) -> None:
    labels = MNIST().load(DataSource(root))["slant"].train_labels
    assert labels is not None
    assert labels.bincount(minlength=4).tolist() == [15, 15, 15, 15]


def test_slant_bins_do_not_depend_on_the_test_images(root: Path) -> None:
    before = MNIST().load(DataSource(root))["slant"].train_labels
    path = root / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = path.read_bytes()
    path.write_bytes(content[:16] + content[16:][::-1])
    after = MNIST().load(DataSource(root))["slant"].train_labels
    assert before is not None
    assert after is not None
    assert torch.equal(before, after)


@pytest.mark.parametrize("shear", [-0.5, 0.0, 0.5])
def test_slant_of_a_line_is_its_shear(shear: float) -> None:
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    for row in range(4, 24, 2):
        image[0, row, 14 + round(shear * (row - 14))] = 200
    assert slant(image).item() == pytest.approx(shear, abs=1e-6)


def test_slant_of_an_empty_image_is_zero() -> None:
    assert slant(torch.zeros(1, 28, 28, dtype=torch.uint8)).item() == 0


def test_the_real_digits_slant_evenly_and_to_the_right(real: Path) -> None:
    data = MNIST().load(DataSource(real))
    labels = data["slant"].test_labels
    assert len(data["digit"].images.train) == 60_000
    assert labels is not None
    assert (labels.bincount() / len(labels) - 0.25).abs().max() < 0.03
    assert slant(data["digit"].images.train[:, 0]).median() < 0
