"""Carries out `export`: makes the report of an experiment anew, and hands it to an exporter."""

from pathlib import Path

from bench.api.found import Found, read_records
from bench.cli.progress import working
from bench.errors import EXIT_DEFECT, EXIT_OK, note, say
from bench.export import exporter, gather, write_export
from bench.store.store import Store


def export(results: Path, name: str, to: str, out: Path | None) -> int:
    """Write an experiment in the form of another program, and tell where; return the exit code.

    Raises `UserError` for an unknown experiment or exporter, and where a package is missing.
    """
    chosen = exporter(to)
    store = Store(results, read_only=True)
    store.sweep()
    declaration = store.experiment(name)
    records = read_records(store, declaration)
    with working(f"drawing the report of {name}"):
        report = Found.of(store, declaration, records).written()
    folder = (store.root / "reports" if out is None else out) / name / chosen.name
    exported = gather(declaration, records.get, report)
    with working(f"exporting {name} to {chosen.name}"):
        write_export(chosen, exported, folder)
    for line in store.news():
        note(f"note: {line}")
    if missing := len(declaration.keys) - len(exported.runs):
        note(f"note: {missing} of {len(declaration.keys)} runs are missing, and are not exported")
    print(f"wrote {name} to {folder}")
    print(f"open it with: {chosen.opened_by(folder)}")
    for plot, why in report.faults.items():
        say(f"error: the plot '{plot}' could not be drawn, which is a defect of bench: {why}")
    return EXIT_DEFECT if report.faults else EXIT_OK
