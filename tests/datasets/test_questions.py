"""Tables in another convention, as a user meets them: a question in one line, or a note."""

import csv
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.contracts import DataSource
from bench.errors import UserError
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_dataset, parse_pairs
from bench.task_types import MISSING, Classification
from bench.tasks import TaskData
from bench.train.splits import draw_split

COUNT = 40
_TEST = ("train", "test")
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


# ------------------------------------------------------------------------------ metric


@pytest.mark.parametrize(
    ("share", "knob", "metric"),
    [
        (2, "", "accuracy"),
        (5, "", "balanced accuracy"),
        (5, "@metric=accuracy", "accuracy"),
        (5, "@metric=kind=accuracy", "accuracy"),
        (2, "@metric=balanced", "balanced accuracy"),
    ],
)
def test_uneven_classes_count_alike_unless_the_user_says_otherwise(
    table: Write, share: int, knob: str, metric: str
) -> None:
    path = table({"kind": lambda i: "ab"[i % share == 0], "split": lambda i: _TEST[i < 10]})
    (kind,) = _load(f"folder{knob}:{path}", "kind")
    assert kind.task.type.metrics[0].name == metric
    told = (
        "its largest class has 24 training images and its smallest 6, so all classes count alike "
        "(--metric kind=accuracy)"
    )
    assert (told in kind.notes) == (metric == "balanced accuracy" and not knob)


def test_the_classes_of_a_column_weigh_alike_in_the_loss_where_a_user_says_so(
    table: Write,
) -> None:
    path = table({"kind": lambda i: "ab"[i % 5 == 0], "split": lambda i: _TEST[i < 10]})
    (kind,) = _load(f"folder@weighted=kind:{path}", "kind")
    assert isinstance(kind.task.type, Classification)
    assert kind.task.type.weights == pytest.approx((0.4, 1.6))
    assert "in the loss each class weighs as much as another" in kind.notes
    assert "column of" in _told(f"folder@weighted=knd:{path}", "kind")


def test_a_metric_that_there_is_not_says_which_there_are(table: Write) -> None:
    path = table({"kind": lambda i: "ab"[i % 2]})
    assert "metric is accuracy or balanced" in _told(f"folder@metric=f1:{path}", "kind")


# ------------------------------------------------------------------------------ groups

PATIENTS: Columns = {"kind": lambda i: "ab"[i % 2], "patient": lambda i: f"p{i // 5}"}


def _sides(data: TaskData, seed: int) -> list[set[bytes]]:
    """Return the images of the training set, the validation split and the test set."""
    split = draw_split(data.images, Recipe(validation_size=6), seed)
    parts = data.images.train[split.train], data.images.train[split.validation], data.images.test
    return [{image.numpy().tobytes() for image in part} for part in parts]


def test_images_of_a_group_stay_on_one_side_of_every_split(table: Write) -> None:
    path = table(PATIENTS)
    (kind,) = _load(f"folder@group=patient:{path}", "kind")
    assert "patient" not in parse_dataset(f"folder@group=patient:{path}").tasks
    assert "images of one of the 8 groups stay on one side of all splits" in kind.images.notes
    owner = {}
    for i in range(COUNT):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        owner[pixels.transpose(2, 0, 1).tobytes()] = i // 5
    for seed in range(5):
        sides = [{owner[image] for image in side} for side in _sides(kind, seed)]
        assert all(sides)
        assert len(set.union(*sides)) == sum(map(len, sides)) == 8
    assert _sides(kind, 0) != _sides(kind, 1)


def test_a_group_on_both_sides_of_a_split_column_is_a_fault(table: Write) -> None:
    path = table({**PATIENTS, "split": lambda i: "test" if i % 10 == 3 else "train"})
    words = _told(f"folder@group=patient:{path}", "kind")
    assert "has 4 faults; fix the table" in words
    assert "row 5: group 'p0' is in the test set here, and in the training pool in row" in words


def test_one_group_cannot_be_split(table: Write) -> None:
    path = table({"kind": PATIENTS["kind"], "patient": lambda i: f"p{i // 20}"})
    (kind,) = _load(f"folder@group=patient:{path}", "kind")
    with pytest.raises(UserError, match="one group of training images"):
        draw_split(kind.images, Recipe(), 0)


# ------------------------------------------------------------------------------ sets of labels

FLAGS: Columns = {
    "smile": lambda i: int(i % 2 == 0),
    "beard": lambda i: ("yes", "no", "")[i % 3],
    "hat": lambda i: -1 if i % 4 else 1,
    "age": lambda i: i + 0.5,
}


def test_columns_of_true_and_false_are_one_multi_label_task(table: Write) -> None:
    path = table(FLAGS)
    (pair,) = parse_pairs(f"folder:{path}:[smile,beard,hat]+age")
    assert pair.name == f"folder@onehot=smile=beard=hat:{path}:age+[smile,beard,hat]"
    assert parse_pairs(pair.name) == [pair]
    (flags,) = _load(pair.dataset, "[smile,beard,hat]")
    assert (flags.task.type.name, flags.task.classes) == ("multi-label", ("smile", "beard", "hat"))
    labels = _labels(flags)
    assert labels.isnan().sum(0).tolist() == [0, 13, 0]
    assert labels.nansum(0).tolist() == [20, 14, 10]


def test_placebos_and_every_pair_of_such_a_task(table: Write) -> None:
    path = table(FLAGS)
    (pair,) = parse_pairs(f"folder:{path}:[smile,hat]~shuffled+age")
    assert pair.tasks == ("age", "[smile,hat]~shuffled")
    assert len(parse_pairs(f"folder:{path}:[smile,hat]*age*beard")) == 3


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("[smile,age]", "column 'age': '0.5' (row 2) is neither true nor false"),
        ("[smile,hut]", "did you mean 'hat'"),
    ],
)
def test_columns_that_are_no_flags_or_not_there_are_told(
    table: Write, task: str, words: str
) -> None:
    with pytest.raises(UserError) as error:
        parse_pairs(f"folder:{table(FLAGS)}:{task}+age")
    assert words in str(error.value)


