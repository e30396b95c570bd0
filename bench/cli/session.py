"""Where a command reads and writes, and where its runs execute: one object, one set of flags."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.errors import UserError, say, shortened
from bench.spec.experiment import Experiment
from bench.spec.limits import MOST_RUNS, MOST_WORKERS
from bench.spec.size import PlanSize

if TYPE_CHECKING:
    from bench.contracts import DataSource

_FILES = "Files and data"
_MACHINE = "Machine"
_OUTPUT = "Output"

Results = Annotated[
    Path,
    typer.Option(help="Folder of records and reports.", metavar="DIR", rich_help_panel=_FILES),
]
Root = Annotated[
    Path | None,
    typer.Option(
        help="Folder of real data, in torchvision's layout.", metavar="DIR", rich_help_panel=_FILES
    ),
]


@dataclass(frozen=True)
class Session:
    """What commands have in common beside the experiment. The fields are flags of theirs.

    Raises `UserError` for `workers` that is no number.
    """

    results: Results = Path("results")
    root: Root = None
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Fetch missing data into --root, and missing weights of a network.",
            rich_help_panel=_FILES,
        ),
    ] = False
    skip_bad_images: Annotated[
        bool,
        typer.Option(
            "--skip-bad-images",
            help="Leave out images that cannot be read.",
            rich_help_panel=_FILES,
        ),
    ] = False
    resident: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(
            help="Images on the device: where they fit, always, or read batch by batch.",
            metavar="auto|always|never",
            rich_help_panel=_MACHINE,
        ),
    ] = "auto"
    workers: Annotated[
        str,
        typer.Option(
            help="Processes, or auto: one per physical core; 0 is this process, for debugging.",
            metavar="N|auto",
            rich_help_panel=_MACHINE,
        ),
    ] = "auto"
    launcher: Annotated[
        str | None,
        typer.Option(
            help="Where runs execute, as 'list launchers' names it; else what suits the workers.",
            metavar="NAME[@KNOBS]",
            rich_help_panel=_MACHINE,
        ),
    ] = None
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Go on with a plan of many runs, unasked.", rich_help_panel=_MACHINE
        ),
    ] = False
    quiet: Annotated[
        bool,
        typer.Option(
            "-q", "--quiet", help="Show results and errors only.", rich_help_panel=_OUTPUT
        ),
    ] = False
    verbose: Annotated[
        bool,
        typer.Option(
            "-v",
            "--verbose",
            help="Show each finished run and its scores.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False

    def __post_init__(self) -> None:
        digits = "0" if self.workers == "auto" else self.workers
        shown = shortened(self.workers)
        if not digits.isdecimal():
            raise UserError(f"--workers {shown}: give a number, or auto")
        if len(digits) > 9 or int(digits) > MOST_WORKERS:
            raise UserError(f"--workers {shown}: give at most {MOST_WORKERS}, or auto")
        if self.quiet and self.verbose:
            raise UserError("give --quiet or --verbose, not both")

    def agree(self, experiment: Experiment, times: int = 1) -> None:
        """Ask whether a plan of many runs is meant, `times` over. Raises `UserError` if it is not.

        Without a terminal nobody can be asked, and --yes says so beforehand.
        """
        size = PlanSize.of(experiment) * times
        if not size.possible:
            raise UserError(f"{size}; more than {MOST_RUNS:,} cannot be planned, even with --yes")
        if self.yes or not size.asks:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UserError(f"{size}; --yes goes on")
        say(f"{size}")
        try:
            meant = typer.confirm("go on?", err=True)
        except typer.Abort:
            raise KeyboardInterrupt from None
        if not meant:
            raise UserError(
                "nothing was planned: give fewer seeds, pairs, strategies, budgets or trials"
            )

    @property
    def worker_count(self) -> int | None:
        """The number of workers; None where it follows from the machine."""
        return None if self.workers == "auto" else int(self.workers)

    @property
    def source(self) -> "DataSource":
        """Where data sets find their files."""
        from bench.contracts import DataSource  # imports torch

        cache = self.results / "cache"
        return DataSource(self.root, self.download, cache, self.skip_bad_images, self.resident)
