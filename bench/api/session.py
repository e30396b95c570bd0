"""Where an experiment reads and writes, and where its runs execute."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.api.progress import Progress, Quiet
from bench.errors import UserError, shortened
from bench.spec.experiment import Experiment
from bench.spec.limits import MOST_RUNS, MOST_WORKERS
from bench.spec.size import PlanSize

if TYPE_CHECKING:
    from bench.contracts import DataSource


@dataclass(frozen=True)
class Session:
    """What calls and commands have in common beside the experiment.

    `results` is the folder of records and reports, `root` that of real data. `workers` is a number
    of processes, 0 for this one, or `auto`. Raises `UserError` for `workers` that is no number.
    """

    results: Path = Path("results")
    root: Path | None = None
    download: bool = False
    skip_bad_images: bool = False
    resident: Literal["auto", "always", "never"] = "auto"
    workers: str = "auto"
    launcher: str | None = None
    yes: bool = False
    progress: Progress = field(default=Quiet(), compare=False, repr=False)

    def __post_init__(self) -> None:
        digits = "0" if self.workers == "auto" else self.workers
        shown = shortened(self.workers)
        if not digits.isdecimal():
            raise UserError(f"--workers {shown}: give a number, or auto")
        if len(digits) > 9 or int(digits) > MOST_WORKERS:
            raise UserError(f"--workers {shown}: give at most {MOST_WORKERS}, or auto")

    def agree(self, experiment: Experiment, times: int = 1) -> None:
        """Make sure that a plan of many runs is meant, `times` over.

        Raises `UserError` if it is not.
        """
        size = PlanSize.of(experiment) * times
        if not size.possible:
            raise UserError(f"{size}; more than {MOST_RUNS:,} cannot be planned, even with --yes")
        if size.asks and not self.yes and not self.meant(size):
            raise UserError(
                "nothing was planned: give fewer seeds, pairs, strategies, budgets or trials"
            )

    def meant(self, size: PlanSize) -> bool:
        """Return whether somebody says that a plan of so many runs is meant.

        Raises `UserError` where nobody can be asked: `yes` says so beforehand.
        """
        raise UserError(f"{size}; --yes goes on")

    def leaves(self) -> bool:
        """Return whether jobs of a cluster are left to go on when the command is interrupted."""
        return True

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
