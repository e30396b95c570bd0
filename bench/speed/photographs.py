"""Table 7: photographs on their way to a network, decoded once and then read batch by batch."""

import io
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from bench.speed.settings import Photographs, Settings
from bench.speed.tables import Column, Table, met, number, percent, times
from bench.speed.turns import in_turns, ratio


def photographs(settings: Settings, process: ProcessPoolExecutor) -> Table:
    """Measure decoding on all cores in turns with others, and how long training waits for images.

    All of it happens in another process, one after the other.
    """
    asked = settings.photographs
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for width, height in asked.sizes:
            folder = Path(scratch) / f"{width}x{height}"
            size = process.submit(draw, asked, width, height, folder).result()
            taken = process.submit(decoded, asked, folder, settings.row_seconds).result()
            against = ratio(taken["torchvision"], taken["harness"])
            rows.append(
                {
                    "what": f"decode {width} × {height} to {asked.side}",
                    "megabytes": size / 1e6,
                    "rate": asked.count / statistics.median(taken["harness"]),
                    "torchvision": against,
                    "pillow": ratio(taken["pillow"], taken["harness"]),
                    "goal": asked.goal,
                    "met": against.value >= asked.goal,
                }
            )
        stall = process.submit(streamed, asked, folder).result()
        rows.append(
            {
                "what": f"train {asked.network} at {asked.side} from the cache",
                "stall": stall,
                "most": asked.stall_goal,
                "met": stall <= asked.stall_goal,
            }
        )
    return Table(
        "photographs",
        "7. Photographs",
        [
            Column("what", "what"),
            Column("megabytes", "MB a file", number),
            Column("rate", "files a second", number),
            Column("torchvision", "torchvision ÷ harness", times),
            Column("pillow", "Pillow ÷ harness", times),
            Column("goal", "at least", number),
            Column("stall", "waited for images", percent),
            Column("most", "at most", percent),
            Column("met", "met", met),
        ],
        rows,
        (
            f"{asked.count} drawn JPEGs of each size, already in the system's file cache, on all "
            "cores, in wall time. The harness hashes them, decodes them and writes its cache; "
            "torchvision (`read_file`, `decode_jpeg`, `resize` with antialiasing) and Pillow "
            "(every pixel decoded) leave rows in memory, in as many threads. Training is "
            f"{asked.steps} steps of {asked.batch_size} images that are read batch by batch.",
        ),
    )


def draw(asked: Photographs, width: int, height: int, folder: Path) -> float:
    """Write JPEGs with detail at every scale, as photographs have; return their mean bytes."""
    from PIL import Image

    folder.mkdir()
    drawn = np.random.default_rng(0)
    octaves = [2**n for n in range(1, 12) if 2**n <= min(width, height)]
    scene = np.full((height, width, 3), 128.0)
    for place, octave in enumerate(octaves):
        small = drawn.normal(0, 1, (octave, octave, 3))
        layer = Image.fromarray((64 + 32 * small).clip(0, 255).astype(np.uint8))
        whole = np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC), np.float64)
        scene += (whole - 64) * (1.6 / place if place else 1.0)
    labels, sizes = ["image,a,b"], list[int]()
    for index in range(asked.count):
        shifted = np.roll(scene, (37 * index, 91 * index), (0, 1)).clip(0, 255).astype(np.uint8)
        held = io.BytesIO()
        Image.fromarray(shifted).save(held, "JPEG", quality=asked.quality)
        (folder / f"{index:05d}.jpg").write_bytes(held.getvalue())
        sizes.append(len(held.getvalue()))
        labels.append(f"{index:05d}.jpg,{index % 2},{index // 2 % 2}")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    return sum(sizes) / len(sizes)


def decoded(asked: Photographs, folder: Path, seconds: float) -> dict[str, list[float]]:
    """Return the wall times of each way to decode all files of a folder, in turns."""
    import torch

    torch.set_num_threads(1)  # each of the threads below is one
    # torchvision 0.29 says that its decoders will go.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="torchvision")
    files = sorted(folder.glob("*.jpg"))
    ways: dict[str, Callable[[Sequence[Path], int], None]] = {
        "harness": _harness,
        "torchvision": _torchvision,
        "pillow": _pillow,
    }

    def timed(way: Callable[[Sequence[Path], int], None]) -> float:
        began = time.perf_counter()
        way(files, asked.side)
        return time.perf_counter() - began

    return in_turns({name: partial(timed, way) for name, way in ways.items()}, seconds)


def _harness(files: Sequence[Path], side: int) -> None:
    from bench.images import read_image, read_rows

    with tempfile.TemporaryDirectory() as cache:
        read = partial(read_image, side=(side, side), mode="RGB")
        read_rows(files, read, "speed", (3, side, side), Path(cache))


def _torchvision(files: Sequence[Path], side: int) -> None:
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms.functional import resize

    def read(path: Path) -> object:
        pixels = decode_jpeg(read_file(str(path)), ImageReadMode.RGB)
        return resize(pixels, [side, side], antialias=True)

    with ThreadPoolExecutor(os.cpu_count()) as readers:
        list(readers.map(read, files))


def _pillow(files: Sequence[Path], side: int) -> None:
    from PIL import Image

    def read(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            return np.asarray(small)

    with ThreadPoolExecutor(os.cpu_count()) as readers:
        list(readers.map(read, files))


def streamed(asked: Photographs, folder: Path) -> float:
    """Return the share of a training run in which it waits for images that it reads by the batch.

    Raises `RuntimeError` where the run fails.
    """
    from bench.contracts import DataSource
    from bench.plan.plan import make_plan
    from bench.spec.experiment import Experiment
    from bench.store.store import Store
    from bench.train.run import attempt

    experiment = Experiment.model_validate(
        {
            "pair": f"{asked.dataset}:{folder / 'labels.csv'}:a+b",
            "strategy": asked.strategy,
            "network": asked.network,
            "seeds": 1,
            "budget": f"{asked.steps}steps",
            "batch_size": asked.batch_size,
            "train_size": None,
            "validation_size": 0,
            "curve_points": 1,
            "device": "cpu",
        }
    )
    source = DataSource(cache=folder / "cache", resident="never")
    jobs = make_plan(experiment, source, Store(folder / "results"), lambda _: None).jobs
    job = next(job for job in jobs if job.spec.strategy == asked.strategy)
    record, _ = attempt(job)
    if record.ledger is None:
        raise RuntimeError(record.reason)
    return record.ledger.stall
