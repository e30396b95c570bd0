"""The LaTeX export is the report's table, in which no name acts."""

from pathlib import Path

from bench.clean import latex
from bench.export import exporter, write_export
from bench.report.text.latex import latex_table
from tests.export.conftest import EVIL, Finished


def test_the_table_is_that_of_the_report(finished: Finished, tmp_path: Path) -> None:
    chosen = exporter("latex")
    write_export(chosen, finished.exported, tmp_path / "latex")
    text = (tmp_path / "latex/table.tex").read_text("utf-8")
    assert text == latex_table(finished.exported.results)
    assert latex(f"{EVIL}cross-stitch") in text
    assert r"\input{x}" not in text
    assert str(tmp_path / "latex/table.tex") in chosen.opened_by(tmp_path / "latex")
