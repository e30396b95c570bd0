"""What the tests of real clusters have in common: a short experiment, and what comes of it."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.launch.packs import Beat, read_beat

EXPERIMENT = """
pair = "toy:row+column"
strategy = "hard"
seeds = 1
budget = "400steps"
train-size = 100
validation-size = 50
curve-points = 2
batch-size = 16
"""


def ended(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def unmeasured(document: Any) -> Any:
    """Return a document without the seconds in it, which no two runs have in common."""
    if isinstance(document, dict):
        kept = ((k, v) for k, v in document.items() if not k.startswith("seconds"))
        return {key: unmeasured(value) for key, value in kept}
    return [unmeasured(each) for each in document] if isinstance(document, list) else document


def gains(results: Path) -> str:
    """Return `gains.json` as text, without what was measured in seconds."""
    read = json.loads((results / "reports/toy/gains.json").read_text())
    return json.dumps(unmeasured(read), indent=1)


def running(results: Path) -> tuple[Path, Beat] | None:
    """Return a pack that has a run in progress."""
    for path in results.glob("launch/*-*/[0-9]*.json"):
        beat = read_beat(path)
        if beat is not None and beat.running:
            return path, beat
    return None


def wait(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + 300
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found
