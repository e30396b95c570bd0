"""Images inside of tables: Parquet in one file or in parts, and data sets of Hugging Face."""

import importlib
import io
import json
import random
import shutil
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import Table, ipc, parquet

from bench.cli.app import main
from bench.contracts import DataSource
from bench.datasets import _arrow, _pictures
from bench.errors import UserError
from bench.images import Embedded, read_image, read_rows
from bench.spec.registry import parse_dataset, parse_pairs
from bench.task_types import MISSING, MultiLabel, Regression
from bench.tasks import TaskData
from bench.train.load import fingerprint, task_data

COUNT = 40


def _png(number: int, side: int = 16) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _feature(number: int) -> dict[str, object]:
    return {"bytes": _png(number), "path": f"{number}.png"}


def _table(order: Sequence[int] = range(COUNT), **more: Callable[[int], object]) -> Table:
    columns: dict[str, Callable[[int], object]] = {
        "image": _feature,
        "kind": lambda i: ("cat", "dog", "bird")[i % 3],
        "size": lambda i: i / 7,
        **more,
    }
    return pyarrow.table({name: [cell(i) for i in order] for name, cell in columns.items()})


def _write(path: Path, rows: Table) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(rows, path, row_group_size=7)
    return str(path)


def _save(folder: Path, rows: Table, features: Mapping[str, Any], batch: int = 9) -> str:
    """Write a folder as `save_to_disk` does, in two files."""
    folder.mkdir(parents=True)
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    half = len(rows) // 2
    for name, part in zip(names, (rows.slice(0, half), rows.slice(half)), strict=True):
        with ipc.new_stream(folder / name, part.schema) as stream:
            stream.write_table(part, batch)
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    about = {"features": features, "description": "", "splits": None}
    (folder / "dataset_info.json").write_text(json.dumps(about))
    return str(folder)


def _load(text: str, *tasks: str, skip: bool = False, cache: Path | None = None) -> list[TaskData]:
    source = DataSource(cache=cache, skip_bad_images=skip)
    text = text if text.startswith("folder") else f"folder:{text}"
    dataset = parse_dataset(text)
    dataset.check(source, tasks)
    return [task_data(text, task, source) for task in tasks]


def _refusal(text: str, *tasks: str) -> str:
    with pytest.raises(UserError) as error:
        _load(text, *(tasks or ("kind",)))
    return str(error.value)


def _labels(data: TaskData) -> torch.Tensor:
    assert data.train_labels is not None
    assert data.test_labels is not None
    return torch.cat([data.train_labels, data.test_labels])


# ------------------------------------------------------------------------------ one file


@pytest.mark.parametrize("plain", [False, True])
def test_images_in_a_table_are_its_images(tmp_path: Path, plain: bool) -> None:
    path = _write(tmp_path / "a.parquet", _table(image=_png if plain else _feature))
    (pair,) = parse_pairs(f"folder:{path}")
    assert pair.tasks == ("kind", "size")
    kind, size = _load(pair.dataset, *pair.tasks)
    assert isinstance(size.task.type, Regression)
    assert (len(kind.images.train), len(kind.images.test)) == (32, 8)
    assert kind.images.notes[0].startswith("the images are in column 'image' itself")
    assert "drawn as test set by the hashes of their contents" in kind.images.notes[1]
    pixels = torch.cat([kind.images.train, kind.images.test])
    found = {i.numpy().tobytes(): int(y) for i, y in zip(pixels, _labels(kind), strict=True)}
    for number in range(COUNT):
        image = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        expected = ("bird", "cat", "dog").index(("cat", "dog", "bird")[number % 3])
        assert found[image.transpose(2, 0, 1).tobytes()] == expected


def test_neither_place_order_nor_form_of_the_table_changes_the_data(tmp_path: Path) -> None:
    order = random.Random(0).sample(range(COUNT), COUNT)
    texts = [
        _write(tmp_path / "a.parquet", _table()),
        _write(tmp_path / "moved/b.parquet", _table(order)),
        _write(tmp_path / "plain.parquet", _table(order, image=_png)),
        _save(tmp_path / "saved", _table(order[::-1]), {}),
    ]
    for number, part in enumerate((order[:9], order[9:30], order[30:])):
        _write(tmp_path / f"parts/data/part-{number}.parquet", _table(part))
    texts.append(str(tmp_path / "parts"))
    found = {fingerprint(_load(f"folder:{text}", "kind", "size")) for text in texts}
    assert len(found) == 1


