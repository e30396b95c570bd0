"""Folders whose names are labels: classes, splits and domains, and each bad one's words."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli.app import main
from bench.contracts import DataSource
from bench.datasets import _trees
from bench.errors import UserError
from bench.spec.registry import parse_dataset, parse_pairs
from bench.spec.shorthand import spelled_out
from bench.task_types import Classification, Regression
from bench.tasks import TaskData
from bench.train.load import fingerprint, task_data

Make = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write images at paths, each like no other; return the folder's path."""

    def call(paths: Sequence[str], name: str = "photos") -> str:
        for number, path in enumerate(paths):
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(file)
        return str(tmp_path / name)

    return call


def _of(*folders: str, count: int = 8) -> list[str]:
    """Return the paths of so many images in each folder."""
    return [f"{folder}/{number}.png" for folder in folders for number in range(count)]


def _load(text: str, *tasks: str, skip: bool = False, cache: Path | None = None) -> list[TaskData]:
    source = DataSource(cache=cache, skip_bad_images=skip)
    dataset = parse_dataset(text)
    dataset.check(source, tasks)
    return [task_data(text, task, source) for task in tasks]


def _refusal(text: str, *tasks: str) -> str:
    with pytest.raises(UserError) as error:
        _load(text, *(tasks or ("class",)))
    return str(error.value)


def _counts(data: TaskData) -> tuple[list[int], list[int]]:
    assert data.train_labels is not None
    assert data.test_labels is not None
    classes = data.task.outputs
    return (
        data.train_labels.bincount(minlength=classes).tolist(),
        data.test_labels.bincount(minlength=classes).tolist(),
    )


# ------------------------------------------------------------------------------ classes


def test_a_folder_for_each_class_is_one_task(make: Make) -> None:
    folder = make(_of("cat", "dog", "bird"))
    (pair,) = parse_pairs(f"folder:{folder}:class")
    with pytest.raises(UserError, match=r"name its task, .*:class, which is classification"):
        parse_pairs(f"folder:{folder}")
    (data,) = _load(pair.dataset, "class")
    assert data.task.classes == ("bird", "cat", "dog")
    assert isinstance(data.task.type, Classification)
    assert (len(data.images.train), len(data.images.test)) == (20, 4)
    assert data.images.name == "images"
    assert "the images' folders are read as the task 'class'" in data.images.notes
    assert any(note.startswith("no split folder: 4 of 24") for note in data.images.notes)


def test_labels_stay_with_their_images(make: Make) -> None:
    paths = _of("cat", "dog")
    (data,) = _load(f"folder:{make(paths)}", "class")
    pixels = torch.cat([data.images.train, data.images.test])
    assert data.train_labels is not None
    assert data.test_labels is not None
    labels = torch.cat([data.train_labels, data.test_labels])
    found = {image.numpy().tobytes(): int(y) for image, y in zip(pixels, labels, strict=True)}
    for number, path in enumerate(paths):
        image = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        assert found[image.transpose(2, 0, 1).tobytes()] == ("cat", "dog").index(path[:3])


@pytest.mark.parametrize(
    "folders",
    [
        ("train/cat", "train/dog", "test/cat", "test/dog"),
        ("Training/cat", "Training/dog", "val/cat", "val/dog"),
        ("cat/train", "dog/train", "cat/test", "dog/test"),
        ("all/train/cat", "all/train/dog", "all/valid/cat", "all/valid/dog"),
    ],
)
def test_folders_named_after_splits_are_the_splits(make: Make, folders: Sequence[str]) -> None:
    (data,) = _load(f"folder:{make(_of(*folders))}", "class")
    assert _counts(data) == ([8, 8], [8, 8])
    assert data.task.classes == ("cat", "dog")
    assert any("folders are read as the split" in note for note in data.images.notes)


def test_split_none_draws_a_test_set_all_the_same(make: Make) -> None:
    folder = make(_of("train/cat", "train/dog", "test/cat", "test/dog"))
    (data,) = _load(f"folder@split=none:{folder}", "class")
    assert len(data.images.test) == 6


def test_a_level_that_says_nothing_is_left_out_and_told(make: Make) -> None:
    (data,) = _load(f"folder:{make(_of('all/cat/images', 'all/dog/images'))}", "class")
    assert data.task.classes == ("cat", "dog")
    told = [note for note in data.images.notes if "which is no class" in note]
    assert [note.split("'")[1] for note in told] == ["all", "images"]


