"""What a report gives a program: frames of fixed types, a table for a paper, plots, a file."""

import csv
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.api.found import Found
from bench.api.frames import GAIN_COLUMNS
from bench.api.report import Report
from bench.report import write_report
from bench.report.text.document import gains_csv
from bench.report.tidy import CURVE_COLUMNS, RUN_COLUMNS, runs_parquet
from bench.speed.synthesis import fill
from bench.store.records import Declaration
from tests.report.conftest import World, make_world

pd = pytest.importorskip("pandas")

PAIR, STRATEGIES = "creatures:species+background", ("hard", "cross-stitch")
ROOT = Path(__file__).parents[2]


def _report(declaration: Declaration, find: Callable[[str], Any]) -> Report:
    return Report(Found(declaration, find, lambda _: {}, (), Path("nowhere")))


@pytest.fixture(scope="module")
def world() -> World:
    """Two strategies at ten seeds, of which one run has diverged and one has failed."""
    return make_world((PAIR,), STRATEGIES)


@pytest.fixture(scope="module")
def report(world: World) -> Report:
    return _report(world.declaration, world.find)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    fill(root, pairs=1, strategies=1, seeds=3)
    return root


def _types(frame: Any) -> dict[str, str]:
    return {name: str(kind) for name, kind in frame.dtypes.items()}


def test_gains_are_the_lines_of_the_csv_file(world: World, report: Report) -> None:
    text = gains_csv(world.declaration, report.results)
    lines = list(csv.DictReader(io.StringIO(text)))
    gains = report.gains
    assert list(gains.columns) == list(lines[0])
    assert len(gains) == len(lines) == 16  # two targets, two strategies, four anchors
    for line, (_, row) in zip(lines, gains.iterrows(), strict=True):
        assert (line["anchor"], line["row_verdict"]) == (row["anchor"], row["row_verdict"])
        assert float(line["gain_mean_points"]) == row["gain_mean_points"]
        assert (line["audit_passed"] == "true") == row["audit_passed"]
    assert int(gains["failed_runs"].max()) == 1


def test_columns_have_their_types_whatever_is_in_them(world: World, report: Report) -> None:
    nothing = _report(world.declaration.model_copy(update={"rows": ()}), world.find)
    for name, columns in (
        ("gains", GAIN_COLUMNS),
        ("runs", RUN_COLUMNS),
        ("curves", CURVE_COLUMNS),
    ):
        assert _types(getattr(report, name)) == columns
        assert _types(getattr(nothing, name)) == columns
        assert len(getattr(nothing, name)) == 0


def test_runs_are_those_that_the_table_reads(world: World, report: Report) -> None:
    runs = report.runs
    assert set(runs["run"]) == world.declaration.keys
    failed = runs[runs["status"] == "failed"]
    assert list(failed["target"]) == ["species", "background"]  # a row for each target
    assert failed["score"].isna().all()
    assert failed[["metric", "primary", "steps", "flops"]].isna().all(axis=None)
    assert failed["reason"].str.contains("out of memory").all()
    diverged = runs[runs["status"] == "diverged"]
    assert diverged["score"].isna().all()
    assert set(diverged["metric"]) == {"accuracy"}
    key = world.declaration.rows[0].seeds[0].strategy
    record = world.records[key]
    row = runs[(runs["run"] == key) & (runs["target"] == "species")].iloc[0]
    assert record.ledger is not None
    assert row["score"] == record.scores["species"]["accuracy"].value
    assert (row["steps"], row["flops"]) == (400, record.ledger.used["flop"])
    assert (row["pair"], row["strategy"], row["seed"]) == (PAIR, "hard", 0)


def test_curves_have_the_compute_used_at_each_point(world: World, report: Report) -> None:
    key = world.declaration.rows[0].seeds[0].strategy
    record = world.records[key]
    curve = report.curves.query(f"run == '{key}' and target == 'species'")
    assert list(curve["step"]) == [point.step for point in record.curve]
    assert list(curve["score"]) == [point.scores["species"] for point in record.curve]
    assert record.ledger is not None
    price = record.ledger.prices[0].flops
    assert list(curve["flops"]) == pytest.approx([point.step * price for point in record.curve])
    assert curve["weight"].isna().all()


def test_a_frame_is_the_callers_own(report: Report) -> None:
    runs = report.runs
    del runs["score"]
    assert list(report.runs.columns) == list(RUN_COLUMNS)
    with pytest.raises(AttributeError):
        report.name = "another"  # type: ignore[misc]


