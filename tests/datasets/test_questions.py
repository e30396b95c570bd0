"""Tables in another convention, as a user meets them: a question in one line, or a note."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.contracts import DataSource
from bench.errors import UserError
from bench.spec.registry import parse_dataset, parse_pairs
from bench.task_types import MISSING
from bench.tasks import TaskData

COUNT = 40
Columns = Mapping[str, Callable[[int], object]]


@pytest.fixture
def table(tmp_path: Path) -> Callable[[Columns], str]:
    """Write images and their table; return the table's path."""
    (tmp_path / "img").mkdir()
    for index in range(COUNT):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"img/{index}.png")

    def write(columns: Columns) -> str:
        path = tmp_path / "labels.csv"
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["image", *columns])
            out.writerows([f"img/{i}.png", *(c(i) for c in columns.values())] for i in range(COUNT))
        return str(path)

    return write


Write = Callable[[Columns], str]


def _load(text: str, *tasks: str) -> list[TaskData]:
    dataset = parse_dataset(text)
    dataset.check(DataSource(), tasks)
    data = dataset.load(DataSource())
    return [data[task] for task in tasks]


def _labels(data: TaskData) -> torch.Tensor:
    assert data.train_labels is not None
    assert data.test_labels is not None
    return torch.cat([data.train_labels, data.test_labels])


def _told(text: str, *tasks: str) -> str:
    with pytest.raises(UserError) as error:
        _load(text, *tasks)
    return str(error.value)


def test_a_question_names_file_column_values_rows_and_knobs(table: Write) -> None:
    path = table({"age": lambda i: -1 if i % 8 == 0 else 20 + i / 2, "kind": lambda i: "ab"[i % 2]})
    assert _told(f"folder:{path}", "age", "kind") == (
        f"'{path}', column 'age': '-1' may mean that there is no value, or be a number "
        "(row 2, 10, 18 and 2 more): say folder@missing=age=-1:… or folder@keep=age=-1:…"
    )
    (age,) = _load(f"folder@missing=age=-1:{path}", "age")
    assert _labels(age).isnan().sum() == 5
    assert "'-1' counts as missing (5 rows)" in age.notes
    (age,) = _load(f"folder@keep=age=-1:{path}", "age")
    assert _labels(age).min() == -1
    assert len(_load(f"folder:{path}", "kind")) == 1  # nobody asks about what nobody wants


def test_several_questions_are_asked_at_once(table: Write) -> None:
    path = table(
        {
            "age": lambda i: -1 if i % 8 == 0 else 20 + i / 2,
            "beard": lambda i: ("None", "full", "short")[i % 3],
            "fold": lambda i: i % 5,
        }
    )
    first, *lines = _told(f"folder:{path}", "age", "beard").splitlines()
    assert first == f"'{path}' can be read in several ways; choose one for each of these"
    assert [line.split(": ")[0] for line in lines] == [
        f"  '{path}'",
        f"  '{path}', column 'age'",
        f"  '{path}', column 'beard'",
    ]
    assert "say folder@split=fold,test=0:… or folder@split=none:…" in lines[0]
    knobs = "split=fold,test=4,missing=-1,keep=beard=None"
    age, beard = _load(f"folder@{knobs}:{path}", "age", "beard")
    assert (len(age.images.train), len(age.images.test)) == (32, 8)
    assert beard.task.classes == ("None", "full", "short")


def test_a_plain_reading_is_told_with_the_task(table: Write) -> None:
    path = table(
        {
            "price": lambda i: "#N/A" if i == 3 else f"€{i + 1},50",
            "colour": lambda i: ("Red", "red", "blue")[i % 3] if i else "<NA>",
        }
    )
    price, colour = _load(f"folder:{path}", "price", "colour")
    assert price.task.type.name == "regression"
    assert _labels(price).nanmean() == pytest.approx(
        np.mean([i + 1.5 for i in range(40) if i != 3])
    )
    assert price.notes == (
        "'#N/A' counts as missing (1 row)",
        "'€1,50' is read as 1.50 in €",
    )
    assert colour.task.classes == ("blue", "red")
    assert (_labels(colour) == MISSING).sum() == 1


def test_a_word_among_numbers_is_a_fault_that_says_how_to_leave_it_out(table: Write) -> None:
    path = table({"age": lambda i: "old" if i == 5 else i + 0.5})
    assert "row 7: age: 'old' is no number (missing=age=old if it means that there is none)" in (
        _told(f"folder:{path}", "age")
    )
    (age,) = _load(f"folder@missing=old:{path}", "age")
    assert _labels(age).isnan().sum() == 1


def test_true_and_false_in_is_valid_say_the_test_set(table: Write) -> None:
    path = table({"kind": lambda i: "ab"[i % 2], "is_valid": lambda i: i >= 30})
    (kind,) = _load(f"folder:{path}", "kind")
    assert (len(kind.images.train), len(kind.images.test)) == (30, 10)
    assert "is_valid" not in parse_dataset(f"folder:{path}").tasks
    assert (
        "column 'is_valid' is read as the split: true is validation, false is train"
        in (kind.images.notes[0])
    )


def test_the_split_may_be_left_to_chance(table: Write) -> None:
    path = table({"kind": lambda i: "ab"[i % 2], "set": lambda i: "train" if i < 39 else "test"})
    (kind,) = _load(f"folder@split=none:{path}", "kind")
    assert len(kind.images.test) == 8
    assert "set" in parse_dataset(f"folder@split=none:{path}").tasks


def test_a_split_with_one_side_only_says_which_column_and_what_to_do(table: Write) -> None:
    path = table({"kind": lambda i: "ab"[i % 2], "split": lambda i: "train"})
    assert _told(f"folder:{path}", "kind") == (
        f"'{path}' has no test image that can be read: column split says so (split=none draws a "
        "test set)"
    )


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ("decimal=dot", "decimal is comma or point"),
        ("test=1", "name it with split=COLUMN"),
        ("missing=aeg=-1", "did you mean 'age'"),
        ("exact=kidn", "did you mean 'kind'"),
        ("split=kidn", "did you mean 'kind'"),
        ("split=kind,test=c", "column 'kind' has no value 'c', but 'a', 'b'"),
    ],
)
def test_a_choice_that_does_not_fit_says_why(table: Write, knobs: str, words: str) -> None:
    path = table({"age": lambda i: i + 0.5, "kind": lambda i: "ab"[i % 2]})
    assert words in _told(f"folder@{knobs}:{path}", "age")


def test_knobs_are_part_of_the_name(table: Write) -> None:
    path = table({"age": lambda i: i + 0.5, "kind": lambda i: "ab"[i % 2]})
    text = f"folder@missing=age=-1/kind=x:{path}"
    (pair,) = parse_pairs(f"{text}:age+kind")
    assert pair.dataset == text
