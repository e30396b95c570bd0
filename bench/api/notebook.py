"""A live bar in a notebook, which needs no widgets: an output that is written again."""

import sys
from contextlib import AbstractContextManager
from html import escape
from importlib import import_module
from typing import Any, Self

from bench.api.progress import Lines, Progress, Quiet, Tally
from bench.clean import printable

#: What the shells are called that show HTML: that of Jupyter, and that of Colab.
_SHELLS = ("ZMQInteractiveShell", "Shell")


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook. Imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ in _SHELLS


def progress_of(asked: "bool | Progress") -> Progress:
    """Return what shows progress: a bar in notebooks and lines of the log elsewhere, or nothing.

    What shows it in another way is returned as it is.
    """
    if not isinstance(asked, bool):
        return asked
    if not asked:
        return Quiet()
    return Notebook() if in_notebook() else Lines()


class Notebook(Quiet):
    """Shows a bar below the cell that runs."""

    def bar(self, jobs: int, work: float, what: str) -> AbstractContextManager[Tally]:
        """Return the bar of some jobs."""
        return _Bar(jobs, work, what)


class _Bar(Tally):
    """One output of a cell: a bar and a line, whose names are escaped."""

    def __enter__(self) -> Self:
        show: Any = import_module("IPython.display").display
        self._output = show(self, display_id=True)
        return self

    def close(self) -> None:
        """Show what is done, whether all have ended or not."""
        self._current.clear()
        self.show()

    def show(self) -> None:
        """Write the output again."""
        self._output.update(self)

    def _repr_html_(self) -> str:
        bar = f'<progress max="{self.jobs}" value="{self.done}"></progress>'
        return f"<div>{bar} {escape(printable(self.line))}</div>"

    def __repr__(self) -> str:
        return printable(self.line)
