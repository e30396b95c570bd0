"""A user's own table and images: what is inferred, what is refused, and in which words."""

import csv
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli.app import main
from bench.contracts import DataSource
from bench.errors import UserError
from bench.plan.description import describe
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_dataset, parse_pairs
from bench.task_types import MISSING, VOID, Classification, MultiLabel, Regression, Segmentation
from bench.tasks import TaskData
from bench.train.load import fingerprint, task_data
from bench.train.splits import draw_split

COUNT = 40
Make = Callable[..., str]


def _paint(path: Path, index: int, side: tuple[int, int] = (20, 20), mode: str = "RGB") -> None:
    """Write an image (side is width, height) like no other: its number is in its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(index).integers(0, 256, (side[1], side[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], **how: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = how.pop("encoding", "utf-8")
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, **how).writerows([header, *rows])  # type: ignore[arg-type]


Columns = Mapping[str, Callable[[int], object]]
PLAIN: Columns = {
    "species": lambda i: ("cat", "dog", "bird")[i % 3],
    "coat": lambda i: ("plain", "spots")[i % 2],
}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write images and their table; return the table's path."""

    def call(
        columns: Columns = PLAIN,
        table: str = "labels.csv",
        image: str = "image",
        count: int = COUNT,
        **how: str,
    ) -> str:
        path = tmp_path / table
        for index in range(count):
            _paint(path.parent / f"img/{index}.png", index)
        rows = [[f"img/{i}.png", *(cell(i) for cell in columns.values())] for i in range(count)]
        _write(path, [image, *columns], rows, **how)
        return str(path)

    return call


def _load(text: str, *tasks: str, skip: bool = False, cache: Path | None = None) -> list[TaskData]:
    source = DataSource(cache=cache, skip_bad_images=skip)
    dataset = parse_dataset(text)
    dataset.check(source, tasks)
    return [task_data(text, task, source) for task in tasks]


def _labels(data: TaskData) -> torch.Tensor:
    assert data.train_labels is not None
    assert data.test_labels is not None
    return torch.cat([data.train_labels, data.test_labels])


def _refusal(text: str, *tasks: str, skip: bool = False) -> str:
    with pytest.raises(UserError) as error:
        _load(text, *tasks, skip=skip)
    return str(error.value)


# ------------------------------------------------------------------------------ the plain case


def test_a_table_and_its_images_are_a_data_set(make: Make) -> None:
    path = make()
    (pair,) = parse_pairs(f"folder:{path}:species+coat")
    assert pair.tasks == ("species", "coat")
    species, coat = _load(pair.dataset, *pair.tasks)
    assert species.images is coat.images
    assert species.images.image == (3, 20, 20)
    assert (len(species.images.train), len(species.images.test)) == (32, 8)
    assert isinstance(species.task.type, Classification)
    assert species.task.classes == ("bird", "cat", "dog")
    assert _labels(species).bincount().tolist() == [13, 14, 13]


def test_labels_stay_with_their_images(make: Make) -> None:
    (species,) = _load(f"folder:{make()}", "species")
    pixels = torch.cat([species.images.train, species.images.test])
    by_pixels = {
        image.numpy().tobytes(): int(y) for image, y in zip(pixels, _labels(species), strict=True)
    }
    for index in range(COUNT):
        image = np.random.default_rng(index).integers(0, 256, (20, 20, 3), np.uint8)
        expected = ("bird", "cat", "dog").index(("cat", "dog", "bird")[index % 3])
        assert by_pixels[image.transpose(2, 0, 1).tobytes()] == expected


def test_a_data_set_of_two_columns_is_their_pair_and_of_more_wants_names(make: Make) -> None:
    assert parse_pairs(f"folder:{make()}")[0].tasks == ("species", "coat")
    more = make({**PLAIN, "kind": lambda i: f"k{i % 4}"}, "more.csv")
    with pytest.raises(UserError, match=r"name its tasks.*kind: classification, 4 classes"):
        parse_pairs(f"folder:{more}")
    with pytest.raises(UserError, match="did you mean 'species'"):
        parse_pairs(f"folder:{more}:specie+coat")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_common_csv_is_read_the_same(make: Make, delimiter: str, encoding: str) -> None:
    path = make(
        {**PLAIN, "tags": lambda i: "a;b" if i % 2 else "b,c|a"},
        delimiter=delimiter,
        encoding=encoding,
    )
    assert dict(parse_dataset(f"folder:{path}").tasks) == {
        "species": "classification, 3 classes",
        "coat": "classification, 2 classes",
        "tags": "multi-label, 3 labels",
    }


