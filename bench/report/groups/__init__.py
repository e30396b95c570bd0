"""The report on groups: which tasks belong together, as text, pictures, a page and data."""

from bench.report.groups.terminal import grouping_summary, terminal_grouping
from bench.report.groups.wording import grouping_sentence
from bench.report.groups.write import write_grouping

__all__ = ["grouping_sentence", "grouping_summary", "terminal_grouping", "write_grouping"]
