"""SVHN: its files, its columns of labels, and its pair with MNIST on disjoint images."""

from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets.svhn as torchvision_svhn
from scipy.io import savemat

from bench.contracts import DataSource
from bench.datasets.digits import Digits, as_house_numbers
from bench.datasets.mnist import load_digits
from bench.datasets.svhn import SVHN, load_house_numbers
from bench.errors import UserError
from bench.spec.experiment import Recipe
from bench.train.batches import Batches

FILES = ["train_32x32.mat", "test_32x32.mat"]


def write_part(path: Path, **changed: object) -> None:
    """Write 60 images of one level each, 40 to 99 or 180 and up, as MATLAB's format 5 has them."""
    rng = np.random.default_rng(0)
    levels = (180 if "test" in path.name else 40) + rng.permutation(60).astype(np.uint8)
    images = np.broadcast_to(levels, (32, 32, 3, 60)).copy()
    images[0, :, 0] -= np.arange(32, dtype=np.uint8)[:, None]  # so that axes show
    labels = (1 + rng.permutation(60) % 10).astype(np.uint8)[:, None]
    savemat(path, {"X": images, "y": labels, **changed}, do_compression=True)


@pytest.fixture
def root(root: Path) -> Path:
    """Return the root of the tiny collections, with 60 and 60 house numbers."""
    for name in FILES:
        write_part(root / name)
    return root


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch, no_download: None) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        pytest.fail("downloaded without being told to")

    monkeypatch.setattr(torchvision_svhn, "download_url", refuse)


@pytest.mark.usefixtures("no_download")
def test_images_and_digits_are_those_that_torchvision_reads(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torchvision reads only what has the MD5 of the real files.
    monkeypatch.setattr(torchvision_svhn, "check_integrity", lambda *_: True)
    parts = load_house_numbers(DataSource(root))
    for part, name in zip(parts, ("train", "test"), strict=True):
        theirs = torchvision_svhn.SVHN(root, name)
        assert np.array_equal(part.images, theirs.data)
        assert part.digits.tolist() == theirs.labels.tolist()
        assert part.images.dtype == torch.uint8
        assert part.digits.dtype == torch.int64
        assert part.digits.unique().tolist() == list(range(10))


def test_no_root_names_the_collection_and_the_flags() -> None:
    with pytest.raises(UserError, match=r"^SVHN is .*--root DIR.*--download"):
        load_house_numbers(DataSource())


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_names_the_folder_and_the_flag(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is missing.*--download.*246 MB") as error:
        load_house_numbers(DataSource(root))
    assert str(root) in str(error.value)


@pytest.mark.usefixtures("no_download")
def test_files_that_are_there_are_not_fetched_again(root: Path) -> None:
    load_house_numbers(DataSource(root, download=True))


def test_a_failed_download_says_why_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision_svhn, "download_url", refuse)
    with pytest.raises(UserError, match=r"^SVHN could not be downloaded.*no route") as error:
        load_house_numbers(DataSource(tmp_path, download=True))
    assert "check the network" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 100, 3000])
def test_a_file_cut_short_names_itself_and_the_mend(root: Path, name: str, kept: int) -> None:
    path = root / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"is no SVHN file.*delete it.*--download") as error:
        load_house_numbers(DataSource(root))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"X": np.zeros((32, 32, 3, 59), np.uint8)}, "not as many as its labels"),
        ({"X": np.zeros((28, 28, 3, 60), np.uint8)}, r"not uint8 \[32, 32, 3, N\]"),
        ({"X": np.zeros((32, 32, 3, 60))}, r"not uint8 \[32, 32, 3, N\]"),
        ({"y": np.zeros((60, 1), np.uint8)}, "labels other than 1 to 10"),
        ({"y": np.full((60, 1), 11, np.uint8)}, "labels other than 1 to 10"),
        ({"y": np.full((60, 1), 1.5)}, "labels other than 1 to 10"),
        ({"y": np.full((60, 1), "three")}, "labels other than 1 to 10"),
    ],
)
def test_images_and_labels_that_cannot_be_are_told(
    root: Path, changed: dict[str, object], reason: str
) -> None:
    write_part(root / FILES[0], **changed)
    with pytest.raises(UserError, match=reason):
        load_house_numbers(DataSource(root))


@pytest.mark.usefixtures("no_download")
def test_every_task_reads_the_same_images(root: Path) -> None:
    data = SVHN().load(DataSource(root))
    assert list(data) == list(SVHN.tasks)
    assert len({id(d.images) for d in data.values()}) == 1
    images = data["digit"].images
    assert images.train.shape == (60, 3, 32, 32)
    assert images.train.dtype == torch.uint8
    assert images.train.is_contiguous()


def test_house_numbers_alone_need_no_mnist(root: Path) -> None:
    for file in (root / "MNIST" / "raw").iterdir():
        file.unlink()
    SVHN().load(DataSource(root))
    with pytest.raises(UserError, match="MNIST is not in"):
        Digits().load(DataSource(root))


def test_brightness_bins_are_quarters_of_the_training_images(root: Path) -> None:
    data = SVHN().load(DataSource(root))["brightness"]
    levels = data.images.train[:, 0, -1, -1].long()
    assert data.train_labels is not None
    assert data.test_labels is not None
    assert torch.equal(data.train_labels, (levels - 40) // 15)
    assert data.test_labels.unique().tolist() == [3]


@pytest.mark.usefixtures("no_download")
def test_printed_and_written_digits_are_two_sets_of_images_of_one_form(root: Path) -> None:
    data = Digits().load(DataSource(root))
    assert list(data) == list(Digits.tasks)
    house, hand = data["house"], data["hand"]
    assert house.images.name != hand.images.name
    assert house.images.image == hand.images.image == (3, 32, 32)
    assert (len(hand.images.train), len(hand.images.test)) == (60, 20)
    assert house.task.outputs == hand.task.outputs == 10
    assert house.train_labels is not None
    assert hand.train_labels is not None
    assert torch.equal(house.train_labels, load_house_numbers(DataSource(root))[0].digits)
    assert torch.equal(hand.train_labels, load_digits(DataSource(root))[0].classes)


def test_a_step_reads_a_batch_of_each(root: Path) -> None:
    data = list(Digits().load(DataSource(root)).values())
    recipe = Recipe(train_size=40, validation_size=10, batch_size=8)
    batches = Batches(data, recipe, seed=0, device=torch.device("cpu"))
    house, hand = next(iter(batches)).images
    assert batches.samples_per_step == 16
    assert house is not None
    assert hand is not None
    assert house.shape == hand.shape == (8, 3, 32, 32)
    # Handwriting is grey on black, whatever scale each channel is brought to.
    assert torch.allclose(hand[:, 0], hand[:, 2])
    assert not torch.allclose(house[:, 0], house[:, 2])


def test_a_written_digit_keeps_its_pixels_in_every_channel() -> None:
    images = torch.randint(0, 256, (5, 28, 28), generator=torch.manual_seed(0)).byte()
    framed = as_house_numbers(images)
    assert framed.shape == (5, 3, 32, 32)
    assert framed.dtype == torch.uint8
    for channel in framed.unbind(1):
        assert torch.equal(channel[:, 2:-2, 2:-2], images)
    assert framed.sum() == 3 * images.sum()