def test_a_moved_table_keeps_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "a.parquet", _table())

    def told(pair: str) -> str:
        flags = ["-s", "hard", "--budget", "2steps", "--seeds", "1", "--workers", "0"]
        with pytest.raises(SystemExit) as end:
            main(["run", "-p", pair, *flags, "--results", "results"])
        assert end.value.code == 0
        return capsys.readouterr().err

    assert "finished already" not in told("a.parquet:kind+size")
    (tmp_path / "there").mkdir()
    shutil.move(tmp_path / "a.parquet", tmp_path / "there/b.parquet")
    assert "finished already; nothing to train" in told("there/b.parquet:kind+size")
    assert "finished already; nothing to train" in told("there:kind+size")


def test_equal_images_stay_on_one_side(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", _table(image=lambda i: _feature(i // 4)))
    (kind,) = _load(f"folder:{path}", "kind")
    assert len(kind.images.train) + len(kind.images.test) == COUNT
    assert not any("equal a test image" in note for note in kind.images.notes)


def test_a_split_column_is_read_as_in_any_table(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", _table(split=lambda i: ("train", "test")[i % 4 == 0]))
    (kind,) = _load(f"folder:{path}", "kind")
    assert (len(kind.images.train), len(kind.images.test)) == (30, 10)


def test_decoded_images_are_kept_and_the_table_is_not_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = _write(tmp_path / "a.parquet", _table()), tmp_path / "cache"
    (before,) = _load(f"folder:{path}", "kind", cache=cache)
    moved = _write(tmp_path / "b.parquet", _table())
    monkeypatch.setattr(_pictures.Copied, "_copied", lambda self: pytest.fail("copied again"))
    (after,) = _load(f"folder:{moved}", "kind", cache=cache)
    assert torch.equal(before.images.train, after.images.train)


def test_bad_images_are_listed_by_row_and_may_be_skipped(tmp_path: Path) -> None:
    def image(number: int) -> object:
        bad = {
            2: {"bytes": b"no image", "path": "2.png"},
            3: {"bytes": None, "path": None},
            4: None,
        }
        return bad.get(number, _feature(number))

    text = f"folder:{_write(tmp_path / 'a.parquet', _table(image=image))}"
    told = _refusal(text)
    assert "has 3 faults" in told
    assert "row 4: its image cannot be read: cannot identify image file" in told
    assert "row 5: has no image" in told
    assert "row 6: has no image" in told
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        (kind,) = _load(text, "kind", skip=True, cache=cache)
        assert len(_labels(kind)) == COUNT - 3
        assert "3 bad images were skipped (row 4, 5, 6)" in kind.images.notes


def test_bytes_that_are_no_images_are_told_in_a_line(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", _table(image=lambda i: f"no image {i}".encode()))
    told = _refusal(f"folder:{path}")
    assert "none of its 40 images can be read; row 2: its image cannot" in told
    assert "folder@image=COLUMN:…" in told
    assert "\n" not in told


def test_of_several_columns_of_bytes_one_is_named(tmp_path: Path) -> None:
    both = _write(tmp_path / "a.parquet", _table(image=lambda i: i, one=_png, two=_feature))
    assert "one and two all hold bytes; say which" in _refusal(f"folder:{both}")
    (kind,) = _load(f"folder@image=two:{both}", "kind")
    usual = _write(tmp_path / "b.parquet", _table(mask=_png))
    (same,) = _load(f"folder:{usual}", "kind")
    assert torch.equal(kind.images.train, same.images.train)
    assert "mask" not in parse_dataset(f"folder:{usual}").tasks


def test_a_table_that_has_paths_beside_bytes_may_use_the_paths(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(_png(0))
    rows = _table(file=lambda i: "0.png" if not i else f"{i}.png")
    text = _write(tmp_path / "a.parquet", rows)
    assert "file" not in parse_dataset(f"folder:{text}").tasks
    assert "image '1.png' is missing" in _refusal(f"folder@image=file:{text}")


def test_an_image_feature_of_paths_alone_names_files_in_the_folder(tmp_path: Path) -> None:
    for number in range(COUNT):
        (tmp_path / f"{number}.png").write_bytes(_png(number))
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])

    def write(name: str, paths: Sequence[str]) -> str:
        cells = [{"bytes": None, "path": path} for path in paths]
        columns = {"image": pyarrow.array(cells, image), "kind": [i % 2 for i in range(COUNT)]}
        return _write(tmp_path / name, pyarrow.table(columns))

    inside = write("a.parquet", [f"{number}.png" for number in range(COUNT)])
    (kind,) = _load(f"folder:{inside}", "kind")
    assert len(_labels(kind)) == COUNT
    outside = write("b.parquet", [f"../{number}.png" for number in range(COUNT)])
    assert "leads out of the table's folder" in _refusal(f"folder:{outside}")


def test_a_table_without_labels_or_rows_is_refused(tmp_path: Path) -> None:
    alone = _write(tmp_path / "a.parquet", _table().select(["image"]))
    assert "has images in its column 'image', and no column of labels" in _refusal(alone)
    empty = _write(tmp_path / "b.parquet", _table().slice(0, 0))
    assert "has no rows" in _refusal(empty)


def _bomb() -> bytes:
    """Return a PNG that says that it is large, in few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sealed = kind + content
        return len(content).to_bytes(4) + sealed + zlib.crc32(sealed).to_bytes(4)

    head = (2**16).to_bytes(4) * 2 + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_what_is_too_large_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = {0: {"bytes": _bomb(), "path": None}}
    path = _write(tmp_path / "a.parquet", _table(image=lambda i: image.get(i, _feature(i))))
    assert "row 2: its image cannot be read: Image size (4294967296 pixels)" in _refusal(path)
    monkeypatch.setattr("bench.images._MOST_BYTES", 100)
    assert "it has over 100 bytes" in _refusal(_write(tmp_path / "b.parquet", _table()))
    monkeypatch.setattr(_pictures, "_MOST_COPIED", 2**12)
    assert "holds over 4,096 bytes of images" in _refusal(_write(tmp_path / "c.parquet", _table()))
    monkeypatch.setattr(_arrow, "_MOST_FILE", 2**12)
    assert "it has over 4,096 bytes" in _refusal(_write(tmp_path / "d.parquet", _table()))


def test_a_table_that_changes_while_it_is_read_is_told(tmp_path: Path) -> None:
    contents = [b"one", b"two"]
    pictures = _pictures.Copied(tmp_path, 2, lambda: iter(contents))
    first, second = (pictures.locate(row) for row in range(2))
    contents[1] = b"tow"
    assert first.read() == b"one"

    def read(image: Embedded) -> np.ndarray[Any, np.dtype[Any]]:
        return np.frombuffer(image.read(), np.uint8)

    with pytest.raises(UserError, match="has changed while it was read"):
        read_rows([first, second], read, "x", (3,), None)


def test_an_image_without_a_file_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_png(0))
    held = Embedded("", len(_png(0)), lambda: _png(0))
    one, two = (read_image(source, (8, 8), "RGB") for source in (tmp_path / "a.png", held))
    assert np.array_equal(one, two)


# ------------------------------------------------------------------------------ parts


def test_the_names_of_parts_say_their_splits(tmp_path: Path) -> None:
    for name, order in {
        "data/train-00000-of-00002.parquet": range(0, 13),
        "data/train-00001-of-00002-0a1b2c3d4e5f6071.parquet": range(13, 30),
        "data/validation-00000-of-00001.parquet": range(30, 40),
    }.items():
        _write(tmp_path / name, _table(order))
    (kind,) = _load(f"folder:{tmp_path}", "kind")
    assert (len(kind.images.train), len(kind.images.test)) == (30, 10)
    said = "the names of the files are read as the split: 30 train, 10 validation"
    assert any(note.startswith(said) for note in kind.images.notes)
    (drawn,) = _load(f"folder@split=none:{tmp_path}", "kind")
    assert len(drawn.images.test) == 8


def test_folders_of_parts_say_their_splits_too(tmp_path: Path) -> None:
    for split, order in (("train", range(30)), ("test", range(30, 40))):
        _write(tmp_path / f"default/{split}/0000.parquet", _table(order))
    (kind,) = _load(f"folder:{tmp_path}", "kind")
    assert len(kind.images.test) == 10


def test_a_fault_names_its_part(tmp_path: Path) -> None:
    _write(tmp_path / "train-0.parquet", _table(range(30)))
    bad = _table(range(30, 40), image=lambda i: b"x" if i == 32 else _png(i))
    _write(tmp_path / "test-0.parquet", bad.set_column(0, "image", _table(range(10))["image"]))
    assert len(_load(f"folder:{tmp_path}", "kind")[0].images.test) == 10
    broken = _table(range(30, 40), image=lambda i: _feature(i) if i != 32 else None)
    _write(tmp_path / "test-0.parquet", broken)
    assert "row 4 of test-0.parquet: has no image" in _refusal(f"folder:{tmp_path}/")


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "train-0.parquet", _table(range(30)))
    _write(tmp_path / "part-0.parquet", _table(range(30, 40)))
    told = _refusal(f"folder:{tmp_path}")
    assert "'train-0.parquet' is named after a split, and 'part-0.parquet' after none" in told
    (tmp_path / "part-0.parquet").unlink()
    _write(tmp_path / "test-0.parquet", _table(range(30, 40), more=str))
    assert "has other columns than" in _refusal(f"folder:{tmp_path}")
    (tmp_path / "test-0.parquet").write_bytes(b"PAR1 and nothing else")
    assert "is no Parquet that can be read" in _refusal(f"folder:{tmp_path}")


def test_a_part_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "secret.parquet", _table(range(30, 40)))
    _write(tmp_path / "data/train-0.parquet", _table(range(30)))
    (tmp_path / "data/test-0.parquet").symlink_to(tmp_path / "secret.parquet")
    assert "leads out of the folder" in _refusal(f"folder:{tmp_path / 'data'}")


# ------------------------------------------------------------------------------ Hugging Face


CLASSES = {"kind": {"names": ["none", "7", "Cat", "cat"], "_type": "ClassLabel"}}


def _numbered(order: Sequence[int] = range(COUNT)) -> Table:
    return _table(order, kind=lambda i: (0, 1, 3, -1)[i % 4], tags=lambda i: [0, 1][: i % 3])


def test_a_saved_data_set_is_read_with_the_names_of_its_classes(tmp_path: Path) -> None:
    tags = {"tags": {"feature": {"names": ["big", "old"], "_type": "ClassLabel"}, "_type": "List"}}
    text = _save(tmp_path / "saved", _numbered(), {**CLASSES, **tags})
    kind, tag = _load(f"folder:{text}", "kind", "tags")
    assert kind.task.classes == ("none", "7", "Cat", "cat")
    assert _labels(kind).unique().tolist() == sorted([MISSING, 0, 1, 3])
    assert any("1 of the 4 classes has no image here: 'Cat'" in note for note in kind.notes)
    assert isinstance(tag.task.type, MultiLabel)
    assert tag.task.classes == ("big", "old")


def test_parquet_that_hugging_face_wrote_has_the_names_of_its_classes(tmp_path: Path) -> None:
    note = json.dumps({"info": {"features": CLASSES}})
    path = _write(
        tmp_path / "a.parquet", _numbered().replace_schema_metadata({"huggingface": note})
    )
    (kind,) = _load(f"folder:{path}", "kind")
    assert kind.task.classes == ("none", "7", "Cat", "cat")
    for number, odd in enumerate(("{", "[]", '{"info": {"features": 3}}', "[" * 100_000)):
        rows = _numbered().replace_schema_metadata({"huggingface": odd})
        path = _write(tmp_path / f"{number}.parquet", rows)
        (kind,) = _load(f"folder@keep=kind=-1:{path}", "kind")
        assert kind.task.classes == ("-1", "0", "1", "3")


def test_a_class_that_is_not_declared_is_a_fault_of_its_row(tmp_path: Path) -> None:
    few = {"kind": {"names": ["a", "b"], "_type": "ClassLabel"}}
    told = _refusal(_save(tmp_path / "saved", _numbered(), few))
    assert "row 4 of data-00000-of-00002.arrow: kind: '3' is none of its 2 classes" in told


def test_saved_splits_are_the_splits(tmp_path: Path) -> None:
    for split, order in (("train", range(28)), ("test", range(28, 40))):
        _save(tmp_path / "saved" / split, _numbered(order), CLASSES)
    (tmp_path / "saved/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    (kind,) = _load(f"folder:{tmp_path / 'saved'}", "kind")
    assert (len(kind.images.train), len(kind.images.test)) == (28, 12)
    (one,) = _load(f"folder:{tmp_path / 'saved/train'}", "kind")
    assert (len(one.images.train), len(one.images.test)) == (23, 5)
    (tmp_path / "saved/dataset_dict.json").write_text('{"splits": ["train", "../saved/test"]}')
    assert "split '../saved/test' is none of" in _refusal(f"folder:{tmp_path / 'saved'}/")
    (tmp_path / "saved/dataset_dict.json").write_text('{"splits": []}')
    assert "has no splits" in _refusal(f"folder:{tmp_path / 'saved'}//")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("{", "cannot be read (Invalid JSON"),
        ("{}", "cannot be read (_data_files: Field required)"),
        ('{"_data_files": []}', "has no rows"),
        ('{"_data_files": [{"filename": "../out.arrow"}]}', "leads out of the folder"),
        ('{"_data_files": [{"filename": "none.arrow"}]}', "is missing"),
        (
            '{"_data_files": [{"filename": "a"}], "_indices_data_files": [{"filename": "b"}]}',
            "by an old version",
        ),
    ],
)
def test_a_saved_data_set_whose_state_is_damaged_says_so(
    tmp_path: Path, state: str, words: str
) -> None:
    text = _save(tmp_path / "saved", _numbered(), CLASSES)
    shutil.copy(tmp_path / "saved/data-00000-of-00002.arrow", tmp_path / "out.arrow")
    (tmp_path / "saved/state.json").write_text(state)
    assert words in _refusal(text)


def test_a_saved_data_set_that_is_cut_short_or_no_arrow_is_refused(tmp_path: Path) -> None:
    text = _save(tmp_path / "saved", _numbered(), CLASSES)
    victim = tmp_path / "saved/data-00001-of-00002.arrow"
    victim.write_bytes(victim.read_bytes()[:-3000])
    assert "is no Arrow file that can be read" in _refusal(f"folder:{text}")
    victim.write_bytes(b"")
    assert "is no Arrow file that can be read: it ends at once" in _refusal(f"folder:{text}//")
    victim.write_bytes(b"nothing of the kind")
    assert "is no Arrow file that can be read" in _refusal(f"folder:{text}/")


@pytest.mark.parametrize("how", ["zstd", "lz4", "dictionary"])
def test_a_saved_data_set_that_is_packed_is_not_unpacked(tmp_path: Path, how: str) -> None:
    text = _save(tmp_path / "saved", _numbered(), CLASSES)
    rows = _table(range(20), kind=lambda i: 0, tags=lambda i: [i])
    if how == "dictionary":
        rows = rows.set_column(1, "kind", rows["kind"].dictionary_encode())
    packed = ipc.IpcWriteOptions(compression=None if how == "dictionary" else how)
    with ipc.new_stream(
        tmp_path / "saved/data-00000-of-00002.arrow", rows.schema, options=packed
    ) as stream:
        stream.write_table(rows)
    assert "is compressed or has dictionaries" in _refusal(text)


def test_without_pyarrow_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = _save(tmp_path / "saved", _numbered(), CLASSES)
    parts = str(Path(_write(tmp_path / "parts/train-0.parquet", _table())).parent)
    for name in ("pyarrow", "pyarrow.parquet", "pyarrow.ipc"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "needs the package pyarrow: pip install 'mtl-sharing-bench[hf]'" in _refusal(saved)
    assert "pip install 'mtl-sharing-bench[parquet]'" in _refusal(parts)


def test_what_the_package_of_hugging_face_saves_is_read(tmp_path: Path) -> None:
    hub = pytest.importorskip("datasets")
    if not hasattr(hub, "load_from_disk"):
        pytest.skip("needs the package datasets, and not the folder of that name")
    hub = importlib.import_module("datasets")
    hub.disable_progress_bars()
    names = ["none", "cat", "7"]
    features = hub.Features({"image": hub.Image(), "kind": hub.ClassLabel(names=names)})
    columns = {
        "image": [_feature(i) for i in range(COUNT)],
        "kind": [i % 3 for i in range(COUNT)],
    }
    whole = hub.Dataset.from_dict(columns, features=features)
    whole.shuffle(seed=0).save_to_disk(tmp_path / "whole", num_shards=2)
    halves = whole.train_test_split(test_size=10, seed=0)
    halves.save_to_disk(tmp_path / "halves")
    whole.to_parquet(tmp_path / "a.parquet")
    found = [_load(f"folder:{tmp_path / name}", "kind")[0] for name in ("whole", "a.parquet")]
    assert fingerprint(found[:1]) == fingerprint(found[1:])
    assert found[0].task.classes == tuple(names)
    (split,) = _load(f"folder:{tmp_path / 'halves'}", "kind")
    assert (len(split.images.train), len(split.images.test)) == (30, 10)
