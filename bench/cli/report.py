"""Writes the reports of experiments and shows them. Needs no torch, so that it begins at once."""

import traceback
from collections.abc import Mapping
from pathlib import Path

from bench.api.found import Found, read_records
from bench.api.groups import GroupReport
from bench.clean import printable
from bench.cli.console import console, open_page
from bench.cli.group import show_groups
from bench.cli.progress import working
from bench.errors import EXIT_DEFECT, EXIT_OK, EXIT_RUNS_FAILED, EXIT_USAGE, UserError, note, say
from bench.report import level_table, stall, terminal_table, tuning_note
from bench.report.selection import MOST_PAIRS, extremes
from bench.store.records import Declaration, Record
from bench.store.store import Store


def report_experiment(
    store: Store,
    declaration: Declaration,
    records: Mapping[str, Record],
    as_json: bool,
    shown: bool = True,
) -> int:
    """Write the report of an experiment, show it if so; return the exit code that it deserves."""
    with working(f"drawing the report of {declaration.experiment.name}"):
        report = Found.of(store, declaration, records).written()
    if not shown:
        note(f"its report is {report.files['report.html']}")
    elif as_json:
        print(report.files["gains.json"].read_text("utf-8"), end="")
    else:
        for line in report.decisions[:MOST_PAIRS]:
            console().print(printable(line), soft_wrap=False, style="bold")
        if (more := len(report.decisions) - MOST_PAIRS) > 0:
            note(f"note: {more} more decision{'s' * (more > 1)}: table.md has all")
        shown_rows = extremes(report.results)
        console().print(terminal_table(shown_rows.of(report.results)))
        if report.over_levels:
            over = report.over_levels
            console().print(level_table(extremes([row.rows[-1] for row in over]).of(over)))
        if shown_rows.remark:
            note(f"note: shown are {shown_rows.remark}; table.md and table.csv have all")
        print(f"page, table, data and plots (each .svg too) in {report.folder}:")
        plots = (name for name in report.files if name.endswith(".png"))
        for name in ("report.html", "table.md", *plots):
            print(f"  {report.files[name]}")
    if report.tuning:
        note(f"note: {tuning_note(report.tuning)}; table.md has them all")
    # A trial that diverges has found the end of its range; one that fails is a fault as any.
    failed = {k for k in declaration.tuning_keys if (r := records.get(k)) and r.status == "failed"}
    known = ((key, record) for key, record in records.items() if record.status != "ok")
    for record in [r for key, r in known if key in declaration.keys | failed]:
        say(f"{record.status}: {record.spec.label}, seed {record.spec.seed}: {record.reason}")
    worst = max(report.results, key=lambda row: row.stall, default=None)
    if worst is not None and (text := stall(worst)):
        note(f"note: {worst.strategy} on {worst.pair}: {text}")
    if lost := [name for name, path in report.files.items() if not path.is_file()]:
        say(f"error: of the report in {report.folder} is missing: {', '.join(lost)}")
    for plot, why in report.faults.items():
        say(f"error: the plot '{plot}' could not be drawn, which is a defect of bench: {why}")
    if report.faults or lost:
        return EXIT_DEFECT
    return EXIT_RUNS_FAILED if failed or report.runs.ok < report.runs.planned else EXIT_OK


def report_all(results: Path, name: str | None, as_json: bool, opens: bool = False) -> int:
    """Report the experiments of a folder, or the one that is named; return the exit code.

    Their pages are shown in a browser, if it `opens` them. An experiment that cannot be reported
    costs no other its report. As JSON, one that is named is the document; else the document has a
    list of all that there are.
    """
    store = Store(results, read_only=True)
    store.sweep()
    groups = store.groups()
    if name in groups:
        return show_groups(GroupReport(groups[name], store), as_json, opens=opens)
    listed = as_json and name is None
    declarations = _declared(store, name, bool(groups))
    broken = store.news()
    for line in broken:
        say(f"error: {line}")
    code = EXIT_USAGE if broken else EXIT_OK
    documents = []
    for declaration in declarations:
        title, planned = declaration.experiment.name, declaration.keys | declaration.tuning_keys
        records = read_records(store, declaration)
        for line in store.news():
            note(f"note: {line}")
        if missing := len(planned) - len(records):
            note(
                f"note: {missing} of {len(planned)} runs of {title} are missing; run it to add them"
            )
        try:
            found = report_experiment(store, declaration, records, as_json, not listed)
            code = max(code, found)
            if opens:
                open_page(store.root / "reports" / title / "report.html")
            for line in store.news():  # of scores of images, which are read last
                note(f"note: {line}")
            if listed:
                documents.append((store.root / "reports" / title / "gains.json").read_text("utf-8"))
        except UserError:
            raise
        except Exception:
            traceback.print_exc()
            say(f"error: '{title}' could not be reported, which is a defect of bench")
            code = EXIT_DEFECT
    asked = []
    for each in groups.values() if name is None else ():
        report = GroupReport(each, store)
        code = max(code, show_groups(report, as_json, not listed, opens))
        if listed:
            asked.append((report.folder / "grouping.json").read_text("utf-8"))
    if listed:
        groups_too = f', "groups": [\n{",".join(asked)}]' if asked else ""
        print(f'{{"experiments": [\n{",".join(documents)}]{groups_too}}}')
    return code


def _declared(store: Store, name: str | None, groups: bool) -> list[Declaration]:
    """Return the experiments of a folder, or the one that is named.

    A folder with questions of groups needs no experiment. Raises `UserError`.
    """
    if name is not None:
        return [store.experiment(name)]
    return store.declarations() if groups else store.experiments()
