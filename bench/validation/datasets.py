"""The contract of a data set, as checks: it is loaded as a run loads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bench.contracts import Dataset, DataSource
from bench.errors import UserError
from bench.networks import Shape
from bench.spec.experiment import RunSpec
from bench.spec.registry import dataset_name, declared_pairs, default_strategy, parse_dataset
from bench.task_types import (
    MISSING,
    VOID,
    Classification,
    Depth,
    MultiLabel,
    Regression,
    Segmentation,
    SurfaceNormals,
    TaskType,
)
from bench.tasks import Task, TaskData
from bench.train.job import Job, run_key
from bench.train.load import check_unchanged, fingerprint, task_data
from bench.train.pricing import count
from bench.train.run import execute
from bench.validation.checks import (
    COUNTED,
    RECIPE,
    SEED,
    InapplicableError,
    ViolationError,
    check_documented,
    check_spelled,
)


@dataclass(frozen=True)
class Loaded:
    """A data set under test."""

    plugin: Dataset
    source: DataSource

    @property
    def name(self) -> str:
        """Its name in records."""
        return dataset_name(self.plugin)

    @cached_property
    def data(self) -> Mapping[str, TaskData]:
        """Its tasks, as a run gets them."""
        self.plugin.check(self.source, list(self.plugin.tasks))
        return {name: task_data(self.name, name, self.source) for name in self.plugin.tasks}


def declared(loaded: Loaded) -> None:
    """It has a docstring and a summary; pairs, images and task types refer to its own tasks."""
    dataset = loaded.plugin
    check_documented(type(dataset), ("summary", "needs"))
    tasks = set(dataset.tasks)
    for name in tasks:
        if any(sign in name for sign in "+~:"):
            raise ViolationError(
                f"the task '{name}' cannot be named: +, ~ and : join what users type"
            )
    for pair, expect, _ in dataset.pairs:
        if len(set(pair)) < 2 or not set(pair) <= tasks:
            raise ViolationError(
                f"the pair {'+'.join(pair)} is not of two of its tasks: {_list(tasks)}"
            )
        if expect not in ("positive", "none", "negative", None):
            raise ViolationError(
                f"what is expected of {'+'.join(pair)} is '{expect}': positive, none, "
                "negative or None"
            )
    if not isinstance(dataset.images, str) and set(dataset.images) != tasks:
        raise ViolationError(
            f"images is of {_list(dataset.images)}, not of its tasks: {_list(tasks)}"
        )
    if not set(dataset.task_types) <= tasks:
        raise ViolationError(
            f"task_types is of {_list(dataset.task_types)}, not of its tasks: {_list(tasks)}"
        )


def _list(names: Any) -> str:
    return ", ".join(sorted(names))


def spelled(loaded: Loaded) -> None:
    """It has one spelling, whether its defaults are named or not."""
    check_spelled(loaded.plugin, loaded.name, lambda text: dataset_name(parse_dataset(text)))


def loads(loaded: Loaded) -> None:
    """It loads all tasks that it declares."""
    dataset = loaded.plugin
    if dataset.needs != Dataset.needs and loaded.source.root is None and not dataset.takes_path:
        raise InapplicableError(f"needs {dataset.needs}")
    try:
        data = loaded.data
    except UserError as error:
        if dataset.takes_path:  # the user has named it
            raise
        if dataset.needs == Dataset.needs:
            raise ViolationError(f"it says that it needs nothing, but: {error}") from None
        raise InapplicableError(str(error)) from None
    except KeyError as error:
        raise ViolationError(f"load returns no task {error}, which tasks declares") from None
    for name, d in data.items():
        if d.task.name != name:
            raise ViolationError(f"the task '{name}' calls itself '{d.task.name}'")


def images(loaded: Loaded) -> None:
    """Training and test images have one shape; both are non-empty and different."""
    for d in loaded.data.values():
        train, test = d.images.train, d.images.test
        if not (len(train) and len(test)):
            raise ViolationError(
                f"'{d.images.name}' has {len(train)} training and {len(test)} test images"
            )
        if train.shape[1:] != test.shape[1:]:
            raise ViolationError(
                f"training images of '{d.images.name}' are {list(train.shape[1:])}, test images "
                f"{list(test.shape[1:])}"
            )
        overlap = train.data_ptr() < test.data_ptr() + test.nbytes and (
            test.data_ptr() < train.data_ptr() + train.nbytes
        )
        if overlap or (len(train) == len(test) and torch.equal(train, test)):
            raise ViolationError(
                f"training and test images of '{d.images.name}' are the same: what is tested "
                "must not be trained on"
            )


@dataclass(frozen=True)
class _Form:
    """The expected labels of a task type: their shape for one image, and their allowed values."""

    words: str
    dtype: Callable[[torch.dtype], bool]
    shape: Callable[[Task, Shape], Shape]
    allowed: Callable[[Task, Tensor], Tensor]


def _floats(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point


_FORMS: Mapping[type[TaskType], _Form] = {
    Classification: _Form(
        "int64, from 0 to below outputs, or MISSING",
        lambda dtype: dtype == torch.int64,
        lambda task, image: (),
        lambda task, y: ((y >= 0) & (y < task.outputs)) | (y == MISSING),
    ),
    MultiLabel: _Form(
        "floats [outputs], 0, 1 or NaN",
        _floats,
        lambda task, image: (task.outputs,),
        lambda task, y: (y == 0) | (y == 1) | y.isnan(),
    ),
    Regression: _Form(
        "floats, finite or NaN",
        _floats,
        lambda task, image: (),
        lambda task, y: ~y.isinf(),
    ),
    Segmentation: _Form(
        "uint8 [H, W], from 0 to below outputs, or VOID",
        lambda dtype: dtype == torch.uint8,
        lambda task, image: image[1:],
        lambda task, y: (y < task.outputs) | (y == VOID),
    ),
    Depth: _Form(
        "floats [H, W], above 0 and finite, or NaN",
        _floats,
        lambda task, image: image[1:],
        lambda task, y: ((y > 0) & ~y.isinf()) | y.isnan(),
    ),
    SurfaceNormals: _Form(
        "floats [3, H, W], of length 1 or NaN",
        _floats,
        lambda task, image: (3, *image[1:]),
        lambda task, y: ((y.norm(dim=1) - 1).abs() < 0.02) | y.isnan().any(1),
    ),
}


def labels(loaded: Loaded) -> None:
    """Labels have the dtype, the shape and the range of their task type."""
    for d in loaded.data.values():
        form = next((_FORMS[base] for base in type(d.task.type).__mro__ if base in _FORMS), None)
        for part, values in (("training", d.train_labels), ("test", d.test_labels)):
            if form is None or values is None:
                continue
            where = f"{part} labels of '{d.task.name}' ({d.task.type.name})"
            shape = tuple(values.shape[1:])
            if not form.dtype(values.dtype) or shape != form.shape(d.task, d.images.image):
                raise ViolationError(
                    f"{where} are {str(values.dtype).removeprefix('torch.')} {list(shape)} an "
                    f"image, and should be {form.words}"
                )
            for rows in torch.split(values, 512):
                bad = rows[~form.allowed(d.task, rows)] if rows.dim() < 4 else None
                if not form.allowed(d.task, rows).all():
                    example = f", such as {bad.flatten()[0].item():g}" if bad is not None else ""
                    raise ViolationError(
                        f"{where} are out of range{example}: they are {form.words}, and outputs "
                        f"is {d.task.outputs}"
                    )
        for part, known in zip(("training", "test"), d.known, strict=True):
            if not known.any():
                raise ViolationError(f"no {part} image has a label of '{d.task.name}'")


def listed(loaded: Loaded) -> None:
    """Task types, and the tasks that share images, are as it declares."""
    dataset, data = loaded.plugin, loaded.data
    if dataset.takes_path:
        raise InapplicableError("what it has depends on the path")
    for name, d in data.items():
        said = dataset.task_types.get(name, Classification())
        if type(d.task.type) is not type(said):
            raise ViolationError(
                f"'{name}' is a task of {d.task.type.name}, but task_types says {said.name}: lists "
                "show what is declared"
            )
    if loaded.name != dataset.name:
        return  # images are declared for the default knobs
    for pair in declared_pairs(dataset):
        texts = {
            dataset.images if isinstance(dataset.images, str) else dataset.images[task]
            for task in pair.tasks
        }
        sets = {id(data[task].images) for task in pair.tasks}
        if len(texts) != len(sets):
            raise ViolationError(
                f"the tasks of {pair.name} are on {len(sets)} sets of images, and images declares "
                f"{len(texts)}: tasks on the same images hold the very same ImageSet"
            )


def reloads(loaded: Loaded) -> None:
    """It loads the same images and labels twice, and leaves those that it gave."""
    before = {name: fingerprint([d]) for name, d in loaded.data.items()}
    again = loaded.plugin.load(loaded.source)
    for name, found in before.items():
        if found != fingerprint([again[name]]):
            raise ViolationError(
                f"'{name}' is other data when it is loaded again: draw from a generator with a "
                "fixed seed"
            )
    check_unchanged()


def runs(loaded: Loaded) -> None:
    """A short run of its first pair trains, has scores, and gives the same ones again."""
    data = loaded.data
    pair = next((p.tasks for p in declared_pairs(loaded.plugin)), tuple(data)[:2])
    pool = min(len(data[task].images.train) for task in pair)
    sides = [side for task in pair for side in data[task].images.image[1:]]
    recipe = RECIPE.model_copy(
        update={
            "network": "lenet" if min(sides) >= 16 else "mlp",
            "train_size": max(1, min(24, pool // 2)),
            "validation_size": min(8, pool // 4),
        }
    )
    strategy = default_strategy()
    spec = RunSpec(
        dataset=loaded.name,
        tasks=pair,
        scored=pair,
        strategy=strategy.name,
        width=1.0,
        budget=f"{COUNTED}steps",
        steps=(COUNTED,),
        seed=SEED,
        device="cpu",
        recipe=recipe,
    )
    together = [data[task] for task in pair]
    prices = count(strategy, together, recipe, 1.0)
    job = Job(spec, prices, run_key(spec, fingerprint(together)), loaded.source)
    first, second = (execute(job) for _ in range(2))
    if first[0].status != "ok":
        raise ViolationError(f"a run of {'+'.join(pair)} fails: {first[0].reason}")
    for task, scores in first[0].scores.items():
        if all(score.value is None for score in scores.values()):
            raise ViolationError(f"'{task}' has no score on its test images")
    if first[0].scores != second[0].scores or first[0].curve != second[0].curve:
        raise ViolationError(f"a run of {'+'.join(pair)} gives other numbers when it is run again")


DATASET_CHECKS = (declared, spelled, loads, images, labels, listed, reloads, runs)
#: The checks that later ones depend on.
DATASET_GATES = (declared, loads, images, labels)
