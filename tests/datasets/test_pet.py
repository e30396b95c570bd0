"""Oxford-IIIT Pet in its own files: lists, JPEG images, trimaps in PNG."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli.app import main
from bench.contracts import DataSource
from bench.datasets.pet import Pet
from bench.errors import UserError
from bench.spec.registry import parse_dataset
from bench.tasks import TaskData

#: Name, class and species (1 a cat, 2 a dog), as the lists have them.
CATS = [(f"Abyssinian_{i}", 1, 1) for i in range(1, 13)]
DOGS = [(f"yorkshire_terrier_{i}", 37, 2) for i in range(100, 112)]
LISTS: dict[str, list[tuple[str, int, int]]] = {
    "trainval": CATS[:8] + DOGS[:8],
    "test": CATS[8:] + DOGS[8:],
}
FOLDER = "oxford-iiit-pet"


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write 16 + 8 images of 40 × 60: a grey animal in the left half, with a border."""
    folder = tmp_path / FOLDER
    for number, (name, _, species) in enumerate([*LISTS["trainval"], *LISTS["test"]]):
        image = np.full((40, 60, 3), 30 + number, np.uint8)
        image[:, :30] = 200 if species == 1 else 120
        trimap = np.full((40, 60), 2, np.uint8)
        trimap[:, :30], trimap[:, 28:32] = 1, 3
        _write(folder / "images" / f"{name}.jpg", image)
        _write(folder / "annotations" / "trimaps" / f"{name}.png", trimap)
    for name, pets in LISTS.items():
        lines = [f"{pet} {breed} {species} 1\n" for pet, breed, species in pets]
        (folder / "annotations" / f"{name}.txt").write_text("".join(lines))
    return tmp_path


def _load(root: Path, **changes: Any) -> Mapping[str, TaskData]:
    data: Mapping[str, TaskData] = Pet().load(replace(DataSource(root), **changes))
    return data


def test_every_task_reads_the_same_images_in_the_order_of_the_lists(root: Path) -> None:
    data = _load(root)
    assert list(data) == list(Pet.tasks)
    images = data["breed"].images
    assert all(d.images is images for d in data.values())
    assert (images.train.shape, images.test.shape) == ((16, 3, 64, 64), (8, 3, 64, 64))
    # The right half is 30 + the number of the image, give or take what JPEG changes.
    assert (images.train[:, 0, :, 60].float().mean(1) - 30 - torch.arange(16)).abs().max() < 2
    assert (images.test[:, 0, :, 60].float().mean(1) - 46 - torch.arange(8)).abs().max() < 2


def test_labels_are_those_of_the_lists_counted_from_0(root: Path) -> None:
    data = _load(root)
    for name, column in (("breed", 0), ("species", 1)):
        for labels, pets in (
            (data[name].train_labels, LISTS["trainval"]),
            (data[name].test_labels, LISTS["test"]),
        ):
            assert labels is not None
            assert labels.dtype == torch.int64
            assert labels.tolist() == [own[column] - 1 for _, *own in pets]
    assert [data[name].task.outputs for name in data] == [37, 2, 3]


def test_a_trimap_lies_on_its_image_and_mixes_no_regions(root: Path) -> None:
    regions = _load(root)["segmentation"].train_labels
    assert regions is not None
    assert (regions.shape, regions.dtype) == ((16, 64, 64), torch.uint8)
    # Foreground to column 28 of 60, border to 32, then background: of 64, to 29.9 and 34.1.
    assert (regions[:, :, :30] == 0).all()
    assert (regions[:, :, 30:34] == 2).all()
    assert (regions[:, :, 35:] == 1).all()


def test_an_image_is_not_turned_away_from_its_trimap(root: Path) -> None:
    path = root / FOLDER / "images" / "Abyssinian_1.jpg"
    exif = Image.Exif()
    exif[0x0112] = 3  # Orientation: upside down
    Image.open(path).save(path, exif=exif, quality=95)
    image = _load(root)["breed"].images.train[0, 0].float()
    assert image[:, :28].mean() > 190 > 40 > image[:, 36:].mean()


def test_the_side_is_a_knob(root: Path) -> None:
    data = parse_dataset("pet@side=32").load(DataSource(root))
    assert data["breed"].images.image == (3, 32, 32)
    assert data["segmentation"].train_labels is not None
    assert data["segmentation"].train_labels.shape == (16, 32, 32)
    with pytest.raises(UserError, match="side must be 16 pixels or more, not 8"):
        parse_dataset("pet@side=8")


def test_what_was_decoded_is_read_from_the_cache(root: Path, tmp_path: Path) -> None:
    fresh = _load(root, cache=tmp_path / "cache")
    cached = _load(root, cache=tmp_path / "cache")
    for name, data in _load(root).items():
        for other in (fresh[name], cached[name]):
            assert torch.equal(data.images.train, other.images.train)
            assert data.train_labels is not None
            assert other.train_labels is not None
            assert torch.equal(data.train_labels, other.train_labels)


# --------------------------------------------------------------------------------------- errors


