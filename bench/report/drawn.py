"""Plots as the files of a report: pages by name, the texts that stand for them, and stale ones."""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING

from bench.files import delete

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from matplotlib.figure import Figure


#: Processes that draw at most: of more, the last waits for the largest plot.
_MOST_PROCESSES = 4
#: Seconds that a process may take longer than this one before its plots are drawn again.
_PATIENCE = 60.0

Plots = Mapping[str, "Callable[[], list[Figure]]"]
#: The files of a plot by name, and why it could not be drawn, if so.
Drawn = tuple[dict[str, bytes], str]


def pictures(plots: Plots) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the plots as files by name, and why each of the others could not be drawn."""
    with drawing(plots) as drawn:
        return drawn()


@contextmanager
def drawing(plots: Plots) -> Iterator[Callable[[], tuple[dict[str, bytes], dict[str, str]]]]:
    """Draw plots while the block does something else; what it gets waits for them.

    It returns the plots as files by name, and why each of the others could not be drawn: one that
    fails must cost neither the others nor the tables. Where processes can be forked safely, copies
    of this one draw, each the next plot, and this one helps in the end.
    """
    # matplotlib is heavy, so it loads only here, where something is drawn.
    from matplotlib.backends import backend_agg, backend_svg  # noqa: F401

    order, further = os.pipe()
    os.write(further, bytes(range(len(plots))))
    os.close(further)
    copies = [_copy(lambda: _draw(plots, _next(plots, order))) for _ in range(_copies(len(plots)))]

    def drawn() -> tuple[dict[str, bytes], dict[str, str]]:
        found = _draw(plots, _next(plots, order))
        for _, pipe in copies:
            with suppress(EOFError, OSError):
                if pipe.poll(_PATIENCE):
                    found |= pipe.recv()
        found |= _draw(plots, plots.keys() - found.keys())  # of a copy that has given no answer
        files = {name: content for plot in plots for name, content in found[plot][0].items()}
        return files, {plot: found[plot][1] for plot in plots if found[plot][1]}

    try:
        yield drawn
    finally:
        os.close(order)
        for child, pipe in copies:
            pipe.close()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _copies(plots: int) -> int:
    """Return how many copies of this process draw beside it."""
    if sys.platform != "linux":
        return 0
    return min(len(os.sched_getaffinity(0)), plots, _MOST_PROCESSES) - 1 if plots else 0


def _copy(call: Callable[[], object]) -> "tuple[int, Connection]":
    """Fork a process that makes a call; return it, and the pipe that it sends the answer to."""
    reader, writer = Pipe(duplex=False)
    with warnings.catch_warnings():
        # Threads of the libraries are idle here, and the child uses none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
            reader.close()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            writer.send(call())
        finally:
            os._exit(0)
    writer.close()
    return child, reader


def _next(plots: Plots, order: int) -> Iterator[str]:
    """Yield the next plot until none is left; each byte of `order` is the place of one."""
    names = list(plots)
    while place := os.read(order, 1):
        yield names[place[0]]


def _draw(plots: Plots, names: Iterable[str]) -> dict[str, Drawn]:
    """Draw the plots of these names."""
    from bench.report.plots.canvas import picture, style

    found = dict[str, Drawn]()
    with style():
        for plot in names:
            files, fault = dict[str, bytes](), ""
            try:
                for number, figure in enumerate(plots[plot](), 1):
                    page = plot if number == 1 else f"{plot}-{number}"
                    files |= {f"{page}.{end}": content for end, content in picture(figure).items()}
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                fault = (
                    f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
                )
            found[plot] = files, fault
    return found


def texts_of(files: Iterable[str], plots: Mapping[str, str]) -> dict[str, str]:
    """Return the text that stands for each picture, without its suffix, in reading order.

    `plots` are the texts of a report's plots by name, in that order.
    """
    pages = [name.removesuffix(".png") for name in files if name.endswith(".png")]
    texts = {}
    for plot, text in plots.items():
        mine = [page for page in pages if _plot(page, plots) == plot]
        for number, page in enumerate(mine, 1):
            texts[page] = text if number == 1 else f"{text} (page {number})"
    return texts


def delete_earlier(folder: Path, plots: Collection[str], kept: Collection[str]) -> None:
    """Delete the plots of an earlier report of this name that are not among the files kept.

    They would tell of other rows.
    """
    for path in folder.iterdir():
        if path.suffix in (".png", ".svg") and _plot(path.stem, plots) and path.name not in kept:
            delete(path)


def _plot(page: str, plots: Collection[str]) -> str:
    """Return the plot that a picture is a page of; empty where it is none of them."""
    plot, _, number = page.partition("-")
    return plot if plot in plots and (not number or number.isdecimal()) else ""
