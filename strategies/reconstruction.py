"""Reconstruction as an auxiliary task: an autoencoder's decoder on the shared features.

The encoder is the trunk, the decoder a head, and the loss the mean squared error per pixel and
channel (see `bench.kinds.Reconstruction`). The decoder's work is billed and its parameters are
thrown away after training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.kinds import Reconstruction as ReconstructionKind
from bench.tasks import Task, TaskData

from ._weighted import WeightedAuxiliary


@dataclass(frozen=True)
class Reconstruction(WeightedAuxiliary):
    """Rebuild the input beside learning the target."""

    name = "reconstruction"
    summary = "auxiliary task: an autoencoder rebuilds the image"
    paper = "Le et al. 2018, Supervised Autoencoders"

    def tasks(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the reconstruction of the target's own images."""
        channels = target.images.image[0]
        task = Task("reconstruction", ReconstructionKind(), channels)
        return [TaskData(task, target.images)]
