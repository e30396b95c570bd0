"""What exporters share: who is found, what is replaced, what an error says, what is exported."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from bench.cli.app import main
from bench.errors import UserError
from bench.export import MARK, Exported, Exporter, Names, exporter, exporters, write_export
from bench.spec.registry import Plugins
from bench.speed.synthesis import fill
from bench.store.store import Store
from tests.export.conftest import EVIL, NAME, SHOWN, Finished

Said = Callable[..., tuple[int, str]]


@dataclass
class Note(Exporter):
    """Writes one file, or fails."""

    name = "note"
    summary = "one file"
    fails: bool = False

    def write(self, exported: Exported, folder: Path) -> None:
        if self.fails:
            raise ValueError("planted")
        (folder / "note.txt").write_text(exported.experiment)

    def opened_by(self, folder: Path) -> str:
        return "cat"


@pytest.fixture(name="said")
def _said(capsys: pytest.CaptureFixture[str]) -> Said:
    def call(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return int(ended.value.code or 0), "\n".join(capsys.readouterr())

    return call


def test_exporters_are_found_by_their_files() -> None:
    found = exporters()
    assert not found.broken
    assert {"csv", "latex", "mlflow", "tensorboard", "wandb"} <= set(found.found)


def test_an_export_replaces_the_one_before_and_nothing_else(
    finished: Finished, tmp_path: Path
) -> None:
    folder = tmp_path / "note"
    write_export(Note(), finished.exported, folder)
    (folder / "note.txt").rename(folder / "older.txt")
    write_export(Note(), finished.exported, folder)
    assert {path.name for path in folder.iterdir()} == {MARK, "note.txt"}
    (folder / MARK).unlink()
    with pytest.raises(UserError, match="holds what no export has written: move it, or choose"):
        write_export(Note(), finished.exported, folder)
    assert (folder / "note.txt").read_text() == NAME
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match="is no folder: move it, or choose"):
        write_export(Note(), finished.exported, file)
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(UserError, match="is no folder"):
        write_export(Note(), finished.exported, link)


def test_an_exporter_that_fails_is_told_with_its_reason(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"exporter note failed, and .* not whole: ValueError: plan"
    ):
        write_export(Note(fails=True), finished.exported, tmp_path / "note")
    write_export(Note(), finished.exported, tmp_path / "note")  # what is left is replaced


def test_a_missing_package_is_answered_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.export.find_spec", lambda name: None if name == "alembic" else name)
    with pytest.raises(UserError) as caught:
        exporter("mlflow")
    assert str(caught.value) == (
        "export --to mlflow needs the package alembic: pip install 'mtl-sharing-bench[mlflow]'"
    )


def test_a_missing_package_of_ones_own_exporter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.export.exporters", lambda: Plugins({"note": Note}, {}))
    monkeypatch.setattr(Note, "packages", ("no_such_package",))
    with pytest.raises(UserError, match="note needs the package no_such_package: install it"):
        exporter("note")


def test_unknown_names_are_answered_with_the_near_ones(said: Said, tmp_path: Path) -> None:
    fill(tmp_path, pairs=1, strategies=1, seeds=2)
    asked = ("export", "--results", tmp_path)
    code, text = said(*asked, "large", "--to", "tensorbord")
    assert (code, text.strip()) == (
        2,
        "error: unknown exporter 'tensorbord': did you mean 'tensorboard'?",
    )
    code, text = said(*asked, "larg", "--to", "csv")
    assert (code, text.strip()) == (2, "error: unknown experiment 'larg': did you mean 'large'?")


def test_the_command_writes_beside_the_report_or_where_it_is_told(
    said: Said, tmp_path: Path
) -> None:
    fill(tmp_path / "results", pairs=1, strategies=1, seeds=2)
    asked = ("export", "large", "--to", "csv", "--results", tmp_path / "results")
    for place, more in (
        (tmp_path / "results/reports", ()),
        (tmp_path / "mine", ("--out", tmp_path / "mine")),
    ):
        code, text = said(*asked, *more)
        assert code == 0
        assert f"wrote large to {place / 'large/csv'}" in text
        assert (place / "large/csv/gains.csv").is_file()
    assert said(*asked)[0] == 0  # a second time
    written = tmp_path / "results/reports/large"
    assert (written / "csv/gains.csv").read_bytes() == (written / "table.csv").read_bytes()


def test_runs_that_are_missing_are_told_of(said: Said, tmp_path: Path) -> None:
    fill(tmp_path, pairs=1, strategies=1, seeds=2)
    record = next(Store(tmp_path).records())
    (tmp_path / "runs" / record.key[:2] / record.key / "run.json").unlink()
    code, text = said("export", "large", "--to", "csv", "--results", tmp_path)
    assert code == 0
    assert re.search(r"note: 1 of \d+ runs are missing, and are not exported", text)


def test_what_is_exported_is_what_gains_json_has(finished: Finished) -> None:
    report = finished.exported.report
    figures = finished.gain_figures()
    assert figures
    assert {name: report.metrics[name] for name in figures} == figures
    verdicts = finished.verdicts()
    assert {name: report.parameters[name] for name in verdicts} == verdicts
    decided = finished.gains["decisions"]["sets"]
    told = [text for name, text in report.parameters.items() if name.endswith("/choice")]
    assert told == [decision["choice"] for decision in decided]


def test_each_run_is_there_once_with_what_it_was_for(finished: Finished) -> None:
    runs = {run.id: run for run in finished.exported.runs}
    assert runs.keys() == finished.declaration.keys
    row = finished.declaration.rows[0]
    seed = row.seeds[0]
    assert runs[seed.strategy].parameters["role"] == "strategy"
    (full,) = seed.anchors["full"].values()
    assert runs[full].parameters["role"] == "full, same-steps"
    record = finished.records[full]
    assert runs[full].parameters["seed"] == record.spec.seed
    assert runs[full].parameters["recipe/network"] == record.spec.recipe.network


def test_failed_and_diverged_runs_keep_their_reason(finished: Finished) -> None:
    lost = [run for run in finished.exported.runs if run.status == "failed"]
    assert lost
    for run in lost:
        assert run.parameters["reason"] == "ValueError: gradients of 'left' are None"
        assert not run.curve
        assert not any(name.startswith("test/") for name in run.metrics)


def test_no_name_acts_on_a_terminal_and_the_text_is_kept(finished: Finished) -> None:
    everything = finished.exported.everything
    texts = [
        text
        for run in everything
        for text in (run.name, *run.parameters, *run.metrics, *map(str, run.parameters.values()))
    ]
    assert all(text.isprintable() for text in texts)
    assert any(f"test/{SHOWN}species/recall/{SHOWN}" in run.metrics for run in everything)


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "_", text)


def test_names_that_would_become_one_stay_two() -> None:
    names = Names(_letters)
    assert names("a", "b=") == "a/b_"
    assert names("a", "b+") == "a/b_ 2"
    assert names("a", "b=") == "a/b_"


@pytest.fixture(name="alone")
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A new list of exporters, as a new process has it."""
    import bench.export

    exporters.cache_clear()
    yield bench.export
    exporters.cache_clear()


def test_an_exporter_of_ones_own_is_one_file(
    alone: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = Path(__file__).read_text().partition("@dataclass\n")[2].partition("@pytest")[0]
    imports = (
        "from dataclasses import dataclass\nfrom pathlib import Path\n"
        "from bench.export import Exported, Exporter\n\n@dataclass\n"
    )
    (tmp_path / "note_exporter.py").write_text(imports + source)
    monkeypatch.setattr(alone, "__path__", [*alone.__path__, str(tmp_path)])
    assert exporter("note@fails=true").fails is True  # type: ignore[attr-defined]


def test_the_evil_name_is_evil_in_each_medium() -> None:
    assert not EVIL.isprintable()
    assert EVIL.startswith("=")
