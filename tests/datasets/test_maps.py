"""NYUv2 and Cityscapes in the `.npy` files that MTAN's authors released."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.cli.app import main
from bench.contracts import Dataset, DataSource
from bench.datasets.cityscapes import Cityscapes
from bench.datasets.nyuv2 import NYUv2
from bench.errors import UserError
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_dataset, parse_strategy
from bench.task_types import VOID, Depth
from bench.tasks import TaskData
from bench.train.batches import Batches
from bench.train.loop import TrainingState
from bench.train.pricing import count, count_flops

COUNTS = {"train": 5, "val": 3}
SIZES = {"nyuv2": (288, 384, 13), "cityscapes": (128, 256, 7)}
TASKS = {"nyuv2": ["segmentation", "depth", "normals"], "cityscapes": ["segmentation", "depth"]}
DATASETS: dict[str, type[Dataset]] = {"nyuv2": NYUv2, "cityscapes": Cityscapes}


def _arrays(name: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return one example as the release has it: channels last, all floats."""
    height, width, classes = SIZES[name]
    found = {
        "image": rng.random((height, width, 3)),
        "label": rng.integers(-1, classes, (height, width)).astype(np.float64),
        "depth": rng.random((height, width, 1)) * (rng.random((height, width, 1)) > 0.2),
    }
    if name == "nyuv2":
        normal = rng.standard_normal((height, width, 3))
        normal /= np.linalg.norm(normal, axis=2, keepdims=True)
        found["normal"] = normal * (rng.random((height, width, 1)) > 0.2)
    return found


@pytest.fixture(params=SIZES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path, name: str) -> Path:
    """Write 5 + 3 examples of noise; a fifth of depths and normals is unknown."""
    rng = np.random.default_rng(0)
    for part, examples in COUNTS.items():
        for number in range(examples):
            for quantity, array in _arrays(name, rng).items():
                folder = tmp_path / name / part / quantity
                folder.mkdir(parents=True, exist_ok=True)
                # Either width of floats will do.
                np.save(folder / f"{number}.npy", array.astype(("f4", "f8")[number % 2]))
    return tmp_path


def _load(root: Path, name: str, **changes: Any) -> Mapping[str, TaskData]:
    return DATASETS[name]().load(replace(DataSource(root), **changes))


def _file(root: Path, name: str, quantity: str, number: int, part: str = "train") -> Path:
    return root / name / part / quantity / f"{number}.npy"


def _change(path: Path, change: Callable[[np.ndarray], object]) -> None:
    array = np.load(path)
    changed = change(array)
    np.save(path, array if changed is None else changed)  # type: ignore[arg-type]


def test_images_are_scaled_to_bytes_in_the_order_of_their_numbers(root: Path, name: str) -> None:
    data = _load(root, name)
    assert list(data) == TASKS[name]
    images = data["depth"].images
    assert all(d.images is images for d in data.values())
    for part, pool in (("train", images.train), ("val", images.test)):
        assert len(pool) == COUNTS[part]
        for number, image in enumerate(pool):
            raw = torch.from_numpy(np.load(_file(root, name, "image", number, part)))
            assert (image - 255 * raw.movedim(-1, 0)).abs().max() <= 0.5001


def test_numbers_are_counted_and_not_spelled(root: Path, name: str) -> None:
    # 10.npy comes after 9.npy; in the order of words it would come after 1.npy.
    for quantity in (root / name / "train").iterdir():
        for number in range(5, 11):
            shutil.copy(quantity / "0.npy", quantity / f"{number}.npy")
        shutil.copy(quantity / "3.npy", quantity / "10.npy")
    images = _load(root, name)["depth"].images.train
    assert len(images) == 11
    assert torch.equal(images[10], images[3])


def test_what_is_not_labelled_is_missing_and_the_rest_is_as_it_was(root: Path, name: str) -> None:
    data = _load(root, name)
    for number in range(COUNTS["train"]):
        raw = {
            q.name: torch.from_numpy(np.load(q / f"{number}.npy"))
            for q in (root / name / "train").iterdir()
        }
        classes, depth = (data[task].train_labels for task in ("segmentation", "depth"))
        assert classes is not None
        assert depth is not None
        assert classes.dtype == torch.uint8
        expected = torch.where(raw["label"] == -1, VOID, raw["label"])
        assert torch.equal(classes[number].double(), expected.double())
        there = raw["depth"][..., 0] > 0
        assert torch.equal(~depth[number].isnan(), there)
        assert torch.equal(depth[number][there], raw["depth"][..., 0][there].float())
        if name == "nyuv2":
            normals = data["normals"].train_labels
            assert normals is not None
            found = normals[number].movedim(0, -1)
            there = raw["normal"].abs().sum(-1) > 0
            assert torch.equal(~found.isnan(), there[..., None].expand_as(found))
            torch.testing.assert_close(found[there], raw["normal"][there].float())


