"""MNIST's file format: one clear line for every file that is missing or broken."""

from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import pytest
import torch
import torchvision.datasets.mnist as torchvision_mnist

from bench.contracts import DataSource
from bench.datasets.fashion_mnist import load_garments
from bench.datasets.mnist import load_digits
from bench.errors import UserError

COLLECTIONS = {"MNIST": load_digits, "FashionMNIST": load_garments}

pytestmark = pytest.mark.parametrize("collection", COLLECTIONS)


def _raw(root: Path, collection: str, name: str) -> Path:
    return root / collection / "raw" / name


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **kwargs: object) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision_mnist, "download_and_extract_archive", refuse)


@pytest.mark.usefixtures("no_download")
def test_each_collection_is_read_from_its_own_folder(root: Path, collection: str) -> None:
    train, test = COLLECTIONS[collection](DataSource(root))
    for part, prefix, count in ((train, "train", 60), (test, "t10k", 20)):
        images = _raw(root, collection, f"{prefix}-images-idx3-ubyte").read_bytes()[16:]
        classes = _raw(root, collection, f"{prefix}-labels-idx1-ubyte").read_bytes()[8:]
        assert part.images.shape == (count, 28, 28)
        assert part.images.dtype == torch.uint8
        assert part.images.numpy().tobytes() == images
        assert part.classes.tolist() == list(classes)
        assert part.classes.dtype == torch.int64


def test_no_root_names_the_collection_and_the_flags(collection: str) -> None:
    with pytest.raises(UserError, match=rf"^{collection} is .*--root DIR.*--download"):
        COLLECTIONS[collection](DataSource())


@pytest.mark.usefixtures("no_download")
def test_a_missing_file_names_the_folder_and_the_flag(root: Path, collection: str) -> None:
    missing = _raw(root, collection, "t10k-labels-idx1-ubyte")
    missing.unlink()
    with pytest.raises(UserError, match="--download") as error:
        COLLECTIONS[collection](DataSource(root))
    assert str(missing.parent) in str(error.value)
    assert missing.name in str(error.value)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_the_wrong_size_names_both_sizes_and_the_mend(
    root: Path, collection: str, file: str, change: int
) -> None:
    path = _raw(root, collection, file)
    content = path.read_bytes()
    path.write_bytes((content + b"\0")[: len(content) + change])
    with pytest.raises(UserError, match=r"delete it.*--download") as error:
        COLLECTIONS[collection](DataSource(root))
    assert str(path) in str(error.value)
    assert f"expected {len(content):,} bytes, found {len(content) + change:,}" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\0\0", b"<!DOCTYPE html><html></html>"])
def test_a_file_that_is_no_idx_file_names_itself_and_the_mend(
    root: Path, collection: str, content: bytes
) -> None:
    path = _raw(root, collection, "train-labels-idx1-ubyte")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"delete it.*--download") as error:
        COLLECTIONS[collection](DataSource(root))
    assert f"'{path}' is no {collection} file" in str(error.value)


@pytest.mark.usefixtures("no_network")
def test_a_failed_download_says_why_in_one_line(tmp_path: Path, collection: str) -> None:
    with pytest.raises(UserError, match="no route to host") as error:
        COLLECTIONS[collection](DataSource(tmp_path, download=True))
    assert str(error.value).startswith(f"{collection} could not be downloaded")
    assert "check the network" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("no_download")
def test_files_that_are_there_are_not_fetched_again(root: Path, collection: str) -> None:
    COLLECTIONS[collection](DataSource(root, download=True))


@pytest.mark.parametrize("file", ["train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_class_that_cannot_be_names_the_file(root: Path, collection: str, file: str) -> None:
    path = _raw(root, collection, file)
    path.write_bytes(path.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(UserError, match="classes above 9") as error:
        COLLECTIONS[collection](DataSource(root))
    assert str(path) in str(error.value)
