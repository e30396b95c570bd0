"""The tidy tables hold the numbers of the records, and no cell is a formula."""

import csv
from pathlib import Path

from bench.clean import csv_cell
from bench.export import exporter, write_export
from tests.export.conftest import SHOWN, Finished


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_runs_and_curves_are_those_of_the_records(finished: Finished, tmp_path: Path) -> None:
    write_export(exporter("csv"), finished.exported, tmp_path / "csv")
    runs = {line["key"]: line for line in read(tmp_path / "csv/runs.csv")}
    assert runs.keys() == finished.declaration.keys
    curves: dict[tuple[str, int, str], float] = {}
    for line in read(tmp_path / "csv/curves.csv"):
        curves[line["key"], int(line["step"]), line["what"]] = float(line["value"])
    for record in finished.finished_runs():
        for task, scores in record.scores.items():
            cell = runs[record.key][f"test/{task.replace(chr(27), '�')}/accuracy"]
            value = scores["accuracy"].value
            assert (float(cell) if cell else None) == value
        for point in record.curve:
            for task, score in point.scores.items():
                name = f"validation/{task.replace(chr(27), '�')}"
                assert curves[record.key, point.step, name] == score


def test_gains_are_those_of_gains_json(finished: Finished, tmp_path: Path) -> None:
    write_export(exporter("csv"), finished.exported, tmp_path / "csv")
    lines = read(tmp_path / "csv/gains.csv")
    means = [line["gain_mean_points"] for line in lines]
    expected = [
        comparison["mean"]
        for row in finished.gains["rows"]
        for comparison in {**row["against"], **row["references"]}.values()
    ]
    assert [float(cell) if cell else None for cell in means] == expected


def test_no_cell_is_a_formula(finished: Finished, tmp_path: Path) -> None:
    write_export(exporter("csv"), finished.exported, tmp_path / "csv")
    for path in (tmp_path / "csv").glob("*.csv"):
        text = path.read_text("utf-8")
        with path.open(encoding="utf-8", newline="") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert all(cell == csv_cell(cell) for cell in cells)
        assert "\x1b" not in text
    strategies = {line["strategy"] for line in read(tmp_path / "csv/runs.csv")}
    assert f"'{SHOWN}cross-stitch" in strategies