def test_the_parquet_file_is_the_frame_of_the_runs(
    world: World, report: Report, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    content = runs_parquet(world.declaration, world.find)
    assert content is not None
    assert content == runs_parquet(world.declaration, dict(reversed(world.records.items())).get)
    path = tmp_path / "runs.parquet"
    path.write_bytes(content)
    pd.testing.assert_frame_equal(pd.read_parquet(path).astype(dict(RUN_COLUMNS)), report.runs)
    duckdb = pytest.importorskip("duckdb")
    query = f"SELECT count(*), avg(score) FROM '{path}' WHERE \"primary\" AND status = 'ok'"
    ((count, mean),) = duckdb.sql(query).fetchall()
    scored = report.runs.query("primary and status == 'ok'")
    assert (count, mean) == (len(scored), pytest.approx(scored["score"].mean()))


def test_without_pyarrow_there_is_no_parquet_file_nor_an_older_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("bench.report.write.drawings", lambda *_: {})
    files = write_report(world.declaration, world.find, tmp_path).files
    assert "table.csv" in files
    assert "runs.parquet" not in files
    assert not (tmp_path / "runs.parquet").exists()


def test_without_pandas_the_command_to_install_it_is_told(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(bench.UserError, match=re.escape("'mtl-sharing-bench[pandas]'")):
        _ = report.runs


def test_the_latex_table_has_a_line_for_each_row(report: Report) -> None:
    table = report.to_latex()
    assert table.count(r"\toprule") == 1
    assert table.count("$ & $") == len(report.results) == 4


def test_plots_are_figures_that_notebooks_show(report: Report) -> None:
    figure = report.plot("gains")
    assert type(figure).__name__ == "Figure"
    assert vars(figure)["_repr_png_"]().startswith(b"\x89PNG")
    assert report.plot("curves") is not None
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
    with pytest.raises(bench.UserError, match="unknown plot 'gain': did you mean 'gains'"):
        report.plot("gain")
    with pytest.raises(bench.UserError, match="has nothing to draw in a plot 'dial'"):
        report.plot("dial")


def test_what_a_notebook_shows_is_escaped() -> None:
    shown = _report(*_hostile())._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "\x1b" not in shown


def test_no_control_character_of_a_name_is_in_a_frame() -> None:
    for frame in (_report(*_hostile()).runs, _report(*_hostile()).gains):
        assert not frame["pair"].str.contains("\x1b").any()


def _hostile() -> tuple[Declaration, Callable[[str], Any]]:
    world = make_world(("folder:<script>\x1b[2J+b",), ("hard",), seeds=2, trouble={})
    return world.declaration, world.find


def test_the_decision_is_data_and_a_sentence(report: Report) -> None:
    first = report.decision[0]
    assert (first.pair, first.targets) == (PAIR, ("species", "background"))
    assert first.choice in ("share", "separate", "trade", "undecided")
    assert str(first) == first.sentence


def test_a_finished_experiment_is_loaded(results: Path) -> None:
    report = bench.load(results)
    assert (report.name, report.counts.ok, report.counts.missing) == (
        "large",
        21,
        0,
    )  # of each seed 7
    assert repr(report) == "<report large: 2 rows, 21 of 21 runs>"
    assert report.files == {}  # nobody has written it
    assert report.folder == results / "reports/large"
    assert bench.load(str(results), "large").gains.equals(report.gains)
    with pytest.raises(bench.UserError, match="unknown experiment 'larg': did you mean 'large'"):
        bench.load(results, "larg")
    with pytest.raises(bench.UserError, match="no experiment in"):
        bench.load(results / "nothing")


def test_runs_that_are_missing_are_told_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, pairs=1, strategies=1, seeds=2)
    next(tmp_path.glob("runs/*/*/run.json")).unlink()
    caplog.set_level("INFO", "bench")
    assert bench.load(tmp_path).counts.missing == 1
    assert "note: 1 of 14 runs of large are missing" in caplog.messages


def test_a_report_is_loaded_without_torch(results: Path) -> None:
    script = (
        "import sys, bench; heavy = {'torch', 'pydantic', 'matplotlib', 'pandas', 'typer'}; "
        "assert not heavy & sys.modules.keys(); report = bench.load(sys.argv[1]); "
        "report.gains; report.decision; report.to_latex(); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(results)], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
