"""Table 6: what a verdict costs, by the way it is usually reached and by the harness's.

The question: which of several strategies changes the score of either task of a pair, against
single-task networks of equal budget? The gain to be found and the chance of an error are the same
for all ways. How many seeds each needs follows from the spread between seeds, which is measured.
"""

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from scipy import special, stats

from bench.contracts import DataSource
from bench.plan.plan import make_plan
from bench.spec.experiment import RunSpec, load_experiment
from bench.speed import peers
from bench.speed.matrix import classes, command, libmtl_runs
from bench.speed.settings import Settings
from bench.speed.tables import Column, Table, met, number
from bench.speed.whole import WholeRun
from bench.stats.gains import value
from bench.stats.group_sequential import ANALYSES
from bench.stats.tests import ALPHA, POWER, fewest, seeds_to_detect
from bench.store.records import Row
from bench.store.store import Store

#: Seeds beyond which a way is not pursued.
_MOST = 1_000


@dataclass(frozen=True)
class Spread:
    """How gains and scores of a row vary between seeds: standard deviations, in points."""

    paired: float
    shared: float
    alone: float


@dataclass(frozen=True)
class Seeds:
    """How many seeds the least certain row needs, paired and not; None beyond reach."""

    paired: int | None
    unpaired: int | None


def unpaired_seeds(gain: float, one: float, other: float, level: float) -> int | None:
    """Return how many seeds each of two sides needs, in a two-sample t test at 80 % power.

    `one` and `other` are the standard deviations of their scores. None beyond reach.
    """
    error = math.hypot(one, other)

    def power(n: int) -> float:
        turn = stats.t.ppf(1 - level / 2, 2 * n - 2)
        return float(1 - special.nctdtr(2 * n - 2, gain * math.sqrt(n) / error, turn))

    return fewest(lambda n: power(n) >= POWER, _MOST) if error else 2


def spreads(rows: Sequence[Row], find: Store) -> list[Spread]:
    """Return how much each row's gains and scores vary over the seeds that have both."""
    found = []
    for row in rows:
        pairs = [
            (value(find.load(seed.strategy), row.target), value(find.load(alone), row.target))
            for seed in row.seeds
            for alone in [seed.anchors["full"][row.target]]
        ]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        ours, theirs = zip(*both, strict=True)
        gains = [a - b for a, b in both]
        found.append(Spread(*(float(stats.tstd(each)) for each in (gains, ours, theirs))))
    return found


def seeds_needed(found: Sequence[Spread], gain: float) -> Seeds:
    """Return the seeds by which each row finds a gain; the chance of an error is the family's."""
    level = ALPHA / len(found)
    paired = [seeds_to_detect(gain, each.paired, _MOST, level) for each in found]
    unpaired = [unpaired_seeds(gain, each.shared, each.alone, level) for each in found]

    def most(needed: Sequence[int | None]) -> int | None:
        known = [each for each in needed if each is not None]
        return max(known) if len(known) == len(needed) else None

    return Seeds(most(paired), most(unpaired))


