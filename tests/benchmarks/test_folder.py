"""A folder of 60,000 small photographs is decoded once: the second time its bytes are hashed alone.

Run with `pytest -n 0 tests/benchmarks`. Each reading is a process of its own, in process time after
its imports: table, paths, sizes, pixels and digests.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

COUNT, SIDE = 60_000, 32
#: What the second reading may take of the first.
SHARE = 1 / 2

READ = """
import time, sys
from pathlib import Path
from bench.contracts import DataSource
from bench.spec.registry import parse_dataset, parse_pairs
from bench.train.load import fingerprint, task_data
began = time.process_time()
source = DataSource(cache=Path("cache"))
(pair,) = parse_pairs("folder:labels.csv:species+coat")
parse_dataset(pair.dataset).check(source, pair.tasks)
fingerprint([task_data(pair.dataset, task, source) for task in pair.tasks])
print(time.process_time() - began)
"""


def test_sixty_thousand_images_are_decoded_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["image,species,coat"]
    for index in range(COUNT):
        path = tmp_path / f"{index // 1000:02}" / f"{index:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((SIDE, SIDE)).save(path, quality=85)
        lines.append(f"{path.relative_to(tmp_path)},s{index % 10},c{index % 7}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    seconds = []
    for _ in range(2):
        command = [sys.executable, "-c", READ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        seconds.append(float(done.stdout))
    print(seconds)
    assert seconds[1] < SHARE * seconds[0]
