"""CIFAR's files: read without running anything; three data sets made from them."""

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray

from bench.contracts import Dataset, DataSource
from bench.datasets._cifar import Photographs
from bench.datasets.cifar10 import CIFAR10, load_cifar10
from bench.datasets.cifar100 import CIFAR100, load_cifar100
from bench.datasets.cifar_both import CIFARBoth
from bench.errors import UserError
from bench.spec.registry import declared_pairs

# What the two `meta` files of the real sets say.
CATEGORIES = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]
SUPERCLASSES = [
    *("aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables"),
    *("household_electrical_devices", "household_furniture", "insects", "large_carnivores"),
    *("large_man-made_outdoor_things", "large_natural_outdoor_scenes"),
    *("large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people"),
    *("reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2"),
]
# The superclass of each class in the real files, classes in the order of the alphabet.
SUPERCLASS_OF = """
 4  1 14  8  0  6  7  7 18  3  3 14  9 18  7 11  3  9  7 11  6 11  5 10  7
 6 13 15  3 15  0 11  1 10 12 14 16  9 11  5  5 19  8  8 15 13 14 17 18 10
16  4 17  4  2  0 17  4 18 17 10  3  2 12 12 16 12  1  9 19  2 10  0  1 16
12  9 13 15 13 16 19  2  4  6 19  5  5  8 19 18  1  2 15  6  0 17  8 14 13
"""
COARSE = np.array([int(number) for number in SUPERCLASS_OF.split()])

Load = Callable[[DataSource], tuple[Photographs, Photographs]]
COLLECTIONS: dict[str, tuple[Load, str, str]] = {
    "CIFAR10": (load_cifar10, "cifar-10-batches-py", "data_batch_3"),
    "CIFAR100": (load_cifar100, "cifar-100-python", "train"),
}
every_collection = pytest.mark.parametrize("collection", COLLECTIONS)
every_dataset = pytest.mark.parametrize(
    "dataset", [CIFAR10(), CIFAR100(), CIFARBoth()], ids=lambda dataset: dataset.name
)


