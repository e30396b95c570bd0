"""Table 7: what is drawn are photographs, every side reads the same pictures, training waits."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.report.plots.canvas import style
from bench.speed.photographs import decoded, draw, photographs, streamed
from bench.speed.plots import PLOTS
from bench.speed.settings import Photographs, load
from tests.speed.test_speed import Here, finite


@pytest.fixture(scope="module")
def asked() -> Photographs:
    return load("quick").photographs


@pytest.fixture(scope="module")
def folder(asked: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("photographs") / "drawn"
    draw(asked, 96, 64, found)
    return found


def test_drawn_files_are_jpegs_of_their_size_with_a_table(folder: Path, asked: Photographs) -> None:
    files = sorted(folder.glob("*.jpg"))
    assert len(files) == asked.count
    for file in files:
        with Image.open(file) as image:
            assert image.size == (96, 64)
    assert len({file.read_bytes() for file in files}) == asked.count
    assert len((folder / "labels.csv").read_text().splitlines()) == asked.count + 1


def test_a_file_has_detail_at_every_scale(tmp_path: Path) -> None:
    # A megabyte, as photographs of four megapixels have, and not a blur that is decoded at once.
    full = load("full").photographs.model_copy(update={"count": 1})
    size = draw(full, *full.sizes[0], tmp_path / "drawn")
    assert 0.5e6 < size < 2e6
    smooth = io.BytesIO()
    Image.new("RGB", full.sizes[0]).save(smooth, "JPEG", quality=full.quality)
    assert size > 10 * len(smooth.getvalue())


def test_all_sides_read_the_same_pictures(folder: Path, asked: Photographs) -> None:
    torchvision_io = pytest.importorskip("torchvision.io")
    files = sorted(folder.glob("*.jpg"))[:3]
    from torchvision.transforms.functional import resize

    from bench.images import read_image

    for file in files:
        ours = read_image(file, (asked.side, asked.side), "RGB").astype(float)
        mode = torchvision_io.ImageReadMode.RGB
        theirs = torchvision_io.decode_jpeg(torchvision_io.read_file(str(file)), mode)
        theirs = resize(theirs, [asked.side, asked.side], antialias=True).numpy().astype(float)
        assert np.abs(ours - theirs).mean() < 4


def test_the_table_has_each_size_and_the_wait(asked: Photographs) -> None:
    here: Any = Here()
    table = photographs(load("quick"), here)
    assert len(table.rows) == len(asked.sizes) + 1
    assert all(np.isfinite(finite(table)))
    assert 0 <= float(str(table.rows[-1]["stall"])) <= 1
    assert len({len(cells) for cells in table.cells()}) == 1
    with style():
        assert PLOTS["photographs"](table).axes


def test_a_run_that_fails_is_no_wait_of_nothing(
    folder: Path, asked: Photographs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Any:
        return type("Record", (), {"ledger": None, "reason": "out of memory"}), {}

    monkeypatch.setattr("bench.train.run.attempt", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        streamed(asked, folder)


def test_every_way_is_timed(folder: Path, asked: Photographs) -> None:
    taken = decoded(asked, folder, 0.01)
    assert set(taken) == {"harness", "torchvision", "pillow"}
    assert all(seconds > 0 for times in taken.values() for seconds in times)
