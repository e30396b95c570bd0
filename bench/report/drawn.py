"""Plots as the files of a report: pages by name, the texts that stand for them, and stale ones."""

import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.files import delete

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pictures(
    plots: "Mapping[str, Callable[[], list[Figure]]]",
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the plots as files by name, and why each of the others could not be drawn.

    One plot that fails must cost neither the others nor the tables.
    """
    # matplotlib is heavy, so it loads only here, where something is drawn.
    from bench.report.plots.canvas import picture, style

    files: dict[str, bytes] = {}
    faults: dict[str, str] = {}
    with style():
        for plot, draw in plots.items():
            try:
                for number, figure in enumerate(draw(), 1):
                    page = plot if number == 1 else f"{plot}-{number}"
                    files |= {f"{page}.{end}": content for end, content in picture(figure).items()}
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                faults[plot] = (
                    f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
                )
    return files, faults


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