def test_the_line_with_which_excel_states_the_delimiter_is_no_header(
    make: Make, tmp_path: Path
) -> None:
    text = Path(make(delimiter=";")).read_text()
    (tmp_path / "excel.csv").write_text(f"sep=;\n{text}")
    assert parse_dataset(f"folder:{tmp_path / 'excel.csv'}").tasks.keys() == PLAIN.keys()
    (tmp_path / "short.csv").write_text(f"sep=;\n{text}img/0.png;cat\n")
    assert "row 43: has 2 cells" in _refusal(f"folder:{tmp_path / 'short.csv'}", "species")


def test_a_table_without_a_header_or_with_two_is_told(make: Make, tmp_path: Path) -> None:
    path = Path(make({"kind": lambda i: "ab"[i % 2]}))
    header, *rows = path.read_text().splitlines()
    ids = [row.removeprefix("img/").replace(".png", "") for row in rows]
    path.write_text("\n".join(ids))
    assert "has no header: its first row has 'a', as rows below it do" in _refusal(
        f"folder:{path}", "a"
    )
    path.write_text("\n".join([header, *rows[:20], header, *rows[20:]]))
    assert "row 22: repeats the header" in _refusal(f"folder:{path}", "kind")


@pytest.mark.parametrize("delimiter", ["|", " "])
def test_another_delimiter_says_which_there_are(make: Make, delimiter: str) -> None:
    path = make({"kind": lambda i: "ab"[i % 2]}, delimiter=delimiter)
    assert "separate columns by a comma, a semicolon or a tab" in _refusal(f"folder:{path}", "kind")


def test_without_a_split_the_test_set_stays_when_the_table_grows_or_is_sorted(
    make: Make, tmp_path: Path
) -> None:
    (whole,) = _load(f"folder:{make()}", "species")
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    (turned,) = _load(f"folder:{tmp_path / 'turned.csv'}", "species")
    (tmp_path / "fewer.csv").write_text("\n".join(lines[:-5]))
    (fewer,) = _load(f"folder:{tmp_path / 'fewer.csv'}", "species")

    def test_set(data: TaskData) -> set[bytes]:
        return {image.numpy().tobytes() for image in data.images.test}

    assert test_set(turned) == test_set(whole)
    assert len(test_set(whole) - test_set(fewer)) <= 5
    assert any("8 of 40 images were drawn as test set" in note for note in whole.images.notes)


@pytest.mark.parametrize("column", ["split", "Split", "part"])
def test_a_split_column_says_what_is_tested(make: Make, column: str) -> None:
    parts = ("train", "TEST", "valid", "training")
    path = make({**PLAIN, column: lambda i: parts[i % 4]})
    knob = "@split=part" if column == "part" else ""
    (species,) = _load(f"folder{knob}:{path}", "species")
    assert (len(species.images.train), len(species.images.test)) == (30, 10)
    assert column not in parse_dataset(f"folder{knob}:{path}").tasks
    assert "10 images marked as validation count to the training pool" in species.images.notes


# ------------------------------------------------------------------------------ kinds

MIXED: Columns = {
    "stars": lambda i: i % 5,
    "age": lambda i: 1.5 + i,
    "year": lambda i: 1980 + i % 8,
    "tags": lambda i: ("red|round", "round", "|", "")[i % 4],
    "flat": lambda i: "same",
    "id": lambda i: 1000 + i,
    "code": lambda i: f"x{i}",
    "nothing": lambda i: "",
}


def test_kinds_follow_from_the_cells(make: Make) -> None:
    tasks = parse_dataset(f"folder:{make(MIXED)}").tasks
    assert tasks["stars"] == "classification, 5 classes"
    assert tasks["age"] == "regression"
    assert tasks["year"] == "classification, 8 classes"
    assert tasks["tags"] == "multi-label, 2 labels"
    assert all(tasks[name].startswith("no task") for name in ("flat", "id", "code", "nothing"))


