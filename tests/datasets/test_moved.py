"""The same images and labels give the same numbers, wherever they lie and in whatever order."""

import csv
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.cli.app import main
from bench.contracts import DataSource
from bench.images import identity, read_header, read_rows
from bench.spec.registry import parse_dataset
from bench.train.load import fingerprint, task_data

COUNT = 40
Row = tuple[str, str, str]


def _rows() -> list[Row]:
    return [(f"img/{i}.png", "ab"[i % 2], ("Up", "up", "down")[i % 3]) for i in range(COUNT)]


def _write(path: Path, rows: Sequence[Row]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "kind", "way"), *rows])
    return str(path)


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """Return the folder of a table and its images."""
    folder = tmp_path / "toys"
    (folder / "img").mkdir(parents=True)
    for index in range(COUNT):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"img/{index}.png")
    _write(folder / "labels.csv", _rows())
    return folder


def _content(table: str, *tasks: str) -> str:
    """Return the digest of all that a run reads of a table, in its order."""
    asked = tasks or ("kind", "way", "kind~shuffled")
    return fingerprint([task_data(f"folder:{table}", task, DataSource()) for task in asked])


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[::-1],
        lambda rows: random.Random(0).sample(rows, len(rows)),
        lambda rows: [(f"./{image}", *labels) for image, *labels in rows],
        lambda rows: [(f"img/../{image}", *labels) for image, *labels in rows],
    ],
    ids=["turned", "shuffled", "./img", "img/.."],
)
def test_a_table_that_is_sorted_or_spelled_in_another_way_is_the_same_data(
    toys: Path, change: Callable[[Sequence[Row]], Sequence[Row]]
) -> None:
    other = _write(toys / "other.csv", change(_rows()))
    assert _content(other) == _content(str(toys / "labels.csv"))


def test_absolute_paths_and_another_place_are_the_same_data(toys: Path) -> None:
    before = _content(str(toys / "labels.csv"))
    absolute = [(str(toys / image), *labels) for image, *labels in _rows()]
    assert _content(_write(toys / "absolute.csv", absolute)) == before  # type: ignore[arg-type]
    shutil.copytree(toys, toys.parent / "elsewhere")
    assert _content(str(toys.parent / "elsewhere/labels.csv")) == before


def test_another_label_or_another_picture_is_other_data(toys: Path) -> None:
    before = _content(str(toys / "labels.csv"))
    rows = _rows()
    rows[3] = (rows[3][0], "a", rows[3][2])
    assert _content(_write(toys / "other.csv", rows)) != before
    Image.new("RGB", (16, 16)).save(toys / "img/5.png")
    assert _content(_write(toys / "painted.csv", _rows())) != before


def test_a_folder_that_is_moved_or_spelled_in_another_way_keeps_its_runs(
    toys: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(toys.parent)

    def told(table: str) -> str:
        flags = ["-s", "hard", "--budget", "2steps", "--seeds", "1", "--workers", "0"]
        with pytest.raises(SystemExit) as end:
            main(["run", f"{table}:kind+way", *flags, "--results", str(toys.parent / "results")])
        assert end.value.code == 0
        return capsys.readouterr().err

    assert "finished already" not in told("toys/labels.csv")
    shutil.copytree(toys, toys.parent / "moved/toys")
    _write(toys / "sorted.csv", sorted(_rows()))
    for table in (
        "./toys/labels.csv",
        "toys/../toys/labels.csv",
        str(toys / "labels.csv"),
        "moved/toys/labels.csv",
        "toys/sorted.csv",
    ):
        assert "runs are finished already; nothing to train" in told(table), table


def test_the_cache_is_named_by_content_and_not_by_name_size_or_time(tmp_path: Path) -> None:
    one, two = tmp_path / "one.bmp", tmp_path / "two.bmp"
    Image.new("L", (8, 4), 10).save(one)
    before, status = identity([one]), one.stat()
    shutil.copy(one, two)
    assert identity([two]) == before
    Image.new("L", (4, 8), 10).save(one)  # as many bytes
    os.utime(one, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert one.stat().st_size == status.st_size
    assert identity([one]) != before
    assert identity([tmp_path / "none.bmp"]) != before


def test_a_file_that_is_replaced_within_its_time_is_read_anew(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.bmp", tmp_path / "cache"

    def height() -> int:
        rows = read_rows([path], read_header, "header", (6,), cache, np.float32).rows
        return int(rows[0, 0])

    Image.new("L", (8, 4)).save(path)
    status = path.stat()
    assert height() == 4
    Image.new("L", (4, 8)).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert height() == 8


def test_the_name_of_a_table_is_in_no_stream(toys: Path) -> None:
    shutil.copy(toys / "labels.csv", toys / "mine.csv")
    sets = [
        parse_dataset(f"folder:{toys / name}").load(DataSource())["kind"].images.name
        for name in ("labels.csv", "mine.csv")
    ]
    assert sets == ["images", "images"]
