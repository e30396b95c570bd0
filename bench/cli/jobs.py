"""Shows and ends the jobs of clusters."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from bench.api.jobs import cancel, jobs
from bench.clean import printable
from bench.cli.console import console, show_json
from bench.errors import UserError

#: Jobs that a table lists; of more, the first.
_MOST = 40


def show_jobs(results: Path, as_json: bool) -> None:
    """Show the jobs of a results folder: those that run, and how many wait."""
    known = jobs(results)
    if as_json:
        show_json([asdict(job) for job in known])
        return
    live = [job for job in known if job.live]
    if not live:
        print(f"no job of a cluster waits or runs for {printable(str(results))}")
        return
    working = [job for job in live if job.now or job.done or job.node]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("job", "node", "runs", "state", "now"):
        table.add_column(title)
    for job in working[:_MOST]:
        cells = (
            f"{job.batch}/{job.number}",
            job.node,
            f"{job.done} of {job.runs}",
            job.state,
            "; ".join(job.now),
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    if working:
        console().print(table)
    if len(working) > _MOST:
        print(f"and {len(working) - _MOST} more that run")
    idle = (job.state for job in live if not (job.now or job.done or job.node))
    for state, count in Counter(idle).items():
        print(f"{count} {'job waits' if count == 1 else 'jobs wait'}: {printable(state)}")
    runs = sum(job.runs - job.done for job in live)
    print(f"{runs} runs are to come; `bench run` waits for them, `bench cancel` ends them")


def end_jobs(results: Path) -> None:
    """End all jobs of a results folder. Raises `UserError` where there is none."""
    ended = cancel(results)
    if not ended:
        raise UserError(f"no job of a cluster has runs of '{results}': name its folder, --results")
    print("cancelled; what is finished is kept")
