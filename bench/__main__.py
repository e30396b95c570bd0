"""`python -m bench`, and the script `mtl-bench`."""

import os
import sys
from typing import NoReturn

from bench.cli.interrupts import watch


def _shadowed() -> bool:
    """Return whether another distribution's package `bench` was installed over this one."""
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path

    try:
        other = distribution("frappe-bench").locate_file("bench")
    except PackageNotFoundError:
        return False
    return Path(str(other)).resolve() == Path(__file__).resolve().parent


def main() -> None:
    """Run the command line, unless another package of the same name makes that impossible."""
    watch()
    if _shadowed():
        print(
            "error: frappe-bench is installed in this environment, and its package is called "
            "`bench` too, so each overwrites files of the other: install mtl-sharing-bench in an "
            "environment of its own (python -m venv)",
            file=sys.stderr,
        )
        sys.exit(2)  # wrong usage; Python's own 1 means a regression here
    from bench.cli.app import main

    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    _end(code)


def _workers_ended() -> int:
    """End all worker processes; return the exit code if that fails, which is no success."""
    fork_server = sys.modules.get("bench.fork_server")
    try:
        if fork_server is not None:
            fork_server.end_all()
    except Exception as error:  # /proc cannot be read, for example
        os.write(2, f"error: worker processes may be left: {error}\n".encode(errors="replace"))
        return 6
    return 0


def _end(code: object) -> NoReturn:
    """End the process now, whatever threads and exit handlers plugins have left in it.

    An output that cannot be written is no success.
    """
    if isinstance(code, str):
        print(code, file=sys.stderr)
    status = code if isinstance(code, int) else int(code is not None)
    ended = _workers_ended()  # also where the command has failed
    status = status or ended
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # nobody reads on
            pass
        except OSError as error:
            os.write(2, f"error: cannot write the output: {error.strerror}\n".encode())
            status = status or 2
    os._exit(status)


if __name__ == "__main__":
    main()
