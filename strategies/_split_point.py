"""The point at which the tasks' paths split, where there is a single one."""

from collections.abc import Mapping

from torch import Tensor

from bench.contracts import UserError


def the_only(features: Mapping[int, Tensor]) -> Tensor:
    """Return the features of the only batch of images.

    Raises `UserError` where tasks have images of their own.
    """
    if len(features) != 1:
        raise UserError(
            "gradients on features are merged where all tasks have the same images; on images of "
            "their own the tasks' features are different ones: merge on parameters (mgda)"
        )
    (found,) = features.values()
    return found
