"""TensorBoard's own reader finds the numbers of the records, in the 32 bits that it shows."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.clean import printable
from bench.export import exporter, write_export
from tests.export.conftest import SHOWN, Finished

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data
from tensorboard.util.tensor_util import make_ndarray


@pytest.fixture(name="folder", scope="module")
def _folder(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "tensorboard"
    write_export(exporter("tensorboard"), finished.exported, folder)
    return folder


def load(folder: Path) -> Any:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0})
    events.Reload()
    return events


def single(value: float | None) -> float:
    assert value is not None
    return float(np.float32(value))


def scalars(events: Any, name: str) -> list[tuple[int, float]]:
    found = [(event.step, make_ndarray(event.tensor_proto)) for event in events.Tensors(name)]
    assert all(value.dtype == np.float32 for _, value in found)  # its data server shows no other
    return [(step, value.item()) for step, value in found]


def test_the_report_holds_the_numbers_of_gains_json(finished: Finished, folder: Path) -> None:
    events = load(folder / "report")
    figures = finished.gain_figures()
    assert {name: scalars(events, name) for name in figures} == {
        name: [(0, single(value))] for name, value in figures.items()
    }
    assert events.SummaryMetadata(next(iter(figures))).plugin_data.plugin_name == "scalars"


def test_each_run_holds_its_curve_its_scores_and_its_settings(
    finished: Finished, folder: Path
) -> None:
    runs = {path.name.rpartition("-")[2]: path for path in folder.iterdir() if path.is_dir()}
    assert len(runs) == 1 + len(finished.exported.runs)
    for record in finished.finished_runs()[::7]:
        events = load(runs[record.key[:8]])
        for task in record.spec.scored:
            expected = [(p.step, single(p.scores[task])) for p in record.curve]
            assert scalars(events, f"validation/{printable(task)}") == expected
            value = record.primary(task).value
            if value is not None:
                assert scalars(events, f"test/{printable(task)}/accuracy") == [
                    (record.curve[-1].step, single(value))
                ]
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        settings = parse_session_start_info_plugin_data(content).hparams
        assert settings["seed"].number_value == record.spec.seed
        assert settings["strategy"].string_value == printable(record.spec.strategy)


def test_names_stand_in_the_report_as_text(finished: Finished, folder: Path) -> None:
    events = load(folder / "report")
    (event,) = events.Tensors("report")
    page = markdown_to_safe_html(make_ndarray(event.tensor_proto).item().decode())
    shown = unescape(re.sub(r"<[^>]*>", "", page))
    assert shown.startswith(SHOWN)  # the description
    for name, verdict in finished.verdicts().items():
        assert f"\n{name}: {verdict}\n" in shown
    assert set(re.findall(r"<(\w+)", page)) == {"p", "ul", "li"}


def test_the_plots_of_the_report_are_its_images(finished: Finished, folder: Path) -> None:
    events = load(folder / "report")
    assert set(finished.exported.plots) == {
        tag.removeprefix("plots/") for tag in events.Tags()["images"]
    }
    (image,) = events.Images("plots/gains")
    assert image.encoded_image_string == finished.exported.plots["gains"].read_bytes()
