"""Writes offline runs, which Weights & Biases shows, and uploads where somebody tells it to."""

import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from bench.clean import any_markdown
from bench.export import Exported, Exporter

#: Signs of a run's id, which is a part of its folder's name.
_ID = 16


class WeightsAndBiases(Exporter):
    """An offline run for each run, and one for the report with its plots and files."""

    name = "wandb"
    summary = "offline runs with curves, scores, settings, plots and files, for Weights & Biases"
    extra = "wandb"
    packages = ("wandb",)

    def write(self, exported: Exported, folder: Path) -> None:
        """Write a folder for each run; no one logs in, and nothing is sent."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would be sent
        import wandb

        # What is exported is the report, not the command that exports it nor its repository.
        settings = wandb.Settings(
            mode="offline",
            root_dir=str(folder.absolute()),
            console="off",
            silent=True,
            save_code=False,
            disable_git=True,
            disable_job_creation=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        for run in exported.everything:
            made = wandb.init(
                project=exported.experiment,
                id=run.id[:_ID],
                name=run.name,
                job_type=run.kind,
                notes=any_markdown(exported.description) if run.kind == "report" else None,
                config=dict(run.parameters),
                reinit="create_new",
                settings=settings,
            )
            for point in run.curve:
                made.log(dict(point.values), step=point.step)
            made.summary.update(dict(run.metrics))
            if run.kind == "report":
                _add_files(made, exported)
            made.finish(exit_code=0 if run.status == "ok" else 1)

    def opened_by(self, folder: Path) -> str:
        """Return the command that shows the runs on this machine."""
        return f"wandb leet {shlex.quote(str(folder / 'wandb'))}"


def _add_files(made: Any, exported: Exported) -> None:
    """Add the plots to the charts of the report, and its files as they are."""
    import wandb

    plots = {f"plots/{name}": wandb.Image(str(path)) for name, path in exported.plots.items()}
    if plots:
        made.log(plots)
    for path in exported.files.values():
        shutil.copy(path, made.dir)
        made.save(str(Path(made.dir) / path.name), base_path=made.dir, policy="now")
