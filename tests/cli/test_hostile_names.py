"""Hostile names in every command: nothing that it prints or writes is obeyed by who shows it."""

import csv
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.cli.app import main
from bench.cli.console import console
from bench.gate.baseline import write_baseline
from bench.report import annotations, gate_markdown, gate_table, junit, write_report
from bench.store.records import Declaration, Record
from bench.store.store import Store
from tests.gate.test_gate import ALONE, arm, baseline
from tests.report.conftest import World, make_world
from tests.report.test_gate import quality
from tests.test_clean import EVIL, obeyed

#: As it may stand in JSON, which has no lone surrogates.
NAME = EVIL.replace("\ud800", "")
PLUGIN = '''
from dataclasses import dataclass
from bench.contracts import Weighting
import torch.nn as nn

@dataclass(frozen=True)
class Evil(Weighting):
    """Evil."""
    name = "evil\\n::error::name"
    summary = "sums\\n::error::summary \\x1b[31m ##[error]"
    paper = "::error::paper"
    def build(self, tasks, shared):
        raise ValueError("no\\n::error::reason")
'''


def _commands_of(text: str) -> list[str]:
    """Return what is obeyed beside the annotations that the gate means to make."""
    own = ("::error title=", "::warning title=")
    return obeyed("\n".join(line for line in text.split("\n") if not line.startswith(own)))


@pytest.fixture(name="world", scope="module")
def _world() -> World:
    """A finished experiment whose tasks and strategies have hostile names."""
    pairs = ("creatures:species+kin", "creatures:species+background")
    plain = make_world(pairs, ("hard", "cross-stitch", "hard+pcgrad"), seeds=8)

    def evil(text: str) -> str:
        for name in ("species", "cross-stitch"):
            text = text.replace(name, json.dumps(f"{NAME}{name}")[1:-1])
        return text

    return World(
        Declaration.model_validate_json(evil(plain.declaration.model_dump_json())),
        {
            key: Record.model_validate_json(evil(record.model_dump_json()))
            for key, record in plain.records.items()
        },
    )


@pytest.fixture(name="results", scope="module")
def _results(tmp_path_factory: pytest.TempPathFactory, world: World) -> Path:
    folder = tmp_path_factory.mktemp("results")
    store = Store(folder)
    store.declare(world.declaration)
    for record in world.records.values():
        store.save(record, {})
    evil = baseline({NAME: arm(ALONE)}, made={"torch": NAME, NAME: "x"})
    write_baseline(evil, folder / "baselines" / "evil.json")
    return folder


@pytest.fixture(name="said")
def _said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the command line in this process; return what it says on both streams."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")  # so that names are broken into lines

    def call(*arguments: object) -> str:
        with pytest.raises(SystemExit):
            main([str(argument) for argument in arguments])
        return "\n".join(capsys.readouterr())

    return call


@pytest.mark.parametrize(
    "command",
    [
        "report --results",
        "report --json --results",
        "export made-up --to csv --results",
        "power --results",
        "power --json --results",
        "baseline show --results",
        "baseline show --json --results",
        "baseline show evil --results",
        "baseline show evil --json --results",
        "baseline set made-up --results",
        "check --baseline evil --results",
    ],
)
def test_names_in_files_are_not_obeyed(
    said: Callable[..., str], results: Path, command: str
) -> None:
    text = said(*command.split(), results)
    assert text.strip()
    assert not obeyed(text)


@pytest.mark.parametrize(
    "command",
    [
        "run -p",
        "run -s",
        "run --network",
        "run --launcher",
        "run --name",
        "run --budget",
        "run --reference",
        "run --also-against",
        "run --workers",
        "run --results /proc --name x -p",
        "run",
        "run smoke",
        "run --seeds",
        "fidelity -p",
        "calibrate -p",
        "report",
        "report --results",
        "export default --to",
        "export --to csv",
        "power --name",
        "list",
        "list pairs",
        "new strategy",
        "validate",
        "check --baseline",
        "compare main",
        "baseline show",
        "baseline set",
        "speed --only",
        "nothing",
    ],
)
def test_what_a_user_types_is_not_obeyed(said: Callable[..., str], command: str) -> None:
    text = said(*command.split(), EVIL)
    assert text.strip()
    assert not obeyed(text)


