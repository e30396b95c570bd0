"""The report as one HTML file that opens from a disk and asks for nothing else."""

from bench.report.page.page import html_page

__all__ = ["html_page"]
