"""What the pages say is what happens."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.spec.experiment import load_experiment
from bench.store.records import ANCHORS

ROOT = Path(__file__).parents[1]


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


def test_the_example_plugins_of_the_page_on_extending_run(tmp_path: Path) -> None:
    files = ["strategies/quiet.py", "networks/patches.py", "datasets/forms.py", "launch/diary.py"]
    files += ["export/lines.py"]
    for name, source in zip(files, _blocks("docs/extending.md", "python"), strict=True):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(source)
    arguments = "-p forms -s quiet@0.1 -s hard --seeds 1 --budget 40steps --train-size 200 --json"
    arguments += " --launcher diary@file=notes.txt --network patches@5"

    def bench(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bench", *command],
            cwd=tmp_path,
            env={**os.environ, "BENCH_PLUGINS": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = bench("run", *arguments.split())
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["strategy"] for row in rows} == {"hard", "hard+quiet@factor=0.1"}
    assert all(row["failed"] == 0 for row in rows)
    keys = sorted(path.parent.name for path in tmp_path.glob("results/runs/*/*/run.json"))
    assert sorted((tmp_path / "notes.txt").read_text().split()) == keys
    done = bench("export", "custom", "--to", "lines@file=best.txt")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "results/reports/custom/lines/best.txt").read_text().splitlines()
    assert lines == [f"{row['pair']} {row['strategy']} {row['verdict']['name']}" for row in rows]


def _rows(name: str) -> list[str]:
    """Return the rows of a committed reference report as the pages have them."""
    report = json.loads((ROOT / "results/reference" / name / "gains.json").read_text("utf-8"))
    lines = []
    for row in report["rows"]:
        cells = [f"`{row['pair'].partition(':')[2]}` → {row['target']}", f"`{row['strategy']}`"]
        cells.append(" / ".join(map(str, row["against"]["full"]["steps"])))
        for anchor in ("same-steps", "full", "split"):
            found = row["against"].get(anchor)
            half = found and (found["interval_95"][1] - found["interval_95"][0]) / 2
            cells.append(f"{found['mean']:+.1f} ± {half:.1f}" if found else "–")
        lines.append(f"| {' | '.join(cells)} | {row['verdict']['name']} |")
    return lines


def test_the_readme_shows_committed_rows_with_their_steps() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = [line for line in readme.splitlines() if line.startswith("| `species")]
    assert len(shown) == 5
    assert set(shown) <= set(_rows("default"))


def test_the_page_on_validation_shows_the_committed_results() -> None:
    assert "\n".join(_rows("multimnist")) in (ROOT / "docs/validation.md").read_text("utf-8")


def test_the_readme_is_short_and_says_what_anchors_are_before_the_first_table() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.encode()) <= 7000
    before = readme.partition("\n|")[0]
    assert all(f"- `{anchor}`: " in before for anchor in ANCHORS)


def test_the_page_on_speed_quotes_the_committed_measurements() -> None:
    path = ROOT / "results/reference/speed/speed.json"
    tables = {t["name"]: t["rows"] for t in json.loads(path.read_text("utf-8"))["tables"]}

    def of(library: str, **more: str) -> list[float]:
        mine = {"library": library, "precision": "fp32", "cores": "all"} | more
        rows = [row for row in tables["peers"] if mine.items() <= row.items()]
        return [row["ratio"]["value"] for row in rows]

    def span(found: list[float]) -> str:
        return f"{min(found):.1f} to {max(found):.1f}"

    def each(found: list[float]) -> str:
        return ", ".join(f"{value:.1f}" for value in found)

    by_hand = [row["ratio"]["value"] for row in tables["step"]]
    _, once, own = tables["matrix"]
    lenet, narrow, wide = (f"{100 * row['share']:.0f}" for row in tables["machine"])
    _, of_narrow, of_wide = (f"{100 * row['bound']:.0f}" for row in tables["machine"])
    last = {row["what"]: row for row in tables["growth"]}.values()
    exponents = [row[key] for row in last for key in ("time exponent", "memory exponent")]
    parts = {row["part"]: f"{100 * row['share']:.1f}" for row in tables["overhead"]}
    steps, evaluation, run, start, _, outside = parts.values()
    first, *_, decided = tables["verdict"]
    large, small, train = tables["photographs"]
    page = " ".join((ROOT / "docs/performance.md").read_text("utf-8").split())
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    for said in (
        f"A training step takes {min(by_hand):.2f} to {max(by_hand):.2f} times as long",
        f"LibMTL {span(of('LibMTL'))} and TorchJD {span(of('TorchJD'))} times",
        f"uniform {each(of('LibMTL', method='uniform'))}; "
        f"PCGrad {each(of('LibMTL', method='PCGrad'))}",
        f"LibMTL {once['ratio']:.1f} times as long run by run, and {own['ratio']:.1f} times",
        f"{narrow} and {wide} % of the processor's float32 peak on the ResNets, {lenet} % on LeNet",
        f"would reach {of_narrow} % of the peak, the wide one {of_wide} %",
        f"no exponent over {max(exponents):.2f}",
        f"the command of tables 5 and 6 {float(steps) + float(evaluation):.1f} % | missed |",
        f"and {outside} % | missed |",
        f"reports are {start} %, data, networks and counted steps of each run {run} %",
        f"{decided['ratio']:.1f} times fewer core-seconds, and "
        f"{first['seconds'] / decided['seconds']:.1f} times fewer wall seconds",
        f"need {first['seeds']} of them, paired ones {decided['seeds']}",
        f"{large['torchvision']['value']:.1f} times as fast as by torchvision",
        f"| {small['torchvision']['value']:.2f} times as fast |",
        f"| {100 * train['stall']:.1f} % |",
    ):
        assert said in page
    assert f"{decided['ratio']:.1f} times fewer core-seconds" in readme


def test_the_page_on_groups_quotes_the_committed_study_and_reports() -> None:
    page = " ".join((ROOT / "docs/groups.md").read_text("utf-8").split())
    found = json.loads((ROOT / "results/reference/groups/study.json").read_text("utf-8"))
    for budget, steps in found["design"]["steps"].items():
        for method, name in (("pairs", "`pairs`"), ("look-ahead", "look-ahead"), ("cosine",) * 2):
            rows = [r for r in found["proposals"] if (r["method"], r["budget"]) == (method, budget)]
            said = Counter(row["outcome"] for row in rows)
            assert said.total() == 40
            assert f"| {name}, {steps} steps | {said['planted']} |" in page
            if (budget, method) == ("short", "pairs"):
                assert (
                    f"undecided in {said['undecided']} worlds and says `separate` in "
                    f"{said['separate']}. In {said['another grouping']} it joins" in page
                )
    for name in ("groups-multimnist", "groups-creatures"):
        report = json.loads((ROOT / f"results/reference/{name}/grouping.json").read_text("utf-8"))
        grouping = next(o for o in report["options"] if o["name"] == "grouping")
        shown = " ".join("{" + ", ".join(group) + "}" for group in grouping["groups"])
        assert shown in page
        delta = grouping["delta_m"]
        if report["verdict"]["choice"] == "grouping":
            assert f"Δm {delta['mean']:+.1f} % [{delta['low']:+.1f}, {delta['high']:+.1f}]" in page


def test_the_committed_results_are_of_the_shipped_experiments() -> None:
    for name in ("default", "multimnist", "relatedness", "linear", "teachers", "calibration"):
        committed = load_experiment(str(ROOT / "results/reference" / name / "experiment.toml"), {})
        assert committed == load_experiment(name, {})


def test_every_local_link_and_picture_of_the_pages_exists() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} → {target}"


def _flags(*commands: list[str], capsys: pytest.CaptureFixture[str]) -> set[str]:
    known = set()
    for command in commands:
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        known |= set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    return known


def test_every_flag_in_the_readme_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    known = _flags(["run"], ["plan"], ["check"], ["list"], capsys=capsys)
    commands = "\n".join(_blocks("README.md", "(?:bash)?"))
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", commands))
    assert {"--baseline", "--within"} <= used <= known


def test_every_flag_of_the_page_on_ci_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    known = _flags(["check"], ["compare"], ["baseline", "set"], capsys=capsys)
    workflow = (ROOT / "docs/examples/bench.yml").read_text("utf-8").splitlines()
    lines = (ROOT / "docs/ci.md").read_text("utf-8").splitlines()
    lines += [line for line in workflow if "python -m bench" in line]
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(lines)))
    assert used <= known
    assert {"--on-inconclusive", "--junit", "--time", "--margin"} <= used


def test_the_readme_quotes_the_campaign_of_the_page_on_faults() -> None:
    page = (ROOT / "docs/faults.md").read_text("utf-8")
    kills, faults = (
        re.search(rf"^\| \*\*all {what}\*\* \| (\d+) \| \1(?: \| 0){{5}} \|$", page, re.MULTILINE)
        for what in ("kills", "disk faults")
    )
    assert kills is not None
    assert faults is not None
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"{kills[1]} kills and {faults[1]} disk faults" in readme
    assert int(kills[1]) >= 200
    assert int(faults[1]) >= 300
