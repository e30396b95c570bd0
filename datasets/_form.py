"""How a user's images are read: in one size, all grey or all in colour. Not a data set itself."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.contracts import UserError
from bench.images import ImageSource, read_image
from bench.tasks import Reading

#: The side that images are stretched to, unless they are small and of one size. The networks here
#: are small, and a budget in FLOPs buys a quarter of the steps at twice the side.
SIDE = 32
_OWN_SIDE = 64
#: What transparent pixels may show.
BACKGROUNDS = ("white", "black", "hidden")


@dataclass(frozen=True)
class Form:
    """How all images are read: their side (H, W), mode, bits and background; and notes on it."""

    side: tuple[int, int]
    mode: Literal["L", "RGB"]
    bits: int
    background: str
    notes: tuple[str, ...] = ()

    @property
    def how(self) -> list[object]:
        """All that the rows depend on beside the files."""
        return [self.mode, *self.side, self.bits, self.background]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        return (1 if self.mode == "L" else 3, *self.side)

    @property
    def reading(self) -> Reading:
        """What `read_image` is told beside the side and the mode."""
        return Reading(self.bits, "" if self.background == "hidden" else self.background)

    def read(self, path: ImageSource) -> np.ndarray:
        """Read an image file."""
        how = self.reading
        return read_image(path, self.side, self.mode, bits=how.bits, background=how.background)


def form_of(headers: Tensor, path: str, size: int, bits: int, background: str) -> Form:
    """Return how all images are read, from what their headers say: `read_header`, int `[N, 6]`.

    `path` is what the user named. Of the others, 0 is derived from the images. Raises `UserError`
    where colours use fewer than 16 bits, since their lower bits are lost when they are read.
    """
    if not len(headers):  # there is no image, which is reported elsewhere
        return Form((SIDE, SIDE), "RGB", 16, background)
    # Grey only if every image is.
    mode: Literal["L", "RGB"] = "L" if bool((headers[:, 2] == 1).all()) else "RGB"
    side, stretched = _side(headers[:, :2], size)
    used, cut = _bits(headers[:, 2], headers[:, 3], path, bits)
    notes = (stretched, cut, _transparent(headers[:, 4], background), _frames(headers[:, 5]))
    return Form(side, mode, used, background, tuple(filter(None, notes)))


def _side(every: Tensor, asked: int) -> tuple[tuple[int, int], str]:
    """Return the size (H, W) that all images get, and a note. `every` has theirs, `[N, 2]`."""
    sizes = torch.unique(every, dim=0).tolist()
    height, width = asked or SIDE, asked or SIDE
    if not asked and len(sizes) == 1 and max(sizes[0]) <= _OWN_SIDE:
        height, width = sizes[0]
    if sizes == [[height, width]]:
        return (height, width), ""
    what = f"images of {sizes[0][0]} × {sizes[0][1]}"
    if len(sizes) > 1:
        what = f"images of {len(sizes):,} different sizes"
    note = f"{what} were stretched to {height} × {width} (size=PIXELS sets the side)"
    return (height, width), note


def _bits(channels: Tensor, largest: Tensor, path: str, asked: int) -> tuple[int, str]:
    """Return how many of their 16 bits images use, and a note; 16 where none has 16.

    Raises `UserError` where colours use fewer, since their lower bits are lost when they are read.
    """
    deep = largest > 0
    if not deep.any():
        return 16, ""
    top = int(largest.max())
    bits = asked or max(8, top.bit_length())
    if bits < 16 and (deep & (channels == 3)).any():
        raise UserError(
            f"'{path}': its colour images have 16 bits and use {bits} of them (up to "
            f"{top:,}): save them with 8 bits, or say folder@bits=16:… if they are that dark"
        )
    return bits, (
        f"{int(deep.sum()):,} images have 16 bits, with values up to {top:,}: the upper 8 of "
        f"{bits} bits are kept (bits=N says otherwise)"
    )


def _transparent(clear: Tensor, background: str) -> str:
    count = int((clear > 0).sum())
    if not count:
        return ""
    shown = "their hidden colours" if background == "hidden" else background
    what = f"{count:,} image{' has' if count == 1 else 's have'} transparent pixels"
    return f"{what}, which show {shown} (background={'/'.join(BACKGROUNDS)})"


def _frames(several: Tensor) -> str:
    count = int((several > 0).sum())
    return f"{count:,} files hold several frames, of which the first is read" if count else ""
