"""Chooses the settings of a user's own images, and tells what was chosen and why."""

from collections.abc import Collection
from pathlib import Path

from bench.api.session import Session
from bench.clean import printable
from bench.errors import note
from bench.files import write_atomically
from bench.launch import WorkerPool
from bench.plan.configure import configured, encoders, look_at
from bench.plan.survey import host_of
from bench.spec.experiment import Experiment, Kind, experiment_toml


def configure(experiment: Kind, free: Collection[str], session: Session, pool: WorkerPool) -> Kind:
    """Return an experiment on a user's own images with its `free` fields chosen; tell each choice.

    Raises `UserError` where the images cannot be read.
    """
    device = host_of(experiment.device, pool.ask).device
    seen = [
        found
        for pair in experiment.pair
        for found in pool.ask(look_at, pair, session.source, limited=False)
    ]
    if any(each.glance is None for each in seen):
        return experiment
    (known,) = pool.ask(encoders, device, session.download, limited=False)
    found, choices = configured(experiment, free, seen, known, device)
    for choice in choices:
        note(f"chosen: {printable(str(choice))}")
    return found


def leave(experiment: Experiment, results: Path) -> None:
    """Write an experiment as a file that `run` takes, and say where."""
    path = results / "plans" / f"{experiment.name}.toml"
    write_atomically(path, experiment_toml(experiment).encode())
    note(f"all settings are in {path}: change them there, then python -m bench run {path}")