def test_kinds_can_be_set_and_the_choice_is_part_of_the_name(make: Make) -> None:
    text = f"folder@regression=stars/year,classification=tags:{make(MIXED)}"
    (pair,) = parse_pairs(f"{text}:stars+year")
    assert "regression=stars/year" in pair.dataset
    stars, tags = _load(pair.dataset, "stars", "tags")
    assert isinstance(stars.task.type, Regression)
    assert stars.task.type.mean == pytest.approx(_labels(stars)[:32].mean().item())
    assert tags.task.classes == ("red|round", "round", "|")


def test_multi_label_cells_are_sets_and_a_blank_one_is_unknown(make: Make) -> None:
    (tags,) = _load(f"folder:{make(MIXED)}", "tags")
    assert isinstance(tags.task.type, MultiLabel)
    assert (tags.task.outputs, tags.task.classes) == (2, ("red", "round"))
    labels = _labels(tags)
    assert labels.isnan().all(1).sum() == 10
    assert (labels == torch.tensor([0.0, 0.0])).all(1).sum() == 10
    assert (labels == torch.tensor([1.0, 1.0])).all(1).sum() == 10


@pytest.mark.parametrize("blank", ["", " ", "nan", "NaN", "NA", "N/A", "null"])
def test_an_image_counts_for_the_tasks_it_has_a_label_of(make: Make, blank: str) -> None:
    columns: Columns = {
        "species": lambda i: blank if i % 4 == 0 else ("cat", "dog")[i % 2],
        "age": lambda i: blank if i % 5 == 0 else i + 0.5,
    }
    species, age = _load(f"folder:{make(columns)}", "species", "age")
    assert (_labels(species) == MISSING).sum() == 10
    assert _labels(age).isnan().sum() == 8
    assert species.task.classes == ("cat", "dog")


def test_shuffled_labels_stay_on_the_images_that_have_one(make: Make) -> None:
    path = make({"coat": lambda i: ("plain", "spots", "")[i % 3]})
    coat, shuffled = _load(f"folder:{path}", "coat", "coat~shuffled")
    assert torch.equal(torch.cat(shuffled.known), torch.cat(coat.known))
    assert torch.equal(_labels(shuffled).sort().values, _labels(coat).sort().values)
    assert not torch.equal(_labels(shuffled), _labels(coat))


def test_numbers_are_sorted_as_numbers_however_they_are_written(make: Make) -> None:
    (grade,) = _load(f"folder:{make({'grade': lambda i: ('10', '9', '9.0', '2')[i % 4]})}", "grade")
    assert grade.task.classes == ("2", "9", "10")
    assert _labels(grade).bincount().tolist() == [10, 20, 10]


def test_long_numbers_are_classes_of_their_own(make: Make) -> None:
    long = ("9007199254740993", "9007199254740992", "9007199254740992.0")  # 2 ** 53, and 1 more
    (code,) = _load(f"folder:{make({'code': lambda i: long[i % 3]})}", "code")
    assert code.task.classes == ("9007199254740992", "9007199254740993")
    assert _labels(code).bincount().tolist() == [26, 14]


def test_a_rare_class_is_told(make: Make) -> None:
    columns: Columns = {
        "split": lambda i: "test" if i >= 30 else "train",
        "kind": lambda i: {0: "once", 39: "unseen", 1: "untested", 2: "untested"}.get(
            i, "ab"[i % 2]
        ),
    }
    (kind,) = _load(f"folder@metric=accuracy:{make(columns)}", "kind")
    assert set(kind.notes) == {
        "'once' occurs once among the training images",
        "'unseen' occurs only among the test images",
        "'untested' occurs only among the training images",
    }


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("flat", "it has one value only"),
        ("id", "it has 40 different whole numbers in 40 rows, as an id has"),
        ("code", "it has 40 different values in 40 rows, as an id has"),
        ("nothing", "it is empty"),
    ],
)
def test_a_column_that_can_teach_nothing_is_refused(make: Make, task: str, reason: str) -> None:
    assert f"column '{task}' makes no task: {reason}" in _refusal(f"folder:{make(MIXED)}", task)


