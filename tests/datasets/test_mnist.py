"""MNIST: three columns of labels on the same images, and one clear line for every broken file."""

from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import pytest
import torch
import torchvision.datasets.mnist as torchvision_mnist
from bench.datasets.mnist import MNIST, slant

from bench.contracts import DataSource
from bench.errors import UserError

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def _raw(root: Path, name: str) -> Path:
    return root / "MNIST" / "raw" / name


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **kwargs: object) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision_mnist, "download_and_extract_archive", refuse)


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dataset: object) -> NoReturn:
        pytest.fail("downloaded without being told to")

    monkeypatch.setattr(torchvision_mnist.MNIST, "download", refuse)


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
    path = _raw(root, "t10k-images-idx3-ubyte")
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


def test_no_root_names_the_flags() -> None:
    with pytest.raises(UserError, match=r"--root DIR.*--download"):
        MNIST().load(DataSource())


@pytest.mark.usefixtures("no_download")
def test_a_missing_file_names_the_folder_and_the_flag(root: Path) -> None:
    missing = _raw(root, "t10k-labels-idx1-ubyte")
    missing.unlink()
    with pytest.raises(UserError, match="--download") as error:
        MNIST().load(DataSource(root))
    assert str(missing.parent) in str(error.value)
    assert missing.name in str(error.value)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_the_wrong_size_names_both_sizes_and_the_mend(
    root: Path, file: str, change: int
) -> None:
    path = _raw(root, file)
    content = path.read_bytes()
    path.write_bytes((content + b"\0")[: len(content) + change])
    with pytest.raises(UserError, match=r"delete it.*--download") as error:
        MNIST().load(DataSource(root))
    assert str(path) in str(error.value)
    assert f"expected {len(content):,} bytes, found {len(content) + change:,}" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\0\0", b"<!DOCTYPE html><html></html>"])
def test_a_file_that_is_no_idx_file_names_itself_and_the_mend(root: Path, content: bytes) -> None:
    path = _raw(root, "train-labels-idx1-ubyte")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"delete it.*--download") as error:
        MNIST().load(DataSource(root))
    assert str(path) in str(error.value)


@pytest.mark.usefixtures("no_network")
def test_a_failed_download_says_why_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no route to host") as error:
        MNIST().load(DataSource(tmp_path, download=True))
    assert "check the network" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("no_download")
def test_files_that_are_there_are_not_fetched_again(root: Path) -> None:
    MNIST().load(DataSource(root, download=True))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real MNIST files")
def test_the_real_digits_slant_evenly_and_to_the_right() -> None:
    data = MNIST().load(DataSource(REAL))
    labels = data["slant"].test_labels
    assert len(data["digit"].images.train) == 60_000
    assert labels is not None
    assert (labels.bincount() / len(labels) - 0.25).abs().max() < 0.03
    assert slant(data["digit"].images.train[:, 0]).median() < 0
