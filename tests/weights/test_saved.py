"""A network that is saved answers as the one that was trained, and a file is not believed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.contracts import DataSource
from bench.errors import UserError
from bench.spec.budget import Price
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_pairs, parse_strategy
from bench.store.records import Record
from bench.task_types import (
    Classification,
    Depth,
    MultiLabel,
    Reconstruction,
    Regression,
    Segmentation,
    SurfaceNormals,
    TaskType,
)
from bench.train.evaluation import evaluate, evaluation_sets
from bench.train.job import Job, arm_data
from bench.train.run import trained
from bench.weights import SavedNetwork, load
from bench.weights.file import Saved, read_saved
from bench.weights.keep import train_again
from tests.conftest import plain_spec

pytest.importorskip("safetensors")

from safetensors.torch import load_file, save_file

CPU = torch.device("cpu")


def _job(strategy: str, pair: str = "toy:row+column", **how: object) -> Job:
    """Return a run of a few steps in each phase, whose price nobody has measured."""
    parsed = parse_strategy(strategy)
    dataset, tasks = parse_pairs(pair)[0].dataset, parse_pairs(pair)[0].tasks
    values = {"train_size": 100, "validation_size": 50, "batch_size": 16, "curve_points": 1}
    recipe = Recipe.model_validate(values | how)
    scored = tasks[:1] if parsed.auxiliaries else tasks
    spec = plain_spec(
        dataset=dataset, tasks=tasks, scored=scored, strategy=parsed.name, recipe=recipe
    )
    phases = len(parsed.schedule.phases([d.task for d in arm_data(spec, DataSource())]))
    price = Price(flops=1.0, samples=16, peak_bytes=1, parameters=1, seconds=1.0)
    spec = spec.model_copy(update={"steps": (6,) * phases})
    return Job(spec, (price,) * phases, "k", DataSource())


def _saved(folder: Path, job: Job) -> tuple[Path, Record]:
    record, content = train_again(job)
    path = folder / "net.safetensors"
    path.write_bytes(content)
    return path, record


def _accuracy(network: SavedNetwork, job: Job) -> dict[str, float]:
    found = {}
    for d in arm_data(job.spec, job.source):
        if d.task.scored:
            assert d.test_labels is not None
            answers = network(d.images.test, [d.task.name])[d.task.name]
            right = answers.argmax(1) == d.test_labels
            found[d.task.name] = 100 * right.double().mean().item()
    return found


STRATEGIES = [
    *("hard", "branch@2", "cross-stitch", "mtan", "film", "adapters", "mmoe", "ensemble"),
    *("hard+uncertainty", "hard+pcgrad", "hard+rotation", "hard+reconstruction"),
    *("hard+partner+finetune", "hard+partner+frozen-probe"),
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_loaded_network_scores_as_its_run_did(tmp_path: Path, strategy: str) -> None:
    job = _job(strategy)
    path, record = _saved(tmp_path, job)
    network = load(path)
    assert [*network.tasks] == [*job.spec.scored]
    scored = {name: record.scores[name]["accuracy"].value for name in network.tasks}
    assert _accuracy(network, job) == pytest.approx(scored)


def test_a_loaded_network_has_the_outputs_of_the_trained_one(tmp_path: Path) -> None:
    job = _job("hard")
    _, _, state = trained(job)
    path, _ = _saved(tmp_path, job)
    data = arm_data(job.spec, job.source)
    sets = evaluation_sets([(d, d.images.test, d.test_labels, None) for d in data], CPU, True)
    nll = [scores.metrics["nll"] for scores in evaluate(state.network, state.tasks, sets)]
    found = load(path)(data[0].images.test)
    for d, expected in zip(data, nll, strict=True):
        assert d.test_labels is not None
        chosen = found[d.task.name].gather(1, d.test_labels[:, None]).log()
        assert -chosen.mean().item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_is_that_of_the_run(tmp_path: Path, precision: str) -> None:
    job = _job("hard", precision=precision)
    path, record = _saved(tmp_path, job)
    assert read_saved(path).precision == precision
    scored = {name: record.scores[name]["accuracy"].value for name in job.spec.scored}
    assert _accuracy(load(path), job) == pytest.approx(scored)


def test_training_again_gives_the_same_bytes(tmp_path: Path) -> None:
    job = _job("hard")
    assert train_again(job)[1] == train_again(job)[1]


def test_frozen_statistics_and_weights_are_saved_so_that_the_weights_file_is_not_needed(
    tmp_path: Path,
) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet10t", in_chans=1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for name, low, high in (("mean", -0.1, 0.1), ("var", 0.9, 1.1)):
                module.get_buffer(f"running_{name}").uniform_(low, high)
    file = tmp_path / "secret folder" / "weights.safetensors"
    file.parent.mkdir()
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, file)
    patch = pytest.MonkeyPatch()
    with patch.context() as m:
        from bench.networks.timm import Timm

        # Its own normalisation has three channels, and these images have one.
        m.setattr(Timm, "normalisation", None)
        network = f"timm:resnet10t@weights={file}"
        job = _job("hard", network=network)
        path, record = _saved(tmp_path, job)
        file.unlink()
        loaded = load(path)
    assert b"secret folder" not in path.read_bytes()
    scored = {name: record.scores[name]["accuracy"].value for name in job.spec.scored}
    assert _accuracy(loaded, job) == pytest.approx(scored)
    assert any(name.endswith("mean") for name in load_file(path))


def test_the_statistics_of_each_set_of_images_are_saved(tmp_path: Path) -> None:
    """One pair is on images of its own sets: a loaded network normalises each as its run did."""
    pytest.importorskip("timm")
    patch = pytest.MonkeyPatch()
    with patch.context() as m:
        from bench.networks.timm import Timm

        m.setattr(Timm, "normalisation", None)  # it has three channels, and these images have one
        job = _job("hard", "toy:row+column~noise", network="timm:resnet10t@norm=per-task")
        path, record = _saved(tmp_path, job)
        loaded = load(path)
    means = {len(t) for name, t in load_file(path).items() if name.endswith("means")}
    assert means == {2}
    scored = {name: record.scores[name]["accuracy"].value for name in job.spec.scored}
    assert _accuracy(loaded, job) == pytest.approx(scored)
    assert train_again(job)[1] == path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "shape", "answer"),
    [
        (Classification(), (2, 3), (2, 3)),
        (MultiLabel(), (2, 3), (2, 3)),
        (Regression("cm", 5.0, 2.0), (2, 1), (2,)),
        (Segmentation(), (2, 3, 4, 4), (2, 3, 4, 4)),
        (Depth("m", 5.0, 2.0), (2, 1, 4, 4), (2, 4, 4)),
        (SurfaceNormals(), (2, 3, 4, 4), (2, 3, 4, 4)),
        (Reconstruction(), (2, 1, 4, 4), (2, 1, 4, 4)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_answers_are_in_meaningful_units(
    kind: TaskType, shape: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    found = kind.answers(torch.ones(shape))
    assert found.shape == answer
    assert kind.in_words(found[0], ("a", "b", "c"))
    if isinstance(kind, Classification | Segmentation):
        assert found.sum(1).allclose(torch.ones(()))
    if isinstance(kind, Regression | Depth):
        assert (found == 7).all()  # one deviation of 2 above the mean of 5


def test_words_name_classes_and_units() -> None:
    names = ("cat", "dog")
    assert Classification().in_words(torch.tensor([0.2, 0.8]), names) == "dog (80%)"
    assert Classification().in_words(torch.tensor([0.2, 0.8]), ()) == "1 (80%)"
    assert MultiLabel().in_words(torch.tensor([0.9, 0.1]), names) == "cat (90%)"
    assert MultiLabel().in_words(torch.tensor([0.1, 0.1]), names) == "none"
    assert Regression("cm").in_words(torch.tensor(3.25), ()) == "3.25 cm"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("file")
    return _saved(folder, _job("hard"))[0]


def test_images_of_another_form_and_unknown_tasks_are_refused(file: Path, tmp_path: Path) -> None:
    network = load(str(file))
    with pytest.raises(UserError, match=r"uint8 \[N, 1, 16, 16\]"):
        network(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(UserError, match="uint8"):
        network(torch.zeros(2, 1, 16, 16))
    with pytest.raises(UserError, match="did you mean 'row'"):
        network(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), ["raw"])
    with pytest.raises(UserError, match="cannot read the image"):
        network.read([tmp_path / "none.png"])


def _with(
    file: Path,
    to: Path,
    change: Callable[[dict[str, Any]], object] = lambda _: None,
    tensors: Callable[[dict[str, Tensor]], object] = lambda _: None,
) -> Path:
    """Write a file anew with other metadata or tensors."""
    about, found = read_saved(file).model_dump(mode="json"), load_file(file)
    change(about)
    tensors(found)
    save_file(found, to, {"bench": json.dumps(about)})
    return to


def _first(about: dict[str, Any], **values: object) -> None:
    about["tasks"][0] |= values


def _crowded(about: dict[str, Any]) -> None:
    about.update(sharing="ensemble@64", network="resnet18")
    about["tasks"] += [{**about["tasks"][0], "name": f"t{number}"} for number in range(500)]


METADATA: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another format": (lambda a: a.update(format=2), "format"),
    "an unknown key": (lambda a: a.update(run_me="print()"), "run_me"),
    "no such strategy": (lambda a: a.update(sharing="hart"), "did you mean 'hard'"),
    "no such network": (lambda a: a.update(network="lenot"), "did you mean 'lenet'"),
    "no such type": (lambda a: _first(a, type="Path"), "Path, which is not installed"),
    "a knob that is none": (lambda a: _first(a, knobs={"name": "x"}), "knobs that"),
    "no tasks": (lambda a: a.update(tasks=[]), "tasks"),
    "a task twice": (lambda a: _first(a, name="column"), "each task once"),
    "a mean too few": (lambda a: _first(a, mean=[]), "per channel"),
    "a deviation of 0": (lambda a: _first(a, deviation=[0.0]), "greater than 0"),
    "a mean that is no number": (lambda a: _first(a, mean=[float("nan")]), "JSON|finite|mean"),
    "more outputs": (lambda a: _first(a, outputs=5), "another shape"),
    "outputs without end": (lambda a: _first(a, outputs=2**40), "outputs"),
    "a width without end": (lambda a: a.update(width=1e9), "width"),
    "a wide network": (lambda a: a.update(width=60.0), "another shape"),
    "images without end": (lambda a: a.update(image=[1, 2**40, 16]), "image"),
    "another network": (lambda a: a.update(network="resnet8"), "none of its network"),
    "a text without end": (lambda a: a.update(network="x" * 20_000), "network"),
    "a network without end": (_crowded, "more parameters"),
    "lines of pixels without end": (lambda a: a.update(image=[2**10, 16, 2**14]), "a line of"),
}


@pytest.mark.parametrize("what", METADATA)
def test_hostile_metadata_are_an_error(file: Path, tmp_path: Path, what: str) -> None:
    change, said = METADATA[what]
    with pytest.raises(UserError, match=said):
        load(_with(file, tmp_path / "net.safetensors", change))


def test_tensors_that_are_not_the_networks_own_are_an_error(file: Path, tmp_path: Path) -> None:
    to = tmp_path / "net.safetensors"
    name = next(iter(load_file(file)))
    with pytest.raises(UserError, match=f"missing: {name}"):
        load(_with(file, to, tensors=lambda t: t.pop(name)))
    with pytest.raises(UserError, match="unexpected: other"):
        load(_with(file, to, tensors=lambda t: t.update(other=torch.zeros(1))))
    with pytest.raises(UserError, match="another shape or type"):
        load(_with(file, to, tensors=lambda t: t.update({name: t[name].half()})))


def _header(content: bytes, length: int | None = None, rest: bytes = b"") -> bytes:
    size = len(content) if length is None else length
    return size.to_bytes(8, "little") + content + rest


BYTES = {
    "nothing": b"",
    "seven bytes": b"1234567",
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94.",
    "a header beyond the end": _header(b"{}", length=2**60),
    "a huge header": _header(b" " * (2**24 + 1)),
    "a deep header": _header(b"[" * 100_000),
    "no JSON": _header(b"{"),
    "no object": _header(b"[]"),
    "no metadata": _header(b"{}"),
    "metadata of another program": _header(b'{"__metadata__": {"format": "pt"}}'),
    "metadata that are no text": _header(b'{"__metadata__": {"bench": 1}}'),
    "metadata that are no JSON": _header(b'{"__metadata__": {"bench": "{"}}'),
    "a text that is no UTF-8": _header(b'{"__metadata__": {"bench": "\xff"}}'),
}


@pytest.mark.parametrize("what", BYTES)
def test_a_file_that_is_none_of_ours_is_an_error(tmp_path: Path, what: str) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(BYTES[what])
    with pytest.raises(UserError, match="--save-weights wrote"):
        load(path)


def test_offsets_that_lie_are_an_error(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    path = tmp_path / "net.safetensors"
    path.write_bytes(content[:-4])
    with pytest.raises(UserError, match="no file of safetensors"):
        load(path)


def test_a_folder_and_a_missing_file_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no regular file"):
        load(tmp_path)
    with pytest.raises(UserError, match="cannot read"):
        load(tmp_path / "none.safetensors")


def test_a_file_says_which_plugins_it_needs_and_no_path(file: Path) -> None:
    assert read_saved(file).plugins == ()
    assert str(Path.cwd()) not in read_saved(file).model_dump_json()


def test_a_plugin_that_is_missing_is_named(file: Path, tmp_path: Path) -> None:
    def plugged(about: dict[str, Any]) -> None:
        about.update(sharing="mine", plugins=["'mine' (mine.py)"])

    with pytest.raises(UserError, match=r"it needs 'mine' \(mine.py\), from a folder that"):
        load(_with(file, tmp_path / "net.safetensors", plugged))


def test_a_network_of_a_plugin_is_told_to_need_it(tmp_path: Path) -> None:
    path, _ = _saved(tmp_path, _job("hard", network="patches"))
    assert read_saved(path).plugins == ("'patches' (patches.py)",)
    load(path)


def test_tasks_on_different_images_keep_their_own_scaling(tmp_path: Path) -> None:
    job = _job(
        "hard", next(p.name for p in parse_pairs("teachers") if len(p.targets) > 1), network="mlp"
    )
    path, _ = _saved(tmp_path, job)
    about: Saved = read_saved(path)
    assert len({task.images for task in about.tasks}) == len(about.tasks)
    data = arm_data(job.spec, DataSource())
    found = load(path)(data[0].images.test[:5], [data[0].task.name])
    assert found[data[0].task.name].shape == (5,)
