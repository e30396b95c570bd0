"""Plots are drawn by copies of the process where there are cores for them, and look the same."""

import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil
import pytest

from bench.report import drawn
from bench.report.drawn import Plots, drawing, pictures
from bench.report.plots.canvas import Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

forks = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


def _sheets(pages: int) -> "Callable[[], list[Figure]]":
    return lambda: [Sheet(4, 1, f"page {n} of {pages}", "in words").figure for n in range(pages)]


def _broken() -> "list[Figure]":
    raise ValueError("no such number")


def _ended() -> "list[Figure]":
    """End the copy that draws this, and let this process draw it."""
    if os.getpid() != _OWN:
        os.kill(os.getpid(), signal.SIGKILL)
    return _sheets(1)()


def _endless() -> "list[Figure]":
    while True:
        signal.pause()


_OWN = os.getpid()
_PLOTS: Plots = {"one": _sheets(1), "broken": _broken, "three": _sheets(3), "two": _sheets(2)}


def _by(copies: int, plots: Plots, patch: pytest.MonkeyPatch) -> object:
    patch.setattr(drawn, "_copies", lambda _: copies)
    files, faults = pictures(plots)
    return list(files.items()), list(faults.items())


@forks
def test_copies_of_a_process_draw_the_same_bytes_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = _by(0, _PLOTS, monkeypatch)
    assert _by(3, _PLOTS, monkeypatch) == alone
    files, faults = pictures(_PLOTS)
    assert [name for name in files if name.endswith(".png")] == [
        "one.png",
        "three.png",
        "three-2.png",
        "three-3.png",
        "two.png",
        "two-2.png",
    ]
    assert faults.keys() == {"broken"}
    assert faults["broken"].startswith("ValueError: no such number (test_drawn.py:")


@forks
def test_a_copy_that_is_killed_costs_no_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    plots = {**_PLOTS, "ended": _ended}
    assert _by(3, plots, monkeypatch) == _by(0, plots, monkeypatch)


@forks
def test_copies_end_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "_copies", lambda _: 2)
    before = psutil.Process().children()
    with drawing({"endless": _endless}):
        assert len(psutil.Process().children()) == len(before) + 2
    assert psutil.Process().children() == before