def _python2(value: object) -> bytes:
    """Return what Python 2's cPickle wrote of a value, protocol 2 without its memo and its stop."""
    match value:
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"J" + struct.pack("<i", value)
        case None:
            return b"N"
        case str() | bytes():
            content = value.encode() if isinstance(value, str) else value
            return b"T" + struct.pack("<i", len(content)) + content
        case list():
            return b"](" + b"".join(map(_python2, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(_python2, value)) + b"t"
        case dict():
            return b"}(" + b"".join(_python2(x) for item in value.items() for x in item) + b"u"
        case np.ndarray():
            made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
            dtype = b"cnumpy\ndtype\n" + _python2(("u1", 0, 1)) + b"R"
            dtype += _python2((3, "|", None, None, None, -1, -1, 0)) + b"b"
            by_column = not value.flags.c_contiguous
            content = value.tobytes("F" if by_column else "C")
            state = _python2(1) + _python2(value.shape) + dtype
            state += _python2(by_column) + _python2(content)
            return made + _python2((0,)) + _python2("b") + b"tR(" + state + b"tb"
    raise TypeError(type(value))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x80\x02" + _python2(content) + b".")


def _images(rng: np.random.Generator, count: int, least: int) -> NDArray[np.uint8]:
    """Return images of one level each, no two the same: `least` and up, in the order drawn."""
    levels = least + rng.permutation(count).astype(np.uint8)[:, None]
    images: NDArray[np.uint8] = np.repeat(levels, 3072, axis=1)
    images[:, :32] -= np.arange(32, dtype=np.uint8)  # the first row of red, so that axes show
    return images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with 100 and 20 images of CIFAR-10, and 100 and 100 of CIFAR-100.

    Training levels are 50 to 149, test levels 150 and up.
    """
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-py"
    files = [f"data_batch_{number}" for number in range(1, 6)]
    images = [*_images(rng, 100, 50).reshape(5, 20, 3072), _images(rng, 20, 150)]
    for file, part in zip([*files, "test_batch"], images, strict=True):
        labels = (rng.permutation(20) % 10).tolist()
        names = [f"{CATEGORIES[label]}_s_{i:06}.png" for i, label in enumerate(labels)]
        content = {"batch_label": file, "labels": labels, "data": part, "filenames": names}
        _write(folder / file, content)
    meta = {"num_cases_per_batch": 20, "label_names": CATEGORIES, "num_vis": 3072}
    _write(folder / "batches.meta", meta)
    folder = tmp_path / "cifar-100-python"
    for file, least in (("train", 50), ("test", 150)):
        fine = rng.permutation(100)
        content = {
            "filenames": [f"image_s_{i:06}.png" for i in range(100)],
            "batch_label": f"{file}ing batch 1 of 1",
            "fine_labels": fine.tolist(),
            "coarse_labels": COARSE[fine].tolist(),
            "data": _images(rng, 100, least),
        }
        _write(folder / file, content)
    names = [str(number) for number in range(100)]
    _write(folder / "meta", {"fine_label_names": names, "coarse_label_names": SUPERCLASSES})
    return tmp_path


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        pytest.fail("downloaded without being told to")

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", refuse)


def _file(root: Path, collection: str) -> Path:
    _, folder, file = COLLECTIONS[collection]
    return root / folder / file


def _refusal(root: Path, collection: str) -> str:
    """Return the line that reading the collection is refused with."""
    with pytest.raises(UserError, match=r"delete it.*--download") as error:
        COLLECTIONS[collection][0](DataSource(root))
    assert f"'{_file(root, collection)}' is no {collection} file" in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


# ------------------------------------------------------------------------------------- the files


@pytest.mark.usefixtures("no_download")
@every_collection
def test_images_and_labels_are_those_that_torchvision_reads(
    root: Path, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torchvision unpickles whatever has the MD5 of the real files.
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    parts = COLLECTIONS[collection][0](DataSource(root))
    for part, train in zip(parts, (True, False), strict=True):
        theirs = getattr(torchvision.datasets, collection)(root, train=train)
        assert part.images.dtype == torch.uint8
        assert part.images.shape[1:] == (3, 32, 32)
        assert np.array_equal(part.images.permute(0, 2, 3, 1), theirs.data)
        first, *_ = part.labels.values()
        assert first.tolist() == theirs.targets
        assert first.dtype == torch.int64


@every_collection
def test_a_file_written_column_by_column_reads_the_same(root: Path, collection: str) -> None:
    load = COLLECTIONS[collection][0]
    before = load(DataSource(root))[0]
    path = _file(root, collection)
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    _write(path, {**content, "data": np.asfortranarray(content["data"])})
    assert torch.equal(load(DataSource(root))[0].images, before.images)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@every_collection
def test_a_file_written_by_python_3_reads_the_same(
    root: Path, collection: str, protocol: int
) -> None:
    load = COLLECTIONS[collection][0]
    before = load(DataSource(root))[0]
    path = _file(root, collection)
    path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes(), encoding="latin1"), protocol))
    after = load(DataSource(root))[0]
    assert torch.equal(after.images, before.images)
    for column in before.labels:
        assert torch.equal(after.labels[column], before.labels[column])


class _Attack:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, made: Path) -> None:
        self._made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._made),)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("protocol", [0, 2, 4])
@every_collection
def test_a_file_that_asks_for_more_is_refused_and_nothing_is_run(
    root: Path, collection: str, protocol: int
) -> None:
    made = root / "made"
    path = _file(root, collection)
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    path.write_bytes(pickle.dumps({**content, "filenames": _Attack(made)}, protocol))
    assert f"'{os.mkdir.__module__}.mkdir', which was not run" in _refusal(root, collection)
    assert not made.exists()
    pickle.loads(path.read_bytes())  # the attack is a real one
    assert made.exists()


@pytest.mark.parametrize(
    "asked",
    [
        b"cnumpy.core.multiarray\nfromfile\n",
        b"cnumpy\nndarray.tofile\n",
        b"cnumpy._core.multiarray\nscalar\n",
        b"c_codecs\nopen\n",
        b"cbuiltins\neval\n",
    ],
)
def test_other_names_beside_those_of_arrays_are_refused(root: Path, asked: bytes) -> None:
    _file(root, "CIFAR100").write_bytes(b"\x80\x02" + asked + b".")
    name = asked[1:].decode().split()
    assert f"'{'.'.join(name)}', which was not run" in _refusal(root, "CIFAR100")


def test_a_name_that_would_steer_a_terminal_is_shown_escaped(root: Path) -> None:
    _file(root, "CIFAR100").write_bytes(b"\x80\x02cnumpy\nnd\x1b[2J\rarray\n.")
    assert r"'numpy.nd\x1b[2J\rarray', which was not run" in _refusal(root, "CIFAR100")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html></html>",
        b"\x80\x02",
        b"\x80\x02N.",
        b"\x80\x02}.",
        # A name of numpy is called, or told a state, in ways that make no array.
        b"\x80\x02}U\x04datacnumpy\nndarray\n)Rs.",
        b"\x80\x02}U\x04datacnumpy\nndarray\n)\x81s.",
        b"\x80\x02}U\x04datacnumpy\nndarray\n}b.",
        b"\x80\x02}U\x04datacnumpy\nndarray\n)R(NN}U\x01aNstbs.",
    ],
)
def test_a_file_that_is_no_pickle_of_images_names_itself_and_the_mend(
    root: Path, content: bytes
) -> None:
    _file(root, "CIFAR10").write_bytes(content)
    _refusal(root, "CIFAR10")


@every_collection
def test_a_file_cut_short_is_told(root: Path, collection: str) -> None:
    path = _file(root, collection)
    path.write_bytes(path.read_bytes()[:-5000])
    assert "truncated" in _refusal(root, collection)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("data", np.zeros((100, 3071), np.uint8), r"its images are not uint8 \[N, 3072\]"),
        ("data", np.zeros((0, 3072), np.uint8), r"its images are not uint8 \[N, 3072\]"),
        ("data", np.zeros((100, 3072), np.int8), r"its images are not uint8 \[N, 3072\]"),
        ("data", np.zeros((99, 3072), np.uint8), "'fine_labels' is not a list of one label"),
        ("data", [0] * 100, "AttributeError"),
        ("coarse_labels", [0] * 99, "'coarse_labels' is not a list of one label an image"),
        ("coarse_labels", [20] * 100, "'coarse_labels' has labels other than 0 to 19"),
        ("fine_labels", [-1] * 100, "'fine_labels' has labels other than 0 to 99"),
        ("fine_labels", [0.5] * 100, "'fine_labels' has labels other than 0 to 99"),
    ],
)
def test_images_and_labels_that_cannot_be_are_told(
    root: Path, column: str, value: object, reason: str
) -> None:
    path = _file(root, "CIFAR100")
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    path.write_bytes(pickle.dumps({**content, column: value}, 4))
    with pytest.raises(UserError, match=reason):
        load_cifar100(DataSource(root))


def test_an_array_of_fewer_bytes_than_its_shape_is_told(root: Path) -> None:
    path = _file(root, "CIFAR100")
    shape, wrong = (_python2((count, 3072)) for count in (100, 101))
    path.write_bytes(path.read_bytes().replace(shape, wrong))
    assert "cannot reshape" in _refusal(root, "CIFAR100")


@every_collection
def test_no_root_names_the_collection_and_the_flags(collection: str) -> None:
    with pytest.raises(UserError, match=rf"^{collection} is .*--root DIR.*--download"):
        COLLECTIONS[collection][0](DataSource())


@pytest.mark.usefixtures("no_download")
@every_collection
def test_a_missing_file_names_the_folder_and_the_flag(root: Path, collection: str) -> None:
    missing = _file(root, collection)
    missing.unlink()
    with pytest.raises(UserError, match=rf"{missing.name} is missing.*--download") as error:
        COLLECTIONS[collection][0](DataSource(root))
    assert str(missing.parent) in str(error.value)


@pytest.mark.usefixtures("no_download")
@every_collection
def test_files_that_are_there_are_not_fetched_again(root: Path, collection: str) -> None:
    COLLECTIONS[collection][0](DataSource(root, download=True))


@every_collection
def test_a_download_fetches_the_archive_that_torchvision_knows(
    root: Path, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(root, collection)
    content = path.read_bytes()
    path.unlink()
    theirs = getattr(torchvision.datasets, collection)

    def fetch(url: str, download_root: Path, filename: str, md5: str) -> None:
        assert (url, filename, md5) == (theirs.url, theirs.filename, theirs.tgz_md5)
        assert download_root == root
        path.write_bytes(content)

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", fetch)
    COLLECTIONS[collection][0](DataSource(root, download=True))


@every_collection
def test_a_failed_download_says_why_in_one_line(
    tmp_path: Path, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", refuse)
    with pytest.raises(UserError, match="no route to host") as error:
        COLLECTIONS[collection][0](DataSource(tmp_path, download=True))
    assert str(error.value).startswith(f"{collection} could not be downloaded")
    assert "check the network" in str(error.value)
    assert "\n" not in str(error.value)


# --------------------------------------------------------------------------------- the data sets


@every_dataset
def test_labels_are_int64_within_the_classes(root: Path, dataset: Dataset) -> None:
    data = dataset.load(DataSource(root))
    assert list(data) == list(dataset.tasks)
    for task in data.values():
        for labels in (task.train_labels, task.test_labels):
            assert labels is not None
            assert labels.dtype == torch.int64
            assert 0 <= labels.min() <= labels.max() < task.task.outputs


@every_dataset
def test_training_and_test_images_never_mix(root: Path, dataset: Dataset) -> None:
    # Their last pixels are of 50 to 149 in training, and of 150 and up in the test.
    for task in dataset.load(DataSource(root)).values():
        assert task.images.train[:, :, -1, -1].max() < 150
        assert task.images.test[:, :, -1, -1].min() >= 150


@pytest.mark.parametrize("dataset", [CIFAR10(), CIFAR100()], ids=lambda dataset: dataset.name)
def test_every_task_reads_the_same_images(root: Path, dataset: Dataset) -> None:
    data = dataset.load(DataSource(root))
    assert len({id(d.images) for d in data.values()}) == 1
    images = data["brightness"].images
    assert images.name == dataset.name
    assert images.train.shape == (100, 3, 32, 32)
    assert images.train.dtype == torch.uint8


@pytest.mark.parametrize("dataset", [CIFAR10(), CIFAR100()], ids=lambda dataset: dataset.name)
def test_brightness_bins_are_quarters_of_the_training_images(root: Path, dataset: Dataset) -> None:
    data = dataset.load(DataSource(root))["brightness"]
    levels = data.images.train[:, 0, -1, -1].long()
    assert data.train_labels is not None
    assert data.test_labels is not None
    assert torch.equal(data.train_labels, (levels - 50) // 25)
    assert data.test_labels.unique().tolist() == [3]


def test_animals_and_vehicles_are_told_apart_by_name(root: Path) -> None:
    data = CIFAR10().load(DataSource(root))
    category, animal = data["category"].train_labels, data["animal"].train_labels
    assert category is not None
    assert animal is not None
    kinds = {(CATEGORIES[c], bool(a)) for c, a in zip(category, animal, strict=True)}
    assert {name for name, is_animal in kinds if is_animal} == {
        *("bird", "cat", "deer", "dog", "frog", "horse")
    }
    assert {name for name, is_animal in kinds if not is_animal} == {
        *("airplane", "automobile", "ship", "truck")
    }


def test_realm_is_a_function_of_the_superclass(root: Path) -> None:
    data = CIFAR100().load(DataSource(root))
    fine, coarse, realm = (data[task].train_labels for task in ("fine", "coarse", "realm"))
    assert fine is not None
    assert coarse is not None
    assert realm is not None
    assert coarse.tolist() == COARSE[fine].tolist()
    names = [SUPERCLASSES[index] for index in coarse]
    _, plants, made, landscapes = (
        {n for n, r in zip(names, realm, strict=True) if r == i} for i in range(4)
    )
    assert plants == {"flowers", "fruit_and_vegetables", "trees"}
    assert landscapes == {"large_natural_outdoor_scenes"}
    assert made == {
        "food_containers",
        "household_electrical_devices",
        "household_furniture",
        "large_man-made_outdoor_things",
        "vehicles_1",
        "vehicles_2",
    }


def test_both_names_the_collection_that_is_missing(root: Path) -> None:
    _file(root, "CIFAR100").unlink()
    with pytest.raises(UserError, match="CIFAR100 is not in"):
        CIFARBoth().load(DataSource(root))


def test_each_task_of_both_has_its_own_images(root: Path) -> None:
    data = CIFARBoth().load(DataSource(root))
    assert len({id(d.images) for d in data.values()}) == 4
    assert len({d.images.name for d in data.values()}) == 4
    assert [d.task.outputs for d in data.values()] == [6, 4, 9, 10]
    # Of ten images a category, and one a class.
    assert [len(d.images.train) for d in data.values()] == [60, 40, 45, 10]
    assert [len(d.images.test) for d in data.values()] == [12, 8, 45, 10]


@pytest.mark.parametrize(
    ("task", "load", "column", "classes"),
    [
        ("animals10", load_cifar10, "labels", "bird cat deer dog frog horse"),
        ("vehicles10", load_cifar10, "labels", "airplane automobile ship truck"),
        (
            "animals100",
            load_cifar100,
            "coarse_labels",
            "aquatic_mammals fish insects large_carnivores large_omnivores_and_herbivores "
            "medium_mammals non-insect_invertebrates reptiles small_mammals",
        ),
    ],
)
def test_a_task_of_both_has_the_images_of_its_classes(
    root: Path, task: str, load: Load, column: str, classes: str
) -> None:
    own = CIFARBoth().load(DataSource(root))[task]
    whole = load(DataSource(root))[0]
    names = CATEGORIES if column == "labels" else SUPERCLASSES
    assert own.train_labels is not None
    for place, name in enumerate(classes.split()):
        theirs = whole.images[whole.labels[column] == names.index(name)]
        assert torch.equal(own.images.train[own.train_labels == place], theirs)


def test_vehicles_of_cifar_100_are_the_classes_of_two_superclasses(root: Path) -> None:
    own = CIFARBoth().load(DataSource(root))["vehicles100"]
    whole = load_cifar100(DataSource(root))[0]
    vehicles = torch.isin(whole.labels["coarse_labels"], torch.tensor([18, 19]))
    assert torch.equal(own.images.train, whole.images[vehicles])
    assert own.train_labels is not None
    assert own.train_labels.sort().values.tolist() == list(range(10))
    # Classes 0 to 4 are those of vehicles 1, the others of vehicles 2.
    assert torch.equal(own.train_labels // 5 + 18, whole.labels["coarse_labels"][vehicles])


@every_dataset
def test_every_declared_pair_is_one_of_its_tasks_in_order(dataset: Dataset) -> None:
    order = list(dataset.tasks)
    for pair in declared_pairs(dataset):
        assert list(pair.tasks) == sorted(pair.tasks, key=order.index)
