"""Trains a run once more and keeps its network. A worker does it, and touches no file."""

import inspect
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import bench
from bench.contracts import Network
from bench.errors import UserError
from bench.spec.experiment import RunSpec
from bench.spec.registry import dataset_identity, parse_network, parse_strategy, spelling
from bench.store.records import Record
from bench.task_types import TRAINING_ONLY, TaskType
from bench.tasks import Reading, TaskData
from bench.train.job import Job, arm_data
from bench.train.rows import scaling
from bench.train.run import trained
from bench.weights.file import Saved, SavedRun, SavedTask, to_bytes
from bench.weights.network import named_tensors, task_types


def train_again(job: Job) -> tuple[Record, bytes]:
    """Train a run; return its record and the content of a file with its network.

    Its numbers are those of the first time, where the machine is of the same kind. Raises
    `UserError` where the network cannot be written down.
    """
    record, _, state = trained(job)
    saved = describe(record, arm_data(job.spec, job.source))
    # On the CPU, and laid out as torch does by default, wherever it was trained.
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in named_tensors(state.network).items()
    }
    return record, to_bytes(saved, tensors)


def describe(record: Record, data: Sequence[TaskData]) -> Saved:
    """Return what a file says of the network of a run. `data` are its tasks, in its order."""
    spec = record.spec
    strategy, network = parse_strategy(spec.strategy), parse_network(spec.recipe.network)
    reading = data[0].images.reading or Reading()
    needed = [strategy.sharing, network, *(d.task.type for d in data)]
    return Saved.model_validate(
        {
            "sharing": spelling(strategy.sharing),
            "network": _without_paths(network),
            "width": spec.width,
            "dense_head": spec.recipe.dense_head,
            "image": data[0].images.image,
            "bits": reading.bits,
            "background": reading.background,
            "precision": spec.recipe.precision,
            "tasks": [_task(d, network) for d in data],
            "run": _run(record, spec),
            "plugins": tuple(dict.fromkeys(name for part in needed if (name := _foreign(part)))),
            "made": record.provenance,
        }
    )


def _run(record: Record, spec: RunSpec) -> SavedRun:
    scores = {
        task: {name: score.value for name, score in found.items()}
        for task, found in record.scores.items()
    }
    return SavedRun(
        key=record.key,
        data=dataset_identity(spec.dataset),
        strategy=spec.strategy,
        seed=spec.seed,
        steps=spec.steps,
        budget=spec.budget,
        scores=scores,
    )


def _without_paths(network: Network) -> str:
    """Return the spelling of a network with the names of its files in the place of their paths.

    The knobs stay, since they decide how it is built: with weights it keeps their statistics.
    """
    given = {knob: str(getattr(network, knob)) for knob in network.files}
    return spelling(network, **{knob: Path(text).name for knob, text in given.items()})


def _task(data: TaskData, network: Network) -> SavedTask:
    task = data.task
    mean, deviation = scaling(data.images, network.normalisation)
    return SavedTask(
        name=task.name,
        type=_type_name(task.type),
        knobs=_knobs(task.type),
        outputs=task.outputs,
        classes=task.classes,
        scored=task.scored,
        images=data.images.name,
        mean=tuple(mean.tolist()),
        deviation=tuple(deviation.tolist()),
    )


def _type_name(kind: TaskType) -> str:
    name = type(kind).__name__
    if task_types().get(name) is not type(kind):
        raise UserError(f"there are two task types named {name}, so the network cannot be saved")
    return name


def _knobs(kind: TaskType) -> dict[str, Any]:
    if not is_dataclass(kind):
        return {}
    kept = (field for field in fields(kind) if TRAINING_ONLY not in field.metadata)
    found = {field.name: getattr(kind, field.name) for field in kept}
    for name, value in found.items():
        if not isinstance(value, bool | int | float | str):
            raise UserError(
                f"'{name}' of the task type {type(kind).__name__} is neither a number nor a text, "
                "so the network cannot be saved"
            )
    return found


def _foreign(part: object) -> str:
    """Return how a plugin is called that did not come with the package; empty for one that did."""
    file = Path(inspect.getfile(type(part))).resolve()
    own = Path(bench.__file__).resolve().parent
    beside = (
        [bench.checkout / name for name in ("strategies", "datasets")] if bench.checkout else []
    )
    if any(file.is_relative_to(folder.resolve()) for folder in (own, *beside)):
        return ""
    return f"'{getattr(part, 'name', type(part).__name__)}' ({file.name})"