def test_the_network_learns_the_standardised_depth_in_the_unit_of_the_set(
    root: Path, name: str
) -> None:
    data = _load(root, name)["depth"]
    assert isinstance(data.task.type, Depth)
    assert data.train_labels is not None
    known = data.train_labels[~data.train_labels.isnan()]
    assert data.task.type.mean == pytest.approx(known.mean().item(), rel=1e-4)
    assert data.task.type.deviation == pytest.approx(known.std().item(), rel=1e-4)
    assert data.task.type.unit == {"nyuv2": "m", "cityscapes": ""}[name]


def test_shrinking_averages_images_and_takes_labels_from_the_middle(root: Path, name: str) -> None:
    whole = _load(root, name)
    small = parse_dataset(f"{name}@shrink=4").load(DataSource(root))
    height, width, _ = SIZES[name]
    images = small["depth"].images.train
    assert images.shape == (5, 3, height // 4, width // 4)
    means = torch.nn.functional.avg_pool2d(whole["depth"].images.train.float(), 4)
    assert (images - means).abs().max() <= 1
    for task, data in small.items():
        before = whole[task].train_labels
        assert before is not None
        assert data.train_labels is not None
        middle = before[..., 2::4, 2::4]
        assert torch.equal(data.train_labels.nan_to_num(9), middle.nan_to_num(9))
    with pytest.raises(UserError, match="shrink must divide"):
        parse_dataset(f"{name}@shrink=5")


def test_what_was_read_is_taken_from_the_cache(root: Path, name: str, tmp_path: Path) -> None:
    fresh, cached = (_load(root, name, cache=tmp_path / "cache") for _ in range(2))
    for task, data in _load(root, name).items():
        for other in (fresh[task], cached[task]):
            assert torch.equal(other.images.test, data.images.test)
            assert other.test_labels is not None
            assert data.test_labels is not None
            assert torch.equal(other.test_labels.nan_to_num(9), data.test_labels.nan_to_num(9))
            assert other.task == data.task


# --------------------------------------------------------------------------------------- errors


def test_no_root_says_where_the_files_come_from(name: str) -> None:
    with pytest.raises(UserError, match=r"--root DIR.*https://github\.com/lorenmt/mtan"):
        DATASETS[name]().load(DataSource())


@pytest.mark.parametrize("missing", ["train", "val/depth"])
def test_what_is_missing_is_named_and_cannot_be_downloaded(
    root: Path, name: str, missing: str
) -> None:
    shutil.rmtree(root / name / missing)
    with pytest.raises(UserError, match=r"cannot be downloaded from here.*mtan") as error:
        _load(root, name, download=True)
    assert f"({missing}" in str(error.value)


def test_a_part_without_files_is_told(root: Path, name: str) -> None:
    for path in (root / name / "val").glob("*/*.npy"):
        path.unlink()
    with pytest.raises(UserError, match=r"val' holds no files 0\.npy"):
        _load(root, name)


def _pickled(array: np.ndarray) -> np.ndarray:
    return np.array([{"a": 1}], dtype=object)


#: What is done to a file, and what is said of it.
FAULTS: dict[str, tuple[str, Callable[[np.ndarray], object], str]] = {
    "size": ("image", lambda a: a[:64], r"its shape is \(64, .*should be"),
    "channels": ("depth", lambda a: a[..., 0], "its shape is"),
    "text": ("label", lambda a: a.astype("U4"), "its shape is .* of <U4"),
    "bytes": ("image", lambda a: 255 * a, r"and should in 0\.\.1"),
    "no number": ("image", lambda a: a.__setitem__((0, 0, 0), np.nan), r"nan\.\.nan"),
    "class": ("label", lambda a: a.__setitem__((3, 3), 40), "there is no class 40"),
    "half a class": ("label", lambda a: a.__setitem__((3, 3), 0.5), "there is no class 0.5"),
    "pickle": ("depth", _pickled, "allow_pickle=False"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_is_told_or_its_example_left_out(root: Path, name: str, fault: str) -> None:
    quantity, change, reason = FAULTS[fault]
    whole = _load(root, name)
    _change(_file(root, name, quantity, 2), change)
    with pytest.raises(UserError, match=reason) as error:
        _load(root, name)
    assert f"{_file(root, name, quantity, 2)}' cannot be read" in str(error.value)
    assert "\n" not in str(error.value)
    data = _load(root, name, skip_bad_images=True)
    assert torch.equal(data["depth"].images.train, whole["depth"].images.train[[0, 1, 3, 4]])
    for task in data:
        after, before = data[task].train_labels, whole[task].train_labels
        assert after is not None
        assert before is not None
        assert torch.equal(after.nan_to_num(9), before[[0, 1, 3, 4]].nan_to_num(9))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"<html></html>"])
def test_a_file_that_is_no_array_is_told(root: Path, name: str, content: bytes) -> None:
    _file(root, name, "depth", 1).write_bytes(content)
    _file(root, name, "image", 3, "val").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"1\.npy' cannot be read"):
        _load(root, name)


