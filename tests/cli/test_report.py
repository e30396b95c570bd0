"""`bench report` where what was trained does not matter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.report.selection import MOST_PAIRS
from bench.speed.synthesis import fill


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    fill(root, pairs=1, strategies=2, seeds=3)
    return root


def test_a_report_that_nobody_reads_to_its_end_is_written_all_the_same(results: Path) -> None:
    command = [sys.executable, "-m", "bench", "report", "--results", str(results)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()  # as `| head` does
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert (results / "reports" / "large" / "table.md").is_file()


def test_a_report_needs_no_torch(results: Path) -> None:
    script = (
        "import sys; from bench.cli.report import report_all; from pathlib import Path;"
        "report_all(Path(sys.argv[1]), None, True); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(results)]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_as_json_all_experiments_are_one_document(tmp_path: Path) -> None:
    names = ["one", "two"]
    for name in names:
        fill(tmp_path, pairs=1, strategies=1, seeds=2, name=name)
    command = [sys.executable, "-m", "bench", "report", "--json", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    reports = json.loads(done.stdout)["experiments"]
    assert [report["experiment"]["name"] for report in reports] == names
    done = subprocess.run([*command, "one"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == reports[0]


def test_decisions_that_are_not_shown_are_counted(tmp_path: Path) -> None:
    fill(tmp_path, pairs=MOST_PAIRS + 1, strategies=1, seeds=2)
    command = [sys.executable, "-m", "bench", "report", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("Undecided for first and second") == MOST_PAIRS
    assert "note: 1 more decision: table.md has all" in done.stderr
