"""VOC 2012 in its own files: lists, JPEG images, palette maps in PNG, annotations in XML."""

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
from bench.datasets.voc import VOC
from bench.errors import UserError
from bench.task_types import VOID
from bench.tasks import TaskData

FOLDER = "VOCdevkit/VOC2012"
#: Objects by their place among the twenty.
CAT, PERSON = 7, 14
PARTS = {
    "train": [f"2007_{number:06}" for number in range(10)],
    "val": [f"2008_{n:06}" for n in range(6)],
}

ANNOTATION = """<annotation>
	<folder>VOC2012</folder>
	<filename>{name}.jpg</filename>
	<source><database>The VOC2007 Database</database><image>flickr</image></source>
	<size><width>60</width><height>40</height><depth>3</depth></size>
	<segmented>1</segmented>
{objects}</annotation>
"""
OBJECT = """	<object>
		<name>{name}</name>
		<pose>Unspecified</pose>
		<truncated>0</truncated>
		<difficult>{difficult}</difficult>
		<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>
		<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>
	</object>
"""


def _annotate(root: Path, image: str, *objects: tuple[str, int]) -> None:
    text = "".join(OBJECT.format(name=name, difficult=hard) for name, hard in objects)
    path = root / FOLDER / "Annotations" / f"{image}.xml"
    path.write_text(ANNOTATION.format(name=image, objects=text))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write 10 + 6 images of 40 × 60 with a cat in the left half and a void seam beside it."""
    folder = tmp_path / FOLDER
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    palette = np.random.default_rng(0).integers(0, 256, 768).tolist()
    for part, names in PARTS.items():
        (folder / f"ImageSets/Segmentation/{part}.txt").write_text("\n".join(names) + "\n")
        for number, name in enumerate(names):
            image = np.full((40, 60, 3), 20 * number, np.uint8)
            image[:, :30] = 220
            Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.jpg")
            classes = np.zeros((40, 60), np.uint8)
            classes[:, :30], classes[:, 28:32] = 1 + CAT, 255
            picture = Image.fromarray(classes, "P")
            picture.putpalette(palette)
            picture.save(folder / "SegmentationClass" / f"{name}.png")
            _annotate(tmp_path, name, ("cat", 0))
    return tmp_path


def _load(root: Path, **changes: Any) -> Mapping[str, TaskData]:
    data: Mapping[str, TaskData] = VOC().load(replace(DataSource(root), **changes))
    return data


def test_both_tasks_read_the_images_of_the_lists(root: Path) -> None:
    data = _load(root)
    assert list(data) == list(VOC.tasks)
    images = data["objects"].images
    assert data["segmentation"].images is images
    assert (images.train.shape, images.test.shape) == ((10, 3, 128, 128), (6, 3, 128, 128))
    assert (images.train[:, 0, :, 120].float().mean(1) - 20 * torch.arange(10)).abs().max() < 2


def test_the_palettes_indices_are_the_classes_and_255_is_no_class(root: Path) -> None:
    classes = _load(root)["segmentation"].train_labels
    assert classes is not None
    assert (classes.shape, classes.dtype) == ((10, 128, 128), torch.uint8)
    # Of 60 columns the seam has 28 to 31: of 128, 59.7 to 68.3.
    assert (classes[:, :, :59] == 1 + CAT).all()
    assert (classes[:, :, 60:68] == VOID).all()
    assert (classes[:, :, 69:] == 0).all()


def test_an_object_is_there_where_one_is_and_unknown_where_all_are_difficult(root: Path) -> None:
    names = PARTS["train"]
    _annotate(root, names[1], ("person", 1))
    _annotate(root, names[2], ("person", 1), ("person", 0), ("cat", 0), ("person", 1))
    _annotate(root, names[3])
    labels = _load(root)["objects"].train_labels
    assert labels is not None
    assert labels.shape == (10, 20)
    assert labels[0].nonzero().flatten().tolist() == [CAT]
    assert labels[1].isnan().nonzero().flatten().tolist() == [PERSON]
    assert labels[1].nan_to_num().sum() == 0
    assert labels[2].nonzero().flatten().tolist() == [CAT, PERSON]
    assert not labels[3].any()


def test_a_bad_annotation_is_told_or_its_image_left_out(root: Path) -> None:
    whole = _load(root)
    folder, names = root / FOLDER / "Annotations", PARTS["train"]
    _annotate(root, names[0], ("unicorn", 0))
    (folder / f"{names[2]}.xml").write_text("<annotation><object>")
    (folder / f"{names[4]}.xml").write_bytes(b"\xff\xfe<\x00")
    entities = '<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'
    (folder / f"{names[6]}.xml").write_text(entities)
    with pytest.raises(UserError, match="--skip-bad-images") as error:
        _load(root)
    for told in (
        f"{names[0]}.xml' cannot be read: there is no object 'unicorn'",
        f"{names[2]}.xml' cannot be read",
        f"{names[4]}.xml' cannot be read",
        f"{names[6]}.xml' cannot be read: it declares a document type",
    ):
        assert told in str(error.value)
    data = _load(root, skip_bad_images=True)
    kept = [1, 3, 5, 7, 8, 9]
    assert torch.equal(data["objects"].images.train, whole["objects"].images.train[kept])
    for name in data:
        after, before = data[name].train_labels, whole[name].train_labels
        assert after is not None
        assert before is not None
        assert torch.equal(after, before[kept])


def test_a_map_of_other_classes_or_of_colours_is_told(root: Path) -> None:
    folder = root / FOLDER / "SegmentationClass"
    Image.new("L", (60, 40), 21).save(folder / f"{PARTS['train'][0]}.png")
    Image.new("RGB", (60, 40), "red").save(folder / f"{PARTS['val'][0]}.png")
    with pytest.raises(UserError, match=r"there is no class 21.*one class a pixel, this is RGB"):
        _load(root)


@pytest.mark.parametrize("missing", ["JPEGImages", "Annotations", "ImageSets/Segmentation/val.txt"])
def test_what_is_missing_is_named_with_the_flag(root: Path, missing: str) -> None:
    path = root / FOLDER / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match="--download") as error:
        _load(root)
    assert f"({missing} is missing)" in str(error.value)


def test_a_failed_download_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.voc.download_and_extract_archive", refuse)
    with pytest.raises(UserError, match=r"could not be downloaded.*no route to host"):
        _load(tmp_path, download=True)


def test_a_download_lands_where_the_files_are_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (root / "VOCdevkit").rename(tmp_path / "elsewhere")

    def fetch(url: str, download_root: str, filename: str, md5: str) -> None:
        assert "2012" in url
        shutil.copytree(source, Path(download_root) / "VOCdevkit")

    monkeypatch.setattr("torchvision.datasets.voc.download_and_extract_archive", fetch)
    assert len(_load(root, download=True)["objects"].images.train) == 10


def test_its_pair_trains_to_a_table(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    _annotate(root, PARTS["train"][1], ("person", 1))
    arguments = (
        "run -p voc@side=16 -s hard --seeds 1 --budget 3steps --train-size 6 --validation-size 3 "
        "--batch-size 4 --network resnet8 --workers 1 --root"
    )
    with pytest.raises(SystemExit) as end:
        main([*arguments.split(), str(root)])
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    assert "mIoU" in said.out
    assert "mAP" in said.out
