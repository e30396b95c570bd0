"""Shows on standard error what the library logs, as much of it as a user wants."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from bench.clean import raw_stream
from bench.errors import log


class Verbosity(IntEnum):
    """The least level of what a command tells."""

    QUIET = logging.WARNING
    NORMAL = logging.INFO
    VERBOSE = logging.DEBUG

    @classmethod
    def of(cls, quiet: bool, verbose: bool) -> "Verbosity":
        """Return what the two flags of a command mean."""
        return cls.QUIET if quiet else cls.VERBOSE if verbose else cls.NORMAL


def set_verbosity(verbosity: Verbosity) -> None:
    """Set how much is told until the command ends."""
    log.setLevel(verbosity)


def told(level: Verbosity) -> bool:
    """Return whether messages of this level are shown."""
    return log.isEnabledFor(level)


def order(command: str) -> None:
    """Print a command that a CI system is to obey, made of clean parts."""
    print(command, file=raw_stream(sys.stderr), flush=True)


class _Lines(logging.Handler):
    """Prints each message, which is one clean line, to what is standard error by then."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr, flush=True)


@contextmanager
def shown() -> Iterator[None]:
    """Print what is logged in a block, and leave the logger as it was."""
    lines, level, propagate = _Lines(), log.level, log.propagate
    log.addHandler(lines)
    log.propagate = False  # a plugin that sets up logging would have it printed twice
    set_verbosity(Verbosity.NORMAL)
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.setLevel(level)
        log.propagate = propagate
