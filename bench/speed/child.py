"""One size of growing work, in its own process, which reports its own time and memory.

`python -m bench.speed.child command ARGUMENTS` is `bench ARGUMENTS`. `images` and `width` take the
parts of one run on drawn images. The last line printed is JSON.
"""

import json
import statistics
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from bench.speed.loops import Workload


def peak_bytes() -> int:
    """Return the peak memory of this process, in bytes.

    Read from Linux's own file where there is one, because `getrusage` may report the parent's.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def command(arguments: list[str]) -> float:
    """Do what `bench` does and return the seconds since the process started."""
    sys.argv[1:] = arguments
    try:
        # The whole command, as `python -m bench` runs it; that would end this process.
        import_module("bench.cli.app").main()
    except SystemExit as end:
        if end.code:
            raise
    return time.time() - float(psutil.Process().create_time())


def _workload(text: str) -> "Workload":
    from pydantic import TypeAdapter

    from bench.speed.loops import Workload

    return TypeAdapter(Workload).validate_json(text)


def images(arguments: list[str]) -> float:
    """Train one epoch of `size` images, including all other work of a run; return its seconds."""
    from bench.spec.registry import parse_strategy
    from bench.speed.loops import drawn_tasks
    from bench.train.batches import Batches
    from bench.train.device import prepare
    from bench.train.evaluation import evaluate, evaluation_sets
    from bench.train.load import fingerprint
    from bench.train.loop import TrainingState

    work, device = _workload(arguments[0]), prepare("cpu")
    data = drawn_tasks(work.image, work.pool, work.pool // 6)
    began = time.perf_counter()
    fingerprint(data)
    batches = Batches(data, work.recipe, 0, device)
    state = TrainingState(parse_strategy(work.strategy), data, work.recipe, work.width, 0, device)
    steps = work.pool // work.batch_size
    for _ in state.train(batches, steps, [steps]):
        pass
    test = evaluation_sets([(d, d.images.test, d.test_labels, None) for d in data], device, True)
    evaluate(state.network, state.tasks, test)
    return time.perf_counter() - began


def width(arguments: list[str]) -> float:
    """Take training steps at one width and return the seconds of one."""
    from bench.speed.loops import block, harness

    work = _workload(arguments[0])
    block(1, harness, work)
    return statistics.median(block(1, harness, work)[0] for _ in range(5))


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    seconds = {"command": command, "images": images, "width": width}[what](rest)
    print(json.dumps({"seconds": seconds, "bytes": peak_bytes()}))
