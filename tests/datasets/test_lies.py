"""Real data whose files lie: refused in a line, before memory is taken and without waiting."""

import io
import os
import pickle
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet, table
from scipy.io import savemat

from bench.contracts import DataSource
from bench.datasets import _arrow, _tables, svhn
from bench.errors import UserError
from bench.images import read_image, read_mask
from bench.spec.registry import parse_dataset
from tests.damage import bounded_memory
from tests.datasets.conftest import write_idx

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")


def _refused(name: str, root: Path, margin: int = 2**28, **how: Any) -> str:
    """Return what a user is told where a data set is refused, for so many bytes at most."""
    with bounded_memory(margin), pytest.raises(UserError) as error:
        [*parse_dataset(name).load(DataSource(root, **how)).values()]
    return str(error.value)


# ------------------------------------------------------------------------------------------ MNIST


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8), "has images of (0, 28, 28)"),
        (np.zeros((60, 27, 28), np.uint8), np.zeros(60, np.uint8), "has images of (60, 27, 28)"),
        (np.zeros((60, 28, 28), np.uint8), np.zeros(59, np.uint8), "59 labels of 60 images"),
        (np.zeros((60, 28, 28), np.uint8), np.zeros(61, np.uint8), "61 labels of 60 images"),
        (np.zeros((60, 28, 28), np.uint8), np.zeros(0, np.uint8), "0 labels of 60 images"),
    ],
)
@pytest.mark.parametrize("part", ["train", "t10k"])
def test_images_and_labels_of_mnist_have_to_fit(
    root: Path, part: str, images: np.ndarray, labels: np.ndarray, reason: str
) -> None:
    raw = root / "MNIST/raw"
    write_idx(raw / f"{part}-images-idx3-ubyte", images)
    write_idx(raw / f"{part}-labels-idx1-ubyte", labels)
    assert reason in _refused("mnist", root)


def test_a_sparse_file_as_long_as_its_header_says_is_not_read(root: Path) -> None:
    path = root / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(np.array([0x803, 2**28, 28, 28], dtype=">u4").tobytes())
    os.truncate(path, 16 + 2**28 * 28 * 28)
    assert "over" in _refused("mnist", root)


# -------------------------------------------------------------------------------- CIFAR and SVHN


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}X\xff\xff\xff\x7f" + b"x" * 99,
        b"\x80\x04\x8e" + struct.pack("<Q", 2**42) + b"x" * 99,
        b"\x80\x05\x96" + struct.pack("<Q", 2**42) + b"x" * 99,
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"(dp99999999999\n.",
        b"\x80\x02" + b"\x8f" * 1_100_000 + b".",
        b"\x80\x02" + b"}" * 1_100_000 + b".",
        b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    ],
    ids=["text", "bytes", "bytearray", "frame", "memo", "memo in text", "sets", "dicts", "integer"],
)
def test_a_pickle_that_claims_more_than_it_has_is_not_loaded(
    tmp_path: Path, content: bytes
) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / name).write_bytes(content)
    assert "is no CIFAR100 file" in _refused("cifar100", tmp_path)


def _element(kind: int, content: bytes, size: int | None = None) -> bytes:
    length = len(content) if size is None else size
    return struct.pack("<II", kind, length) + content + bytes(-len(content) % 8)


def _matrix(name: bytes, shape: tuple[int, ...], size: int | None, content: bytes) -> bytes:
    return _element(
        14,
        _element(6, struct.pack("<II", 9, 0))
        + _element(5, struct.pack(f"<{len(shape)}i", *shape))
        + _element(1, name)
        + _element(2, content, size),
    )


def _packed(content: bytes, zeros: int) -> bytes:
    """Return a compressed element: its content, then so many zeros."""
    pack = zlib.compressobj(9)
    parts = [pack.compress(content)]
    parts += [pack.compress(bytes(2**20)) for _ in range(zeros >> 20)]
    packed = b"".join([*parts, pack.flush()])
    return struct.pack("<II", 15, len(packed)) + packed


