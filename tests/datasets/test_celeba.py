"""CelebA in its own files: aligned JPEG images, a table of attributes, a list of parts."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.contracts import DataSource
from bench.datasets.celeba import CelebA
from bench.errors import UserError
from bench.spec.registry import parse_pairs
from bench.task_types import Classification, MultiLabel
from bench.tasks import TaskData

#: The part of each image: 0 training, 1 validation, 2 test. The real list is in order; a list
#: that is not must do too.
PARTS = [0, 0, 2, 1, 0, 0, 2, 1, 0, 2]
NAMES = [f"{number:06}.jpg" for number in range(1, len(PARTS) + 1)]
ATTRIBUTES = [name for name in CelebA.tasks if name != "attributes"]


def _values() -> np.ndarray:
    return np.random.default_rng(0).choice([-1, 1], (len(PARTS), 40))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write ten images of 178 × 218, each in a grey of its own."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        image = np.full((218, 178, 3), 20 * number, np.uint8)
        Image.fromarray(image).save(folder / "img_align_celeba" / name)
    # The real table ends its line of names with a space and sets numbers two apart.
    rows = [
        f"{name} " + " ".join(f"{v:2d}" for v in row)
        for name, row in zip(NAMES, _values(), strict=True)
    ]
    table = [str(len(NAMES)), " ".join(ATTRIBUTES) + " ", *rows]
    (folder / "list_attr_celeba.txt").write_text("\n".join(table) + "\n")
    lines = [f"{name} {part}\n" for name, part in zip(NAMES, PARTS, strict=True)]
    (folder / "list_eval_partition.txt").write_text("".join(lines))
    return tmp_path


def _load(root: Path, **changes: Any) -> Mapping[str, TaskData]:
    data: Mapping[str, TaskData] = CelebA().load(replace(DataSource(root), **changes))
    return data


def _in(part: int) -> list[int]:
    return [index for index, own in enumerate(PARTS) if own == part]


def test_the_training_and_the_test_part_are_read_and_the_validation_part_is_not(
    root: Path,
) -> None:
    data = _load(root)
    images = data["Smiling"].images
    assert all(d.images is images for d in data.values())
    assert images.image == (3, 64, 64)
    for pool, part in ((images.train, 0), (images.test, 2)):
        greys = pool.float().mean((1, 2, 3))
        assert (greys - 20 * torch.tensor(_in(part))).abs().max() < 1


def test_every_attribute_is_a_task_and_so_are_all_together(root: Path) -> None:
    data = _load(root)
    assert list(data) == list(CelebA.tasks)
    assert len(data) == 41
    together = data["attributes"]
    assert isinstance(together.task.type, MultiLabel)
    assert together.task.outputs == 40
    for part, name in ((0, "train_labels"), (2, "test_labels")):
        expected = torch.from_numpy(_values() > 0)[_in(part)]
        assert torch.equal(getattr(together, name), expected.float())
        for column, attribute in enumerate(ATTRIBUTES):
            assert isinstance(data[attribute].task.type, Classification)
            assert data[attribute].task.outputs == 2
            assert torch.equal(getattr(data[attribute], name), expected[:, column].long())


def test_any_two_attributes_make_a_pair_and_two_pairs_are_declared() -> None:
    (pair,) = parse_pairs("celeba:Wearing_Hat+5_o_Clock_Shadow")
    assert pair.tasks == ("5_o_Clock_Shadow", "Wearing_Hat")
    (declared,) = parse_pairs("celeba:Smiling+Mouth_Slightly_Open")
    assert declared.expect == "positive"
    assert [pair.expect for pair in parse_pairs("celeba")] == ["positive", "none"]


def test_bad_images_are_told_or_left_out(root: Path) -> None:
    whole = _load(root)
    (root / "celeba" / "img_align_celeba" / NAMES[4]).unlink()
    with pytest.raises(UserError, match=rf"{NAMES[4]}' is missing.*--skip-bad-images"):
        _load(root)
    data = _load(root, skip_bad_images=True)
    kept = [0, 1, 3, 4]
    for name in data:
        after, before = data[name].train_labels, whole[name].train_labels
        assert after is not None
        assert before is not None
        assert torch.equal(after, before[kept])
    assert "1 of 5 examples of 'train'" in data["Smiling"].images.notes[0]


# --------------------------------------------------------------------------------------- errors


def test_no_root_says_where_the_files_come_from() -> None:
    with pytest.raises(UserError, match=r"--root DIR.*mmlab\.ie\.cuhk\.edu\.hk.*gdown"):
        CelebA().load(DataSource())


@pytest.mark.parametrize(
    "missing", ["img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"]
)
@pytest.mark.parametrize("download", [False, True])
def test_what_is_missing_is_named_and_cannot_be_downloaded(
    root: Path, missing: str, download: bool
) -> None:
    path = root / "celeba" / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=r"cannot be downloaded from here.*gdown") as error:
        _load(root, download=download)
    assert f"({missing} is missing)" in str(error.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("Smiling", "Grinning"), "does not name the forty attributes"),
        (lambda text: text.replace("-1", " 0", 1), "is no image with forty values"),
        (lambda text: text.replace("-1", "", 1), "is no image with forty values"),
        (lambda text: text.replace("-1", " x", 1), "invalid literal"),
        (lambda text: text.replace("-1", "999", 1), "999"),
        (lambda text: "", "does not name the forty attributes"),
        (lambda text: text.replace(NAMES[2], "other.jpg"), f"does not have {NAMES[2]}"),
    ],
)
def test_a_broken_table_names_itself_and_the_mend(root: Path, change: object, reason: str) -> None:
    path = root / "celeba" / "list_attr_celeba.txt"
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(UserError, match=reason) as error:
        _load(root)
    assert str(path) in str(error.value)
    assert "fetch" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_of_parts_without_a_test_part_names_itself(root: Path) -> None:
    path = root / "celeba" / "list_eval_partition.txt"
    path.write_text(path.read_text().replace(" 2\n", " 1\n"))
    with pytest.raises(UserError, match="has no image of test"):
        _load(root)
