"""The page on Python: its examples run, and its tables have every column."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.api.frames import GAIN_COLUMNS
from bench.report.tidy import CURVE_COLUMNS, RUN_COLUMNS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/python.md").read_text("utf-8")


def test_the_examples_of_the_page_run_in_order(tmp_path: Path) -> None:
    for package in ("pandas", "cloudpickle"):
        pytest.importorskip(package)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "program.py").write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (said,) = re.findall(r"error\)  # (.+)", PAGE)
    assert said in done.stdout
    assert (tmp_path / "curves.pdf").is_file()


@pytest.mark.parametrize("columns", [RUN_COLUMNS, CURVE_COLUMNS, GAIN_COLUMNS])
def test_the_tables_of_the_page_have_every_column(columns: dict[str, str]) -> None:
    lines = re.findall(r"^\| (`.+?) \| (.+?) \|", PAGE, re.MULTILINE)
    cells = {name: kinds for names, kinds in lines for name in re.findall(r"`(\w+)`", names)}
    for name, kind in columns.items():
        assert name in cells
        assert kind in cells[name] or cells[name] == "as above", name
