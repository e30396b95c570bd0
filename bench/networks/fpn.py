"""The head of panoptic FPN (Kirillov et al. 2019): a feature pyramid (Lin et al. 2017), summed.

It sees the maps after several stages, as a task's path through the network has them: those of its
own stages after a branch, attended ones in MTAN, mixed ones in cross-stitch networks.
"""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.errors import UserError
from bench.networks.deeplab import Bilinear
from bench.networks.encoder import Shape, group_norm
from bench.networks.heads import PyramidHead

#: Channels of the pyramid: those of the paper, or the encoder's, if there are fewer.
_MOST, _FEWEST = 256, 32
#: The finest map of the papers has a quarter of the image's side.
_FINEST = 4


def pyramid_levels(stages: Sequence[Shape], image: Shape) -> list[int]:
    """Return the stages whose maps make a pyramid, the coarsest first.

    `stages` are the shapes of the activations. Of maps of one size the last is taken. Maps finer
    than a quarter of the image's side are left out, but for the last stage's and where fewer than
    two would be left. Raises `UserError` where there are no two sizes.
    """
    last = len(stages) - 1
    strides = [_stride(shape, image) for shape in stages]
    of_size = {stride: at for at, stride in enumerate(strides) if stride is not None}
    levels = [at for _, at in sorted(of_size.items(), reverse=True)]
    if len(levels) < 2 or last not in levels:
        raise UserError(
            "--dense-head fpn needs a network with maps of several sizes, up to its last stage: "
            "choose another network, or --dense-head decoder or deeplab"
        )
    coarse = [at for at in levels if cast(int, strides[at]) >= _FINEST or at == last]
    return coarse if len(coarse) > 1 else levels[:2]


def _stride(shape: Shape, image: Shape) -> int | None:
    """Return the pixels of an image per step of a map; None for a vector or a row of tokens."""
    if len(shape) != 3:
        return None
    down, across = (-(-whole // side) for whole, side in zip(image[1:], shape[1:], strict=True))
    return down if max(down, across) < 2 * min(down, across) else None


class FPNHead(PyramidHead):
    """Maps the activations after all stages to an image-sized map `[N, outputs, H, W]`.

    A 1 × 1 convolution brings each map of the pyramid to one number of channels. From the coarsest
    on, each is resized to the next finer one and added to it. A 3 × 3 convolution with
    normalisation and a rectifier follows on each. Their sum, at the finest size, is mapped to the
    outputs and interpolated to the image. The semantic branch of the 2019 paper has a convolution
    for each doubling, and here has one for each map. Normalisation is GroupNorm with one group.
    """

    def __init__(self, stages: Sequence[Shape], image: Shape, outputs: int) -> None:
        super().__init__()
        self.levels = pyramid_levels(stages, image)
        self.stages = len(stages)
        shapes = [stages[level] for level in self.levels]
        sides = [shape[1:] for shape in shapes]
        channels = min(_MOST, max(_FEWEST, stages[-1][0]))
        self.lateral = nn.ModuleList(nn.Conv2d(shape[0], channels, 1) for shape in shapes)
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                group_norm(channels),
                nn.ReLU(),
                nn.Identity() if side == sides[-1] else Bilinear(side, sides[-1]),
            )
            for side in sides
        )
        self.classify = nn.Conv2d(channels, outputs, 1)
        self.resize = Bilinear(sides[-1], image[1:])

    def forward(self, activations: Sequence[Tensor]) -> Tensor:
        """Return a map `[N, outputs, H, W]`. Raises `UserError` where not all stages are given."""
        if isinstance(activations, Tensor) or len(activations) != self.stages:
            raise UserError(
                f"the head fpn reads the maps after all {self.stages} stages, and this strategy "
                "has the last one for it: choose --dense-head decoder or deeplab"
            )
        y: Tensor | None = None
        found = []
        for level, lateral, smooth in zip(self.levels, self.lateral, self.smooth, strict=True):
            x = lateral(activations[level])
            # Nearest neighbours, since bilinear gradients have no fixed order on a GPU.
            y = x if y is None else x + F.interpolate(y, x.shape[2:])
            found.append(smooth(y))
        output: Tensor = self.resize(self.classify(sum(found[1:], start=found[0])))
        return output