def test_what_a_system_leaves_in_folders_is_ignored_and_other_files_are_told(make: Make) -> None:
    folder = Path(make(_of("cat", "dog")))
    for name in (".DS_Store", "cat/Thumbs.db", "cat/._0.png", "__MACOSX/cat/._1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"junk")
    (folder / "cat/about.txt").write_text("about")
    (folder / "horse").mkdir()
    (data,) = _load(f"folder:{folder}", "class")
    assert len(data.images.train) + len(data.images.test) == 16
    assert "1 file that is no image was left out: 'cat/about.txt'" in data.images.notes
    assert "folders without an image: 'horse'" in data.images.notes


def test_names_of_classes_are_names_whatever_a_table_would_read_in_them(make: Make) -> None:
    (data,) = _load(f"folder:{make(_of('n', 'NA', 'none', '007', '7', 'a|b'))}", "class")
    assert data.task.classes == ("007", "7", "NA", "a|b", "n", "none")
    (numbers,) = _load(f"folder:{make(_of('1', '10', '2'), 'numbers')}", "class")
    assert numbers.task.classes == ("1", "2", "10")
    (ages,) = _load(f"folder@regression=class:{make(_of('1', '10', '2'), 'numbers')}", "class")
    assert isinstance(ages.task.type, Regression)


def test_uneven_classes_count_alike(make: Make) -> None:
    folder = make([*_of("cat", count=24), *_of("dog")])
    (data,) = _load(f"folder:{folder}", "class")
    assert data.task.type == Classification(balanced=True)
    (plain,) = _load(f"folder@metric=accuracy:{folder}", "class")
    assert plain.task.type == Classification()


def test_a_moved_tree_is_the_same_data_and_keeps_its_runs(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(make(_of("cat", "dog")))
    (before,) = _load(f"folder:{folder}", "class")
    monkeypatch.chdir(folder.parent)

    def told(pair: str) -> str:
        flags = ["-s", "hard+reconstruction", "--budget", "2steps", "--seeds", "1"]
        with pytest.raises(SystemExit) as end:
            main(["run", "-p", pair, *flags, "--workers", "0", "--results", "results"])
        assert end.value.code == 0
        return capsys.readouterr().err

    assert "finished already" not in told("photos:class")
    shutil.move(folder, folder.with_name("moved"))
    (after,) = _load(f"folder:{folder.with_name('moved')}", "class")
    assert fingerprint([after]) == fingerprint([before])
    assert "finished already; nothing to train" in told("moved/:class")


# ------------------------------------------------------------------------------ domains


OFFICE = ("amazon/images/mug", "amazon/images/pen", "dslr/images/mug", "dslr/images/bike")


@pytest.mark.parametrize("middle", ["/images", ""])
def test_a_folder_for_each_domain_is_a_task_each_with_one_set_of_classes(
    make: Make, middle: str
) -> None:
    folders = [folder.replace("/images", middle) for folder in (*OFFICE, "dslr/images/pen")]
    text = f"folder:{make(_of(*folders))}"
    (pair,) = parse_pairs(f"{text}:dslr+amazon")
    assert pair.tasks == ("amazon", "dslr")
    amazon, dslr = _load(text, "amazon", "dslr")
    assert amazon.images is not dslr.images
    assert [amazon.images.name, dslr.images.name] == ["amazon", "dslr"]
    assert amazon.task.classes == dslr.task.classes == ("bike", "mug", "pen")
    assert amazon.task.outputs == 3
    assert [sum(count) for count in _counts(amazon)] == [13, 3]
    assert _counts(amazon)[0][0] == _counts(amazon)[1][0] == 0
    assert "1 of the 3 classes has no image here: 'bike'" in amazon.notes
    assert not any("no image here" in note for note in dslr.notes)
    for data, name in ((amazon, "amazon"), (dslr, "dslr")):
        said = f"the folder '{name}' is read as one of 2 domains, with one set of 3 classes"
        assert any(note.startswith(said) for note in data.images.notes)


def test_domains_may_have_splits(make: Make) -> None:
    for name, order in (("a", "{split}/{domain}/{kind}"), ("b", "{domain}/{split}/{kind}")):
        folders = [
            order.format(split=split, domain=domain, kind=kind)
            for split in ("train", "test")
            for domain in ("art", "photo")
            for kind in ("cat", "dog")
        ]
        for data in _load(f"folder:{make(_of(*folders), name)}", "art", "photo"):
            assert _counts(data) == ([8, 8], [8, 8])


def test_the_draw_of_a_domain_does_not_depend_on_the_others(make: Make) -> None:
    folder = make(_of("a/mug", "a/pen", "b/mug", "b/pen"))
    (before,) = _load(f"folder:{folder}", "a")
    make(_of("c/mug", "c/pen"))
    (after,) = _load(f"folder:{folder}/", "a")
    assert fingerprint([after]) == fingerprint([before])


def test_the_classes_are_no_task_of_domains(make: Make) -> None:
    folder = make(_of("a/mug", "a/pen", "b/mug", "b/pen"))
    with pytest.raises(UserError, match=r"has no task 'class', since its folders are read as dom"):
        parse_pairs(f"folder:{folder}:class")
    (data,) = _load(f"folder@folders=classes:{folder}", "class")
    assert data.task.classes == ("a", "b")
    (pair,) = parse_pairs(f"folder@folders=domains:{folder}")
    assert pair.tasks == ("a", "b")


def test_domains_are_told_from_classes_by_the_names_that_they_share(make: Make) -> None:
    folder = make(_of("cat/tabby", "cat/siam", "dog/pug", "dog/boxer"))
    assert "say folder@folders=classes:… if the first" in _refusal(f"folder:{folder}")
    (data,) = _load(f"folder@folders=classes:{folder}", "class")
    assert data.task.classes == ("cat", "dog")
    cat, _ = _load(f"folder@folders=domains:{folder}", "cat", "dog")
    assert cat.task.outputs == 4


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["cat/1.png"], "all its images lie in one folder, 'cat'"),
        (["cat/1.png", "dog/2.png", "3.png"], "1 image lies in no folder of a class: '3.png'"),
        (["cat/1.png", "dog/old/2.png"], "mixes levels: 'cat/1.png' is in 1"),
        (["Cat/1.png", "cat/2.png", "dog/3.png"], "the folders 'Cat', 'cat' differ in case or"),
        (["train/1.png", "test/2.png"], "are splits, and no folders of classes are in them"),
        (
            ["train/a/1.png", "test/a/2.png", "train/b/1.png", "more/b/2.png"],
            "are named after splits, and others are not ('more'): move these away",
        ),
        (["a/b/c/1.png", "a/b/d/2.png", "e/f/c/3.png"], "has 3 levels of folders"),
        (["train/test/1.png", "test/train/2.png"], "are both named after splits"),
        (["a+b/x/1.png", "a+b/y/1.png", "c/x/1.png", "c/y/2.png"], "would name a task: rename it"),
        (["/".join("abcdefghijklmno") + "/1.png"], "is over 12 folders deep"),
    ],
)
def test_a_tree_that_is_not_clear_says_what_to_do(
    make: Make, paths: Sequence[str], words: str
) -> None:
    assert words in _refusal(f"folder:{make(paths)}")