def test_an_id_may_be_declared_a_quantity(make: Make) -> None:
    (number,) = _load(f"folder@regression=id:{make(MIXED)}", "id")
    assert isinstance(number.task.type, Regression)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (lambda i: f"{i + 1}e37", "its numbers are too large"),
        (lambda i: 1_700_000_000 + 3 * i, "its numbers differ too little for their size"),
    ],
)
def test_numbers_that_32_bits_would_blur_are_refused(
    make: Make, cell: Callable[[int], object], reason: str
) -> None:
    path = make({"when": cell})
    assert reason in _refusal(f"folder@regression=when:{path}", "when")


# ------------------------------------------------------------------------------ masks


def _masked(tmp_path: Path, levels: Sequence[int], mode: str = "L") -> str:
    rows = []
    for index in range(20):
        _paint(tmp_path / f"img/{index}.png", index, (32, 24))
        mask = np.array(levels, np.uint8)[
            np.random.default_rng(index).integers(0, len(levels), (24, 32))
        ]
        (tmp_path / "mask").mkdir(exist_ok=True)
        Image.fromarray(mask).convert(mode).save(tmp_path / f"mask/{index}.png")
        rows.append([f"img/{index}.png", f"mask/{index}.png" if index else "", "ab"[index % 2]])
    _write(tmp_path / "labels.csv", ["image", "outline", "kind"], rows)
    return str(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("levels", "classes"),
    [((0, 1, 2), ("0", "1", "2")), ((0, 38, 75, 255), ("0", "38", "75")), ((0, 255), ("0", "1"))],
)
def test_a_column_of_mask_files_is_a_segmentation(
    tmp_path: Path, levels: Sequence[int], classes: tuple[str, ...]
) -> None:
    outline, kind = _load(
        f"folder:{_masked(tmp_path, levels)}", "outline", "kind", cache=tmp_path / "c"
    )
    assert isinstance(outline.task.type, Segmentation)
    assert outline.images is kind.images
    assert outline.images.image == (3, 24, 32)
    assert (outline.task.outputs, outline.task.classes) == (len(classes), classes)
    labels = _labels(outline)
    assert (labels.dtype, labels.shape) == (torch.uint8, (20, 24, 32))
    assert (labels == VOID).flatten(1).all(1).sum() == 1  # the blank cell
    assert set(labels[labels != VOID].unique().tolist()) == set(range(len(classes)))


def test_black_and_white_masks_of_one_bit_and_of_eight_are_one_kind(tmp_path: Path) -> None:
    path = _masked(tmp_path, (0, 255))
    for index in range(1, 20, 2):
        mask = Image.open(tmp_path / f"mask/{index}.png")
        mask.convert("1").save(tmp_path / f"mask/{index}.png")
    (outline,) = _load(f"folder:{path}", "outline")
    assert outline.task.classes == ("0", "1")
    assert (_labels(outline) == VOID).flatten(1).any(1).sum() == 1  # the blank cell


def test_masks_of_colours_or_that_are_missing_are_faults_and_may_be_skipped(tmp_path: Path) -> None:
    path = _masked(tmp_path, (0, 1))
    (tmp_path / "mask/3.png").unlink()
    _paint(tmp_path / "mask/4.png", 4)
    words = _refusal(f"folder:{path}", "outline")
    assert "row 5: mask 'mask/3.png' is missing" in words
    assert "row 6: mask 'mask/4.png' cannot be read: a mask has one class a pixel" in words
    (kind,) = _load(f"folder:{path}", "kind")  # whose business masks are not
    assert len(_labels(kind)) == 20
    (outline,) = _load(f"folder:{path}", "outline", skip=True)
    assert (_labels(outline) == VOID).flatten(1).all(1).sum() == 3
    assert "2 masks that cannot be used count as missing" in outline.notes


# ------------------------------------------------------------------------------ images


def test_small_images_of_one_size_keep_it_and_others_are_stretched(
    make: Make, tmp_path: Path
) -> None:
    path = make()
    assert _load(f"folder:{path}", "coat")[0].images.image == (3, 20, 20)
    assert _load(f"folder@size=24:{path}", "coat")[0].images.image == (3, 24, 24)
    _paint(tmp_path / "img/7.png", 7, (50, 30))
    (coat,) = _load(f"folder@classification=coat:{path}", "coat")  # read anew
    assert coat.images.image == (3, 32, 32)
    assert any("2 different sizes were stretched to 32 × 32" in note for note in coat.images.notes)


