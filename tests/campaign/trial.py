"""One fault: try it on a command, run the command again undisturbed, and look at what is left."""

import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import (
    EXIT_INTERRUPTED,
    EXIT_LAUNCHER,
    EXIT_OK,
    EXIT_RUNS_FAILED,
    EXIT_USAGE,
)
from tests.campaign import checks
from tests.campaign.commands import Running, start
from tests.campaign.faults import Fault, error_number, signal_number
from tests.campaign.scenarios import Scenario, set_up
from tests.campaign.shim import Plan

#: How a disturbed command may end of itself. 1 and 3 mean something else, and 70 is a defect.
CODES = {EXIT_OK, EXIT_USAGE, EXIT_RUNS_FAILED, EXIT_LAUNCHER, EXIT_INTERRUPTED}
#: Seconds that a command may take, a second Ctrl-C may, and what it started may outlive it.
LIMIT, AT_ONCE, GRACE = 120.0, 10.0, 5.0
#: How often the command is run again.
TRIES = 2


@dataclass
class Outcome:
    """What became of a fault."""

    number: int
    group: str
    title: str
    where: str
    reached: bool
    """Whether the moment came at all; if not, nothing was tried."""
    kills: bool
    code: int | None = None
    wrong: list[str] = field(default_factory=list)
    """What else is not as it should be: exit codes, tracebacks, hangs."""
    lost: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0
    said: str = ""

    @property
    def survived(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.wrong or self.lost or self.differing or self.orphans or self.left)

    def document(self) -> dict[str, Any]:
        """Return it for a line of JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """Where trials take place, and what their commands leave when they are not disturbed."""

    scratch: Path
    experiments: Path
    references: dict[str, checks.Reference]

    def whole(self, scenario: Scenario) -> Path:
        """Return the results folder that an undisturbed scenario leaves."""
        return self.scratch / "reference" / scenario.name / "results"

    def arguments(self, scenario: Scenario) -> list[str]:
        """Return the arguments of a command."""
        return [
            str(self.experiments / part) if part.endswith(".toml") else part
            for part in scenario.arguments
        ]


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a file system of so many bytes on a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def can_mount(scratch: Path) -> bool:
    """Return whether small disks can be made here."""
    try:
        with small_disk(scratch / "disk", 4096):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def tried(fault: Fault, bench: Bench, seed: int) -> Outcome:
    """Try a fault in a folder of its own."""
    began = time.monotonic()
    folder = bench.scratch / f"{fault.number}"
    folder.mkdir()
    outcome = Outcome(fault.number, fault.group, str(fault), fault.where, True, fault.kills)
    try:
        if fault.size:
            results = folder / "results"
            with small_disk(results, fault.size):
                _try(fault, bench, folder, outcome, seed)
        else:
            _try(fault, bench, folder, outcome, seed)
    finally:
        outcome.seconds = time.monotonic() - began
        if outcome.survived:
            shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _try(fault: Fault, bench: Bench, folder: Path, outcome: Outcome, seed: int) -> None:
    results = folder / "results"
    rng = random.Random(f"{seed} {fault.number}")
    set_up(fault.state, bench.whole(fault.scenario), results, rng)
    before = checks.records(results)
    arguments = bench.arguments(fault.scenario)
    plan = Plan.new(folder / "plan")
    if fault.moment is not None:
        fault.moment.arm(
            plan,
            signal_number(fault.what) if fault.kills else error_number(fault.what),
            signals=fault.kills,
            group=fault.target == "group",
            lasts=fault.lasts,
        )
    drawn = fault.scenario.drawn
    command = start(arguments, folder, folder / "plan", plain=fault.plain, drawn=drawn)
    try:
        outcome.reached = _deliver(fault, command, plan, outcome)
        _ended(fault, command, outcome)
    finally:
        command.end()
    if not outcome.reached:
        return
    found = checks.records(results)
    outcome.lost += checks.lost(before, found) + checks.torn(found)
    if outcome.code == EXIT_OK:
        said = checks.differing(results, bench.references[fault.scenario.name])
        outcome.wrong += [f"exit 0, and {line} differs" for line in said]
    if fault.size:  # somebody frees space
        subprocess.run(["mount", "-o", "remount,size=64m", str(results)], check=True)
    _again(fault, bench, folder, outcome)
    outcome.lost += checks.lost(found, checks.records(results))
    reference = bench.references[fault.scenario.name]
    outcome.differing += checks.differing(results, reference)
    outcome.left += checks.left(results, folder / "tmp", reference)


def _deliver(fault: Fault, command: Running, plan: Plan, outcome: Outcome) -> bool:
    """Do to a command what the fault is; return whether there was an occasion."""
    if fault.size:
        command.wait(LIMIT)
        return command.code != EXIT_OK
    if fault.moment is not None:
        command.wait(LIMIT, until=lambda: bool(plan.fired))
        reached = bool(plan.fired)
    else:
        words = dict(fault.scenario.marks).get(fault.stage, "")
        command.wait(LIMIT, until=lambda: words in command.said and (plan.begun or not fault.plain))
        command.wait(fault.after)
        reached = not command.ended() and (fault.target != "worker" or bool(command.workers()))
        if reached:
            command.send(signal_number(fault.what), fault.target)
    if reached and fault.what.endswith("twice"):
        command.wait(0.05 + fault.number % 7 / 10)
        command.send(signal.SIGINT, fault.target)
        if not command.wait(AT_ONCE):
            outcome.wrong.append("the second Ctrl-C did not end it")
    return reached


def _ended(fault: Fault, command: Running, outcome: Outcome) -> None:
    """Wait for the end of a disturbed command, and note how it ended."""
    if not command.wait(LIMIT):
        outcome.wrong.append(f"it hangs for {LIMIT:g} s")
    outcome.orphans += command.orphans(GRACE)
    outcome.code, outcome.said = command.code, command.said[-3000:]
    usual = CODES
    if fault.kills and fault.target != "worker":
        usual = CODES | {-signal_number(fault.what)}
        if fault.what.startswith("SIGINT"):
            usual = {EXIT_OK, EXIT_INTERRUPTED}
    if outcome.code not in usual:
        outcome.wrong.append(f"exit code {outcome.code}")
    if "Traceback" in command.said:
        outcome.wrong.append("a traceback")


def _again(fault: Fault, bench: Bench, folder: Path, outcome: Outcome) -> None:
    """Run the command again, undisturbed, until it ends well."""
    for number in range(TRIES):
        path = folder / f"plan-{number}"
        Plan.new(path)
        command = start(bench.arguments(fault.scenario), folder, path, drawn=False)
        command.wait(LIMIT)
        orphans = command.orphans(GRACE)
        outcome.orphans += orphans
        path.unlink()
        if command.code == EXIT_OK:
            return
    outcome.wrong.append(f"exit code {command.code} when run again: {command.said[-500:]}")
