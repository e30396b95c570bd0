"""What commands show on standard output, and what they ask on a terminal."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.clean import CleanStream, json_text, without_commands
from bench.errors import say


def console(stderr: bool = False) -> Console:
    """Return standard output or standard error for tables and bars.

    Names may hold brackets, as `weight [kg]` does. Who fills a table cleans its cells: here control
    sequences are colours, and only a line that a CI system would obey is changed.
    """
    file: Any = CleanStream(sys.stderr if stderr else sys.stdout, without_commands)
    return Console(file=file, stderr=stderr, markup=False, emoji=False, highlight=False)


#: The fewest columns that names get beside figures.
_LEAST = 8


def table_of_figures(
    title: str, header: Sequence[str], lines: Sequence[Sequence[str]], width: int
) -> tuple[Table, int]:
    """Return a table of a name and figures without its rows, and the columns that names may take.

    Names give way to figures, which are never broken where they all fit. A cell may have a line for
    each of several figures.
    """
    widths = [
        max(len(part) for cell in column for part in cell.split("\n"))
        for column in zip(header, *lines, strict=True)
    ]
    room = width - sum(widths[1:]) - len(widths) - 1  # one space around each column
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0)
    table.add_column(header[0], overflow="fold")
    for column in header[1:]:
        table.add_column(column, justify="right", overflow="fold", no_wrap=room >= _LEAST)
    return table, max(room, _LEAST)


def show_json(document: Any) -> None:
    """Print a document as JSON. What is not a finite number is null."""
    print(json_text(document), end="")


def open_page(page: Path) -> None:
    """Show a page in the browser of this machine."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        say(f"no browser was found: open {page} yourself")
