"""The errors a user can fix, how they are told, and the exit codes of the command line.

Anything else that is raised is a defect of the harness and keeps its traceback.
"""

import errno
import logging
import time
from collections.abc import Iterable
from difflib import get_close_matches

from bench.clean import one_line

EXIT_OK = 0
EXIT_REGRESSION = 1
EXIT_USAGE = 2
EXIT_INVALID = 3
EXIT_INCONCLUSIVE = 3
EXIT_RUNS_FAILED = 4
EXIT_NOT_COMPARABLE = 5
EXIT_LAUNCHER = 6
#: A defect of the harness, as BSD's sysexits has it: Python's own 1 means a regression here.
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130
#: Why a file cannot be read or written although nothing is wrong with it: the disk, a permission,
#: the system's limits. It may be otherwise the next time.
OUTSIDE = frozenset(
    number
    for name in ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EMFILE", "ENFILE", "EINTR")
    if (number := getattr(errno, name, None)) is not None
)
#: Progress is told in a line at most this often.
LINE_EVERY_SECONDS = 10.0
#: Signs of a name or a value that an error quotes.
_LONGEST = 200


class UserError(Exception):
    """Bad input. The message is one line that says what is wrong and how to fix it.

    Where many things are wrong with a user's data, a line for each follows. A line break in any of
    them came with a name, and is none.
    """

    exit_code = EXIT_USAGE

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """The message, a line each."""
        return [one_line(str(part)) for part in self.args] or [""]


class NotComparableError(UserError):
    """A baseline is missing, cannot be read, or is of something else than what it is held to."""

    exit_code = EXIT_NOT_COMPARABLE


class LauncherError(UserError):
    """A launcher has raised, or has yielded something else than what it was asked for."""

    exit_code = EXIT_LAUNCHER


#: Characters that are kept of a message that came with an error.
_LONGEST_MESSAGE = 2000


def readable(text: str) -> str:
    """Return a text that can be written as UTF-8: other characters are replaced."""
    return str.encode(text, "utf-8", "replace").decode("utf-8")


def message_of(error: BaseException) -> str:
    """Return the message of an error of foreign code, which may raise, be long, or be no UTF-8."""
    try:
        return readable(str(error))[:_LONGEST_MESSAGE]
    except KeyboardInterrupt:
        raise
    except BaseException:
        return ""


def described(error: BaseException) -> str:
    """Return an error of foreign code in words: its type, and its message if it has one."""
    name, message = readable(type(error).__name__), message_of(error)
    return f"{name}: {message}" if message else name


#: What is told while something runs: remarks and progress as INFO, what went wrong as WARNING. By
#: itself it shows nothing: the command line shows it, and any program may.
log = logging.getLogger("bench")
log.addHandler(logging.NullHandler())


def say(message: str) -> None:
    """Log on one line what went wrong, or what ends a command, as a WARNING."""
    log.warning("%s", one_line(message))


def note(message: str) -> None:
    """Log progress or a remark on one line, as INFO."""
    log.info("%s", one_line(message))


def clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Countdown:
    """Tells how far a count has come, in a line from time to time: `verb 2 of 9 things, 0:20 left`.

    What is over before the first line is due is not told.
    """

    def __init__(self, verb: str, things: str, total: int, done: int = 0) -> None:
        """Take what is counted, how many there are, and how many of them were done before."""
        self._verb, self._things, self._total = verb, things, total
        self._before = done
        self._began = self._last_line = time.monotonic()

    def reached(self, done: int) -> None:
        """Note that so many are done, and tell it if a line is due."""
        now = time.monotonic()
        if now - self._last_line < LINE_EVERY_SECONDS or not self._before < done < self._total:
            return
        self._last_line = now
        left = (now - self._began) * (self._total - done) / (done - self._before)
        count = f"{done:,} of {self._total:,} {self._things}"
        note(f"{self._verb} {count}, {clock(left)} left")


def unknown(what: str, given: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that does not exist, with the nearest one that does."""
    given, names = shortened(given), sorted(known)
    close = get_close_matches(given, names, n=1, cutoff=0.5)
    fix = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
    return UserError(f"unknown {what} '{given}': {fix}")


def missing_package(who: str, package: str, extra: str = "") -> UserError:
    """Return the error for a package that an extra installs, as a rule one of the same name."""
    return UserError(
        f"{who} needs the package {package}: pip install 'mtl-sharing-bench[{extra or package}]'"
    )


def shortened(text: str) -> str:
    """Return a text that somebody gave, as much of it as an error needs."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
