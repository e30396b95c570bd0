"""Encoders in stages, heads and decoders.

An encoder is a list of stages, so that a strategy can share the first k of them or stitch between
them. Every family of networks is a plugin: a module of this package, or of a `networks/` folder
that `BENCH_PLUGINS` names, with subclasses of `bench.contracts.Network`.

Widths scale with one factor, which is how the `slim` anchor is made. The normalisation of the
networks that ship is GroupNorm with one group (layer normalisation over channel, height and width).
It does not mix images and keeps no running state. This has four consequences:

- A task's result does not depend on which other task's images share its batch.
- Training and evaluation compute the same function.
- Training states can run side by side.
- Every width divides into one group.

Batch normalisation has none of these properties. `SeparateStatistics` gives it the first of them.
"""

from bench import plugin_folders
from bench.networks._statistics import SeparateStatistics
from bench.networks.deeplab import DeepLabHead
from bench.networks.encoder import Encoder, Shape, in_turn
from bench.networks.fpn import FPNHead
from bench.networks.heads import ClassificationHead, DenseHead, PyramidHead, read

__all__ = [
    "ClassificationHead",
    "DeepLabHead",
    "DenseHead",
    "Encoder",
    "FPNHead",
    "PyramidHead",
    "SeparateStatistics",
    "Shape",
    "in_turn",
    "read",
]

__path__.extend(str(folder / "networks") for folder in plugin_folders)