def test_images_are_grey_only_where_every_one_is(make: Make, tmp_path: Path) -> None:
    path = make()
    for index in range(COUNT):
        _paint(tmp_path / f"img/{index}.png", index, mode="L")
    assert _load(f"folder:{path}", "coat")[0].images.image == (1, 20, 20)
    _paint(tmp_path / "img/5.png", 5)
    assert _load(f"folder@classification=coat:{path}", "coat")[0].images.image == (3, 20, 20)


def test_a_pool_smaller_than_the_recipe_still_gives_each_seed_images_of_its_own(make: Make) -> None:
    (coat,) = _load(f"folder:{make()}", "coat")
    recipe = Recipe(train_size=1000, validation_size=300)
    drawn = [draw_split(coat.images, recipe, seed) for seed in (0, 1)]
    assert [(len(d.train), len(d.validation)) for d in drawn] == [(26, 6)] * 2
    assert set(drawn[0].train.tolist()) != set(drawn[1].train.tolist())
    lines = list(describe("folder:x", [coat], recipe))
    assert (
        "each seed draws 26 to train on and 6 to validate on, because there are fewer" in lines[0]
    )
    assert "coat: classification, 2 classes (plain, spots), scored by accuracy" in lines


def test_the_same_image_under_two_names_on_both_sides_is_told(make: Make, tmp_path: Path) -> None:
    path = make({**PLAIN, "split": lambda i: "test" if i >= 30 else "train"})
    _paint(tmp_path / "img/2.png", 35)
    assert any(
        "equal a test image, pixel for pixel: 1" in n
        for n in _load(f"folder:{path}", "coat")[0].images.notes
    )


