"""Tiny MNIST and Fashion-MNIST in the real file format, so that no test needs a network."""

import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torchvision.datasets.mnist as torchvision_mnist
from numpy.typing import NDArray

#: Where the real MNIST lies, in torchvision's layout, for tests that read it: see CONTRIBUTING.
REAL = os.environ.get("BENCH_TEST_DATA", "")


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write unsigned bytes as idx: magic number, one big-endian size a dimension, the bytes."""
    header = np.array([0x0800 + values.ndim, *values.shape], dtype=">u4")
    path.write_bytes(header.tobytes() + values.tobytes())


def write_collection(raw: Path, seed: int = 0) -> None:
    """Write 60 training and 20 test images: blobs, brighter in the test part, each in one grey."""
    raw.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for part, count, darkest in (("train", 60, 41), ("t10k", 20, 200)):
        greys = darkest + rng.permutation(count).astype(np.uint8)[:, None, None]
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 4:24, 4:24] = greys * rng.integers(0, 2, (count, 20, 20), np.uint8)
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", rng.permutation(count).astype(np.uint8) % 10)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root that holds 60 training and 20 test images of each collection.

    Training greys are 41 to 100, no two the same, and test greys 200 to 219.
    """
    write_collection(tmp_path / "MNIST" / "raw", seed=0)
    write_collection(tmp_path / "FashionMNIST" / "raw", seed=1)
    return tmp_path


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dataset: object) -> NoReturn:
        pytest.fail("downloaded without being told to")

    monkeypatch.setattr(torchvision_mnist.MNIST, "download", refuse)


@pytest.fixture(scope="session")
def real() -> Path:
    """Return the root of the real MNIST, where the machine has it."""
    if not REAL:
        pytest.skip("set BENCH_TEST_DATA to a folder that holds the real MNIST")
    return Path(REAL)
