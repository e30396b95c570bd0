"""Counts FLOPs by torch's counter, with the formula of grouped convolutions put right.

torch bills the weight gradient of a grouped convolution as if it had one group. That of a depthwise
convolution is thus too large by the number of its channels, and a MobileNet's step several times.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count


def _conv_backward_flop(
    grad_out_shape: list[int],
    x_shape: list[int],
    w_shape: list[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    out_shape: Any,
    **_: Any,
) -> int:
    """Return the FLOPs of the gradients by the input and by the weights, as far as asked for.

    Each costs what the forward pass does: the same products, summed in another order.
    """
    found: int = 0
    if output_mask[0]:
        found += conv_flop_count(grad_out_shape, w_shape, list(out_shape[0]), not transposed)
    if output_mask[1]:
        found += conv_flop_count(x_shape, w_shape, grad_out_shape, transposed)
    return found


def flop_counter() -> FlopCounterMode:
    """Return a context that counts the FLOPs of what is executed in it."""
    formulas = {torch.ops.aten.convolution_backward: _conv_backward_flop}
    return FlopCounterMode(display=False, custom_mapping=formulas)