def test_a_truncated_file_and_a_missing_one_are_told_together(root: Path, name: str) -> None:
    path = _file(root, name, "image", 0)
    path.write_bytes(path.read_bytes()[:-100])
    _file(root, name, "label", 1, "val").unlink()
    with pytest.raises(UserError, match=r"0\.npy' cannot be read.*1\.npy' is missing"):
        _load(root, name)


# ------------------------------------------------------------------------------- from end to end


def test_a_step_of_a_large_network_at_full_size_is_priced_without_data(
    root: Path, name: str
) -> None:
    data = list(_load(root, name).values())
    recipe = Recipe(network="resnet18", batch_size=2, train_size=2, validation_size=2)
    (price,) = count(parse_strategy("hard"), data, recipe, 1.0)
    height, width, _ = SIZES[name]
    # ResNet-18 takes 1.8 G multiply-adds for 224 × 224, thrice that to train; decoders add.
    encoder = 3 * 2 * 1.8e9 * height * width / 224**2 * recipe.batch_size
    assert 0.9 * encoder < price.flops < 1.5 * encoder
    assert count(parse_strategy("hard+pcgrad"), data, recipe, 1.0)[0].flops > price.flops


def test_a_step_of_a_large_network_on_small_images_costs_what_was_priced(
    root: Path, name: str
) -> None:
    data = list(parse_dataset(f"{name}@shrink=4").load(DataSource(root)).values())
    recipe = Recipe(network="resnet18", batch_size=2, train_size=3, validation_size=2)
    strategy, cpu = parse_strategy("hard"), torch.device("cpu")
    state = TrainingState(strategy, data, recipe, 0.25, 0, cpu)
    batches = iter(Batches(data, recipe, 0, cpu))
    assert state.step(next(batches)).isfinite().all()
    assert count_flops(state, next(batches)) == count(strategy, data, recipe, 0.25)[0].flops
    assert all(p.isfinite().all() for p in state.network.parameters())


@pytest.fixture(name="run")
def _run(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Return what trains all tasks of the small set with some flags, and returns what it says."""
    monkeypatch.chdir(root)
    pair = f"{name}@shrink=8:{'+'.join(TASKS[name])}"

    def run(flags: str) -> str:
        asked = flags.format(name=name).split()
        small = f"-p {pair} --seeds 1 --batch-size 2 --network resnet8 --workers 1 --root"
        with pytest.raises(SystemExit) as end:
            main(["run", *asked, *small.split(), str(root)])
        said = capsys.readouterr()
        assert end.value.code == 0, said.err
        return said.out

    return run


def test_its_tasks_train_to_a_table(run: Callable[[str], str]) -> None:
    said = run("-s hard --budget 3steps --train-size 3 --validation-size 2")
    for metric in ("mIoU", "absolute error"):
        assert metric in said


def test_the_experiment_that_ships_trains_all_tasks_to_a_table_with_delta_m(
    root: Path, name: str, run: Callable[[str], str]
) -> None:
    run("{name} -s hard -s hard+pcgrad --reference hard --budget 6steps --name small")
    report = root / "results/reports/small"
    found = json.loads((report / "gains.json").read_text("utf-8"))
    table = (report / "table.md").read_text("utf-8")
    assert "| dense head | deeplab |" in table
    assert [row["strategy"] for row in found["delta_m"]["rows"]] == ["hard", "hard+pcgrad"]
    for row in found["delta_m"]["rows"]:
        assert row["targets"] == TASKS[name]
        rows = [r for r in found["rows"] if r["strategy"] == row["strategy"]]
        better = {r["target"]: r["higher_is_better"] for r in rows}
        assert better == {task: task == "segmentation" for task in TASKS[name]}
        # Better is positive, whatever way the metric goes: less of an error, more of the overlap.
        shares = [
            (1 if r["higher_is_better"] else -1)
            * (r["score_mean"] / r["against"]["full"]["anchor_mean"] - 1)
            for r in rows
        ]
        assert row["delta_m"] == pytest.approx(sum(shares) / len(shares), rel=1e-6)
        cells = ", ".join(
            f"{task} {100 * share:+.2f} %" for task, share in zip(TASKS[name], shares, strict=True)
        )
        line = f"| `{row['strategy']}` | {cells} | "
        # So few steps may leave a task at its floor.
        unlearned = any(r["verdict"]["name"] == "nothing learned" for r in rows)
        last = "nothing was learned" if unlearned else f"{100 * row['delta_m']:+.2f}"
        assert f"{line}{last} |" in table


def test_the_experiment_that_ships_asks_for_what_is_missing(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(root / "empty"))
    with pytest.raises(SystemExit) as end:
        main(["run", name, "--root", str(root), "--results", str(root / "results"), "--dry-run"])
    assert end.value.code
    assert "--download, or give a file with weights=PATH" in " ".join(
        capsys.readouterr().err.split()
    )