def test_classes_that_differ_in_case_are_merged_or_kept_if_asked(make: Make) -> None:
    folder = make([*_of("train/Cat", "train/dog", "test/dog"), *_of("test/cat", count=4)])
    assert "folder@folded=class:…" in _refusal(f"folder:{folder}")
    (merged,) = _load(f"folder@folded=class:{folder}", "class")
    assert merged.task.classes == ("Cat", "dog")
    assert "'cat' is read as 'Cat'" in merged.images.notes
    (kept,) = _load(f"folder@exact=class:{folder}", "class")
    assert kept.task.classes == ("Cat", "cat", "dog")


def test_a_folder_without_images_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    assert "has no image in it" in _refusal(f"folder:{tmp_path}")
    (tmp_path / "cat/1.heic").touch()
    assert "files of other kinds: 1 of .heic: convert them" in _refusal(f"folder:{tmp_path}/")
    assert "there is no folder or table" in _refusal(f"folder:{tmp_path / 'dog'}")


def test_a_folder_with_a_table_asks_for_it(make: Make) -> None:
    folder = make(_of("cat", "dog"))
    Path(folder, "labels.csv").write_text("image,kind\ncat/0.png,a\n")
    assert f"name it, as in {folder}/labels.csv:TASK+TASK" in _refusal(f"folder:{folder}")
    (data,) = _load(f"folder@folders=classes:{folder}", "class")
    assert data.task.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ("folders=klasses", "folders are classes, splits or domains"),
        ("folders=splits", "the folder 'cat' is no split"),
        ("folders=domains", "a domain has a folder for each class"),
        ("image=path", "image=, root= and suffix= are for tables"),
        ("group=patient", "unknown column"),
        ("metric=klass=accuracy", "did you mean 'class'"),
    ],
)
def test_knobs_that_make_no_sense_for_a_tree_are_refused(
    make: Make, knobs: str, words: str
) -> None:
    assert words in _refusal(f"folder@{knobs}:{make(_of('cat', 'dog'))}")


