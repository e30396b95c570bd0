"""The files of a report on groups: their numbers are those of the result, and no name is obeyed."""

import csv
import io
import json
import logging
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.decide.groupings import GroupingResult
from bench.report.groups import grouping_sentence, write_grouping
from bench.report.groups.document import grouping_csv, grouping_json
from bench.report.groups.table import grouping_markdown
from bench.spec.grouping import GroupExperiment
from bench.stats.tests import paired

Make = Callable[..., GroupingResult]
FILES = {
    "report.html",
    "table.md",
    "table.csv",
    "grouping.json",
    "measured.json",
    "summary.txt",
    "experiment.toml",
    *(
        f"{plot}.{end}"
        for plot in ("front", "tree", "affinity", "affinity-2")
        for end in ("png", "svg")
    ),
}


def test_a_report_is_written_with_all_its_files(
    make_result: Make, experiment: GroupExperiment, tmp_path: Path
) -> None:
    result = make_result(5, "grouping")
    (tmp_path / "affinity-3.png").write_bytes(b"of an earlier report")
    (tmp_path / "mine.png").write_bytes(b"not ours")
    files = write_grouping(result, experiment, tmp_path, margin=1.0)
    assert set(files) == FILES
    assert all(path.stat().st_size for path in files.values())
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "mine.png"}
    assert tomllib.loads(files["experiment.toml"].read_text("utf-8"))["at-most-networks"] == 3
    sentence = grouping_sentence(result, 1.0)
    document = json.loads(files["grouping.json"].read_text("utf-8"))
    assert document["sentence"] == sentence
    assert "seconds" not in str(document)
    measured = json.loads(files["measured.json"].read_text("utf-8"))["options"]
    assert [each["name"] for each in measured] == [str(each.name) for each in result.options]
    assert measured[0]["use"].keys() == {"seconds_alone", "seconds_in_batch"}
    page = files["report.html"].read_text("utf-8")
    assert sentence in page
    again = {name: path.read_bytes() for name, path in files.items()}
    write_grouping(result, experiment, tmp_path, margin=1.0)
    assert {name: path.read_bytes() for name, path in files.items()} == again