@pytest.mark.parametrize(
    "body",
    [
        _packed(_matrix(b"X", (32, 32, 3, 200_000), None, b"")[:-8], 2**26),
        _packed(b"\x0e\0\0\0\xff\xff\xff\xff", 2**26),
        _matrix(b"X", (32, 32, 3, 2**30), 2**32 - 1, b""),
        _matrix(b"X", (2**31 - 1,) * 9, None, bytes(64)),
        _matrix(b"X" * 2**16, (1,), None, bytes(8)),
        _element(14, b"", 2**32 - 1),
    ],
    ids=["bomb", "bomb without a head", "size", "shape", "name", "matrix"],
)
def test_a_matlab_file_that_claims_more_than_it_has_is_not_loaded(
    tmp_path: Path, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(svhn, "_MOST_BYTES", 2**24)
    for name in ("train_32x32.mat", "test_32x32.mat"):
        (tmp_path / name).write_bytes(bytes(124) + b"\0\1IM" + body)
        assert (tmp_path / name).stat().st_size < 2**20
    assert "is no SVHN file" in _refused("svhn", tmp_path, margin=2**26)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("labels", [np.uint8, np.float64, np.int32])
def test_house_numbers_are_read_however_matlab_writes_them(
    tmp_path: Path, packed: bool, labels: type[np.number[Any]]
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (32, 32, 3, 11), np.uint8)
    digits = (1 + np.arange(11) % 10)[:, None].astype(labels)
    other = {"about": "text", "z": {"deep": np.ones(3)}}
    for name in ("train_32x32.mat", "test_32x32.mat"):
        savemat(tmp_path / name, {**other, "y": digits, "X": images}, do_compression=packed)
    data = parse_dataset("svhn").load(DataSource(tmp_path))["digit"]
    assert np.array_equal(data.images.train.numpy(), images.transpose(3, 2, 0, 1))
    assert data.train_labels is not None
    assert data.train_labels.tolist() == (digits.ravel() % 10).tolist()


# ------------------------------------------------------------------------------------ NYUv2, links


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Return a root with Cityscapes of one example in each part."""
    shapes = {"image": (128, 256, 3), "label": (128, 256), "depth": (128, 256, 1)}
    for part in ("train", "val"):
        for quantity, shape in shapes.items():
            folder = tmp_path / "root/cityscapes" / part / quantity
            folder.mkdir(parents=True)
            np.save(folder / "0.npy", np.zeros(shape, np.float32))
    return tmp_path / "root"


def _header(path: Path, shape: tuple[int, ...]) -> None:
    file = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    path.write_bytes(file.getvalue() + bytes(64))


@pytest.mark.parametrize("shape", [(2**50,), (128, 256), (128, 256, 2**40), (-1, -1), (0,)])
def test_a_header_that_asks_for_petabytes_gets_none(rooms: Path, shape: tuple[int, ...]) -> None:
    _header(rooms / "cityscapes/train/label/0.npy", shape)
    assert "0.npy' cannot be read: " in _refused("cityscapes", rooms)


@pytest.mark.parametrize("number", ["100000000000", "999999999999999999", "2000"])
def test_a_number_far_beyond_the_others_makes_no_list_of_missing_files(
    rooms: Path, number: str
) -> None:
    folder = rooms / "cityscapes/train/label"
    (folder / f"{number}.npy").write_bytes((folder / "0.npy").read_bytes())
    assert f"holds {number}.npy and only 2 numbers" in _refused("cityscapes", rooms)


@pytest.mark.parametrize("name", ["9" * 200, "٣", "-1", "1e3"])
def test_what_is_no_number_is_not_looked_at(rooms: Path, name: str) -> None:
    (rooms / f"cityscapes/train/label/{name}.npy").write_bytes(b"")
    assert len(parse_dataset("cityscapes").load(DataSource(rooms))["depth"].images.train) == 1


@pytest.mark.parametrize("value", [1e11, -1e11, 1e300, np.nan, np.inf])
def test_a_label_that_is_no_class_is_told(rooms: Path, value: float) -> None:
    path = rooms / "cityscapes/train/label/0.npy"
    np.save(path, np.full((128, 256), value))
    assert "there is no class" in _refused("cityscapes", rooms)


def test_a_depth_beyond_all_floats_is_not_known(rooms: Path) -> None:
    path = rooms / "cityscapes/train/depth/0.npy"
    np.save(path, np.full((128, 256, 1), 1e300))
    data = parse_dataset("cityscapes").load(DataSource(rooms))["depth"]
    assert data.train_labels is not None
    assert data.train_labels.isnan().all()


@pytest.mark.parametrize("what", ["train/image/0.npy", "val/label", "train", "."])
@pytest.mark.parametrize("cached", [False, True])
def test_no_link_leads_out_of_the_root(rooms: Path, what: str, cached: bool) -> None:
    path = rooms / "cityscapes" / what
    outside = rooms.parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    how: dict[str, Any] = {"cache": rooms.parent / "cache"} if cached else {}
    assert "leads out of the folder of --root" in _refused("cityscapes", rooms, **how)


def test_links_inside_the_root_are_followed_and_the_root_may_be_one(rooms: Path) -> None:
    (rooms / "cityscapes").rename(rooms / "elsewhere")
    (rooms / "cityscapes").symlink_to("elsewhere")
    (rooms.parent / "link").symlink_to(rooms)
    data = parse_dataset("cityscapes").load(DataSource(rooms.parent / "link"))["depth"]
    assert len(data.images.train) == 1


# ------------------------------------------------------------------------------ tables and images


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_pipe, _device, Path.mkdir])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_table_that_is_no_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None], suffix: str
) -> None:
    make(tmp_path / f"labels.{suffix}")
    told = _refused(f"folder:{tmp_path}/labels.{suffix}", tmp_path)
    assert "no regular file" in told
    assert "\n" not in told


@pytest.mark.parametrize("make", [_pipe, _device])
def test_an_image_that_is_no_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a.png")
    for read in (lambda p: read_image(p, (8, 8), "RGB"), lambda p: read_mask(p, (8, 8))):
        with pytest.raises(OSError, match="no regular file"):
            read(tmp_path / "a.png")


def test_a_parquet_of_more_rows_than_are_meant_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tables, "_MOST_ROWS", 99_999)
    path = tmp_path / "labels.parquet"
    parquet.write_table(table({"path": ["a.png"] * 100_000}), path)
    assert "has over 99,999 rows or" in _refused(f"folder:{path}", tmp_path, margin=2**26)


def test_a_parquet_that_unpacks_to_more_than_is_meant_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_arrow, "_MOST_UNPACKED", 2**22)
    path = tmp_path / "labels.parquet"
    cells = table({"path": [f"{number:09}" + 10_000 * "a" for number in range(1000)]})
    parquet.write_table(cells, path, compression="gzip", use_dictionary=False)
    assert path.stat().st_size < 2**20
    assert "unpacks to" in _refused(f"folder:{path}", tmp_path, margin=2**26)


def test_a_csv_of_more_cells_than_are_meant_is_not_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tables, "_MOST_CELLS", 2**16)
    path = tmp_path / "labels.csv"
    path.write_bytes((b"," * 9_999 + b"\n") * 400)
    assert "65,536 cells" in _refused(f"folder:{path}", tmp_path, margin=2**26)


def _chunk(kind: bytes, content: bytes) -> bytes:
    sealed = kind + content
    return struct.pack(">I", len(content)) + sealed + struct.pack(">I", zlib.crc32(sealed))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [8193, 13_000, 30_000, 2**31 - 1])
def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path: Path, side: int) -> None:
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(2**20), 9)
    parts = (_chunk(b"IHDR", head), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with bounded_memory(2**27), pytest.raises(Exception, match=r"pixels|identify"):
        read_image(tmp_path / "a.png", (32, 32), "RGB")


def test_an_image_file_of_any_length_is_not_read(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp")
    os.truncate(tmp_path / "a.webp", 2**40)
    with bounded_memory(2**27), pytest.raises(OSError, match="over"):
        read_image(tmp_path / "a.webp", (8, 8), "RGB")


def test_an_annotation_is_no_pickle_and_has_an_end(tmp_path: Path) -> None:
    from bench.datasets.voc import _read_objects

    path = tmp_path / "a.xml"
    path.write_bytes(b"<a>" * 400_000)
    with bounded_memory(2**27), pytest.raises(OSError, match="over"):
        _read_objects(path)
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(Exception, match=r"decode|not well-formed"):
        _read_objects(path)
