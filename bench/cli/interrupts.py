"""Ctrl-C. It ends a command at once, or where there is something to tell, in order first.

Whatever is written is whole at any moment, and workers end with the command. So nothing has to be
brought in order, and code that an exception may get lost in (an import, a drawing) needs none.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

#: As in `bench.errors`, which takes too long to import before the first Ctrl-C.
_EXIT_INTERRUPTED = 130
STOPPED = "stopped; what is finished is kept. Run the same command again to go on."
_SHOW_CURSOR = "\x1b[?25h"


def watch() -> None:
    """End this process at once from now on when Ctrl-C is pressed, unless that is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


def _end_at_once(number: int = 0, frame: FrameType | None = None) -> NoReturn:
    with contextlib.suppress(OSError):
        shown = f"\n{_SHOW_CURSOR}" if os.isatty(2) else ""  # a progress bar hides the cursor
        os.write(2, f"{shown}{STOPPED}\n".encode())
    os._exit(_EXIT_INTERRUPTED)


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` in a block, once; a second one ends at once.

    Where this process does not watch for it, as in a program that uses bench, nothing changes.
    """
    if signal.getsignal(signal.SIGINT) is not _end_at_once:
        yield
        return
    came = False

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, _end_at_once)
        raise KeyboardInterrupt

    def lost(unraisable: "sys.UnraisableHookArgs") -> None:
        if unraisable.exc_type is KeyboardInterrupt:  # raised where Python drops it
            _end_at_once()
        sys.__unraisablehook__(unraisable)

    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = lost
    try:
        yield
    except Exception:
        if came:  # foreign code has made another error of it
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, _end_at_once)
        sys.unraisablehook = sys.__unraisablehook__
