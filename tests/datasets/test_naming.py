"""How a table names its images: by path, by name or by id, and where they lie."""

import csv
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import DataSource
from bench.errors import UserError
from bench.spec.registry import parse_dataset
from bench.tasks import ImageSet

COUNT = 20


def _paint(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)


def _table(path: Path, column: str, cell: Callable[[int], object]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow([column, "kind"])
        out.writerows([cell(i), "ab"[i % 2]] for i in range(COUNT))
    return str(path)


def _images(text: str) -> ImageSet:
    dataset = parse_dataset(text)
    dataset.check(DataSource(), ["kind"])
    return dataset.load(DataSource())["kind"].images


def _told(text: str) -> str:
    with pytest.raises(UserError) as error:
        _images(text)
    return str(error.value)


@pytest.mark.parametrize("folder", ["images", "photos/", "."])
@pytest.mark.parametrize("suffix", ["png", "PNG", "jpg"])
def test_an_id_names_an_image_beside_the_table(tmp_path: Path, folder: str, suffix: str) -> None:
    _paint(tmp_path / folder, [f"{i}.{suffix}" for i in range(COUNT)])
    path = _table(tmp_path / "labels.csv", "id", lambda i: i)
    images = _images(f"folder:{path}")
    assert len(images.train) + len(images.test) == COUNT
    shown = Path(folder) / f"0.{suffix}"
    assert images.notes[0] == (
        f"column 'id' names the images: '{shown}' is the first (image=, root= and suffix= say "
        "otherwise)"
    )


def test_the_column_of_ids_may_have_any_name_and_come_first_or_last(tmp_path: Path) -> None:
    _paint(tmp_path / "images", [f"a{i}.png" for i in range(COUNT)])
    path = _table(tmp_path / "labels.csv", "specimen", lambda i: f"a{i}")
    assert "column 'specimen' names the images" in _images(f"folder:{path}").notes[0]


def test_names_of_files_lie_beside_the_table_too(tmp_path: Path) -> None:
    _paint(tmp_path / "images", [f"{i}.png" for i in range(COUNT)])
    path = _table(tmp_path / "labels.csv", "filename", lambda i: f"{i}.png")
    assert "'images/0.png' is the first" in _images(f"folder:{path}").notes[0]


def test_folders_of_images_and_of_masks_are_told_apart(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        _paint(tmp_path / folder, [f"{i}.png" for i in range(COUNT)])
    path = _table(tmp_path / "labels.csv", "id", lambda i: i)
    assert "'images/0.png'" in _images(f"folder:{path}").notes[0]
    (tmp_path / "images").rename(tmp_path / "a")
    assert "several folders hold the images of its rows: say root=a or root=masks" in _told(
        f"folder@size=16:{path}"
    )
    assert len(_images(f"folder@root=a:{path}").train) == 16


@pytest.mark.parametrize("absolute", [False, True])
def test_root_and_suffix_say_where_images_are(tmp_path: Path, absolute: bool) -> None:
    _paint(tmp_path / "far/away", [f"{i}.jpeg" for i in range(COUNT)])
    path = _table(tmp_path / "here/labels.csv", "id", lambda i: i)
    root = str(tmp_path / "far/away") if absolute else "../far/away"
    for suffix in (".jpeg", "jpeg"):
        images = _images(f"folder@image=id,root={root},suffix={suffix}:{path}")
        assert len(images.train) == 16
    assert f"root={root}x is no folder" in _told(f"folder@root={root}x:{path}")


def test_absolute_paths_are_fine_inside_the_folder_that_the_user_named(tmp_path: Path) -> None:
    _paint(tmp_path / "far", [f"{i}.png" for i in range(COUNT)])
    path = _table(tmp_path / "here/labels.csv", "path", lambda i: tmp_path / f"far/{i}.png")
    assert "is an absolute path outside of the table's folder" in _told(f"folder:{path}")
    assert len(_images(f"folder@root={tmp_path / 'far'}:{path}").train) == 16
    inside = _table(tmp_path / "labels.csv", "path", lambda i: tmp_path / f"far/{i}.png")
    assert len(_images(f"folder:{inside}").train) == 16


def test_no_path_leads_out_of_the_root(tmp_path: Path) -> None:
    _paint(tmp_path / "far", [f"{i}.png" for i in range(COUNT)])
    _paint(tmp_path, ["outside.png"])
    (tmp_path / "far/3.png").unlink()
    (tmp_path / "far/3.png").symlink_to(tmp_path / "outside.png")
    cells = {4: "../outside", 5: str(tmp_path / "outside")}
    path = _table(tmp_path / "here/labels.csv", "id", lambda i: cells.get(i, i))
    lines = _told(f"folder@root=../far,image=id,suffix=.png:{path}").splitlines()[1:]
    assert [line.split(": ", 1)[0] for line in lines] == ["  row 5", "  row 6", "  row 7"]
    assert lines[0].endswith("leads out of '../far'")
    assert lines[1].endswith("leads out of '../far'")
    assert "is an absolute path outside of '../far'" in lines[2]


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("img/3.PNG", "img/3.png"),
        ("img/3.jpg", "img/3.png"),
        ("img/sub/3.png", "img/3.png"),
        ("other/3.png", "img/3.png"),
        (f"img/{unicodedata.normalize('NFD', 'é')}.png", "img/é.png"),
        ("img/Three.png", "img/three.png"),
        ("img/a b.png", "img/a%20b.png"),
        ("img/0033.png", "img/33.png"),
    ],
)
def test_a_missing_image_that_is_near_is_named(tmp_path: Path, there: str, asked: str) -> None:
    _paint(tmp_path / "img", [f"{i}.png" for i in range(COUNT) if i != 3])
    _paint((tmp_path / there).parent, [Path(there).name])
    path = _table(tmp_path / "labels.csv", "image", lambda i: asked if i == 3 else f"img/{i}.png")
    assert f"row 5: image '{asked}' is missing (there is '{there}')" in _told(f"folder:{path}")