@pytest.mark.parametrize(
    "line",
    [
        'pair = "{}:a+b"',
        'pair = "creatures:{}+b"',
        'pair = "folder:/tmp/{}/labels.csv:a+b"',
        'pair = "creatures"\nstrategy = "hard+{}"',
        'pair = "creatures"\nnetwork = "{}"',
        'pair = "creatures"\n"{}" = 1',
        'pair = "creatures"\n"{}-a" = 1\n"{}_a" = 1',
        'pair = "creatures"\ndescription = 3\nname = "{}"',
        'pair = "creatures"\naugment = "{}"',
        'pair = "creatures"\nbudget = "{}"',
    ],
)
def test_keys_and_values_of_an_experiment_are_not_obeyed(
    said: Callable[..., str], tmp_path: Path, line: str
) -> None:
    text = line.replace("{}", json.dumps(NAME)[1:-1])
    for key, value in (("strategy", "hard"), ("budget", "5steps")):
        text += f'\n{key} = "{value}"' if f"\n{key}" not in text else ""
    (tmp_path / "evil.toml").write_text(text)
    found = said("run", "evil.toml")
    assert found.startswith("\nerror: ")
    assert not obeyed(found)


def test_a_plugins_words_are_not_obeyed(tmp_path: Path) -> None:
    for name, source in (("evil", PLUGIN), ("sick", 'raise ValueError("\\n::error::reason")')):
        (tmp_path / "strategies").mkdir(exist_ok=True)
        (tmp_path / "strategies" / f"{name}.py").write_text(source)
    environment = {**os.environ, "BENCH_PLUGINS": str(tmp_path), "COLUMNS": "60"}
    said = {}
    for command in ("list strategies", "list strategies --json", "validate evil sick"):
        done = subprocess.run(
            [sys.executable, "-m", "bench", *command.split()],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said[command] = done.stdout + done.stderr
        assert not obeyed(said[command]), command
    assert "cannot be typed" in said["list strategies"]
    assert "reason" in said["list strategies"]


def test_every_file_of_a_report_takes_a_hostile_name(world: World, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        report = write_report(world.declaration, world.find, tmp_path)
    assert not report.faults
    assert not [str(each.message) for each in warned if obeyed(str(each.message))]
    for name in ("report.html", "table.md", "summary.txt", "gains.json", "table.csv"):
        text = report.files[name].read_text("utf-8")
        assert "pwned" in text
        assert not obeyed(text), name
    for line in report.files["table.md"].read_text("utf-8").splitlines():
        assert "<b" not in line.replace("`", "").replace("\\<b", "") or "`" in line
    for row in csv.reader(io.StringIO(report.files["table.csv"].read_text("utf-8"))):
        for cell in row:
            assert not cell.startswith(("=", "@", "\t", "\r"))
    for name in (name for name in report.files if name.endswith(".svg")):
        ElementTree.parse(report.files[name])


def test_every_medium_of_the_gate_takes_a_hostile_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    findings = [quality("FAIL", name=NAME, quantity="score", sentence=NAME, remark=NAME)]
    console().print(gate_table(findings))
    assert not obeyed(capsys.readouterr().out)
    (line,) = annotations(findings)
    assert line.startswith("::error title=FAIL")
    assert not _commands_of(line)
    (case,) = ElementTree.fromstring(junit(NAME, findings)).iter("testcase")
    assert not obeyed(case.attrib["classname"])
    page = gate_markdown(NAME, findings, [NAME])
    assert not obeyed(page)
    assert "<b" not in page.replace("\\<", "")


def test_what_a_library_warns_of_is_not_obeyed(
    said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shout(*_: object) -> int:
        print(EVIL)
        sys.stderr.write(EVIL + "\n")
        raise ValueError(EVIL)  # a defect, whose traceback is shown

    monkeypatch.setattr("bench.cli.report.report_all", shout)
    text = said("report")
    assert text.count("pwned") >= 3
    assert not obeyed(text)
