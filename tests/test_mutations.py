"""Files that lie, by the hundred: whatever is done to one, a command names it and lives on."""

import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import Table, csv, ipc, parquet, table
from scipy.io import savemat

from bench.cli.app import main
from bench.contracts import DataSource
from bench.errors import UserError
from bench.gate.baseline import snapshot, write_baseline
from bench.images import read_image, read_rows
from bench.report import write as report_writing
from bench.spec.registry import parse_dataset
from bench.store.store import Store
from tests.damage import BINARY, CASES, DOCUMENT, Fault, bounded_memory
from tests.datasets.conftest import write_collection
from tests.report.conftest import World, make_world

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")

#: The exit codes that mean something else than a defect.
CODES = {0, 1, 2, 3, 4, 5}


#: One reads all of a record, the other what it takes to plan; both leave files as they are.
COMMANDS = st.sampled_from(("report", "power"))


class Results:
    """A small results folder, of which one file at a time is damaged and put back."""

    def __init__(self, folder: Path) -> None:
        world: World = make_world(("creatures:species+kin",), ("hard",), seeds=8)
        self.folder, self.aside = folder / "results", folder / "aside"
        store = Store(self.folder)
        rng = np.random.default_rng(0)
        for record in world.records.values():
            examples = {task: rng.integers(0, 2, 40).astype(np.uint8) for task in record.scores}
            store.save(record, examples)
        store.declare(world.declaration)
        baseline = snapshot(world.declaration, store.load).baseline
        write_baseline(baseline, self.folder / "baselines/b.json")
        key = world.declaration.rows[0].seeds[0].strategy
        self.run = self.folder / "runs" / key[:2] / key
        self.call("report")  # so that what a report writes is there already
        self.before = self._seen()

    def _seen(self) -> dict[Path, tuple[int, int]]:
        """Return the identity and time of every file that is evidence."""
        rooms = ("runs", "experiments", "baselines")
        found = [path for room in rooms for path in (self.folder / room).rglob("*")]
        return {p: (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in found if not p.is_dir()}

    def call(self, *arguments: str) -> object:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--results", str(self.folder)])
        return end.value.code

    @contextlib.contextmanager
    def damaged(self, path: Path, fault: Fault) -> Iterator[None]:
        """Damage a file for a block; what is beside it must be as it was."""
        shutil.copy2(path, self.aside)
        try:
            fault(path)
            with bounded_memory():
                yield
            now = self._seen()
            assert {p: s for p, s in now.items() if p != path} == {
                p: s for p, s in self.before.items() if p != path
            }
        finally:
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            path.unlink(missing_ok=True)
            shutil.copy2(self.aside, path)
            self.before[path] = (path.lstat().st_ino, path.lstat().st_mtime_ns)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    with pytest.MonkeyPatch.context() as patch:
        # Drawing takes seconds, and each plot is guarded by itself.
        patch.setattr(report_writing, "drawings", lambda *_: {})
        yield Results(tmp_path_factory.mktemp("results"))


def _check(code: object, said: str, named: str) -> None:
    """Check an exit code, and that what was wrong is named once."""
    assert code in CODES, said
    assert "Traceback" not in said
    about = [line for line in said.splitlines() if re.search(r"corrupt|not used|error:", line)]
    assert len(about) <= 1, said
    assert not about or named in about[0], said
    assert not any(line.startswith("::") for line in said.splitlines())


@CASES
@given(fault=DOCUMENT, command=COMMANDS)
def test_a_record_is_believed_or_named(
    results: Results, capsys: pytest.CaptureFixture[str], fault: Fault, command: str
) -> None:
    with results.damaged(results.run / "run.json", fault):
        code = results.call(command)
    _check(code, capsys.readouterr().err, results.run.name[:12])


@CASES
@given(fault=DOCUMENT, command=COMMANDS)
def test_a_declaration_is_believed_or_refused(
    results: Results, capsys: pytest.CaptureFixture[str], fault: Fault, command: str
) -> None:
    with results.damaged(results.folder / "experiments/made-up.json", fault):
        code = results.call(command)
    said = capsys.readouterr().err
    assert code in CODES, said
    assert "Traceback" not in said
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert code != 2 or len(errors) == 1, said


@CASES
@given(fault=DOCUMENT)
def test_a_baseline_is_believed_or_refused(
    results: Results, capsys: pytest.CaptureFixture[str], fault: Fault
) -> None:
    path = results.folder / "baselines/b.json"
    with results.damaged(path, fault):
        codes = (
            results.call("check", "--baseline", "b", "--time", "off"),
            results.call("baseline", "show", "b"),
        )
    said = capsys.readouterr().err
    for code in codes:
        assert code in CODES, said
    assert "Traceback" not in said


@CASES
@given(fault=BINARY, honest=st.booleans())
def test_scores_of_images_are_believed_or_named(
    results: Results, capsys: pytest.CaptureFixture[str], fault: Fault, honest: bool
) -> None:
    (path,) = results.run.glob("examples-*.npz")
    content = (results.run / "run.json").read_bytes()
    try:
        with results.damaged(path, fault):
            if not honest and path.is_file() and path.stat().st_size < 10**6:
                # The record knows the damaged file's own hash, so that its content has to tell.
                document = json.loads(content)
                document["examples"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
                stat = (results.run / "run.json").stat()
                (results.run / "run.json").write_text(json.dumps(document))
                os.utime(results.run / "run.json", ns=(stat.st_atime_ns, stat.st_mtime_ns))
            store = Store(results.folder, read_only=True)
            record = store.load(results.run.name)
            found = {} if record is None else store.examples(record)
            assert all(array.ndim == 1 for array in found.values())
    finally:
        (results.run / "run.json").write_bytes(content)
        results.before = results._seen()
    assert bool(found) == (not store.damaged)
    assert len(store.damaged) < 2
    assert "Traceback" not in capsys.readouterr().err


@CASES
@given(fault=DOCUMENT)
def test_a_price_is_believed_or_taken_again(tmp_path_factory: Any, fault: Fault) -> None:
    folder = tmp_path_factory.mktemp("prices")
    store = Store(folder)
    assert store.freeze_timing("x", 0.25, "hard on toy") == 0.25
    fault(folder / "prices/x.json")
    with bounded_memory():
        known = store.timing("x")
        stands = store.freeze_timing("x", 0.5, "hard on toy")
    assert stands == (0.5 if known is None else known)
    assert Store(folder).timing("x") == stands
    assert len(store.damaged) <= 1
    shutil.rmtree(folder)


def _refused(call: Callable[[], object]) -> str | None:
    """Return what a user is told where a call refuses a file; None where it does not."""
    try:
        call()
    except UserError as error:
        return str(error)
    return None


@CASES
@given(fault=DOCUMENT, what=st.sampled_from((".json", ".rows")))
def test_a_cache_is_believed_or_made_again(tmp_path_factory: Any, fault: Fault, what: str) -> None:
    folder = tmp_path_factory.mktemp("cache")
    files = [folder / f"{number}.png" for number in range(3)]
    for number, path in enumerate(files[:2]):
        Image.new("L", (4, 4), 10 * number).save(path)
    read = partial(read_image, side=(4, 4), mode="L")
    whole = read_rows(files, read, "grey", (1, 4, 4), None)
    read_rows(files, read, "grey", (1, 4, 4), folder / "cache")
    (victim,) = (folder / "cache").glob(f"*{what}")
    with contextlib.suppress(ValueError):  # rows are no document to edit
        fault(victim)
    with bounded_memory():
        refused = _refused(lambda: read_rows(files, read, "grey", (1, 4, 4), folder / "cache"))
    if refused is None:
        again = read_rows(files, read, "grey", (1, 4, 4), folder / "cache")
        assert (again.kept, again.bad.keys()) == (whole.kept, whole.bad.keys())
        assert torch.equal(again.rows, whole.rows)
    else:
        assert "\n" not in refused
        assert victim.is_dir()
    shutil.rmtree(folder)


# ------------------------------------------------------------------------------ real data


def _mnist(root: Path) -> list[Path]:
    write_collection(root / "MNIST/raw")
    return sorted((root / "MNIST/raw").iterdir())


def _cifar(root: Path) -> list[Path]:
    folder = root / "cifar-100-python"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        content = {
            "data": rng.integers(0, 256, (20, 3072), np.uint8),
            "fine_labels": [int(n) for n in rng.integers(0, 100, 20)],
            "coarse_labels": [int(n) for n in rng.integers(0, 20, 20)],
        }
        (folder / name).write_bytes(pickle.dumps(content, 2))
    return sorted(folder.iterdir())


def _svhn(root: Path) -> list[Path]:
    for name in ("train_32x32.mat", "test_32x32.mat"):
        labels = (1 + np.arange(20) % 10).astype(np.uint8)[:, None]
        images = np.zeros((32, 32, 3, 20), np.uint8)
        savemat(root / name, {"X": images, "y": labels}, do_compression="train" in name)
    return sorted(root.iterdir())


def _cityscapes(root: Path) -> list[Path]:
    shapes = {"image": (128, 256, 3), "label": (128, 256), "depth": (128, 256, 1)}
    for part in ("train", "val"):
        for quantity, shape in shapes.items():
            folder = root / "cityscapes" / part / quantity
            folder.mkdir(parents=True)
            np.save(folder / "0.npy", np.zeros(shape, np.float32))
    return sorted((root / "cityscapes").rglob("*.npy"))


def _folder(root: Path) -> list[Path]:
    lines = ["path,kind,size"]
    for number in range(10):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(root / f"{number}.png")
        lines.append(f"{number}.png,{'ab'[number % 2]},{number}.5")
    (root / "labels.csv").write_text("\n".join(lines))
    return [root / "labels.csv", root / "0.png"]


def _parquet(root: Path) -> list[Path]:
    _folder(root)
    parquet.write_table(csv.read_csv(root / "labels.csv"), root / "labels.parquet")
    return [root / "labels.parquet"]


def _tree(root: Path) -> list[Path]:
    for number in range(20):
        path = root / "tree" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (10 * number, 0, 0)).save(path)
    return sorted((root / "tree").rglob("*.png"))


def _with_images() -> Table:
    contents = []
    for number in range(10):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(file, "PNG")
        contents.append({"bytes": file.getvalue(), "path": f"{number}.png"})
    return table({"image": contents, "kind": [number % 2 for number in range(10)]})


def _embedded(root: Path) -> list[Path]:
    parquet.write_table(_with_images(), root / "images.parquet")
    return [root / "images.parquet"]


def _saved(root: Path) -> list[Path]:
    folder, rows = root / "saved", _with_images()
    folder.mkdir()
    with ipc.new_stream(folder / "data.arrow", rows.schema) as stream:
        stream.write_table(rows)
    features = {"kind": {"names": ["a", "b"], "_type": "ClassLabel"}}
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return sorted(folder.iterdir())


def _voc(root: Path) -> list[Path]:
    base = root / "VOCdevkit/VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (base / name).mkdir(parents=True)
    for part, name in (("train", "a"), ("val", "b")):
        (base / f"ImageSets/Segmentation/{part}.txt").write_text(f"{name}\n")
        Image.new("RGB", (32, 32)).save(base / f"JPEGImages/{name}.jpg")
        Image.new("L", (32, 32)).save(base / f"SegmentationClass/{name}.png")
        (base / f"Annotations/{name}.xml").write_text(
            "<annotation><object><name>cat</name></object></annotation>"
        )
    return [path for path in sorted(base.rglob("*")) if path.is_file()]


REAL: dict[str, tuple[Callable[[Path], list[Path]], str]] = {
    "mnist": (_mnist, "mnist"),
    "cifar": (_cifar, "cifar100"),
    "svhn": (_svhn, "svhn"),
    "cityscapes": (_cityscapes, "cityscapes"),
    "voc": (_voc, "voc"),
    "csv": (_folder, "folder:{root}/labels.csv"),
    "parquet": (_parquet, "folder:{root}/labels.parquet"),
    "tree": (_tree, "folder:{root}/tree"),
    "embedded": (_embedded, "folder:{root}/images.parquet"),
    "saved": (_saved, "folder:{root}/saved"),
}
#: Those whose rows may have faults of their own, which are listed.
LISTED = ("csv", "parquet", "tree", "embedded", "saved")


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@CASES
@given(fault=BINARY, share=st.floats(0, 1, exclude_max=True))
def test_real_data_are_read_or_refused_in_a_line(
    tmp_path_factory: Any, kind: str, fault: Fault, share: float
) -> None:
    make, name = REAL[kind]
    root = tmp_path_factory.mktemp(kind)
    files = make(root)
    victim = files[int(share * len(files))]
    with contextlib.suppress(ValueError):
        fault(victim)
    with bounded_memory():
        refused = _refused(
            lambda: [*parse_dataset(name.format(root=root)).load(DataSource(root)).values()]
        )
    first, *more = (refused or str(root)).splitlines()
    # The faults of a user's own table are listed below the line that says so.
    assert not more or (kind in LISTED and " fault" in first)
    assert str(root) in first or first.startswith("column ")
    shutil.rmtree(root)