def own_baselines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the runs of a seed where each strategy is compared with single-task runs of its own."""
    for key in dict.fromkeys(row.seeds[0].strategy for row in rows):
        yield key
        yield from (
            row.seeds[0].anchors["full"][row.target] for row in rows if row.seeds[0].strategy == key
        )


def experiment_file(settings: Settings, folder: Path) -> Path:
    """Write the experiment that asks the question, with the seeds that measure the spread."""
    file, asked = folder / "verdict.toml", settings.verdict
    file.write_text(tomli_w.dumps({**asked.experiment, "seeds": asked.seeds}))
    return file


def verdict(settings: Settings, cores: int, other: ProcessPoolExecutor, run: WholeRun) -> Table:
    """Measure what it costs to answer one question, by four ways.

    `run` is the experiment of `experiment_file`, at the seeds that measure the spread.
    """
    asked, rows = settings.verdict, list[dict[str, object]]()
    with tempfile.TemporaryDirectory() as scratch:
        folder, took = Path(scratch), run.seconds
        store = Store(run.results, read_only=True)
        plan = make_plan(load_experiment(run.experiment, {}), DataSource(), store, lambda _: None)
        measured = spreads(plan.declaration.rows, store)
        needed = seeds_needed(measured, asked.gain)
        specs = {job.key: job.spec for job in plan.jobs}
        keys = list(own_baselines(plan.declaration.rows))
        note = _theirs(settings, cores, other, keys, specs, needed, rows)
        if needed.paired is not None:
            way = "paired seeds, shared runs: `bench run`"
            if needed.paired == asked.seeds:  # the spread was measured with these runs
                rows.append(_row(way, asked.seeds, len(specs), cores * took, took))
            else:
                again = [*run.arguments, "--seeds", str(needed.paired)]
                rows.append(_beside(way, again, folder / "paired", run.results, cores))
            # Whoever stops once it is decided analyses every quarter of the seeds.
            whole = ANALYSES * math.ceil(needed.paired / ANALYSES)
            again = [*run.arguments, "--until-decided", "--seeds", str(whole)]
            way = "the same, `--until-decided`"
            rows.append(_beside(way, again, folder / "decided", run.results, cores))
    first = rows[0] if note.known else None
    for row in rows[1:] if first else ():
        row["ratio"] = first["core seconds"] / row["core seconds"]  # type: ignore[operator, index]
    if first is not None and needed.paired is not None:
        rows[-1] |= {"goal": asked.goal, "met": rows[-1]["ratio"] >= asked.goal}  # type: ignore[operator]
    return Table(
        "verdict",
        "6. What a verdict costs",
        [
            Column("way", "way"),
            Column("seeds", "seeds"),
            Column("runs", "runs"),
            Column("core seconds", "core-seconds", number),
            Column("seconds", "wall (s)", number),
            Column("ratio", "times fewer core-seconds", number),
            Column("goal", "at least", number),
            Column("met", "met", met),
        ],
        rows,
        [note.text, _how(settings, measured)],
    )


def _beside(
    way: str, arguments: Sequence[str], results: Path, finished: Path, cores: int
) -> dict[str, object]:
    """Return what a command takes most of whose runs are finished in another results folder.

    Its runs are the very same, so they are not trained twice: what they took is in their records.
    """
    shutil.copytree(finished / "runs", results / "runs")
    store = Store(results, read_only=True)
    before = sum(1 for _ in store.records())
    wall = command(arguments, results)
    if sum(1 for _ in store.records()) > before:
        wall = command(arguments, results)  # over finished runs alone
    (declared,) = store.declarations()
    seconds = [record.seconds for key in declared.keys if (record := store.load(key))]
    seeds = max(len(row.seeds) for row in declared.rows)
    took = sum(seconds)
    return _row(way, seeds, len(seconds), took + cores * wall, took / cores + wall)


@dataclass(frozen=True)
class _Note:
    known: bool
    text: str


def _row(way: str, seeds: int, runs: int, core_seconds: float, wall: float) -> dict[str, object]:
    return {
        "way": way, "seeds": seeds, "runs": runs, "core seconds": core_seconds, "seconds": wall,
    }  # fmt: skip


def _theirs(
    settings: Settings,
    cores: int,
    other: ProcessPoolExecutor,
    keys: Sequence[str],
    specs: Mapping[str, RunSpec],
    needed: Seeds,
    rows: list[dict[str, object]],
) -> _Note:
    """Add what LibMTL takes, from each kind of run timed once on one thread and once on all."""
    try:
        version = other.submit(peers.found, "LibMTL").result()
    except peers.AbsentError as error:
        return _Note(False, f"LibMTL: {error}.")
    unique = list(dict.fromkeys(keys))
    timed = [specs[key] for key in unique]
    names = {**classes(settings), **settings.verdict.peers}
    alone, together = (
        dict(zip(unique, taken, strict=True))
        for taken in (
            other.submit(libmtl_runs, timed, names, threads).result() for threads in (1, cores)
        )
    )
    for way, seeds in (
        ("unpaired seeds, own baselines, LibMTL", needed.unpaired),
        ("paired seeds, own baselines, LibMTL", needed.paired),
    ):
        if seeds is not None:
            one, all_ = (seeds * sum(each[key] for key in keys) for each in (alone, together))
            rows.append(_row(way, seeds, seeds * len(keys), one, all_))
    return _Note(
        needed.unpaired is not None,
        f"{version}. LibMTL trains one run after the other. Each kind of run was timed once, on one"
        " thread for core-seconds and with torch's own threads on all cores for wall seconds, and "
        "is counted as often as the way needs it. Its start is not counted.",
    )


def _how(settings: Settings, measured: Sequence[Spread]) -> str:
    asked, experiment = settings.verdict, settings.verdict.experiment
    paired, shared, alone = (
        " to ".join(number(end(each)) for end in (min, max))
        for each in (
            [row.paired for row in measured],
            [row.shared for row in measured],
            [row.alone for row in measured],
        )
    )
    return (
        f"{experiment['pair']}; {', '.join(experiment['strategy'])}; {experiment['network']}, "
        f"B = {experiment['budget']}. Each of {len(measured)} comparisons finds a gain of "
        f"{asked.gain:g} points with {POWER:.0%} power at an error rate of {ALPHA:.0%} for all of "
        f"them. Standard deviations over {asked.seeds} measured seeds, in points: of gains "
        f"{paired}, of scores {shared} with a strategy and {alone} alone. Paired seeds suffice for"
        " both of the harness's tests, unpaired ones for a two-sample t test. The harness's rows "
        "are whole commands from the start of Python to the report; core-seconds are cores × wall. "
        "Runs of one command that another has trained are not trained again: it is timed over "
        "finished runs, and what they took is added, spread evenly over the cores. Runs have all "
        "anchors: the budget shared out and smaller networks too, which LibMTL's rows do not have."
    )