def test_no_root_names_the_flags() -> None:
    with pytest.raises(UserError, match=r"^Oxford-IIIT Pet is .*--root DIR.*--download"):
        Pet().load(DataSource())


@pytest.mark.parametrize("missing", ["images", "annotations/trimaps", "annotations/test.txt"])
def test_what_is_missing_is_named_with_the_flag(root: Path, missing: str) -> None:
    path = root / FOLDER / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match="--download") as error:
        _load(root)
    assert f"{missing} is missing" in str(error.value)
    assert str(root / FOLDER) in str(error.value)


def _break(root: Path) -> None:
    folder = root / FOLDER
    (folder / "images" / "Abyssinian_2.jpg").unlink()
    broken = folder / "images" / "Abyssinian_9.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    _write(folder / "annotations/trimaps/yorkshire_terrier_100.png", np.zeros((4, 4), np.uint8))


def test_all_bad_files_are_told_at_once_with_the_mend(root: Path) -> None:
    _break(root)
    with pytest.raises(UserError, match="--skip-bad-images") as error:
        _load(root)
    told = str(error.value)
    assert "Abyssinian_2.jpg' is missing" in told
    assert "Abyssinian_9.jpg' cannot be read" in told
    assert "yorkshire_terrier_100.png' cannot be read: a trimap holds 1 to 3, this 0 to 0" in told
    assert "\n" not in told


@pytest.mark.parametrize("cached", [False, True])
def test_bad_files_are_left_out_and_counted_where_the_user_says_so(
    root: Path, tmp_path: Path, cached: bool
) -> None:
    whole = _load(root)
    _break(root)
    data = _load(root, skip_bad_images=True, cache=tmp_path / "cache" if cached else None)
    train = [i for i in range(16) if i not in (1, 8)]
    for name in data:
        for labels, before, kept in (
            (data[name].train_labels, whole[name].train_labels, train),
            (data[name].test_labels, whole[name].test_labels, list(range(1, 8))),
        ):
            assert labels is not None
            assert before is not None
            assert torch.equal(labels, before[kept])
    images = data["breed"].images
    assert torch.equal(images.train, whole["breed"].images.train[train])
    assert [note.split(",")[0] for note in images.notes] == [
        "Oxford-IIIT Pet: 2 of 16 examples of 'trainval.txt' are left out",
        "Oxford-IIIT Pet: 1 of 8 examples of 'test.txt' are left out",
    ]


def test_a_part_without_any_image_is_an_error_even_then(root: Path) -> None:
    for name, _, _ in LISTS["test"]:
        (root / FOLDER / "images" / f"{name}.jpg").unlink()
    with pytest.raises(UserError, match=r"no example of 'test\.txt'"):
        _load(root, skip_bad_images=True)


def test_many_bad_files_are_named_in_part_and_counted(root: Path) -> None:
    for path in (root / FOLDER / "images").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="and 16 more: fetch them again") as error:
        _load(root)
    assert str(error.value).count("is missing") == 8


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"Abyssinian_1 1 1\n", r"line 1 has 3"),
        (b"Abyssinian_1 38 1 1\n", "has '38' where it should have one of 1 to 37"),
        (b"Abyssinian_1 1 0 1\n", "has '0' where it should have one of 1, 2"),
        (b"../../secret 1 1 1\n", "which is no name of a file"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_list_that_is_none_names_itself_and_the_mend(
    root: Path, content: bytes, reason: str
) -> None:
    path = root / FOLDER / "annotations" / "test.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as error:
        _load(root)
    assert str(path) in str(error.value)
    assert "fetch the collection again" in str(error.value)
    assert "\n" not in str(error.value)


def _no_network(*arguments: object, **options: object) -> NoReturn:
    raise URLError("no route to host")


def test_a_failed_download_says_why_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "torchvision.datasets.oxford_iiit_pet.download_and_extract_archive", _no_network
    )
    with pytest.raises(UserError, match="no route to host") as error:
        _load(tmp_path, download=True)
    assert "check the network" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_download_lands_where_the_files_are_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (root / FOLDER).rename(tmp_path / "elsewhere")

    def fetch(url: str, download_root: str, md5: str) -> None:
        part = Path(url).name.partition(".")[0]
        shutil.copytree(source / part, Path(download_root) / part)

    monkeypatch.setattr("torchvision.datasets.oxford_iiit_pet.download_and_extract_archive", fetch)
    assert len(_load(root, download=True)["breed"].images.train) == 16


def test_files_that_are_there_are_not_fetched_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "torchvision.datasets.oxford_iiit_pet.download_and_extract_archive", _no_network
    )
    _load(root, download=True)


# ------------------------------------------------------------------------------ from end to end


def test_a_pair_trains_to_a_table(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    arguments = (
        "run -p pet@side=16:breed+segmentation -s hard --seeds 1 --budget 3steps --train-size 8 "
        "--validation-size 4 --batch-size 4 --network resnet8 --workers 1 --root"
    )
    with pytest.raises(SystemExit) as end:
        main([*arguments.split(), str(root)])
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    for target in ("breed", "segmentation"):
        assert target in said.out
