"""The files of a report say what the results say, for people and for programs."""

import csv
import io
import json
import math
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench.clean import markdown as escape
from bench.report import gains_json, write_report
from bench.report.text.document import gains_csv
from bench.report.text.table import markdown
from bench.report.text.wording import compared
from bench.spec.budget import Audit
from bench.stats.gains import results
from bench.store.records import REFERENCES, Declaration, Record, Use

#: Where the table of all columns begins.
WIDE = "<details><summary>All columns</summary>"
PLOTS = ("gains", "heatmap", "curves", "audit")


def cells_of(line: str) -> list[str]:
    """Split a row of a Markdown table at the pipes that are not escaped."""
    return [c.strip() for c in line.replace("\\|", "\0").strip("|").split("|")]


def table_of(text: str, under: str = WIDE) -> tuple[list[str], list[list[str]]]:
    """Return the columns and the rows of the first table under a heading."""
    table = text.split(f"{under}\n")[1].partition("\n| ")[2].split("\n\n")[0]
    columns, _, *rows = table.splitlines()
    return cells_of(f"| {columns}"), [cells_of(line) for line in rows]


def table_rows(text: str, under: str = WIDE) -> list[list[str]]:
    """Return the cells of the first table under a heading."""
    return table_of(text, under)[1]


def png_size(content: bytes) -> tuple[int, int]:
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@pytest.fixture(name="world")
def _world(make_world: Callable[..., Any]) -> Any:
    return make_world(
        pairs=["creatures:species+background", "multimnist:left+right"],
        strategies=["hard", "hard+partner", "cross-stitch", "hard+pcgrad"],
    )


def test_a_report_writes_every_file_and_counts_each_run_once(world: Any, tmp_path: Path) -> None:
    report = write_report(world.declaration, world.find, tmp_path / "reports" / "made-up")
    names = {"report.html", "table.md", "table.csv", "gains.json", "measured.json"}
    names |= {"summary.txt", "experiment.toml"}
    names |= {
        f"{plot}.{suffix}"
        for plot in (*PLOTS, "gains-2", "audit-2", "across", "pareto", "ranking")
        for suffix in ("png", "svg")
    }
    names |= {"runs.parquet"} if find_spec("pyarrow") else set()
    assert set(report.files) == names
    assert {path.name for path in report.folder.iterdir()} == names
    assert report.runs.planned == len(world.records)
    assert report.runs.missing == 0
    assert (report.runs.diverged, report.runs.failed) == (1, 11)
    assert len(report.results) == len(world.declaration.rows)
    for plot in PLOTS:
        content = report.files[f"{plot}.png"].read_bytes()
        width, height = png_size(content)
        assert width > 900
        assert height > 400
        assert len(content) > 20_000
        assert b"<svg" in report.files[f"{plot}.svg"].read_bytes()


@pytest.mark.parametrize("plot", ["forest.forest", "gradients.gradient_plot", "audit.audit_plot"])
def test_a_plot_that_fails_costs_neither_the_others_nor_the_tables(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plot: str
) -> None:
    def fails(*_: object) -> None:
        raise KeyError("planted")

    whole = write_report(world.declaration, world.find, tmp_path / "whole")
    monkeypatch.setattr(f"bench.report.plots.{plot}", fails)
    report = write_report(world.declaration, world.find, tmp_path / "reports")
    (name,) = report.faults
    assert "KeyError: 'planted' (test_files.py:" in report.faults[name]
    lost = {each for each in whole.files if re.fullmatch(rf"{name}(-\d+)?\.(png|svg)", each)}
    assert set(report.files) == set(whole.files) - lost
    # Both show what there is.
    for other in set(report.files) - {"table.md", "report.html"}:
        assert report.files[other].read_bytes() == whole.files[other].read_bytes()


