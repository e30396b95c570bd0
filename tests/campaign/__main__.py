"""Tries faults on `python -m bench` for some minutes, in a seeded order, and ends in a table.

    python -m tests.campaign --minutes 30 --seed 0

Each fault is tried on a tiny experiment. The command is then run again undisturbed, and all that it
leaves is compared with a campaign that nothing disturbed. It needs Linux and a C compiler, and for
small disks the right to mount one.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from tests.campaign import shim
from tests.campaign.checks import Reference
from tests.campaign.commands import adopt_orphans, start, warm_up
from tests.campaign.faults import Counts, Fault, faults
from tests.campaign.scenarios import SCENARIOS, set_up, write_experiments
from tests.campaign.shim import Plan
from tests.campaign.table import faults_told, places, survived, table
from tests.campaign.trial import LIMIT, Bench, can_mount, tried

ROOT = Path(__file__).parents[2]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="time for faults")
    parser.add_argument("--seed", type=int, default=0, help="of the order of faults")
    parser.add_argument("--side-by-side", type=int, default=2, help="faults at once")
    parser.add_argument("--most", type=int, default=10**6, help="end after so many faults")
    parser.add_argument("--first", type=int, default=0, help="number of the first fault")
    parser.add_argument("--out", type=Path, help="file of outcomes, a line each; it is added to")
    parser.add_argument("--keep", action="store_true", help="keep the folders of what failed")
    return parser.parse_args()


def main() -> None:
    """Run the campaign; exit with 1 if a fault was not survived."""
    asked = _arguments()
    if why := shim.missing():
        sys.exit(f"no campaign here: {why}")
    scratch = Path(os.environ.get("CAMPAIGN_SCRATCH") or tempfile.mkdtemp(prefix="campaign-"))
    if "CAMPAIGN_LIBRARY" not in os.environ:
        _again_with_library(scratch)
    # What a shell starts in the background ignores Ctrl-C, and so would the commands.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asked.out = asked.out or scratch / "outcomes.jsonl"
    try:
        _campaign(asked, scratch)
    finally:
        if not asked.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    outcomes = _read(asked.out)
    print(faults_told(outcomes))
    print(_about(asked, outcomes))
    print(table(outcomes))
    print(places(outcomes))
    sys.exit(not all(survived(one) for one in outcomes if one["reached"]))


def _again_with_library(scratch: Path) -> None:
    """Start this program again with the library that makes calls fail."""
    environment = shim.environment(shim.build(scratch))
    environment |= {
        "CAMPAIGN_SCRATCH": str(scratch),
        "BENCH_PLUGINS": str(ROOT / "tests/plugins"),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
    }
    os.execve(sys.executable, [sys.executable, "-m", "tests.campaign", *sys.argv[1:]], environment)


def _campaign(asked: argparse.Namespace, scratch: Path) -> None:
    bench, counts, seconds = _prepared(scratch)
    disks = os.geteuid() == 0 and can_mount(scratch)
    if not disks:
        print("no small disks: they need the right to mount one", file=sys.stderr)
    order = faults(asked.seed, counts, seconds, disks=disks)
    todo = list(islice(order, asked.first, asked.first + min(asked.most, 5000)))
    known = {one["number"] for one in _read(asked.out)}
    todo = [fault for fault in todo if fault.number not in known]
    limit = time.monotonic() + 60 * asked.minutes
    workers = [
        _forked_worker(todo[k :: asked.side_by_side], bench, asked, limit)
        for k in range(asked.side_by_side)
    ]
    try:
        for pid in workers:
            os.waitpid(pid, 0)
    except KeyboardInterrupt:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)


def _forked_worker(todo: list[Fault], bench: Bench, asked: argparse.Namespace, limit: float) -> int:
    """Fork a process that tries faults until the time is over, and writes down each outcome."""
    pid = os.fork()
    if pid:
        return pid
    adopt_orphans()
    try:
        for fault in todo:
            if time.monotonic() > limit:
                break
            outcome = tried(fault, bench, asked.seed)
            with asked.out.open("a", encoding="utf-8") as file:  # one write a line
                file.write(json.dumps(outcome.document()) + "\n")
            sign = "-" if not outcome.reached else "ok" if outcome.survived else "FAILED"
            print(f"{fault.number} {sign} {outcome.seconds:.1f} s {fault}", flush=True)
    except BaseException:
        traceback.print_exc()
    os._exit(0)


def _prepared(scratch: Path) -> tuple[Bench, Counts, dict[tuple[str, str], float]]:
    """Run every scenario undisturbed: what it leaves, how often it calls, how long it takes."""
    experiments = scratch / "experiments"
    experiments.mkdir()
    write_experiments(experiments)
    bench = Bench(scratch, experiments, {})
    adopt_orphans()
    warm = scratch / "warm"
    toy = str(experiments / "toy.toml")
    warm_up(
        (
            ["list", "strategies"],
            ["list", "datasets"],
            ["run", toy, "--workers", "0", "--results", str(warm)],
        )
    )
    counts, seconds = {}, {}
    for scenario in SCENARIOS:
        whole = bench.whole(scenario)
        whole.parent.mkdir(parents=True)
        for state in ("first", *scenario.states):
            folder = whole.parent if state == "first" else scratch / f"{scenario.name}-{state}"
            folder.mkdir(exist_ok=True)
            if state == "first" and scenario.arguments[0] == "report":
                shutil.copytree(bench.whole(SCENARIOS[0]), whole)
            elif state != "first":
                set_up(state, whole, folder / "results", random.Random(0))
            plan = Plan.new(folder / "plan")
            command = start(
                bench.arguments(scenario), folder, folder / "plan", drawn=scenario.drawn
            )
            command.wait(LIMIT)
            taken = time.monotonic() - command.began
            if command.code != 0:
                raise RuntimeError(f"{scenario.name}/{state}, undisturbed: {command.said}")
            if state == "first":
                bench.references[scenario.name] = Reference.of(whole)
                continue
            counts[scenario.name, state], seconds[scenario.name, state] = plan.calls(), taken
            print(
                f"{scenario.name}/{state}: {taken:.1f} s, {sum(plan.calls().values())} calls",
                flush=True,
            )
    return bench, counts, seconds


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _about(asked: argparse.Namespace, outcomes: list[dict[str, Any]]) -> str:
    reached = sum(one["reached"] for one in outcomes)
    return (
        f"python -m tests.campaign --minutes {asked.minutes:g} --seed {asked.seed}; "
        f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores; "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {reached} faults tried, "
        f"{len(outcomes) - reached} whose moment did not come"
    )


if __name__ == "__main__":
    main()
