"""Networks that start from different weights."""

from typing import TypeVar

import torch
from torch import nn

from bench.contracts import UserError
from bench.networks import Encoder

_Network = TypeVar("_Network", bound=nn.Module)


@torch.no_grad()
def redrawn(network: _Network) -> _Network:
    """Return a network with the entries of every weight shuffled, by the global generator.

    Every call of a builder returns the same draw. The entries of one weight are independent draws
    from one distribution. A shuffle of them is therefore as valid a draw, whatever the
    initialisation, and constants stay as they are. Raises `UserError` where weights are no draw.
    """
    if any(isinstance(module, Encoder) and not module.drawn for module in network.modules()):
        raise UserError(
            "it needs networks that start from different weights, and pretrained ones are all the "
            "same: use a network without weights"
        )
    for parameter in network.parameters():
        order = torch.randperm(parameter.numel(), device=parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return network
