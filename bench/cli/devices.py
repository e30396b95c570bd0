"""Lists the devices of this machine, and tests one."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.table import Table

from bench import accelerator
from bench.clean import printable
from bench.cli.console import console, show_json
from bench.cli.session import Session
from bench.errors import EXIT_INVALID, EXIT_OK, UserError, described, note, say
from bench.launch import WorkerPool
from bench.launch.worker import RequestError
from bench.selftest.checks import Finding
from bench.selftest.report import passed, shown, write
from bench.selftest.suite import selftest
from bench.spec.experiment import Experiment
from bench.train.devices import DeviceFacts, facts_of


def list_devices(as_json: bool) -> int:
    """Print what each device is and can; return the exit code, which says whether all answer."""
    found, why = accelerator.seen()
    devices = [accelerator.HOST, *([found] if found else [])]
    facts: dict[str, DeviceFacts | str] = {}
    with WorkerPool() as pool:
        pool.begin_answering()
        for device in devices:
            note(f"trying {device}")
            try:
                (facts[device],) = pool.ask(facts_of, device)
            except (UserError, RequestError) as error:
                facts[device] = described(error)
    if as_json:
        show_json(
            [
                {"device": device, "fault": told} if isinstance(told, str) else asdict(told)
                for device, told in facts.items()
            ]
        )
    else:
        console().print(_table(facts))
    if why:
        say(f"note: no accelerator: {why}")
    return EXIT_INVALID if any(isinstance(told, str) for told in facts.values()) else EXIT_OK


def _table(facts: Mapping[str, DeviceFacts | str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, leading=1)
    for column in ("device", "name", "memory", "precision", "in no fixed order"):
        table.add_column(column, no_wrap=column == "device", overflow="fold")
    for device, told in facts.items():
        if isinstance(told, str):
            table.add_row(device, printable(told))
            continue
        name = told.name if told.count == 1 else f"{told.count} × {told.name}"
        table.add_row(
            device,
            printable(name),
            _memory(told),
            "\n".join(f"{kind} {said}" for kind, said in told.precisions.items()),
            "\n".join(told.unordered) or "–",
        )
    return table


def _memory(facts: DeviceFacts) -> str:
    if facts.free is None or facts.total is None:
        return "not told"
    return f"{facts.total / 2**30:.1f} GiB\n{facts.free / 2**30:.1f} free"


def try_device(asked: str, experiment: Experiment, session: Session, as_json: bool) -> int:
    """Test a device with an experiment, show and write what was found; return the exit code."""
    device = accelerator.resolve(asked)
    folder = session.results / f"selftest-{device.replace(':', '-')}"
    findings: dict[str, Finding] = {}
    with WorkerPool(None, session.worker_count) as pool:
        pool.begin_answering()
        for name, finding in selftest(
            device,
            experiment,
            session.source,
            folder,
            pool.ask,
            session.worker_count,
            note,
        ):
            findings[name] = finding
    files = write(device, findings, folder)
    if as_json:
        print(Path(files["selftest.json"]).read_text("utf-8"), end="")
    else:
        _show(findings)
        print(f"{device} {'passes' if passed(findings) else 'fails'}: {files['selftest.md']}")
    return EXIT_OK if passed(findings) else EXIT_INVALID


def _show(findings: Mapping[str, Finding]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("check", "outcome", "found", "figures"):
        table.add_column(column, overflow="fold", no_wrap=column == "outcome")
    for name, finding in findings.items():
        figures = "\n".join(f"{key}: {shown(value)}" for key, value in finding.figures.items())
        table.add_row(printable(name), finding.outcome, printable(finding.said), figures)
    console().print(table)
