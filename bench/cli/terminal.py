"""What commands show while something takes a while: see `bench.cli.progress`, which takes longer
to import.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from bench.api.progress import Tally


class Terminal:
    """Shows progress on standard error. While runs are trained, Ctrl-C ends them in order."""

    @contextmanager
    def bar(self, jobs: int, work: float, what: str) -> Iterator[Tally]:
        """Show how some jobs go."""
        from bench.cli.interrupts import orderly
        from bench.cli.progress import Display

        with orderly(), Display(jobs, work, what) as display:
            yield display

    def working(self, on: str) -> AbstractContextManager[None]:
        """Show, while a block runs, that something takes a while."""
        from bench.cli.progress import working

        return working(on)