def test_a_second_reading_comes_from_the_cache_and_is_the_same(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = make(), tmp_path / "cache"
    first = fingerprint(_load(f"folder:{path}", "coat", cache=cache))
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded again"))
    sys.modules[type(parse_dataset(f"folder:{path}")).__module__]._read.cache_clear()
    again = fingerprint(_load(f"folder:{path}", "coat", cache=cache))
    assert again == first


# ------------------------------------------------------------------------------ faults


def test_all_faults_are_told_at_once_by_the_rows_of_a_spreadsheet(
    make: Make, tmp_path: Path
) -> None:
    ages: Columns = {**PLAIN, "age": lambda i: {20: "old", 21: "3,5"}.get(i, i + 0.25)}
    path = make(ages)
    (tmp_path / "img/1.png").unlink()
    (tmp_path / "img/2.png").write_bytes(b"no image")
    whole = (tmp_path / "img/3.png").read_bytes()
    (tmp_path / "img/3.png").write_bytes(whole[: len(whole) // 2])
    outside = tmp_path.parent / f"{tmp_path.name}-outside.png"
    _paint(outside, 99)
    (tmp_path / "img/4.png").unlink()
    (tmp_path / "img/4.png").symlink_to(outside)
    (tmp_path / "beyond").symlink_to(tmp_path.parent)
    text = Path(path).read_text()
    text = text.replace("img/5.png", str(outside))
    text = text.replace("img/6.png", f"../{outside.name}")
    text = text.replace("img/7.png", f"beyond/{outside.name}")
    text = text.replace("img/8.png", "")
    text = text.replace("img/9.png", "img")
    text = text.replace("img/10.png", "C:\\img\\10.png")
    Path(path).write_text(text)
    words = _refusal(f"folder:{path}", "species", "age").splitlines()
    assert words[0] == (
        f"'{path}' has 12 faults; fix what is said below, or pass --skip-bad-images to do without "
        "10 images"
    )
    expected = [
        ("row 3", "image 'img/1.png' is missing"),
        ("row 4", "image 'img/2.png' cannot be read: cannot identify image file"),
        ("row 5", "image 'img/3.png' cannot be read"),
        ("row 6", "image 'img/4.png' leads out of the table's folder"),
        ("row 7", "is an absolute path outside of the table's folder (see root=DIR)"),
        ("row 8", "leads out of the table's folder"),
        ("row 9", "leads out of the table's folder"),
        ("row 10", "has no image"),
        ("row 11", "image 'img' is no file"),
        ("row 12", "is an absolute path"),
        ("row 22", "age: 'old' is no number"),
        ("row 23", "age: '3,5' is no number (write 3.5)"),
    ]
    for line, (row, text) in zip(words[1:], expected, strict=True):
        assert line.startswith(f"  {row}: "), line
        assert text in line
    # Labels are fixed in the table; images may be skipped. The unread ones are nobody's labels.
    assert "has 2 faults; fix the table" in _refusal(f"folder:{path}", "species", "age", skip=True)
    (species,) = _load(f"folder:{path}", "species", skip=True)
    assert len(_labels(species)) == COUNT - 10
    assert "10 bad images were skipped (row 3, 4, 5, 6, 7 and 5 more)" in species.images.notes


def test_paths_written_as_on_windows_get_the_mend(make: Make) -> None:
    path = make()
    Path(path).write_text(Path(path).read_text().replace("img/3.png", "img\\3.png"))
    assert "image 'img\\3.png' is missing (write / between folders)" in _refusal(
        f"folder:{path}", "coat"
    )


def test_of_very_many_faults_some_are_shown_and_the_rest_counted(
    make: Make, tmp_path: Path
) -> None:
    path = make()
    for index in range(30):
        (tmp_path / f"img/{index}.png").unlink()
    lines = _refusal(f"folder:{path}", "species").splitlines()
    assert (len(lines), lines[-1]) == (22, "  and 10 more")


def test_links_and_dots_that_stay_inside_are_fine(make: Make, tmp_path: Path) -> None:
    path = make()
    (tmp_path / "img/3.png").rename(tmp_path / "elsewhere.png")
    (tmp_path / "img/3.png").symlink_to(tmp_path / "elsewhere.png")
    Path(path).write_text(Path(path).read_text().replace("img/4.png", "img/../img/./4.png"))
    assert len(_labels(_load(f"folder:{path}", "species")[0])) == COUNT


def test_a_pipe_is_not_waited_for(make: Make, tmp_path: Path) -> None:
    path = make()
    (tmp_path / "img/3.png").unlink()
    os.mkfifo(tmp_path / "img/3.png")
    assert "row 5: image 'img/3.png' is no file" in _refusal(f"folder:{path}", "species")


def test_an_image_stands_in_one_row(make: Make, tmp_path: Path) -> None:
    path = make({**PLAIN, "split": lambda i: "test" if i >= 30 else "train"})
    (tmp_path / "img/9.png").unlink()
    (tmp_path / "img/9.png").symlink_to("7.png")
    text = Path(path).read_text().replace("img/35.png", "img/./5.png")
    Path(path).write_text(text)
    words = _refusal(f"folder:{path}", "species", skip=True)
    assert "row 11: image 'img/9.png' stands in row 9 already" in words
    assert "row 37: image 'img/./5.png' stands in row 7 already" in words


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda t: t.replace("img/2.png,bird", "img/2.png,bird,more"),
            "row 4: has 4 cells where the header has 3",
        ),
        (lambda t: t.replace("species,coat", "species,species"), "two columns 'species'"),
        (lambda t: t.splitlines()[0], "has no rows below its header"),
        (
            lambda t: t.replace("img/", "img-").replace(".png", ""),
            "no column holds paths of image files",
        ),
        (lambda t: t.replace("dog", '"dog'), "is no CSV: line"),
        (lambda t: "", "has no rows below its header"),
        (
            lambda t: t.split("\n", 1)[1],
            "has no header: its first row names an image ('img/0.png')",
        ),
    ],
)
def test_a_table_that_cannot_be_used_says_why(
    make: Make, spoil: Callable[[str], str], words: str
) -> None:
    path = make()
    Path(path).write_text(spoil(Path(path).read_text()))
    assert words in _refusal(f"folder:{path}", "species")


@pytest.mark.parametrize(("value", "half"), [("test", "training"), ("train", "test")])
def test_a_split_without_a_half_is_refused(make: Make, value: str, half: str) -> None:
    path = make({**PLAIN, "split": lambda i: value})
    assert f"has no {half} image that can be read" in _refusal(f"folder:{path}", "species")