def test_what_names_no_image_says_how_to_name_them(tmp_path: Path) -> None:
    path = _table(tmp_path / "labels.csv", "id", lambda i: i)
    assert "with root=DIR,suffix=.jpg if it holds ids" in _told(f"folder:{path}")


def test_paths_as_on_windows_are_read_where_all_are(tmp_path: Path) -> None:
    _paint(tmp_path / "img", [f"{i}.png" for i in range(COUNT)])
    path = _table(tmp_path / "labels.csv", "image", lambda i: f"img\\{i}.png")
    assert len(_images(f"folder:{path}").train) == 16


def test_where_no_image_is_there_one_line_says_so(tmp_path: Path) -> None:
    _paint(tmp_path / "img", [f"{i}.png" for i in range(COUNT)])
    path = _table(tmp_path / "labels.csv", "image", lambda i: f"pics/{i}.png")
    assert _told(f"folder:{path}") == (
        f"'{path}': none of its 20 images is there; row 2: image 'pics/0.png' is missing (there is "
        "'img/0.png'): correct the column 'image', or say where they are with folder@root=DIR:…"
    )


def test_a_web_address_is_no_path(tmp_path: Path) -> None:
    path = _table(tmp_path / "labels.csv", "image", lambda i: f"https://a.org/{i}.png")
    assert "row 2: image 'https://a.org/0.png' is a web address: download" in (
        _told(f"folder:{path}")
    )


def test_files_of_ids_may_end_in_several_ways(tmp_path: Path) -> None:
    ends = ("jpg", "JPG", "png", "jpg")
    _paint(tmp_path / "images", [f"a{i}.{ends[i % 4]}" for i in range(COUNT)])
    images = _images(f"folder:{_table(tmp_path / 'labels.csv', 'id', lambda i: f'a{i}')}")
    assert len(images.train) + len(images.test) == COUNT
    assert "and 10 end otherwise" in images.notes[0]


def test_of_two_files_of_one_id_that_of_the_usual_suffix_is_taken(tmp_path: Path) -> None:
    _paint(tmp_path / "images", [f"a{i}.jpg" for i in range(COUNT)])
    _paint(tmp_path / "images", ["a3.png"])
    images = _images(f"folder:{_table(tmp_path / 'labels.csv', 'id', lambda i: f'a{i}')}")
    assert images.notes[0].startswith(
        "column 'id' names the images: 'images/a0.jpg' is the first ("
    )


@pytest.mark.parametrize(
    ("files", "cell", "said"),
    [
        ("images/{:04d}.jpg", "{}", "'id' has '0', and there is 'images/0000.jpg': write the"),
        ("images/{}.jpg", "{}.0", "'id' has '0.0', and there is 'images/0.jpg': write the"),
        ("images/train/a{}.jpg", "a{}", "there is 'images/train/a0.jpg': say root=images/train"),
        ("images/s{0}/a{0}.jpg", "a{}", "there is 'images/s0/a0.jpg': write the paths"),
        ("far.txt", "https://a.org/{}.png?s=3", "'id' has web addresses: download them"),
    ],
)
def test_ids_that_nearly_name_files_say_what_is_there(
    tmp_path: Path, files: str, cell: str, said: str
) -> None:
    for i in range(COUNT if "{" in files else 0):
        file = tmp_path / files.format(i)
        _paint(file.parent, [file.name])
    assert said in _told(f"folder:{_table(tmp_path / 'labels.csv', 'id', cell.format)}")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("/home/b/img/{}.png", "is an absolute path outside of the table's folder (there is 'img"),
        ("C:\\me\\img\\{}.png", "paths start at the table's folder (there is 'img/0.png': write"),
        ("file:///home/img/{}.png", "is an address: write the path alone, without file://"),
    ],
)
def test_paths_of_another_machine_are_told_in_one_line(
    tmp_path: Path, cell: str, said: str
) -> None:
    _paint(tmp_path / "img", [f"{i}.png" for i in range(COUNT)])
    told = _told(f"folder:{_table(tmp_path / 'labels.csv', 'image', cell.format)}")
    assert said in told
    assert "none of its 20 images is there" in told
    assert len(told.splitlines()) == 1
