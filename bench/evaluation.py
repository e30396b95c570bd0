"""Predictions to scores. Off the clock, and without a draw: evaluating changes no run."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import MultiTaskNetwork
from bench.data import Standardise, on_device
from bench.tasks import Task, TaskData

_BATCH = 512


@dataclass(frozen=True)
class EvaluationSet:
    """Images and labels that a task is scored on, on the device.

    `images` is `[N, H, W, C]` uint8; tasks on the same images hold the very same tensor.
    """

    task: Task
    images: Tensor
    labels: Tensor | None
    to_float: Standardise


def evaluation_sets(
    tasks: Sequence[tuple[TaskData, Tensor, Tensor | None]], device: torch.device
) -> list[EvaluationSet]:
    """Move (task, images `[N, C, H, W]`, labels) to the device, every image tensor once."""
    moved: dict[int, Tensor] = {}
    for _, images, _ in tasks:
        if id(images) not in moved:
            moved[id(images)] = on_device(images, device)
    return [
        EvaluationSet(
            data.task,
            moved[id(images)],
            None if labels is None else labels.to(device),
            Standardise(data.images, device),
        )
        for data, images, labels in tasks
    ]


@dataclass(frozen=True)
class Scores:
    """One task's result on a set: a score and a loss for each example, on the CPU, float32."""

    task: Task
    examples: Tensor
    losses: Tensor

    @property
    def score(self) -> float:
        """The metric, in its unit."""
        return self.examples.double().mean().item() * self.task.kind.metric.scale

    @property
    def loss(self) -> float:
        """The mean loss."""
        return self.losses.double().mean().item()


@torch.no_grad()
def evaluate(
    network: MultiTaskNetwork, tasks: Sequence[Task], sets: Sequence[EvaluationSet]
) -> list[Scores]:
    """Score the tasks of `sets`, in their order. `tasks` are all the network's tasks, in its order.

    Tasks on the same images are evaluated in one pass.
    """
    was_training = network.training
    network.eval()
    position = {task.name: index for index, task in enumerate(tasks)}
    collected: dict[str, tuple[list[Tensor], list[Tensor]]] = {s.task.name: ([], []) for s in sets}
    for images in {id(s.images): s.images for s in sets}.values():
        together = [s for s in sets if s.images is images]
        for start in range(0, len(images), _BATCH):
            x = together[0].to_float(images[start : start + _BATCH])
            inputs: list[Tensor | None] = [None] * len(tasks)
            for s in together:
                inputs[position[s.task.name]] = x
            outputs = network(inputs)
            for s in together:
                labels = None if s.labels is None else s.labels[start : start + _BATCH]
                kind = s.task.kind
                targets = kind.targets(x, labels)
                output = outputs[position[s.task.name]].float()
                collected[s.task.name][0].append(kind.example_scores(output, targets))
                collected[s.task.name][1].append(kind.example_losses(output, targets))
    network.train(was_training)
    return [
        Scores(s.task, *(torch.cat(part).cpu() for part in collected[s.task.name])) for s in sets
    ]
