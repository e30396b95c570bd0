"""Writes the reports of experiments and shows them. Needs no torch, so that it begins at once."""

import traceback
from collections.abc import Mapping
from pathlib import Path

from bench.clean import printable
from bench.cli.console import console
from bench.cli.progress import working
from bench.errors import EXIT_DEFECT, EXIT_OK, EXIT_RUNS_FAILED, EXIT_USAGE, UserError, note, say
from bench.report import Report, level_table, stall, terminal_table, tuning_note, write_report
from bench.report.selection import MOST_PAIRS, extremes
from bench.store.records import Declaration, Record
from bench.store.store import Store, reading_many


def _smaller(store: Store, declaration: Declaration) -> list[Declaration]:
    """Return the declarations of an experiment at its smaller levels, as far as there are any."""
    *smaller, _ = declaration.experiment.levels
    known = {found.experiment.name: found for found in store.experiments()} if smaller else {}
    return [known[one.name] for one in smaller if one.name in known]


def _folder(store: Store, declaration: Declaration) -> Path:
    return store.root / "reports" / declaration.experiment.name


def read_records(store: Store, declaration: Declaration) -> dict[str, Record]:
    """Return the records of an experiment that there are by key, trials of tuning included."""
    find = store.reader(declaration)
    with reading_many():
        return {
            key: record
            for key in declaration.keys | declaration.tuning_keys
            if (record := find(key)) is not None
        }


def made_report(store: Store, declaration: Declaration, records: Mapping[str, Record]) -> Report:
    """Write the report of an experiment into its folder, and return it."""
    smaller = _smaller(store, declaration)

    others = [store.reader(each) for each in smaller]
    others += [store.load] if declaration.pilot else []

    def find(key: str) -> Record | None:
        return records.get(key) or next((r for other in others if (r := other(key))), None)

    folder = _folder(store, declaration)
    with working(f"drawing the report of {declaration.experiment.name}"):
        return write_report(
            declaration, find, folder, lambda key: store.examples(records[key]), smaller
        )


def report_experiment(
    store: Store,
    declaration: Declaration,
    records: Mapping[str, Record],
    as_json: bool,
    shown: bool = True,
) -> int:
    """Write the report of an experiment, show it if so; return the exit code that it deserves."""
    report = made_report(store, declaration, records)
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
    declarations = store.experiments() if name is None else [store.experiment(name)]
    broken = store.news()
    for line in broken:
        say(f"error: {line}")
    code = EXIT_USAGE if broken else EXIT_OK
    listed = as_json and name is None
    documents = []
    for declaration in declarations:
        title = declaration.experiment.name
        records = read_records(store, declaration)
        for line in store.news():
            note(f"note: {line}")
        every = declaration.keys | declaration.tuning_keys
        if missing := len(every) - len(records):
            note(f"note: {missing} of {len(every)} runs of {title} are missing; run it to add them")
        try:
            found = report_experiment(store, declaration, records, as_json, not listed)
            code = max(code, found)
            if opens:
                _open(_folder(store, declaration) / "report.html")
            for line in store.news():  # of scores of images, which are read last
                note(f"note: {line}")
            if listed:
                documents.append((_folder(store, declaration) / "gains.json").read_text("utf-8"))
        except UserError:
            raise
        except Exception:
            traceback.print_exc()
            say(f"error: '{title}' could not be reported, which is a defect of bench")
            code = EXIT_DEFECT
    if listed:
        print(f'{{"experiments": [\n{",".join(documents)}]}}')
    return code


def _open(page: Path) -> None:
    """Show a page in the browser of this machine."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        say(f"no browser was found: open {page} yourself")
