"""The point at which the tasks' paths split, where there is a single one."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from bench.contracts import UserError


def the_only(activations: Mapping[int, Sequence[Tensor]]) -> Sequence[Tensor]:
    """Return the activations of the only batch of images.

    Raises `UserError` where tasks have images of their own.
    """
    if len(activations) != 1:
        raise UserError(
            "gradients on features are merged where all tasks have the same images; on images of "
            "their own the tasks' features are different ones: merge on parameters (mgda)"
        )
    (found,) = activations.values()
    return found
