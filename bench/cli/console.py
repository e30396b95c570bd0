"""What commands show on standard output, and what they ask on a terminal."""

import sys
from typing import Any

from rich.console import Console

from bench.clean import CleanStream, json_text, without_commands


def console(stderr: bool = False) -> Console:
    """Return standard output or standard error for tables and bars.

    Names may hold brackets, as `weight [kg]` does. Who fills a table cleans its cells: here control
    sequences are colours, and only a line that a CI system would obey is changed.
    """
    file: Any = CleanStream(sys.stderr if stderr else sys.stdout, without_commands)
    return Console(file=file, stderr=stderr, markup=False, emoji=False, highlight=False)


def show_json(document: Any) -> None:
    """Print a document as JSON. What is not a finite number is null."""
    print(json_text(document), end="")
