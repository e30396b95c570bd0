"""The flags of a session: one set for all commands."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.api.session import Session as Base
from bench.errors import UserError, say
from bench.spec.size import PlanSize

_FILES = "Files and data"
_MACHINE = "Machine"
_OUTPUT = "Output"

_RESULTS = typer.Option(
    help="Folder of records and reports.", metavar="DIR", rich_help_panel=_FILES
)
_ROOT = typer.Option(
    help="Folder of real data, in torchvision's layout.", metavar="DIR", rich_help_panel=_FILES
)
Results = Annotated[Path, _RESULTS]
Root = Annotated[Path | None, _ROOT]

#: The flag of each field.
FLAGS: Mapping[str, Any] = {
    "results": _RESULTS,
    "root": _ROOT,
    "download": typer.Option(
        "--download",
        help="Fetch missing data into --root, and missing weights of a network.",
        rich_help_panel=_FILES,
    ),
    "skip_bad_images": typer.Option(
        "--skip-bad-images", help="Leave out images that cannot be read.", rich_help_panel=_FILES
    ),
    "resident": typer.Option(
        help="Images on the device: where they fit, always, or read batch by batch.",
        metavar="auto|always|never",
        rich_help_panel=_MACHINE,
    ),
    "workers": typer.Option(
        help="Processes, or auto: one per physical core; 0 is this process, for debugging.",
        metavar="N|auto",
        rich_help_panel=_MACHINE,
    ),
    "launcher": typer.Option(
        help="Where runs execute, as 'list launchers' names it; else what suits the workers.",
        metavar="NAME[@KNOBS]",
        rich_help_panel=_MACHINE,
    ),
    "yes": typer.Option(
        "--yes", help="Go on with a plan of many runs, unasked.", rich_help_panel=_MACHINE
    ),
    "quiet": typer.Option(
        "-q", "--quiet", help="Show results and errors only.", rich_help_panel=_OUTPUT
    ),
    "verbose": typer.Option(
        "-v", "--verbose", help="Show each finished run and its scores.", rich_help_panel=_OUTPUT
    ),
}


@dataclass(frozen=True)
class Session(Base):
    """A session as a command has it, with how much it tells."""

    quiet: bool = False
    verbose: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quiet and self.verbose:
            raise UserError("give --quiet or --verbose, not both")

    def leaves(self) -> bool:
        """Ask on a terminal; without one the jobs go on. A second Ctrl-C leaves them too."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return True
        return typer.confirm("leave the jobs to go on? (no cancels them)", default=True, err=True)

    def meant(self, size: PlanSize) -> bool:
        """Ask on a terminal whether so many runs are meant. Raises `UserError` without one."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return super().meant(size)
        say(f"{size}")
        try:
            return typer.confirm("go on?", err=True)
        except typer.Abort:
            raise KeyboardInterrupt from None
