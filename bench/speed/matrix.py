"""The whole matrix: one experiment with its anchors and seeds, run here and with LibMTL."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import tomli_w
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bench.contracts import DataSource
from bench.errors import UserError
from bench.plan.plan import Plan, make_plan
from bench.spec.experiment import RunSpec, load_experiment
from bench.speed import peers
from bench.speed.peers import Labelled, classifier, libmtl_trainer, loader, quiet
from bench.speed.settings import Settings
from bench.speed.tables import Column, Table, met, number
from bench.store.store import Store
from bench.tasks import TaskData
from bench.train.job import arm_data
from bench.train.loop import build_encoder
from bench.train.splits import draw_split

_HOW = (
    "LibMTL has no matrix: its runs are trained one after the other in one process that has "
    "started already, with torch's own threads on all cores, over the same images, steps and "
    "evaluations. Each run was timed once; the last line counts it as often as comparisons need it."
)


def matrix(settings: Settings, cores: int, other: ProcessPoolExecutor) -> Table:
    """Measure the wall time of a whole experiment: the command here, LibMTL run by run."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "matrix.toml"
        file.write_text(tomli_w.dumps(settings.matrix.experiment))
        plan = make_plan(
            load_experiment(str(file), {}), DataSource(), Store(Path(scratch)), lambda _: None
        )
        specs = [job.spec for job in plan.jobs]
        theirs: list[float] = []
        note = ""
        try:
            note = f"{other.submit(peers.found, 'LibMTL').result()}. "
            known = True
        except peers.AbsentError as error:
            note, known = f"LibMTL: {error}. ", False
        if known:
            theirs += other.submit(libmtl_runs, specs, classes(settings), cores).result()
        ours = command(["run", str(file), "--workers", str(cores)], file.parent / "results")
    rows: list[dict[str, object]] = [
        {"way": "harness, `bench run`", "runs": len(specs), "seconds": ours}
    ]
    if known:
        by_key = dict(zip((job.key for job in plan.jobs), theirs, strict=True))
        for way, keys in (
            ("LibMTL, each run once", list(by_key)),
            ("LibMTL, every comparison with its own single-task runs", _compared(plan)),
        ):
            seconds = sum(by_key[key] for key in keys)
            times = seconds / ours
            goal = settings.matrix.goal
            rows.append(
                {"way": way, "runs": len(keys), "seconds": seconds, "ratio": times}
                | {"goal": goal, "met": times >= goal}
            )
    experiment = plan.experiment
    return Table(
        "matrix",
        "2, continued. A whole experiment with its anchors",
        [
            Column("way", "way"),
            Column("runs", "runs"),
            Column("seconds", "wall (s)", number),
            Column("ratio", "times the harness", number),
            Column("goal", "at least", number),
            Column("met", "met", met),
        ],
        rows,
        (
            f"{note}{', '.join(experiment.pair)}; {', '.join(experiment.strategy)}; "
            f"{experiment.network}, batch {experiment.batch_size}, B = {experiment.budget}, "
            f"{experiment.seeds} seeds, anchors full, split and slim. The harness: the whole "
            f"command on {cores} workers, from the start of Python to the report. {_HOW}",
        ),
    )


def command(arguments: Sequence[str], results: Path) -> float:
    """Run a command of this program in its own process and return its wall seconds.

    Raises `UserError` with its error output where it fails.
    """
    began = time.perf_counter()
    line = [sys.executable, "-m", "bench", *arguments, "--results", str(results)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"`bench {' '.join(arguments)}` failed: {done.stderr.strip()[-500:]}")
    return time.perf_counter() - began


def classes(settings: Settings) -> dict[str, str]:
    """Return LibMTL's class for each strategy; single-task runs use that of plain training."""
    return {m.strategy: m.peers["LibMTL"] for m in settings.methods}


def _compared(plan: Plan) -> list[str]:
    """Return the keys of all runs of every comparison, each as often as comparisons need it."""
    groups: dict[tuple[str, str, int], set[str]] = {}
    for cell in plan.declaration.rows:
        for seed in cell.seeds:
            group = groups.setdefault((cell.pair, cell.strategy, seed.seed), {seed.strategy})
            for anchor in seed.anchors.values():
                group |= set(anchor.values())
    return [key for group in groups.values() for key in group]


def libmtl_runs(specs: Sequence[RunSpec], classes: Mapping[str, str], threads: int) -> list[float]:
    """Train runs with LibMTL one after the other and return the wall seconds of each."""
    torch.set_num_threads(threads)
    with quiet():
        return [_libmtl_run(spec, classes) for spec in specs]


def _libmtl_run(spec: RunSpec, classes: Mapping[str, str]) -> float:
    """Train, validate and test one run as LibMTL does."""
    began, recipe = time.perf_counter(), spec.recipe
    data = arm_data(spec, DataSource())
    images, split = data[0].images, draw_split(data[0].images, recipe, spec.seed)

    def labelled(part: Callable[[TaskData], tuple[Tensor, Tensor | None]]) -> Labelled:
        labels = {d.task.name: y for d in data if (y := part(d)[1]) is not None}
        return Labelled(part(data[0])[0], labels)

    def trained(index: Tensor) -> Labelled:
        return labelled(
            lambda d: (
                images.train[index],
                None if d.train_labels is None else d.train_labels[index],
            )
        )

    trainer = libmtl_trainer(
        classes.get(spec.strategy, next(iter(classes.values()))),
        partial(build_encoder, recipe.network, images.image, spec.width),
        {d.task.name: partial(classifier, outputs=d.task.outputs) for d in data},
    )
    points, size = recipe.curve_points, recipe.batch_size
    trainer.train(
        loader(trained(split.train), size, sum(spec.steps) // points),
        DataLoader(trained(split.validation), size),
        epochs=points,
    )
    trainer.test(DataLoader(labelled(lambda d: (images.test, d.test_labels)), size))
    return time.perf_counter() - began
