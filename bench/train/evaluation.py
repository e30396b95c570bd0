"""From predictions to scores. Untimed and without random draws: evaluation changes no run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import MultiTaskNetwork, Normalisation
from bench.spec.experiment import Precision
from bench.tasks import Task, TaskData
from bench.train.loop import passes_in
from bench.train.rows import Rows, Standardise

#: Largest numbers of images and pixels that are evaluated at once.
_BATCH = 512
_PIXELS = 2**21


def images_at_once(height: int, width: int) -> int:
    """Return how many images of so many pixels a network evaluates at once."""
    return max(1, min(_BATCH, _PIXELS // (height * width)))


@dataclass(frozen=True)
class EvaluationSet:
    """Images and labels that a task is scored on.

    Tasks on the same images hold the identical rows.
    """

    task: Task
    images: Rows
    labels: Rows | None
    to_float: Standardise


def evaluation_sets(
    tasks: Sequence[tuple[TaskData, Tensor, Tensor | None, Tensor | None]],
    device: torch.device,
    resident: bool,
    expects: Normalisation | None = None,
) -> list[EvaluationSet]:
    """Return the sets of (task, images `[N, C, H, W]`, labels, index of the selected rows).

    Tasks that hold the same images select the same rows of them. `expects` are the images that the
    network does.
    """
    shared: dict[int, Rows] = {}
    for _, images, _, index in tasks:
        if id(images) not in shared:
            shared[id(images)] = Rows(images, index, device, resident, images=True)
    return [
        EvaluationSet(
            data.task,
            shared[id(images)],
            None if labels is None else Rows(labels, index, device, resident),
            Standardise(data.images, device, expects),
        )
        for data, images, labels, index in tasks
    ]


@dataclass(frozen=True)
class Scores:
    """One task's result on a set.

    `metrics` are keyed by name, each in its unit; NaN where no example is labelled. `examples` has
    one score per example on the CPU, float32 `[N]`; NaN where it is not labelled.
    """

    task: Task
    metrics: Mapping[str, float]
    examples: Tensor
    each: tuple[str, Sequence[float]] = ("", ())
    """What is scored of each class or label, and its scores in the order of the outputs."""

    @property
    def primary(self) -> float:
        """The metric that gains are computed in."""
        return self.metrics[self.task.metrics[0].name]


def _scores(task: Task, measured: Tensor, known: Tensor) -> Scores:
    kind = task.type
    examples = torch.full((len(known),), float("nan"))
    if not known.any():
        return Scores(task, {metric.name: float("nan") for metric in kind.metrics}, examples)
    labelled = measured[known]
    examples[known] = kind.example_scores(labelled).float()
    return Scores(task, kind.scores(labelled), examples, kind.each(labelled))


@torch.no_grad()
def evaluate(
    network: MultiTaskNetwork,
    tasks: Sequence[Task],
    sets: Sequence[EvaluationSet],
    precision: Precision = "fp32",
) -> list[Scores]:
    """Score the tasks of `sets`, in their order. `tasks` are all the network's tasks, in its order.

    Tasks on the same images are evaluated in one pass, in the precision that trained the network.
    """
    was_training = network.training
    network.eval()
    position = {task.name: index for index, task in enumerate(tasks)}
    collected: dict[str, tuple[list[Tensor], list[Tensor]]] = {s.task.name: ([], []) for s in sets}
    for images in {id(s.images): s.images for s in sets}.values():
        together = [s for s in sets if s.images is images]
        batch = images_at_once(*images.shape[2:])
        for start in range(0, len(images), batch):
            stop = start + batch
            x = together[0].to_float(images.part(start, stop))
            inputs: list[Tensor | None] = [None] * len(tasks)
            for s in together:
                inputs[position[s.task.name]] = x
            with passes_in(precision, x.device):
                outputs = network(inputs)
            for s in together:
                kind = s.task.type
                targets = kind.targets(x, None if s.labels is None else s.labels.part(start, stop))
                output = outputs[position[s.task.name]].float()
                collected[s.task.name][0].append(kind.measure(output, targets))
                collected[s.task.name][1].append(kind.known(targets))
    network.train(was_training)
    return [
        _scores(s.task, *(torch.cat(part).cpu() for part in collected[s.task.name])) for s in sets
    ]
