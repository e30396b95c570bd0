"""Faults of files for tests: strategies of hypothesis that damage one, and a limit of memory."""

import contextlib
import json
import os
import resource
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: 200 cases of each kind, the same ones at every call: no time limit, since machines differ.
CASES = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
#: How much more address space a reader may take than the process has.
MARGIN = 2**30

Fault = Callable[[Path], object]

#: Stands for a number that JSON can spell and no float can hold.
_BEYOND = "a number beyond all floats"
_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 0.5, 3.5, 1e300, -1e300, 1e-300, 2**63, 10**400, _BEYOND),
    *(float("nan"), float("inf"), float("-inf"), "", "x", "../../up", "/dev/zero", "::error::\n"),
    *([], {}, [[]], [0], {"": 0}, "5steps", "1e999flop", "d:t"),
]


def _text(document: Any) -> bytes:
    return json.dumps(document).replace(f'"{_BEYOND}"', "1e999").encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a document as its container and key, however deep."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in list(items):
        yield value, key
        if isinstance(part, dict | list):
            yield from _places(part)


@st.composite
def flipped(draw: st.DrawFn) -> Fault:
    """Flip bits, or put other bytes, at places that are shares of the length."""
    places = draw(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=8))

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        for share, mask in places:
            content[min(len(content) - 1, int(share * len(content)))] ^= mask
        path.write_bytes(content)

    return damage


@st.composite
def cut(draw: st.DrawFn) -> Fault:
    """Cut a file, or a piece out of it."""
    start, stop = sorted((draw(st.floats(0, 1)), draw(st.floats(0, 1))))
    whole = draw(st.booleans())

    def damage(path: Path) -> None:
        content = path.read_bytes()
        first, last = int(start * len(content)), int(stop * len(content))
        path.write_bytes(content[:first] + (b"" if whole else content[last:]))

    return damage


@st.composite
def edited(draw: st.DrawFn) -> Fault:
    """Change fields of a document: another value, one less, one more, two exchanged."""
    edits = draw(
        st.lists(
            st.tuples(
                st.sampled_from(("set", "drop", "add", "swap", "nest")),
                st.floats(0, 1, exclude_max=True),
                st.floats(0, 1, exclude_max=True),
                st.sampled_from(_VALUES),
            ),
            min_size=1,
            max_size=3,
        )
    )

    def damage(path: Path) -> None:
        document = json.loads(path.read_bytes())
        for what, one, other, given in edits:
            value = deepcopy(given)
            places = list(_places(document))
            if not places:
                break
            (holder, key), (second, its) = (places[int(s * len(places))] for s in (one, other))
            match what:
                case "set":
                    holder[key] = value
                case "drop":
                    del holder[key]
                case "add" if isinstance(holder, dict):
                    holder["surprise"] = value
                case "add":
                    holder.append(value)
                case "swap":
                    holder[key], second[its] = json.loads(json.dumps([second[its], holder[key]]))
                case "nest":
                    for _ in range(300):
                        holder[key] = [holder[key]]
        path.write_bytes(_text(document))

    return damage


def _sparse(path: Path) -> None:
    os.truncate(path, 2**36)


def _replaced(make: Callable[[Path], object]) -> Fault:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


#: What else can be in a file's place.
OTHERS: dict[str, Fault] = {
    "empty": lambda path: path.write_bytes(b""),
    "sparse": _sparse,
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "deeper": lambda path: path.write_bytes(b'{"a":' * 100_000),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "html": lambda path: path.write_bytes(b"<!DOCTYPE html><html></html>"),
    "null": lambda path: path.write_bytes(b"null"),
    "number": lambda path: path.write_bytes(b"9" * 10_000),
    "folder": _replaced(Path.mkdir),
    "pipe": _replaced(os.mkfifo),
    "device": _replaced(lambda path: path.symlink_to("/dev/zero")),
    "loop": _replaced(lambda path: path.symlink_to(path)),
    "dangling": _replaced(lambda path: path.symlink_to("nowhere")),
    "gone": Path.unlink,
}


def swapped() -> st.SearchStrategy[Fault]:
    """Put something else in a file's place."""
    return st.sampled_from(list(OTHERS.values()))


DOCUMENT = st.one_of(edited(), edited(), flipped(), cut(), swapped())
BINARY = st.one_of(flipped(), cut(), swapped())


@contextlib.contextmanager
def bounded_memory(margin: int = MARGIN) -> Iterator[None]:
    """Let a block take no more address space than `margin` over what the process has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + margin, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
