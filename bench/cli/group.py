"""Carries out `bench group`, and shows what comes of it."""

from pathlib import Path

from bench.api.groups import GroupReport, Prepared, carried_out, load_groups, preview
from bench.clean import printable
from bench.cli.console import console, show_json
from bench.cli.progress import working
from bench.errors import EXIT_OK, EXIT_RUNS_FAILED, note
from bench.report.groups.terminal import terminal_grouping
from bench.store.store import Store


def group_experiment(prepared: Prepared, *, dry_run: bool = False, as_json: bool = False) -> int:
    """Train what is missing of a question of groups and show its report; return the exit code."""
    if dry_run:
        found = preview(prepared)
        if as_json:
            show_json(found.document)
        for line in () if as_json else found.lines:
            print(printable(line))
        return EXIT_OK
    declaration = carried_out(prepared)
    return show_groups(GroupReport(declaration, Store(prepared.session.results)), as_json)


def show_groups(report: GroupReport, as_json: bool, shown: bool = True) -> int:
    """Write the report of a question of groups and show it, if so; return the exit code."""
    with working(f"drawing the report of {report.name}"):
        files = report.write()
    if as_json and shown:
        print(files["grouping.json"].read_text("utf-8"), end="")
    elif shown:
        margin = report.experiment.margin
        console().print(printable(report.sentence), soft_wrap=False, style="bold")
        console().print(terminal_grouping(report.result, margin))
        print(f"page, table, data and plots (each .svg too) in {report.folder}:")
        for name in ("report.html", "table.md", *sorted(n for n in files if n.endswith(".png"))):
            print(f"  {files[name]}")
    if missing := report.missing:
        note(f"note: {missing} runs of {report.name} have no record; run it again to add them")
    return EXIT_RUNS_FAILED if missing else EXIT_OK


def report_groups(results: Path, name: str, as_json: bool) -> int:
    """Write the report of a finished question of groups again; return the exit code."""
    return show_groups(load_groups(results, name), as_json)