def test_folders_says_nothing_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,kind\n")
    words = "is no folder, so folders=classes says nothing"
    assert words in _refusal(f"folder@folders=classes:{tmp_path / 'labels.csv'}")


def test_domains_are_joined_with_nothing(make: Make) -> None:
    domains, other = make(_of("a/x", "a/y", "b/x", "b/y")), make(_of("cat", "dog"), "other")
    assert "domains are joined with nothing" in _refusal(f"folder:{domains},{other}")
    more = make(_of("cat", "dog"), "more")
    first, second = _load(f"folder:{other},{more}", "other.class", "more.class")
    assert (first.images.name, second.images.name) == ("other", "more")


def test_bad_images_are_listed_by_path_and_may_be_skipped(make: Make, tmp_path: Path) -> None:
    folder = Path(make(_of("cat", "dog")))
    (folder / "cat/0.png").write_bytes(b"no image")
    (tmp_path / "secret.png").write_bytes((folder / "cat/1.png").read_bytes())
    (folder / "dog/out.png").symlink_to(tmp_path / "secret.png")
    told = _refusal(f"folder:{folder}")
    assert "has 2 faults" in told
    assert "\n  'cat/0.png': cannot be read: cannot identify image file" in told
    assert "\n  'dog/out.png': leads out of the folder" in told
    (data,) = _load(f"folder:{folder}", "class", skip=True)
    assert len(data.images.train) + len(data.images.test) == 15
    assert "2 bad images were skipped ('cat/0.png', 'dog/out.png')" in data.images.notes
    for file in folder.glob("*/*.png"):
        file.unlink()
        file.write_bytes(b"no image")
    assert "none of its 17 images can be read; 'cat/0.png': cannot" in _refusal(f"folder:{folder}/")


def test_links_to_folders_are_refused_and_a_link_to_an_image_is_one_image_twice(
    make: Make,
) -> None:
    folder = Path(make(_of("cat", "dog")))
    (folder / "dog/same.png").symlink_to(folder / "cat/0.png")
    assert "is the same file as" in _refusal(f"folder:{folder}")
    (folder / "horse").symlink_to(folder / "cat")
    assert "'horse' is a link to a folder" in _refusal(f"folder:{folder}/")


@pytest.mark.skipif(os.sep != "/", reason="names of files are bytes on POSIX")
def test_a_name_that_is_no_text_is_refused(make: Make) -> None:
    folder = make(_of("cat", "dog"))
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/cat/\xff.png")).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    assert "is no text in UTF-8: rename it" in _refusal(f"folder:{folder}")


def test_a_tree_of_more_files_than_are_meant_is_not_walked_on(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.datasets._tables._MOST_ROWS", 10)
    assert "has over 10 rows" in _refusal(f"folder:{make(_of('cat', 'dog'))}")


def test_many_domains_are_asked_about(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trees, "_MOST_DOMAINS", 2)
    folder = make(_of("p1/left", "p1/right", "p2/left", "p2/right", "p3/left", count=1))
    assert "folder@folders=domains:…" in _refusal(f"folder:{folder}")


# ------------------------------------------------------------------------------ shorthand


def test_a_folder_that_is_there_stands_for_its_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "mnist", "more"):
        (tmp_path / name).mkdir()
    for typed, meant in {
        "photos:class": "folder:photos:class",
        "photos": "folder:photos",
        "photos/:class": "folder:photos/:class",
        "./mnist/:class": "folder:./mnist/:class",
        "photos@size=64,folders=classes:class": "folder@size=64,folders=classes:photos:class",
        "photos,more:photos.class": "folder:photos,more:photos.class",
        "nowhere/photos:class": "folder:nowhere/photos:class",
        "mnist:left": "mnist:left",
        "nowhere:class": "nowhere:class",
    }.items():
        assert spelled_out(typed) == meant