def _timed(record: Record, factor: float) -> Record:
    """Return a record with a use, as if clocks and memory probes had shown other figures."""
    use = Use(
        parameters=9, flops_per_image=9, seconds_alone=factor, seconds_in_batch=1, peak_bytes=9
    )
    ledger = record.ledger and replace(
        record.ledger,
        used={**record.ledger.used, "s": factor},
        evaluation_seconds=factor,
        measured_peak_bytes=int(factor),
        stall=factor / 10,
    )
    update = {"ledger": ledger, "use": use, "seconds": factor, "provenance": {"cpu": str(factor)}}
    return record.model_copy(update=update)


def test_what_a_clock_measured_is_in_a_file_of_its_own(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    """Other figures of a clock, other for each run, leave `gains.json` the same to the byte."""
    world = make_world(pairs=["creatures:species+kin"], strategies=["hard"])
    files = []
    for first in (1, 2):
        records = {
            key: _timed(record, 1 + (place * first) % 7)
            for place, (key, record) in enumerate(world.records.items())
        }
        report = write_report(world.declaration, records.get, tmp_path / str(first))
        assert "of the time per image" in report.decisions[0]
        files.append({name: path.read_bytes() for name, path in report.files.items()})
    same = {name for name, content in files[0].items() if content == files[1][name]}
    assert {"gains.json", "table.csv", "summary.txt", "experiment.toml"} <= same
    document = json.loads(files[0]["gains.json"])
    assert document["decisions"]["sets"][0]["choice"] == "share"
    assert "of the FLOPs" in document["decisions"]["sets"][0]["sentence"]
    measured, other = (json.loads(each["measured.json"]) for each in files)
    for part in ("rows", "decisions"):
        assert measured[part] != other[part]
    row = measured["rows"][0]
    assert row["largest_stall"] == 0.7
    assert row["seconds_ratio"].keys() == document["rows"][0]["against"].keys()
    (candidate,) = measured["decisions"][0]["candidates"]
    assert candidate["use"].keys() == {"seconds_alone", "seconds_in_batch"}
    assert not candidate["use"].keys() & document["decisions"]["sets"][0]["candidates"][0]["use"]


def test_the_same_records_give_the_same_bytes(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    world = make_world(pairs=["creatures:species+kin"], strategies=["hard"])
    first = write_report(world.declaration, world.find, tmp_path / "a")
    second = write_report(world.declaration, world.find, tmp_path / "b")
    for name in first.files:
        assert first.files[name].read_bytes() == second.files[name].read_bytes(), name


def test_a_users_plot_settings_do_not_reach_the_report(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    import matplotlib

    world = make_world(pairs=["creatures:species+kin"], strategies=["hard"], seeds=2)
    plain = write_report(world.declaration, world.find, tmp_path / "a")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        styled = write_report(world.declaration, world.find, tmp_path / "b")
        assert dict(matplotlib.rcParams) == before
    for name in ("gains.png", "curves.svg"):
        assert plain.files[name].read_bytes() == styled.files[name].read_bytes()


def test_the_table_has_a_row_for_every_cell_with_the_numbers_of_the_results(world: Any) -> None:
    found = results(world.declaration, world.find)
    columns, rows = table_of(markdown(world.declaration, found, {}))
    assert len(rows) == len(found)
    for cells, row in zip(rows, found, strict=True):
        cell = dict(zip(columns, cells, strict=True))
        assert cells[:3] == [f"`{row.pair}`", f"`{row.strategy}`", f"`{row.target}`"]
        for column, comparison in (
            ("transfer: gain vs same-steps [95 % CI]", row.against["same-steps"]),
            ("pay-off: gain vs full [95 % CI]", row.against["full"]),
        ):
            gain = comparison.result
            shown = f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]" if gain.n else "–"
            assert cell[column] == shown
        price = "0.00" if row.price is None else f"{row.price.mean:+.2f} ["
        assert cell["price [95 % CI]"].startswith(price)
        dear = row.strategy == "cross-stitch"
        steps = "–" if not row.seeds else "250 / 400" if dear else "400 / 400"
        assert cell["steps (its / full's)"] == steps
        split = cell["gain vs split [95 % CI]"]
        assert (split == "–") == ("split" not in row.against or not row.seeds)
        assert cell["diverged/failed"] == f"{row.collapsed}/{row.failed}"
        assert cell["verdict"] == f"**{row.verdict.name}**"


def test_the_narrow_table_has_seven_columns_with_the_verdict_second(world: Any) -> None:
    found = results(world.declaration, world.find)
    columns, rows = table_of(markdown(world.declaration, found, {}), "## Numbers")
    assert len(columns) == 7
    assert columns[1] == "verdict"
    questions = [cells for cells in rows if not cells[1]]
    assert [cells[0] for cells in questions] == [
        f"**`{pair} → {target}`**"
        for pair, target in dict.fromkeys((r.pair, r.target) for r in found)
    ]
    for cells, row in zip((c for c in rows if c[1]), found, strict=True):
        assert cells[:2] == [f"`{row.strategy}`", f"**{row.verdict.name}**"]
        full = row.against["full"].result
        assert cells[3] == (
            f"{full.mean:+.2f} [{full.low:+.2f}, {full.high:+.2f}]" if full.n else "–"
        )
        if full.n:
            assert cells[4] == f"{row.score_mean:.2f} / {row.against['full'].anchor_mean:.2f} %"


def test_everything_behind_the_table_is_folded_away(world: Any, tmp_path: Path) -> None:
    report = write_report(world.declaration, world.find, tmp_path)
    text = report.files["table.md"].read_text()
    seen = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert [line for line in seen.splitlines() if line.startswith("#")] == [
        "# Sharing or not: made-up",
        "## Decision",
        "## Numbers",
        "## More",
    ]
    assert "[report.html](report.html)" not in seen
    assert "](report.html)" in seen
    assert re.findall(r"!\[[^\]]*\]\((.*)\)", seen) == ["gains.png", "gains-2.png"]
    assert text.count("<details>") == text.count("</details>")


def test_a_row_whose_runs_failed_stands_in_the_table_with_its_reason(world: Any) -> None:
    found = results(world.declaration, world.find)
    text = markdown(world.declaration, found, {})
    columns, rows = table_of(text)
    lost = [c for c in rows if c[:2] == ["`multimnist:left+right`", "`hard+pcgrad`"]]
    assert [c[columns.index("diverged/failed")] for c in lost] == ["0/10", "0/10"]
    assert {c[columns.index("verdict")] for c in lost} == {"**no result**"}
    assert "ValueError: gradients of 'left' are None (10 runs)" in text
    assert "loss of 'species' is not finite after step 211" in text


def test_every_row_is_said_in_words_and_every_plot_has_an_alt_text(world: Any) -> None:
    found = results(world.declaration, world.find)
    text = markdown(world.declaration, found, {"gains.png": "the gains"})
    words = text.split("<summary>Each verdict in words</summary>")[1].split("</details>")[0]
    for row in found:
        assert escape(row.verdict.sentence) in words
        assert escape(row.verdict.certainty) in words
    assert "![the gains](gains.png)" in text


def test_markdown_signs_in_names_and_reasons_are_escaped(make_world: Callable[..., Any]) -> None:
    trouble = {("a|b:x+y", "hard"): {0: ("failed", "bad | pipe\nand <tag> *star* &amp;")}}
    world = make_world(pairs=["a|b:x+y"], strategies=["hard"], seeds=3, trouble=trouble)
    found = results(world.declaration, world.find)
    text = markdown(world.declaration, found, {})
    columns, rows = table_of(text)
    assert {len(cells) for cells in rows} == {len(columns)}
    assert r"bad \| pipe and \<tag\> \*star\* \&amp;" in text


def test_what_the_data_are_stands_in_the_report(world: Any) -> None:
    lines = ("folder:a_b.csv: 9 images", "kind: 2 classes (*x*, <b>y</b>|z)")
    declaration = world.declaration.model_copy(update={"data": lines})
    text = markdown(declaration, results(declaration, world.find), {})
    assert (
        "<summary>Data</summary>\n\n- folder:a\\_b.csv: 9 images\n"
        "- kind: 2 classes (\\*x\\*, \\<b\\>y\\</b\\>\\|z)\n"
    ) in text
    assert gains_json(declaration, [])["data"] == list(lines)
    assert "<summary>Data<" not in markdown(world.declaration, [], {})


def test_the_json_file_holds_what_the_results_hold(world: Any) -> None:
    found = results(world.declaration, world.find)
    document = gains_json(world.declaration, found)
    assert document["schema_version"] == 1
    assert document["experiment"]["budget"] == world.declaration.experiment.budget
    for row, result in zip(document["rows"], found, strict=True):
        assert set(row["against"]) == set(result.against)
        for anchor, comparison in result.against.items():
            entry = row["against"][anchor]
            assert entry["gains_by_seed"] == {str(s): g for s, g in comparison.gains.items()}
            assert len(entry["audit"]["by_seed"]) == len(comparison.audits)
            if comparison.result.n > 1:
                assert entry["mean"] == comparison.result.mean
                assert entry["interval_95"] == [comparison.result.low, comparison.result.high]
                assert entry["p_holm"] == comparison.p_holm
                assert entry["minimum_detectable_gain"] == comparison.minimum_detectable_gain
        assert row["verdict"]["sentence"] == result.verdict.sentence
        assert row["collapse_rate"] == result.collapsed / 10


def test_what_is_no_number_is_null_in_json_and_blank_in_csv(world: Any) -> None:
    found = results(world.declaration, world.find)
    document = gains_json(world.declaration, found)
    json.dumps(document, allow_nan=False)
    index = next(i for i, row in enumerate(found) if row.verdict.name == "no result")
    entry = document["rows"][index]["against"]["full"]
    assert entry["mean"] is None
    assert entry["p_holm"] is None
    assert entry["gains_by_seed"] == {}
    lines = list(csv.DictReader(io.StringIO(gains_csv(world.declaration, found))))
    lost = next(line for line in lines if line["row_verdict"] == "no result")
    assert lost["gain_mean_points"] == lost["p_holm"] == ""


def test_delta_m_is_the_mean_relative_gain_over_targets_or_null(world: Any) -> None:
    found = results(world.declaration, world.find)
    rows = gains_json(world.declaration, found)["delta_m"]["rows"]
    by_name = {(row["pair"], row["strategy"]): row for row in rows}
    pair = "creatures:species+background"
    parts = [
        r.against["full"].relative_gain for r in found if (r.pair, r.strategy) == (pair, "hard")
    ]
    assert len(parts) == 2
    assert math.isclose(by_name[pair, "hard"]["delta_m"], sum(parts) / 2)
    assert by_name["multimnist:left+right", "hard+pcgrad"]["delta_m"] is None


def test_the_csv_has_a_line_for_every_row_and_anchor(world: Any) -> None:
    found = results(world.declaration, world.find)
    lines = list(csv.DictReader(io.StringIO(gains_csv(world.declaration, found))))
    assert len(lines) == sum(len(row.against) for row in found)
    expected = [(r.pair, r.strategy, r.target, a) for r in found for a in r.against]
    assert [(e["pair"], e["strategy"], e["target"], e["anchor"]) for e in lines] == expected
    first = found[0].against["full"].result
    assert float(lines[0]["gain_mean_points"]) == first.mean
    assert float(lines[0]["gain_low95_points"]) == first.low


@pytest.mark.parametrize(
    "options",
    [
        {"pairs": ["creatures:species+kin~shuffled"], "strategies": ["hard"], "seeds": 1},
        {"pairs": ["multimnist:left+right"], "strategies": ["hard+pcgrad"], "seeds": 2},
        {"pairs": ["multimnist:left+right"], "strategies": ["hard", "hard+pcgrad"], "seeds": 5},
        {
            "pairs": ["a:x+y"],
            "strategies": ["hard"],
            "seeds": 2,
            "metric": "mse",
            "unit": "intensity²",
        },
    ],
    ids=["one row and one seed", "no result at all", "screen with a lost row", "another metric"],
)
def test_small_and_broken_experiments_are_reported_too(
    options: dict[str, Any], make_world: Callable[..., Any], tmp_path: Path
) -> None:
    world = make_world(**options)
    report = write_report(world.declaration, world.find, tmp_path)
    assert len(table_rows(report.files["table.md"].read_text())) == len(world.declaration.rows)
    assert "nan" not in report.files["table.md"].read_text()


def test_an_experiment_that_has_not_run_is_reported_as_missing(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    declaration: Declaration = make_world(strategies=["hard"], seeds=2).declaration
    report = write_report(declaration, lambda key: None, tmp_path)
    assert report.runs.missing == report.runs.planned > 0
    assert {row.verdict.name for row in report.results} == {"no result"}


def test_an_experiment_without_cells_is_a_report_without_rows(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    world = make_world(strategies=["hard"], seeds=1)
    empty = world.declaration.model_copy(update={"rows": ()})
    report = write_report(empty, world.find, tmp_path)
    assert "No rows were declared." in report.files["table.md"].read_text()


def test_a_family_that_was_declared_anew_says_so(world: Any, tmp_path: Path) -> None:
    changed = world.declaration.model_copy(update={"changes": 2})
    for declaration, said in ((world.declaration, False), (changed, True)):
        write_report(declaration, world.find, tmp_path)
        assert ("Declared anew" in (tmp_path / "table.md").read_text()) == said


def held_against(world: Any, *names: str) -> Declaration:
    """Return the declaration with references that are the runs of `full`: gains as good."""
    cells = []
    for cell in world.declaration.rows:
        seeds = [
            seed.model_copy(
                update={"anchors": {**seed.anchors, **dict.fromkeys(names, seed.anchors["full"])}}
            )
            for seed in cell.seeds
        ]
        cells.append(cell.model_copy(update={"seeds": tuple(seeds)}))
    declaration: Declaration = world.declaration.model_copy(update={"rows": tuple(cells)})
    return declaration


def test_each_reference_has_a_section_with_both_networks_and_their_sizes(world: Any) -> None:
    declaration = held_against(world, *REFERENCES)
    found = results(declaration, world.find)
    text = markdown(declaration, found, {})
    for title in (
        "Against single",
        "Against single as costly as the row (wide)",
        "Against single as large as the row (same-size)",
    ):
        rows = table_rows(text, f"<details><summary>{title}</summary>")
        assert len(rows) == len(found)
        full = found[0].against["full"].result
        assert rows[0][:4] == [
            "`creatures:species+background → species`",
            "`hard` (61,706)",
            "`single` (61,706)",
            f"{full.mean:+.2f} [{full.low:+.2f}, {full.high:+.2f}]",
        ]
    entries = gains_json(declaration, found)["rows"][0]["references"]
    assert set(entries) == set(REFERENCES)
    assert (entries["wide"]["strategy"], entries["wide"]["parameters"]) == ("single", 61_706)
    lines = list(csv.DictReader(io.StringIO(gains_csv(declaration, found))))
    anchors = ["full", "same-steps", "split", "slim"]
    assert [line["anchor"] for line in lines[:7]] == [*anchors, *REFERENCES]
    plain = markdown(world.declaration, results(world.declaration, world.find), {})
    assert "<summary>Against" not in plain


def test_a_reference_that_has_not_run_is_reported_too(world: Any) -> None:
    declaration = held_against(world, *REFERENCES)
    text = markdown(declaration, results(declaration, lambda key: None), {})
    # In the narrow table, the wide one, and a section for each reference.
    assert text.count("**no result**") == 5 * len(declaration.rows)


def test_rows_of_one_finding_are_marked_and_counted_once_in_words(
    make_world: Callable[..., Any],
) -> None:
    asked = ["hard", "hard+pcgrad", "hard+upgrad"]
    world = make_world(pairs=["creatures:species+kin"], strategies=asked, trouble={})
    same = {"hard+upgrad": "hard+pcgrad"}
    cells = [
        cell.model_copy(update={"same_as": same.get(cell.strategy, "")})
        for cell in world.declaration.rows
    ]
    declaration = world.declaration.model_copy(update={"rows": tuple(cells)})
    found = results(declaration, world.find)
    assert len({row.finding for row in found}) == 4
    text = markdown(declaration, found, {})
    names = [cells[1] for cells in table_rows(text)]
    assert names == ["`hard`", "`hard+pcgrad`", "= `hard+upgrad`"] * 2
    assert "With two tasks these have one direction: hard+pcgrad and hard+upgrad." in text
    assert "= `" not in markdown(world.declaration, results(world.declaration, world.find), {})


def test_all_tests_of_a_row_stand_in_the_table(world: Any) -> None:
    found = results(world.declaration, world.find)
    text = markdown(world.declaration, found, {})
    lines = table_rows(text, "<details><summary>All tests, against every anchor</summary>")
    comparisons = [c for row in found for c in row.against.values()]
    assert len(lines) == len(comparisons)
    for cells, comparison in zip(lines, comparisons, strict=True):
        assert cells[2:4] == [comparison.anchor, str(comparison.result.n)]
        undecided = comparison.result.n >= 8 and not comparison.decided
        assert (cells[-1] == "–") != undecided
        if undecided:
            assert cells[-1] == str(comparison.seeds_needed or "over 1,000")
        if comparison.result.n:
            found_here = comparison.family_detectable_gain
            # The sign-flip test of so few seeds has no p-value that would do among so many rows.
            none = comparison.family * 2.0 ** (1 - comparison.result.n) > 0.05
            assert cells[-2] == ("none" if none else f"{found_here:.2f}")
            assert comparison.family_detectable_gain > comparison.minimum_detectable_gain


def test_the_other_metrics_have_a_false_discovery_rate(world: Any) -> None:
    for key, record in world.records.items():
        scores = {
            task: {**found, "nll": replace(found["accuracy"], primary=False)}
            for task, found in record.scores.items()
        }
        world.records[key] = record.model_copy(update={"scores": scores})
    found = results(world.declaration, world.find)
    text = markdown(world.declaration, found, {})
    (title,) = (line for line in text.splitlines() if "<summary>Other metrics" in line)
    shown = [cells[6] for cells in table_rows(text, title)]
    q = [row.metrics["nll"].q for row in found if row.metrics]
    assert shown == [("–" if math.isnan(x) else f"{x:.3f}") for x in q]
    p = [row.metrics["nll"].gains.p for row in found if row.metrics]
    lowest = min(range(len(p)), key=lambda i: math.inf if math.isnan(p[i]) else p[i])
    assert q[lowest] >= p[lowest]


def test_what_the_runs_were_made_with_stands_in_the_report(world: Any, tmp_path: Path) -> None:
    for i, (key, record) in enumerate(world.records.items()):
        made = {"torch": "2.15.0", "commit": f"c{i % 2}", "processor": "A<B"}
        world.records[key] = record.model_copy(update={"provenance": made})
    write_report(world.declaration, world.find, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| commit | c0, c1 |\n| processor | A\\<B |\n| torch | 2.15.0 |" in text


def test_the_settings_leave_the_number_of_images_to_the_lines_on_the_data(world: Any) -> None:
    # Small and drawn sets do not have the number that a recipe asks for.
    text = markdown(world.declaration, results(world.declaration, world.find), {})
    assert "training images" not in text


def test_pay_off_is_claimed_only_where_compute_was_equal(world: Any) -> None:
    found = results(world.declaration, world.find)
    assert "at equal compute (pay-off)" in compared(found)
    full = found[0].against["full"]
    dear = replace(full, flops=1.6, audits={0: Audit("steps", 200, 200)})
    unequal = [replace(found[0], against={**found[0].against, "full": dear})]
    assert "pay-off" not in compared(unequal)
    assert "though not with the same compute" in compared(unequal)
