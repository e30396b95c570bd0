"""Reconstruction as an auxiliary task: an autoencoder's decoder on the shared features.

The decoder is a head on the usual encoder, and the loss is the mean squared error per pixel and
channel (see `bench.task_types.Reconstruction`). The decoder's compute is billed, and its parameters
are discarded after training. The placebo asks for the pixels of another image: the same cost, and
nothing about the image to learn from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.task_types import Reconstruction as ReconstructionKind
from bench.tasks import Task, TaskData

from ._pixels import pixels
from ._pretext import shuffled
from ._weighted import WeightedAuxiliary


@dataclass(frozen=True)
class Reconstruction(WeightedAuxiliary):
    """Reconstruct the input while learning the target."""

    name = "reconstruction"
    summary = "auxiliary task: an autoencoder rebuilds the image"
    paper = "Le et al. 2018, Supervised Autoencoders"

    placebo: bool = False
    """Ask for the pixels of another image: the same cost, and nothing to learn from it."""

    def tasks(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the reconstruction of the target's own images."""
        images = target.images
        channels = images.image[0]
        if self.placebo:
            task = Task(self.name, pixels(images), channels)
            return [TaskData(task, images, shuffled(images.train, self.name), images.test)]
        return [TaskData(Task(self.name, ReconstructionKind(), channels), images)]
