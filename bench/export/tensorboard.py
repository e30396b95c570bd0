"""Writes event files, which TensorBoard shows.

Numbers are float32: its data server, which it starts by default, shows no scalar of 64 bits.
"""

import re
import shlex
import time
from pathlib import Path
from typing import Any

from bench.clean import any_markdown
from bench.export import Exported, Exporter, TrackerRun

#: Signs of a folder's name before the run's own id.
_LONGEST = 100


class TensorBoard(Exporter):
    """A folder for each run with its curve, its scores and its settings; plots with the report."""

    name = "tensorboard"
    summary = "event files with curves, scores, settings and plots, for TensorBoard"
    extra = "tensorboard"
    packages = ("tensorboard",)

    def write(self, exported: Exported, folder: Path) -> None:
        """Write a folder for each run and one for the report."""
        for run in exported.everything:
            _write(run, exported, folder / _folder_name(run))

    def opened_by(self, folder: Path) -> str:
        """Return the command that shows the folder."""
        return f"tensorboard --logdir {shlex.quote(str(folder))}"


def _folder_name(run: TrackerRun) -> str:
    """Return the name of a run's folder, which TensorBoard shows as the name of the run."""
    if run.kind == "report":
        return run.id
    plain = re.sub(r"[^\w.+-]+", "-", run.name, flags=re.ASCII).strip("-.")
    return f"{plain[:_LONGEST]}-{run.id[:8]}"


def _write(run: TrackerRun, exported: Exported, folder: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    folder.mkdir(parents=True)
    with (folder / "events.out.tfevents.bench").open("wb") as file:
        writer = RecordWriter(file)

        def add(summary: Any, step: int = 0) -> None:
            event = Event(wall_time=now, step=step, summary=summary)
            writer.write(event.SerializeToString())

        writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        add(hparams_pb(dict(run.parameters), trial_id=run.id, start_time_secs=now))
        for point in run.curve:
            values = [_scalar(name, value) for name, value in point.values.items()]
            add(Summary(value=values), point.step)
        last = run.curve[-1].step if run.curve else 0
        add(Summary(value=[_scalar(*metric) for metric in run.metrics.items()]), last)
        if run.kind == "report":
            add(Summary(value=[_text("report", _described(exported))]))
            for name, path in exported.plots.items():
                add(Summary(value=[_image(f"plots/{name}", path)]))


def _scalar(name: str, value: float) -> Any:
    import numpy as np
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.scalar.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    return Summary.Value(
        tag=name,
        tensor=make_tensor_proto(np.float32(value)),
        metadata=create_summary_metadata(None, None),
    )


def _text(name: str, text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    return Summary.Value(
        tag=name,
        tensor=make_tensor_proto(text.encode()),
        metadata=create_summary_metadata(None, None),
    )


def _image(name: str, path: Path) -> Any:
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    with Image.open(path) as image:
        width, height = image.size
    picture = Summary.Image(
        width=width, height=height, colorspace=4, encoded_image_string=path.read_bytes()
    )
    return Summary.Value(tag=name, image=picture)


def _described(exported: Exported) -> str:
    """Return the description, the decisions and the verdicts as Markdown, in which no name acts."""
    lines = [any_markdown(exported.description), ""] if exported.description else []
    lines += [
        f"- {any_markdown(name)}: {any_markdown(str(value))}"
        for name, value in exported.report.parameters.items()
    ]
    return "\n".join(lines)