def test_what_is_no_table_says_what_to_give(make: Make, tmp_path: Path) -> None:
    path = make()
    assert "there is no table" in _refusal(f"folder:{tmp_path / 'lables.csv'}", "species")
    (tmp_path / "labels.md").touch()
    assert "is no table that can be read: save or unpack it as .csv" in _refusal(
        f"folder:{tmp_path / 'labels.md'}", "species"
    )
    (tmp_path / "utf16.csv").write_text(Path(path).read_text(), encoding="utf-16")
    assert "is not UTF-8" in _refusal(f"folder:{tmp_path / 'utf16.csv'}", "species")
    with pytest.raises(UserError, match="needs a path"):
        parse_pairs("folder")


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ("size=-1", "size is a side in pixels"),
        ("size=big", "is not a int"),
        ("image=imge", "did you mean 'image'"),
        ("regression=spcies", "did you mean 'species'"),
        ("regression=coat,classification=coat", "'coat' is given two kinds"),
        ("segmentation=coat", "mask 'plain' is missing"),
        ("regression=coat", "column 'coat' makes no task: none of its cells is a number"),
        ("split=coat", "coat: 'plain' is none of train, valid and test"),
    ],
)
def test_a_knob_that_does_not_fit_says_why(make: Make, knobs: str, words: str) -> None:
    assert words in _refusal(
        f"folder@{knobs}:{make()}", "species", *(["coat"] if "split" not in knobs else [])
    )


def test_which_of_two_columns_holds_the_images_may_have_to_be_said(
    make: Make, tmp_path: Path
) -> None:
    columns: Columns = {**PLAIN, "right": lambda i: f"img/{i}.png"}
    path = make(columns, image="left")
    assert "left and right all hold paths of image files" in _refusal(f"folder:{path}", "coat")
    assert len(_labels(_load(f"folder@image=left:{path}", "coat")[0])) == COUNT
    usual = make(columns, "usual.csv", image="path")
    assert "right" in parse_dataset(f"folder:{usual}").tasks


def test_lines_of_a_users_text_hold_no_control_characters(make: Make, tmp_path: Path) -> None:
    path = make()
    Path(path).write_text(Path(path).read_text().replace("img/3.png", "img/\x1b[31m3.png"))
    assert "image 'img/�[31m3.png' is missing" in _refusal(f"folder:{path}", "coat")
    names = make(
        {"a\x1bb": PLAIN["coat"], "kind": lambda i: ("one", "t\x1b[31mwo")[i % 2]}, "n.csv"
    )
    assert list(parse_dataset(f"folder:{names}").tasks) == ["kind"]
    (kind,) = _load(f"folder:{names}", "kind")
    assert "kind: classification, 2 classes (one, t�[31mwo), scored by accuracy" in list(
        describe("folder:x", [kind], Recipe(validation_size=2))
    )


def test_a_column_whose_name_would_mean_something_else_is_no_task(make: Make) -> None:
    path = make({**PLAIN, **{f"a{sign}b": PLAIN["coat"] for sign in "+~:/\\,="}})
    assert list(parse_dataset(f"folder:{path}").tasks) == ["species", "coat"]


@pytest.mark.parametrize(("half", "other"), [("training", "test"), ("test", "train")])
def test_a_half_without_labels_of_a_task_is_told_before_any_training(
    make: Make, capsys: pytest.CaptureFixture[str], half: str, other: str
) -> None:
    columns: Columns = {
        "split": lambda i: ("train", "test")[i % 2],
        "kind": lambda i: "abcd"[i % 4] if ("train", "test")[i % 2] == other else "",
    }
    with pytest.raises(SystemExit) as end:
        main(["run", "-p", f"folder:{make({**PLAIN, **columns})}:coat+kind", "--dry-run"])
    assert end.value.code == 2
    words = capsys.readouterr().err
    assert f"no {half} image of folder:" in words
    assert "has a label of kind" in words


