"""The tutorial, command by command: what it shows is what happens."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.cli.app import main

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"


@dataclass(frozen=True)
class Block:
    """A block of code with what its fence says it is."""

    language: str
    text: str


def _blocks() -> Iterator[Block]:
    for language, text in re.findall(r"```(\w*)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        yield Block(language, text)


def _said(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Run a command of the page; return its exit code and what it printed."""
    words = shlex.split(command)
    if words[:3] != ["python", "-m", "bench"] or "--name" in words:  # the one that trains
        done = subprocess.run(
            [sys.executable, *words[1:]], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr
    with pytest.raises(SystemExit) as end:
        main(words[3:])
    captured = capsys.readouterr()
    return end.value.code, captured.out + captured.err


def test_the_tutorial_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = list(_blocks())
    said = ""
    for block, shown in zip(blocks, [*blocks[1:], Block("", "")], strict=True):
        if block.language == "python":
            Path("make_toys.py").write_text(block.text)
        elif block.language == "text":
            lines = said.splitlines()
            assert [line for line in block.text.splitlines() if line not in lines] == []
        elif block.text.startswith("python "):
            for command in block.text.splitlines():
                code, said = _said(command, capsys)
                refused = shown.language == "text" and shown.text.startswith("error:")
                assert code == (2 if refused else 0), said
        elif not block.language:
            assert Path("toys/labels.csv").read_text().startswith(block.text)

    report = tmp_path / "results" / "reports" / "toys"
    rows = json.loads((report / "gains.json").read_text())["rows"]
    assert [row["target"] for row in rows] == ["shape", "colour"]
    verdicts = {
        *("transfer", "negative", "negative transfer", "equivalent", "inconclusive"),
        *("pays", "does not pay"),
    }
    assert {row["verdict"]["name"].partition(" ·")[0] for row in rows} <= verdicts
    table = (report / "table.md").read_text()
    assert (
        "<summary>Data</summary>\n\n- folder:toys/labels.csv: 319 training and 80 test images"
        in table
    )
    assert "- 1 bad image was skipped (row 8)" in table
