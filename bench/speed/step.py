"""Tables 1 to 3: a training step against a handwritten loop, other libraries, and the machine."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import replace
from itertools import product
from time import perf_counter

from bench.spec.experiment import Precision
from bench.speed import loops, peak, peers
from bench.speed.loops import Steps, Workload
from bench.speed.settings import Method, Network, Settings
from bench.speed.tables import Column, Table, met, milliseconds, number, percent, times
from bench.speed.turns import in_turns, ratio

_NETWORK = Column("network", "network")
_PRECISION = Column("precision", "precision")
_GOAL = Column("goal", "goal", number)
_MET = Column("met", "met", met)


def by_hand(settings: Settings, process: ProcessPoolExecutor) -> Table:
    """Compare the harness's step with a handwritten loop: process time of one thread."""
    rows = list[dict[str, object]]()
    for network, precision in product(settings.networks, settings.precisions):
        work = Workload.of(settings, network, settings.methods[0], precision)
        sides = {"harness": loops.harness, "by hand": loops.by_hand}
        steps = _length(settings, process, loops.harness, work)
        taken = in_turns(
            {name: _timed(process, 1, steps, loop, work) for name, loop in sides.items()},
            settings.row_seconds,
        )
        found = ratio(taken["harness"], taken["by hand"])
        rows.append(
            {
                "network": network.label,
                "precision": precision,
                **{name: statistics.median(seconds) for name, seconds in taken.items()},
                "ratio": found,
                "rounds": len(taken["harness"]),
                "goal": settings.step_goal,
                "met": found.value <= settings.step_goal,
            }
        )
    return Table(
        "step",
        "1. A training step against a loop written by hand",
        [
            _NETWORK,
            _PRECISION,
            Column("harness", "harness (ms)", milliseconds),
            Column("by hand", "by hand (ms)", milliseconds),
            Column("ratio", "harness / by hand", times),
            Column("goal", "at most", number),
            _MET,
        ],
        rows,
        (
            "Hard sharing of two tasks; the same network, optimizer and images in one process, in "
            "process time of one thread. By hand means float images in memory, nothing recorded.",
        ),
    )


def _timed(
    process: ProcessPoolExecutor, which: int, count: int, loop: Callable[..., Steps], *work: object
) -> Callable[[], float]:
    """Return a block of a loop in another process; `which` is 0 for wall, 1 for process time."""
    return lambda: process.submit(loops.block, count, loop, *work).result()[which]


def _together(
    pool: Sequence[ProcessPoolExecutor], count: int, loop: Callable[..., Steps], *work: object
) -> Callable[[], float]:
    """Return blocks of a loop in several processes at once: wall seconds per step of them all."""

    def take() -> float:
        began = perf_counter()
        blocks = [process.submit(loops.block, count, loop, *work) for process in pool]
        wait(blocks)
        for each in blocks:
            each.result()
        return (perf_counter() - began) / (count * len(pool))

    return take


def _length(
    settings: Settings, process: ProcessPoolExecutor, loop: Callable[..., Steps], *work: object
) -> int:
    return process.submit(loops.block_length, settings.block_seconds, loop, *work).result()


# ---------------------------------------------------------------------------------- table 2

_LOOPS = {"LibMTL": peers.libmtl, "TorchJD": peers.torchjd}


def against_peers(
    settings: Settings, pool: Sequence[ProcessPoolExecutor], other: ProcessPoolExecutor
) -> Table:
    """Compare the harness's step with LibMTL's and TorchJD's: wall time, on one core and on all.

    One run: one core each. All cores: the harness has as many runs side by side as there are cores,
    which is how it runs seeds. The others run one after the other, with torch's own threads on all
    cores, which is how they do it.
    """
    rows = list[dict[str, object]]()
    known, notes = _known(other)
    for network, method in product(settings.networks, settings.methods):
        rows += _peer_rows(settings, network, method, pool, other, known, notes)
    notes.append(
        "Wall time of training steps, evaluation left out. LibMTL has no bf16: its float32 steps "
        "stand against both. One core: a thread each. All cores: the harness trains as many seeds "
        f"side by side as there are cores ({len(pool)}), the others one after the other, with "
        "torch's own threads. The goals are on all cores."
    )
    return Table(
        "peers",
        "2. Against other libraries",
        [
            _NETWORK,
            Column("method", "method"),
            _PRECISION,
            Column("library", "library"),
            Column("cores", "cores"),
            Column("harness", "harness (ms)", milliseconds),
            Column("theirs", "theirs (ms)", milliseconds),
            Column("ratio", "theirs / harness", times),
            Column("goal", "at least", number),
            _MET,
        ],
        rows,
        notes,
    )


def _known(process: ProcessPoolExecutor) -> tuple[list[str], list[str]]:
    """Return the libraries that are present, and a note on each."""
    known, notes = [], []
    for name in _LOOPS:
        try:
            notes.append(f"{process.submit(peers.found, name).result()}.")
            known.append(name)
        except peers.AbsentError as error:
            notes.append(f"{name}: {error}")
    return known, notes


