"""Table 4: how time and memory grow with the work."""

import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bench.errors import UserError
from bench.speed import loops
from bench.speed.loops import Workload
from bench.speed.settings import Growth, Network, Settings
from bench.speed.synthesis import fill
from bench.speed.tables import Column, Table, number
from bench.store.store import Store

#: How far above 1 an exponent may be and still be clock noise.
NOISE = 0.1
_HOW = (
    "An exponent is that of time or memory as a power of the work, from the size above to this "
    f"one: 1 grows as the work does, and up to {1 + NOISE:g} may be the clock's noise. Seeds and "
    "pairs are whole commands on one worker, from the start of Python to the report; pairs share "
    "equal single-task runs, so 6 have fewer than 6 times the runs of one. Seeds planned are a dry "
    "run. Images: statistics, digest, split, one epoch and evaluation. Width: one training step."
)


def growth(settings: Settings) -> Table:
    """Measure time and peak memory of growing work, each size in its own process, in turns."""
    rows, faster = list[dict[str, object]](), list[str]()
    for grown in settings.growth:
        rows += (found := _grow(settings, grown))
        for key, word in (("time exponent", "time"), ("memory exponent", "memory")):
            exponent = found[-1].get(key)
            if isinstance(exponent, float) and exponent > 1 + NOISE:
                faster.append(f"{word} of {grown.what}")
    verdict = (
        f"Grows faster than the work at the upper end: {', '.join(faster)}."
        if faster
        else "Nothing grows faster than the work."
    )
    return Table(
        "growth",
        "4. Cost as work grows",
        [
            Column("what", "what grows"),
            Column("size", "size", lambda size: f"{size:,g}"),
            Column("work", "work", lambda work: f"{work:.3g}"),
            Column("unit", "unit of work"),
            Column("seconds", "time (s)", number),
            Column("bytes", "peak memory (MB)", lambda count: number(count / 1e6)),
            Column("time exponent", "exponent of time", lambda x: f"{x:.2f}"),
            Column("memory exponent", "of memory", lambda x: f"{x:.2f}"),
        ],
        rows,
        (f"{verdict} {_HOW}{''.join(map(_filled, settings.growth))}",),
    )


def _filled(grown: Growth) -> str:
    """Return of what records a report is made."""
    if grown.what != "pairs, reported":
        return ""
    strategies, seeds = grown.filled
    return (
        " Pairs reported are `bench report` of synthetic records, of "
        f"{strategies} strategies at {seeds} seeds."
    )


def _grow(settings: Settings, grown: Growth) -> list[dict[str, object]]:
    seconds: dict[float, list[float]] = {size: [] for size in grown.sizes}
    peaks: dict[float, list[int]] = {size: [] for size in grown.sizes}
    work: dict[float, float] = {}
    unit = ""
    order = list(grown.sizes)
    for _ in range(settings.growth_rounds):
        for size in order:
            said, work[size], unit = _one(settings, grown, size)
            seconds[size].append(said["seconds"])
            peaks[size].append(int(said["bytes"]))
        order.reverse()
    rows: list[dict[str, object]] = []
    before: tuple[float, float, float] | None = None
    for size in grown.sizes:
        time, peak = statistics.median(seconds[size]), statistics.median(peaks[size])
        row: dict[str, object] = {"what": grown.what, "size": size, "work": work[size]}
        row |= {"unit": unit, "seconds": time, "bytes": peak}
        if before is not None:
            longer = math.log(work[size] / before[0])
            row["time exponent"] = math.log(time / before[1]) / longer
            row["memory exponent"] = math.log(peak / before[2]) / longer
        before = work[size], time, peak
        rows.append(row)
    return rows


def _one(settings: Settings, grown: Growth, size: float) -> tuple[dict[str, float], float, str]:
    """Return a child's measurements, the work it has done and the unit of that work."""
    if grown.what not in ("images", "width"):
        with tempfile.TemporaryDirectory() as scratch:
            return _command(grown, int(size), Path(scratch))
    network = Network(label="", name=grown.network, width=1.0, image=grown.image)
    work = Workload.of(settings, network, settings.methods[0], "fp32")
    if grown.what == "images":
        work = replace(work, pool=int(size))
        said, _ = _child("images", [json.dumps(asdict(work))])
        return said, size, "images"
    work = replace(work, width=size)
    said, _ = _child("width", [json.dumps(asdict(work))])
    return said, loops.flops(work), "FLOPs a step"


def _command(grown: Growth, size: int, folder: Path) -> tuple[dict[str, float], float, str]:
    """Return likewise what a command takes on a results folder of its own."""
    where = ["--results", str(folder)]
    if grown.what == "pairs, reported":
        runs = fill(folder, size, *grown.filled)
        said, _ = _child("command", ["report", *where])
        return said, runs, "runs"
    sized = ["--seeds", str(size)]
    if grown.what == "pairs":
        sized = [part for pair in grown.pairs[:size] for part in ("-p", pair)]
    asked = ["run", *grown.arguments, *sized, *where]
    if grown.what == "seeds, planned":
        said, printed = _child("command", [*asked, "--dry-run", "--yes", "--json"])
        return said, json.loads(printed)["total"]["runs"], "runs"
    said, _ = _child("command", asked)
    ledgers = [r.ledger for r in Store(folder, read_only=True).records() if r.ledger]
    return said, sum(ledger.used["samples"] for ledger in ledgers), "images trained on"


def _child(what: str, arguments: Sequence[str]) -> tuple[dict[str, float], str]:
    """Return what a child measures of itself, and what it has printed before."""
    line = [sys.executable, "-m", "bench.speed.child", what, *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"'{what}' failed: {done.stderr.strip()[-500:]}")
    *printed, last = done.stdout.splitlines()
    return json.loads(last), "\n".join(printed)
