"""A tiny MNIST in the real file format, so that no test needs a network or the real files."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write unsigned bytes as idx: magic number, one big-endian size a dimension, the bytes."""
    header = np.array([0x0800 + values.ndim, *values.shape], dtype=">u4")
    path.write_bytes(header.tobytes() + values.tobytes())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root that holds 60 training and 20 test digits: blobs of two different greys."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count, grey in (("train", 60, 100), ("t10k", 20, 200)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 4:24, 4:24] = grey * rng.integers(0, 2, (count, 20, 20))
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", rng.permutation(count).astype(np.uint8) % 10)
    return tmp_path
