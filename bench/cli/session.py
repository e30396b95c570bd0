"""Where a command reads and writes, and where its runs execute: one object, one set of flags."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.errors import UserError

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
        typer.Option("--download", help="Fetch missing data into --root.", rich_help_panel=_FILES),
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
        if self.workers != "auto" and not self.workers.isdecimal():
            raise UserError(f"--workers {self.workers}: give a number, or auto")
        if self.quiet and self.verbose:
            raise UserError("give --quiet or --verbose, not both")

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
