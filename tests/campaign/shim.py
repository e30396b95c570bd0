"""Faults at chosen system calls, carried out by a small C library that is preloaded."""

import ctypes
import mmap
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: The calls that it wraps, in its order.
CALLS = ("open", "create", "read", "write", "fsync", "rename", "unlink", "mkdir", "list", "link")
WHEN = ("before", "in", "after")
#: The program itself, which is read where Python has started and begins with it.
PROGRAM = "program"
#: What the paths of each kind of file look like, in `fnmatch`'s terms.
KINDS = {
    "record": "*/runs/*run.json*",
    "examples": "*/runs/*examples-*",
    "price": "*/prices/*.json*",
    "declaration": "*/experiments/*.json*",
    "report": "*/reports/*",
    "cache": "*/cache/*",
    "probe": "*/.probe-*",
    "folder": "*results/*",
    PROGRAM: "*/bench/cli/app.*py*",
}
_MOST_KINDS, _LENGTH = 9, 128
_VARIABLE = "CAMPAIGN_LIBRARY"


class Plan(ctypes.Structure):
    """What the library is to do, and what it has seen; shared with each process of a command."""

    _fields_ = [
        ("patterns", ctypes.c_char * _LENGTH * _MOST_KINDS),
        ("counts", ctypes.c_int * len(CALLS) * _MOST_KINDS),
        ("pid", ctypes.c_int),
        ("armed", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("call", ctypes.c_int),
        ("nth", ctypes.c_int),
        ("when", ctypes.c_int),
        ("number", ctypes.c_int),
        ("signals", ctypes.c_int),
        ("group", ctypes.c_int),
        ("lasts", ctypes.c_int),
        ("fired", ctypes.c_int),
    ]

    @classmethod
    def new(cls, path: Path) -> "Plan":
        """Return a plan that only counts, in a new file."""
        path.write_bytes(bytes(ctypes.sizeof(cls)))
        with path.open("r+b") as file:
            plan = cls.from_buffer(mmap.mmap(file.fileno(), ctypes.sizeof(cls)))
        for number, pattern in enumerate(KINDS.values()):
            plan.patterns[number].value = pattern.encode()
        return plan

    @property
    def begun(self) -> bool:
        """Whether Python has started, and reads the program; before that a signal is Python's."""
        return bool(self.counts[list(KINDS).index(PROGRAM)][CALLS.index("open")])

    def calls(self) -> dict[tuple[str, str], int]:
        """Return how often each call was made, by kind of file and call."""
        return {
            (kind, call): count
            for k, kind in enumerate(KINDS)
            for c, call in enumerate(CALLS)
            if (count := self.counts[k][c])
        }


@dataclass(frozen=True)
class Moment:
    """The n-th call on a kind of file, by any process of a command."""

    kind: str
    call: str
    when: str
    nth: int

    def arm(
        self,
        plan: Plan,
        number: int,
        *,
        signals: bool,
        group: bool = False,
        lasts: bool = False,
    ) -> None:
        """Make a plan fail there with an errno, or with a signal."""
        plan.kind, plan.call = list(KINDS).index(self.kind), CALLS.index(self.call)
        plan.when, plan.nth, plan.number = WHEN.index(self.when), self.nth, number
        plan.signals, plan.group, plan.lasts = signals, group, lasts
        plan.armed = 1


def missing() -> str:
    """Return why there can be no such faults here; empty if there can."""
    if sys.platform != "linux":
        return "it needs Linux"
    return "" if shutil.which("cc") else "it needs a C compiler, cc"


def build(folder: Path) -> Path:
    """Compile the library into a folder; return its path."""
    path = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", path, source, "-ldl"], check=True)
    return path


def environment(library: Path) -> dict[str, str]:
    """Return the environment of a process that has the library."""
    return {**os.environ, "LD_PRELOAD": str(library), _VARIABLE: str(library)}


def open_plan(path: Path) -> None:
    """Take a plan as that of this process, and of all that it forks."""
    ctypes.CDLL(os.environ[_VARIABLE]).campaign_open(os.fsencode(path))