def test_a_plot_that_fails_costs_nothing_else(
    make_result: Make,
    experiment: GroupExperiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("bench.report.groups.tree.tree_plot", lambda *_: 1 / 0)
    with caplog.at_level(logging.WARNING, logger="bench"):
        files = write_grouping(make_result(3), experiment, tmp_path, margin=1.0)
    assert set(files) == FILES - {"tree.png", "tree.svg"}
    assert "the plot 'tree' could not be drawn" in caplog.text


def test_json_has_the_numbers_of_the_result(make_result: Make, experiment: GroupExperiment) -> None:
    result = make_result(5, "trade")
    document = json.loads(json.dumps(grouping_json(result, experiment, 1.0)))
    assert result.verdict is not None
    assert result.verdict.option is not None
    assert document["verdict"]["choice"] == "trade"
    assert document["verdict"]["p"] == result.verdict.p
    assert document["verdict"]["option"] == result.verdict.option.name
    for told, option in zip(document["options"], result.options, strict=True):
        assert told["delta_m"]["mean"] == option.delta_m.mean
        assert [told["delta_m"]["low"], told["delta_m"]["high"]] == [
            option.delta_m.low,
            option.delta_m.high,
        ]
        assert told["groups"] == [list(group) for group in option.grouping]
        assert told["inference_flops_saved"] == option.saved
        for task, target in zip(told["tasks"], option.candidate.targets, strict=True):
            assert task["gains_by_seed"] == {str(s): gain for s, gain in target.gains.items()}
            assert task["p_keeps"] == target.keeps
    first = document["affinities"][0]
    assert first["by_seed"][1][0][1] == result.affinities[0].values[1, 0, 1]
    assert first["mean"][0][0] is None  # a task with itself
    assert document["proposal"]["frequency"] == 0.95
    assert [each["networks"] for each in document["proposal"]["best"]] == [1, 2, 3, 4, 5]
    assert document["scored"][0]["rho"] == 0.8
    assert document["costs_flops"] == dict(result.costs)


def test_json_of_a_proposal_has_no_verdict(make_result: Make, experiment: GroupExperiment) -> None:
    document = grouping_json(make_result(5, frequencies=()), experiment, 1.0, "no time")
    assert document["verdict"] is None
    assert document["options"] == []
    assert document["unverified_reason"] == "no time"
    assert document["proposal"]["frequency"] is None


def test_csv_has_a_row_for_each_option_and_task(make_result: Make) -> None:
    result = make_result(5, "grouping")
    rows = list(csv.DictReader(io.StringIO(grouping_csv(result))))
    assert [(row["option"], row["task"]) for row in rows] == [
        (option.name, target.target)
        for option in result.options
        for target in option.candidate.targets
    ]
    target = result.options[1].candidate.targets[0]
    row = rows[5]
    found = paired(list(target.gains.values()))
    assert (float(row["gain_mean"]), float(row["gain_low"])) == (found.mean, found.low)
    assert (row["group"], row["word"]) == ("gender+colour+usage", "gains")


def test_a_task_without_any_score_is_told_and_breaks_nothing(
    make_result: Make, experiment: GroupExperiment, tmp_path: Path
) -> None:
    result = make_result(5, "grouping")
    options = []
    for option in result.options:
        first = replace(
            option.candidate.targets[0],
            gains={},
            margin=math.nan,
            reference=math.nan,
            excluded="no run has a score",
        )
        targets = (first, *option.candidate.targets[1:])
        options.append(replace(option, candidate=replace(option.candidate, targets=targets)))
    changed = replace(result, options=tuple(options))
    assert set(write_grouping(changed, experiment, tmp_path, margin=1.0)) == FILES
    row = next(csv.DictReader(io.StringIO(grouping_csv(changed))))
    assert (row["gain_mean"], row["word"], row["seeds"]) == ("", "no verdict", "0")


def test_hostile_names_are_text_in_every_file(
    hostile: GroupingResult, experiment: GroupExperiment, tmp_path: Path
) -> None:
    files = write_grouping(hostile, experiment, tmp_path, margin=1.0)
    for name, path in files.items():
        if path.suffix != ".png":
            text = path.read_text("utf-8")
            assert "\x1b" not in text, name
            assert "\u202e" not in text, name
            assert "##[" not in text, name
    page = files["report.html"].read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert len(re.findall("<script>", page)) == 1  # the page's own
    markdown = files["table.md"].read_text("utf-8")
    for line in markdown.splitlines():
        if not line.startswith("|"):
            assert "<script>" not in re.sub(r"`[^`]*`", "", line)
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert all(re.search(r"(?<!\\)\|$", line) for line in table)
    cells = [
        cell
        for row in csv.reader(io.StringIO(files["table.csv"].read_text("utf-8")))
        for cell in row
    ]
    assert "'=cmd|'/c calc'!A0" in cells
    assert not any(cell.startswith(("=", "@")) for cell in cells)


def test_markdown_shows_options_and_folds_the_rest_away(
    make_result: Make, experiment: GroupExperiment
) -> None:
    text = grouping_markdown(
        make_result(5, "grouping"), experiment, {"front.png": "Groupings"}, 1.0
    )
    shown, _, folded = text.partition("## More")
    assert "**grouping.** Two networks" in shown
    assert "| **grouping** | 2 | +1.88 [" in shown
    assert "| `gender` | -6 [-6.33, -5.67], loses |" in shown
    assert "![Groupings](front.png)" in shown
    for title in ("Cost of use", "Predicted groupings", "How sure the proposal is", "Settings"):
        assert f"<summary>{title}</summary>" in folded
    assert "| at most networks | 3 |" in folded
    assert "| `pairs` | +0.80 [+0.50, +0.93] | 3 | 15 TFLOPs | 3.8 % |" in folded
