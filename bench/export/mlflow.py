"""Writes an SQLite database and a folder of artifacts, which MLflow's own server shows.

MLflow refuses its older store of plain files by now, unless a variable asks for it.
"""

import logging
import os
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.clean import any_markdown
from bench.digest import digest
from bench.errors import UserError
from bench.export import Exported, Exporter, Names, TrackerRun

T = TypeVar("T")

_DATABASE = "mlflow.db"
#: The most signs of a name, less room for a number behind it; MLflow takes 250.
_LONGEST = 240
#: The most metrics, and parameters, of one request.
_METRICS, _PARAMETERS = 1000, 100


class MLflow(Exporter):
    """A run of MLflow for each run, and one for the report with its files as artifacts."""

    name = "mlflow"
    summary = "an SQLite store with curves, scores, settings and the report's files, for MLflow"
    extra = "mlflow"
    packages = ("mlflow", "sqlalchemy", "alembic")

    def write(self, exported: Exported, folder: Path) -> None:
        """Write the database and the artifacts."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would ask the network
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        where = folder.absolute()
        if taken := set(str(where)) & set("?%"):
            raise UserError(
                f"MLflow cannot name a store in {where}, for its {' and '.join(sorted(taken))}: "
                "choose a place with --out"
            )
        client = MlflowClient(tracking_uri=f"sqlite:///{where / _DATABASE}")
        experiment = client.create_experiment(
            exported.experiment,
            artifact_location=(where / "artifacts").as_uri(),
            tags={"mlflow.note.content": any_markdown(exported.description)},
        )
        names = Names(_allowed)
        for run in reversed(exported.everything):  # it shows the latest first: the report
            made = _log(client, experiment, run, names)
            if run.kind == "report":
                for path in exported.files.values():
                    client.log_artifact(made, str(path))

    def opened_by(self, folder: Path) -> str:
        """Return the command that shows the store."""
        store = f"sqlite:///{folder.absolute() / _DATABASE}"
        return f"mlflow ui --backend-store-uri {shlex.quote(store)}"


def _log(client: Any, experiment: str, run: TrackerRun, names: Names) -> str:
    """Log a run and return the id that MLflow gives it."""
    from mlflow.entities import Metric, Param

    now = int(1000 * time.time())
    tags = {"bench.id": run.id, "bench.kind": run.kind, "bench.status": run.status}
    made: str = client.create_run(experiment, now, tags=tags, run_name=run.name).info.run_id
    last = run.curve[-1].step if run.curve else 0
    logged = [(point.values, point.step) for point in run.curve] + [(run.metrics, last)]
    metrics = [
        Metric(names(name), value, now, step)
        for values, step in logged
        for name, value in values.items()
    ]
    parameters = [Param(names(name), str(value)) for name, value in run.parameters.items()]
    for some in _parts(metrics, _METRICS):
        client.log_batch(made, metrics=some)
    for few in _parts(parameters, _PARAMETERS):
        client.log_batch(made, params=few)
    client.set_terminated(made, "FINISHED" if run.status == "ok" else "FAILED")
    return made


def _parts(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _allowed(name: str) -> str:
    """Return a name as MLflow allows it: few signs, no part that leads up a path, not too long."""
    plain = re.sub(r"[^\w.\- :/]", "_", name)
    shown = "/".join(part if part.strip(".") else "_" for part in plain.split("/"))
    if len(shown) <= _LONGEST:
        return shown
    mark = digest(name)[:8]
    return f"{shown[: _LONGEST - len(mark) - 1]}-{mark}"