def test_a_name_in_brackets_stands_in_the_plan(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    pair = f"folder:{make({**PLAIN, 'weight [kg]': lambda i: 1.5 + i})}:coat+weight [kg]"
    with pytest.raises(SystemExit):
        main(["run", "-p", pair, "-s", "hard", "--budget", "4steps", "--seeds", "1", "--dry-run"])
    assert "labels.csv:coat+weight [kg]" in capsys.readouterr().out


# ------------------------------------------------------------------------------ two tables


def test_two_tables_are_tasks_on_different_images(make: Make, tmp_path: Path) -> None:
    one = make({"species": PLAIN["species"]}, "a/labels.csv")
    other = make({"coat": PLAIN["coat"]}, "b/labels.csv", count=30)
    for index in range(30):
        _paint(tmp_path / f"b/img/{index}.png", 100 + index, (25, 18), "L")
    species, coat = _load(f"folder:{one},{other}", "species", "coat")
    assert [d.images.name for d in (species, coat)] == ["a", "b"]
    assert species.images.image == coat.images.image == (3, 32, 32)
    assert (len(_labels(species)), len(_labels(coat))) == (40, 30)
    (tmp_path / "b/img/3.png").unlink()
    words = _refusal(f"folder@classification=coat:{one},{other}", "species", "coat")
    assert "  b, row 5: image 'img/3.png' is missing" in words


def test_a_column_of_both_tables_is_named_after_its_table(make: Make) -> None:
    both = f"folder:{make(table='a/labels.csv')},{make({'coat': PLAIN['coat']}, 'b/labels.csv')}"
    assert list(parse_dataset(both).tasks) == ["species", "a.coat", "b.coat"]
    with pytest.raises(UserError, match=r"did you mean '[ab]\.coat'"):
        parse_pairs(f"{both}:species+coat")
    (pair,) = parse_pairs(f"{both}:a.coat+b.coat")
    assert pair.tasks == ("a.coat", "b.coat")


def test_two_tables_of_one_name_in_folders_of_one_name_or_one_table_twice_are_refused(
    make: Make,
) -> None:
    one, other = make(table="x/a/labels.csv"), make(table="y/a/labels.csv")
    assert "tables that are joined need names of their own" in _refusal(
        f"folder:{one},{other}", "coat"
    )
    assert "names a table twice" in _refusal(f"folder:{one},{one}", "coat")


def test_two_tables_of_the_same_images_say_so(make: Make, tmp_path: Path) -> None:
    one = make({"species": PLAIN["species"]}, "one.csv")
    other = make({"coat": PLAIN["coat"]}, "two.csv")
    _, coat = _load(f"folder:{one},{other}", "species", "coat")
    assert "40 of its images are those of another table too" in coat.images.notes
    assert not any("test images of one table" in note for note in coat.images.notes)


def test_a_test_image_that_another_table_trains_on_is_told(make: Make) -> None:
    one = make({"species": PLAIN["species"], "split": lambda i: ("train", "test")[i < 8]}, "1.csv")
    other = make({"coat": PLAIN["coat"], "split": lambda i: ("train", "test")[i < 5]}, "2.csv")
    _, coat = _load(f"folder:{one},{other}", "species", "coat")
    assert any(note.startswith("3 of them are test images of one") for note in coat.images.notes)


# ------------------------------------------------------------------------------ Parquet


def test_parquet_is_read_as_csv_is_and_its_lists_are_label_sets(make: Make, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = make(PLAIN)
    indices = range(COUNT)
    columns = {
        "image": [f"img/{i}.png" for i in indices],
        "species": [PLAIN["species"](i) for i in indices],
        "coat": [PLAIN["coat"](i) if i % 4 else None for i in indices],
        "tags": [[["red"], ["red", "round"], [], None][i % 4] for i in indices],
        "stars": [float("nan") if i == 3 else float(i % 3) for i in indices],
        "fits": [i % 2 == 0 for i in indices],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "labels.parquet")
    text = f"folder:{tmp_path / 'labels.parquet'}"
    species, coat, tags, stars, fits = _load(text, "species", "coat", "tags", "stars", "fits")
    (from_csv,) = _load(f"folder:{path}", "species")
    assert torch.equal(_labels(species), _labels(from_csv))
    assert (_labels(coat) == MISSING).sum() == 10
    assert tags.task.classes == ("red", "round")
    assert _labels(tags).isnan().all(1).sum() == 10
    assert stars.task.classes == ("0", "1", "2")
    assert (_labels(stars) == MISSING).sum() == 1
    assert fits.task.classes == ("false", "true")
    (tmp_path / "img/3.png").unlink()
    assert "row 5: image 'img/3.png' is missing" in _refusal(
        f"folder@classification=coat:{tmp_path / 'labels.parquet'}", "species"
    )


def test_parquet_without_its_package_or_damaged_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.parquet").write_bytes(b"PAR1 and nothing else")
    assert "is no Parquet that can be read" in _refusal(
        f"folder:{tmp_path / 'labels.parquet'}", "x"
    )
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert r"pip install 'mtl-sharing-bench[parquet]'" in _refusal(
        f"folder:{tmp_path / 'labels.parquet'}", "x"
    )
