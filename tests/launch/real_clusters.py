"""What the tests of real clusters have in common: a short experiment, and what comes of it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import psutil

from bench.launch.packs import Beat, read_beat
from tests.conftest import PLUGINS

EXPERIMENT = """
pair = "toy:row+column"
network = "held"
strategy = "hard"
seeds = 1
budget = "400steps"
train-size = 100
validation-size = 50
curve-points = 2
batch-size = 16
"""

Command = subprocess.Popen[str]

#: Seconds after which a command is killed, so that who waits for it fails, and says what it said.
_LONGEST = 900


@dataclass(frozen=True)
class Gate:
    """Where runs wait before they train, until it is opened: a folder with a file for each ticket.

    What is to happen during a run can then happen in any time.
    """

    folder: Path

    def close(self, tickets: int = 0) -> None:
        """Let so many runs through, and no more."""
        self.folder.mkdir()
        for ticket in range(tickets):
            (self.folder / f"{ticket}").touch()

    def open(self) -> None:
        """Let all runs through."""
        shutil.rmtree(self.folder)


@contextmanager
def commands(
    folder: Path, environment: Mapping[str, str], gate: Gate | None = None
) -> Iterator[Callable[..., Command]]:
    """Yield what begins a command in a folder with the experiment; none is left at the end."""
    (folder / "toy.toml").write_text(EXPERIMENT)
    mine = Path(__file__).parent / "held"
    environment = {
        **environment,
        "BENCH_PLUGINS": f"{PLUGINS}{os.pathsep}{mine}",
        "BENCH_TEST_GATE": str(gate.folder) if gate else "",
        "OMP_NUM_THREADS": "1",
    }
    begun: list[tuple[Command, Timer]] = []

    def begin(*arguments: object) -> Command:
        command = subprocess.Popen(
            [sys.executable, "-m", "bench", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        limit = Timer(_LONGEST, command.kill)
        limit.start()
        begun.append((command, limit))
        return command

    try:
        yield begin
    finally:
        for command, limit in begun:
            limit.cancel()
            command.kill()
            command.wait()
            if command.stdout is not None:
                command.stdout.close()


def ended(command: Command) -> str:
    """Return what a command says that has to end well."""
    said, _ = command.communicate()
    assert command.returncode == 0, said
    return said


def until(command: Command, words: str) -> str:
    """Read what a command says up to the line with some words."""
    assert command.stdout is not None
    said = ""
    while words not in said:
        line = command.stdout.readline()
        assert line, said
        said += line
    return said


def gains(results: Path) -> bytes:
    """Return `gains.json` as it is."""
    return (results / "reports/toy/gains.json").read_bytes()


def running(results: Path, where: Callable[[int], bool] = psutil.pid_exists) -> Beat | None:
    """Return the beat of a pack that has a run in progress in a process that `where` accepts.

    That of a pack which was cancelled stays as it was.
    """
    for path in results.glob("launch/*-*/[0-9]*.json"):
        beat = read_beat(path)
        if beat is not None and beat.running and where(beat.pid):
            return beat
    return None


def wait(what: Callable[[], Any], command: Command) -> Any:
    """Wait for something, as long as a command goes on."""
    while not (found := what()):
        assert command.poll() is None, command.communicate()[0]
        time.sleep(0.1)
    return found
