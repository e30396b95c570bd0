"""`python -m bench`, and the script `mtl-bench`."""

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def _shadowed() -> bool:
    """Return whether another distribution's package `bench` was installed over this one."""
    try:
        other = distribution("frappe-bench").locate_file("bench")
    except PackageNotFoundError:
        return False
    return Path(str(other)).resolve() == Path(__file__).resolve().parent


def main() -> None:
    """Run the command line, unless another package of the same name makes that impossible."""
    if _shadowed():
        print(
            "error: frappe-bench is installed in this environment, and its package is called "
            "`bench` too, so each overwrites files of the other: install mtl-sharing-bench in an "
            "environment of its own (python -m venv)",
            file=sys.stderr,
        )
        sys.exit(2)  # wrong usage; Python's own 1 means a regression here
    from bench.cli.app import main

    main()


if __name__ == "__main__":
    main()
