"""SegNet (Badrinarayanan et al. 2017): an encoder and a decoder, which ends at the image's size.

Its decoder is shared as its encoder is, as in MTAN's experiments (Liu et al. 2019): heads are two
convolutions at full size. The stages are the five blocks of either half, so strategies may branch,
stitch and attend in both.

A stage passes on one tensor, which strategies may mix and mask. The positions of the maxima, which
the paper's decoder puts values back to, cannot travel with it. So the decoder doubles by nearest
neighbours and knows no positions. That is close to the paper's variants with interpolation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from bench.contracts import Network, UserError
from bench.networks.encoder import Encoder, Shape, group_norm, he_initialised, scaled

#: Channels of the blocks and the numbers of their convolutions: those of VGG-16.
_CHANNELS = (64, 128, 256, 512, 512)
_DEPTHS = (2, 2, 3, 3, 3)


def _block(channels: Sequence[int]) -> list[nn.Module]:
    """Return 3 × 3 convolutions from each number of channels to the next."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [layer, group_norm(outputs), nn.ReLU()]
    return layers


@dataclass(frozen=True)
class SegNet(Network):
    """SegNet at any width, trained from scratch, without positions of maxima.

    Images with a side under 32 pixels get as many of the five blocks as they can be halved.
    """

    name = "segnet"
    summary = "SegNet for label maps: VGG-16's convolutions and their mirror image"
    paper = "Badrinarayanan et al. 2017, SegNet: A Deep Convolutional Encoder-Decoder Architecture"

    def build(self, image: Shape, width: float) -> Encoder:
        """Return a stage per block of either half. Raises `UserError` for a side of one pixel."""
        blocks = min(min(image[1:]).bit_length() - 1, len(_CHANNELS))
        if not blocks:
            raise UserError(f"segnet halves images, and {image[1]} × {image[2]} has no half")
        channels = [scaled(c, width) for c in _CHANNELS[:blocks]]
        before = [image[0], *channels]
        sides = list(image[1:])
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for inputs, outputs, depth in zip(before, channels, _DEPTHS, strict=False):
            encoder.append(nn.Sequential(*_block([inputs, *[outputs] * depth]), nn.MaxPool2d(2)))
            # The mirror image; where it covers the image it keeps its channels, for the heads.
            mirrored = _block([*[outputs] * depth, inputs if decoder else outputs])
            decoder.append(nn.Sequential(nn.Upsample(tuple(sides)), *mirrored))
            sides = [side // 2 for side in sides]
        return he_initialised(Encoder([*encoder, *reversed(decoder)], image))