def test_labels_in_one_cell_are_cut_by_what_the_user_says(table: Write) -> None:
    words = ("red left", "blue left", "red right", "blue right")
    path = table({"tags": lambda i: words[i % 4]})
    assert (
        "column 'tags': 'red left', 'blue left', 'red right', 'blue right' may be one class each "
        "or several labels (row 2, 3, 4 and 37 more): say folder@separator=tags=space:… or "
        "folder@separator=tags=none:…"
    ) in _told(f"folder:{path}", "tags")
    (tags,) = _load(f"folder@separator=tags=space:{path}", "tags")
    assert (tags.task.type.name, tags.task.classes) == (
        "multi-label",
        ("blue", "left", "red", "right"),
    )


# ------------------------------------------------------------------------------ images, masks


def _masked(table: Write, tmp_path: Path, save: Callable[[Path, np.ndarray], None]) -> str:
    """Write a table with masks of a square, each saved as told."""
    suffix = "jpg" if save is _jpeg else "png"
    for index in range(COUNT):
        mask = np.zeros((16, 16), np.uint8)
        mask[index % 8 : index % 8 + 6, 4:12] = 1
        save(tmp_path / f"{index}.{suffix}", mask)
    return table({"outline": lambda i: f"{i}.{suffix}"})


def _jpeg(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(255 * mask).save(path, quality=60)


def _blurred(path: Path, mask: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 4, mask.shape, np.uint8)
    Image.fromarray(np.where(mask == 1, 255 - noise, noise)).save(path)


def _sixteen_bits(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(mask.astype(np.uint16)).save(path)


def _instances(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(26_000 * mask.astype(np.uint16)).save(path)


def test_blurred_masks_are_black_and_white_or_classes_as_the_user_says(
    table: Write, tmp_path: Path
) -> None:
    path = _masked(table, tmp_path, _blurred)
    words = _told(f"folder:{path}", "outline")
    assert "column 'outline': its masks hold 8 different values (0, 1, 2, 3, … 255)" in words
    assert (
        "say folder@binary=outline:… if they are black and white, or folder@exact=outline" in words
    )
    (outline,) = _load(f"folder@binary=outline:{path}", "outline")
    assert (outline.task.outputs, _labels(outline).float().mean().item()) == (2, 48 / 256)
    (outline,) = _load(f"folder@exact=outline:{path}", "outline")
    assert outline.task.outputs == 7


def test_jpeg_masks_say_what_is_wrong_with_them_and_may_be_black_and_white(
    table: Write, tmp_path: Path
) -> None:
    path = _masked(table, tmp_path, _jpeg)
    assert "mask '0.jpg' cannot be read: a JPEG blurs the classes of a mask" in _told(
        f"folder:{path}", "outline"
    )
    (outline,) = _load(f"folder@binary=outline:{path}", "outline")
    assert outline.task.classes == ("0", "1")


def test_masks_of_16_bits_are_read_where_they_hold_classes(table: Write, tmp_path: Path) -> None:
    (outline,) = _load(f"folder:{_masked(table, tmp_path, _sixteen_bits)}", "outline")
    assert outline.task.classes == ("0", "1")
    path = _masked(table, tmp_path, _instances)
    words = _told(f"folder@segmentation=outline:{path}", "outline")  # read anew
    assert "row 2: mask '0.png' cannot be read: it has 16 bits with values up to 26,000" in words


def test_twelve_bits_in_sixteen_keep_their_shades_and_are_told(
    table: Write, tmp_path: Path
) -> None:
    path = table({"kind": lambda i: "ab"[i % 2]})
    for index in range(COUNT):
        pixels = np.random.default_rng(index).integers(0, 4096, (16, 16)).astype(np.uint16)
        pixels[0, 0] = 4095
        Image.fromarray(pixels).save(tmp_path / f"img/{index}.png")
    (kind,) = _load(f"folder:{path}", "kind")
    assert kind.images.train.unique().numel() > 200
    assert kind.images.notes[1] == (
        "40 images have 16 bits, with values up to 4,095: the upper 8 of 12 bits are kept (bits=N "
        "says otherwise)"
    )
    (kind,) = _load(f"folder@bits=16:{path}", "kind")
    assert kind.images.train.max() == 15


def test_colours_of_16_bits_that_use_12_are_refused(table: Write, tmp_path: Path) -> None:
    path = table({"kind": lambda i: "ab"[i % 2]})
    rows = b"".join(b"\0" + b"\x0f\xff\0\x10\x08\0" * 16 for _ in range(16))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    (tmp_path / "img/3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert "its colour images have 16 bits and use 12 of them" in _told(f"folder:{path}", "kind")
    assert len(_load(f"folder@bits=16:{path}", "kind")) == 1


def test_transparent_pixels_show_white_and_that_is_told(table: Write, tmp_path: Path) -> None:
    path = table({"kind": lambda i: "ab"[i % 2]})
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(tmp_path / "img/3.png")

    def darkest(text: str) -> int:
        (kind,) = _load(text, "kind")
        images = torch.cat([kind.images.train, kind.images.test])
        told = [note for note in kind.images.notes if "1 image has transparent pixels" in note]
        assert len(told) == 1
        return int(images.flatten(1).float().mean(1).min())

    assert darkest(f"folder:{path}") > 100
    assert darkest(f"folder@background=hidden:{path}") == 0
    assert "background is white, black or hidden" in _told(f"folder@background=grey:{path}", "kind")