def _peer_rows(
    settings: Settings,
    network: Network,
    method: Method,
    pool: Sequence[ProcessPoolExecutor],
    other: ProcessPoolExecutor,
    known: Sequence[str],
    notes: list[str],
) -> Iterator[dict[str, object]]:
    """Yield one row per precision, library and number of cores; failures elsewhere become notes."""
    cores, blocks = len(pool), dict[str, Callable[[], float]]()
    for precision in settings.precisions:
        work = Workload.of(settings, network, method, precision)
        steps = _length(settings, pool[0], loops.harness, work)
        blocks[f"harness, one core, {precision}"] = _timed(pool[0], 0, steps, loops.harness, work)
        blocks[f"harness, all cores, {precision}"] = _together(pool, steps, loops.harness, work)
        for name in known:
            if name == "LibMTL" and precision != "fp32":
                continue
            try:
                other.submit(loops.block, 1, _LOOPS[name], work).result()
            except Exception as error:  # a library may raise anything
                notes.append(
                    f"{name} fails at {network.label}, {method.label}, {precision}: {error}"
                )
                continue
            for how, threads in (("one core", 1), ("all cores", cores)):
                theirs = replace(work, threads=threads)
                blocks[f"{name}, {how}, {precision}"] = _timed(
                    other, 0, steps, _LOOPS[name], theirs
                )
    taken = in_turns(blocks, settings.row_seconds)
    for precision, name, how in product(settings.precisions, known, ("one core", "all cores")):
        own = taken[f"harness, {how}, {precision}"]
        # LibMTL has only one precision.
        among = precision if name != "LibMTL" else "fp32"
        if (seconds := taken.get(f"{name}, {how}, {among}")) is None:
            continue
        found = ratio(seconds, own)
        judged = name == "LibMTL" and how == "all cores"
        goal = network.peer_goals.get(precision) if judged else None
        yield {
            "network": network.label,
            "method": method.label,
            "precision": precision,
            "library": name,
            "cores": how.partition(" ")[0],
            "harness": statistics.median(own),
            "theirs": statistics.median(seconds),
            "ratio": found,
            "rounds": len(own),
            "goal": goal,
            "met": None if goal is None else found.value >= goal,
        }


# ---------------------------------------------------------------------------------- table 3


def against_machine(settings: Settings, process: ProcessPoolExecutor) -> Table:
    """Compare the FLOPs per second of a step with the most that a thread of this machine does."""
    rows, notes = list[dict[str, object]](), list[str]()
    known = process.submit(peak.processor).result()
    for precision in settings.precisions:
        found, told = _machine_rows(settings, precision, known, process)
        rows += found
        notes.append(told)
    return Table(
        "machine",
        "3. The machine's limit",
        [
            _NETWORK,
            _PRECISION,
            Column("flops", "GFLOP a step", lambda flops: number(flops / 1e9)),
            Column("seconds", "step (ms)", milliseconds),
            Column("rate", "GFLOP/s", lambda rate: number(rate / 1e9)),
            Column("peak", "the peak", lambda rate: number(rate / 1e9)),
            Column("share", "of it", percent),
            Column("goal", "at least", percent),
            Column("met", "met", lambda value: value if isinstance(value, str) else met(value)),
            Column("bound", "products alone", percent),
        ],
        rows,
        (
            *notes,
            "One thread. The peak is the fastest block of any of these loops, and is valid where it"
            " is no more than the processor can issue, not far below it, and no step passes it. The"
            " FLOPs of a step are those that its price counts: convolutions and products, nothing "
            "else. *Products alone* is the share of the peak that a step would reach if all but its"
            " convolutions and products took no time, and what bounds it with these kernels.",
        ),
    )


def _machine_rows(
    settings: Settings, precision: Precision, known: peak.Processor, process: ProcessPoolExecutor
) -> tuple[list[dict[str, object]], str]:
    """Return the rows of a precision, and what their peak is."""
    tried = process.submit(peak.candidates, precision, settings.product_sides).result()
    blocks = {}
    for each in tried:
        steps = _length(settings, process, each.loop, *each.arguments)
        blocks[each.name] = _timed(process, 0, steps, each.loop, *each.arguments)
    works = {
        network.label: Workload.of(settings, network, settings.methods[0], precision)
        for network in settings.networks
    }
    for label, work in works.items():
        steps = _length(settings, process, loops.harness, work)
        blocks[label] = _timed(process, 0, steps, loops.harness, work)
    taken = in_turns(blocks, settings.row_seconds)
    rates = {each.name: each.flops / min(taken[each.name]) for each in tried}
    best = max(rates, key=lambda name: rates[name])
    highest, limit = rates[best], known.limit(precision)
    rows = list[dict[str, object]]()
    for network in settings.networks:
        work, seconds = works[network.label], statistics.median(taken[network.label])
        flops = process.submit(loops.flops, work).result()
        counted = process.submit(loops.counted_seconds, work).result()
        share, goal = flops / seconds / highest, network.peak_goals.get(precision)
        rows.append(
            {
                "network": network.label,
                "precision": precision,
                "flops": flops,
                "seconds": seconds,
                "rate": flops / seconds,
                "peak": highest,
                "share": share,
                "goal": goal,
                "met": None if goal is None else share >= goal,
                "bound": flops / counted / highest,
                "in products": counted / seconds,
            }
        )
    fastest = max(row["flops"] / row["seconds"] for row in rows)  # type: ignore[operator]
    if fault := peak.fault(highest, limit, fastest):
        for row in rows:
            row["met"] = peak.INVALID
    told = ", ".join(f"{name} {number(rate / 1e9)}" for name, rate in rates.items())
    issued = (
        f"The processor issues {known.flops[precision]} FLOPs a cycle at "
        f"{known.clock / 1e9:.2f} GHz ({known.source}), {number(limit / 1e9)} GFLOP/s"
        if limit
        else "What the processor can issue is unknown"
    )
    reached = f"; the best loop, {best}, reaches {percent(highest / limit)}" if limit else ""
    return rows, f"{precision}: {issued}{reached}. {_capital(fault)}GFLOP/s by loop: {told}."


def _capital(fault: str) -> str:
    return f"{fault[:1].upper()}{fault[1:]}. " if fault else ""
