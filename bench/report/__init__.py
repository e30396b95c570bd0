"""What a person reads of an experiment: tables, plots and data files. No statistics."""

from bench.report.text.document import gains_json
from bench.report.text.fidelity import fidelity_markdown, fidelity_table
from bench.report.text.gate import annotations, gate_json, gate_markdown, gate_table, junit
from bench.report.text.levels import level_table
from bench.report.text.pilot import pilot_verdict
from bench.report.text.terminal import terminal_table
from bench.report.text.tuning import tuning_note
from bench.report.text.wording import amount, fold, interim_lines, stall
from bench.report.write import Report, RunCounts, write_calibration, write_report

__all__ = [
    "Report",
    "RunCounts",
    "amount",
    "annotations",
    "fidelity_markdown",
    "fidelity_table",
    "fold",
    "gains_json",
    "gate_json",
    "gate_markdown",
    "gate_table",
    "interim_lines",
    "junit",
    "level_table",
    "pilot_verdict",
    "stall",
    "terminal_table",
    "tuning_note",
    "write_calibration",
    "write_report",
]
