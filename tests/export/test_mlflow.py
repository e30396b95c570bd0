"""MLflow's own client finds the numbers of the records in the store."""

import re
from pathlib import Path
from typing import Any

import pytest

from bench.clean import any_markdown, printable
from bench.digest import digest
from bench.errors import UserError
from bench.export import exporter, write_export
from bench.export.mlflow import _allowed
from tests.export.conftest import EVIL, NAME, Finished

pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")

from mlflow import MlflowClient


def allowed(name: str) -> str:
    shown = re.sub(r"[^\w.\- :/]", "_", name).replace("/../", "/_/").replace("//", "/_/")
    return shown if len(shown) <= 240 else f"{shown[:231]}-{digest(name)[:8]}"


@pytest.fixture(name="folder", scope="module")
def _folder(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "mlflow"
    write_export(exporter("mlflow"), finished.exported, folder)
    return folder


@pytest.fixture(name="client", scope="module")
def _client(folder: Path) -> Any:
    return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")


@pytest.fixture(name="runs", scope="module")
def _runs(client: Any) -> dict[str, Any]:
    experiment = client.get_experiment_by_name(NAME)
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return {run.data.tags["bench.id"]: run for run in found}


def test_the_report_holds_the_numbers_of_gains_json(
    finished: Finished, runs: dict[str, Any]
) -> None:
    data = runs["report"].data
    figures = {allowed(name): value for name, value in finished.gain_figures().items()}
    assert len(figures) == len(finished.gain_figures())
    assert {name: data.metrics[name] for name in figures} == figures
    verdicts = {allowed(name): verdict for name, verdict in finished.verdicts().items()}
    assert {name: data.params[name] for name in verdicts} == verdicts


def test_each_run_holds_its_curve_its_scores_and_its_settings(
    finished: Finished, client: Any, runs: dict[str, Any]
) -> None:
    assert runs.keys() == {"report", *finished.declaration.keys}
    for record in finished.finished_runs()[::7]:
        run = runs[record.key]
        for task in record.spec.scored:
            name = allowed(f"validation/{printable(task)}")
            history = client.get_metric_history(run.info.run_id, name)
            expected = [(point.step, point.scores[task]) for point in record.curve]
            assert [(metric.step, metric.value) for metric in history] == expected
            value = record.primary(task).value
            assert run.data.metrics.get(allowed(f"test/{printable(task)}/accuracy")) == value
        assert run.data.params["seed"] == str(record.spec.seed)
        assert run.data.params["strategy"] == printable(record.spec.strategy)
        assert run.info.status == ("FINISHED" if record.status == "ok" else "FAILED")


def test_the_files_of_the_report_are_its_artifacts(
    finished: Finished, client: Any, runs: dict[str, Any]
) -> None:
    run = runs["report"]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == set(
        finished.exported.files
    )
    path = client.download_artifacts(run.info.run_id, "gains.json")
    assert Path(path).read_bytes() == finished.exported.files["gains.json"].read_bytes()


def test_the_description_is_text_where_mlflow_shows_markdown(client: Any) -> None:
    tags = client.get_experiment_by_name(NAME).tags
    assert tags["mlflow.note.content"] == any_markdown(EVIL)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("test/species/accuracy", "test/species/accuracy"),
        ("größe [kg]", "größe _kg_"),
        ("../a//b/.", "_/a/_/b/_"),
    ],
)
def test_a_name_becomes_one_that_mlflow_allows(name: str, shown: str) -> None:
    assert _allowed(name) == shown


def test_long_names_stay_apart() -> None:
    one, other = _allowed("a" * 300 + "b"), _allowed("a" * 300 + "c")
    assert one != other
    assert len(one) == len(other) == 240


def test_a_place_that_mlflow_cannot_name_is_refused(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="for its % and \\?: choose a place with --out"):
        write_export(exporter("mlflow"), finished.exported, tmp_path / "50%?")
