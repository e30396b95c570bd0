"""What a trained network costs to use: the work, the time and the memory of a forward pass.

It is measured once per arm, at the first seed, off the clock of the budget. Only the tasks that are
scored are asked for, as a deployed network would be.
"""

import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.contracts import MultiTaskNetwork
from bench.spec.experiment import Precision
from bench.store.records import Use
from bench.tasks import TaskData
from bench.train.flops import flop_counter
from bench.train.loop import passes_in
from bench.train.pricing import peak_bytes, seconds_of_one

#: Images of the larger batch.
BATCH = 64
#: Blocks of forward passes that are timed, and passes per block.
_BLOCKS, _PASSES = 5, 3


def _inputs(data: Sequence[TaskData], count: int, device: torch.device) -> list[Tensor | None]:
    """Return so many images for each task that is scored, one tensor for tasks on the same ones."""
    sets = {
        id(d.images): torch.zeros(count, *d.images.image, device=device)
        for d in data
        if d.task.scored
    }
    return [sets[id(d.images)] if d.task.scored else None for d in data]


@torch.no_grad()
def forward_flops(
    network: MultiTaskNetwork, data: Sequence[TaskData], device: torch.device
) -> float:
    """Return the FLOPs of one image's forward pass; the network is left in evaluation mode."""
    network.eval()
    with flop_counter() as counter:
        network(_inputs(data, 1, device))
    return float(counter.get_total_flops())


@torch.no_grad()
def cost_of_use(
    network: MultiTaskNetwork,
    shadow: MultiTaskNetwork,
    data: Sequence[TaskData],
    precision: Precision,
    device: torch.device,
) -> Use:
    """Return what a forward pass of a network costs. `data` are all its tasks, in its order.

    `shadow` is such a network on the meta device, where memory is counted.
    """
    was_training = network.training
    network.eval()

    def forward(inputs: list[Tensor | None]) -> None:
        with passes_in(precision, device):
            network(inputs)

    one, many = (_inputs(data, count, device) for count in (1, BATCH))
    with flop_counter() as counter:
        forward(one)
    seconds = []
    for inputs in (one, many):

        def take(passes: int, inputs: list[Tensor | None] = inputs) -> None:
            for _ in range(passes):
                forward(inputs)

        take(1)
        seconds.append(
            statistics.median(seconds_of_one(take, _PASSES, device) for _ in range(_BLOCKS))
        )
    empty = _inputs(data, BATCH, torch.device("meta"))
    peak = peak_bytes(lambda: shadow.eval()(empty), list(shadow.parameters()))
    network.train(was_training)
    return Use(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops_per_image=float(counter.get_total_flops()),
        seconds_alone=seconds[0],
        seconds_in_batch=seconds[1] / BATCH,
        peak_bytes=peak,
    )
