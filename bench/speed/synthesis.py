"""Large results folders without training: records that look like those of a real experiment.

    python -m bench.speed.synthesis FOLDER 28 34 14

writes 20,384 runs of 28 pairs, 34 strategies and 14 seeds, which are 1,904 rows. `finish` writes
the records of runs that are planned.
"""

import hashlib
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np

from bench.spec.budget import AXIS_NAMES, Budget, Ledger, Price, cost
from bench.spec.experiment import Experiment, Recipe, RunSpec
from bench.spec.registry import single_task
from bench.store.records import AnchorName, CurvePoint, Declaration, Record, Row, Score, SeedRuns
from bench.store.store import Store
from bench.train.job import Job

TASKS = ("first", "second")
#: FLOPs of a budget, and the steps of a single-task network that it buys.
BUDGET, STEPS = 1e9, 1000
IMAGES = 500
POINTS = 5
#: What a step of a strategy costs, in steps of a single-task network.
PRICES = (1.0, 1.1, 1.25, 1.4, 1.6, 1.8, 2.2)


class _Runs:
    """Writes each run that is asked for once."""

    def __init__(self, store: Store) -> None:
        self._store, self._random = store, np.random.default_rng(0)
        self._chances: dict[str, np.ndarray] = {}
        self.written: set[str] = set()

    def run(
        self,
        dataset: str,
        tasks: tuple[str, ...],
        strategy: str,
        seed: int,
        steps: int,
        used: float,
    ) -> str:
        """Return the key of a run that takes so many steps and uses so many FLOPs."""
        asked = (dataset, tasks, strategy, seed, steps)
        key = hashlib.sha256(repr(asked).encode()).hexdigest()[:32]
        if key not in self.written:
            spec = RunSpec(
                dataset=dataset,
                tasks=tasks,
                scored=tasks,
                strategy=strategy,
                width=1.0,
                budget=f"{used:.12g}flop",
                steps=(steps,),
                seed=seed,
                device="cpu",
                recipe=Recipe(train_size=500),
            )
            self.write(key, spec, (Price(used / steps, 32, 10**6, 10**5, (), 1e-3),))
        return key

    def write(self, key: str, spec: RunSpec, prices: tuple[Price, ...]) -> None:
        """Write the record of a run, with made-up scores."""
        self.written.add(key)
        images = {task: self._images(task) for task in spec.scored}
        timed = all(price.seconds is not None for price in prices)
        axes = [axis for axis in AXIS_NAMES if timed or axis != "s"]
        ledger = Ledger(
            Budget.parse(spec.budget),
            prices,
            spec.steps,
            {axis: cost(prices, spec.steps, axis) for axis in axes},
            evaluation_seconds=0.1,
        )
        steps = sum(spec.steps)
        record = Record(
            key=key,
            status="ok",
            spec=spec,
            data_fingerprint="synthetic",
            code_fingerprint="",  # `check` asks whether it is that of a plugin
            scores={task: _scores(found) for task, found in images.items()},
            curve=tuple(self._point(spec.tasks, steps * (i + 1) // POINTS) for i in range(POINTS)),
            ledger=ledger,
            provenance={"machine": "synthetic"},
            seconds=1.0,
        )
        self._store.save(record, images)

    def _images(self, task: str) -> np.ndarray:
        """Return which test images are right: some are hard at every seed."""
        if task not in self._chances:
            self._chances[task] = self._random.uniform(0.3, 1.0, IMAGES)
        return (self._random.random(IMAGES) < self._chances[task]).astype(np.float32)

    def _point(self, tasks: tuple[str, ...], step: int) -> CurvePoint:
        drawn = self._random.random
        shared = tasks if len(tasks) > 1 else ()
        return CurvePoint(
            step=step,
            scores={task: 80 * drawn() for task in tasks},
            losses={task: drawn() for task in tasks},
            weights={task: drawn() for task in shared},
            norms={task: drawn() for task in shared},
            cosines={tasks[0]: {tasks[1]: drawn() - 0.5}} if shared else {},
        )


def _scores(images: np.ndarray) -> dict[str, Score]:
    right = float(images.mean(dtype=float))
    return {
        "accuracy": Score(value=100 * right, unit="%", higher_is_better=True, primary=True),
        "macro_f1": Score(value=98 * right, unit="%", higher_is_better=True, primary=False),
        "loss": Score(value=1.5 - right, unit="", higher_is_better=False, primary=False),
    }


def finish(root: Path, jobs: Iterable[Job]) -> int:
    """Write the records of planned runs, as if they were trained; return how many there are."""
    runs = _Runs(Store(root))
    for job in jobs:
        runs.write(job.key, job.spec, job.prices)
    return len(runs.written)


def fill(root: Path, pairs: int, strategies: int, seeds: int, name: str = "large") -> int:
    """Write an experiment of so many pairs, strategies and seeds; return the number of its runs."""
    runs, rows = _Runs(Store(root)), []
    datasets = [f"synthetic@world={number}" for number in range(pairs)]
    names = [f"method{number:02}" for number in range(strategies)]
    for dataset, target, (index, strategy) in product(datasets, TASKS, enumerate(names)):
        steps = int(STEPS / PRICES[index % len(PRICES)])
        found = [_seed(runs, dataset, strategy, target, seed, steps) for seed in range(seeds)]
        pair = f"{dataset}:{'+'.join(TASKS)}"
        rows.append(
            Row(pair=pair, strategy=strategy, target=target, expect=None, seeds=tuple(found))
        )
    experiment = Experiment(
        name=name,
        pair=tuple(dict.fromkeys(row.pair for row in rows)),
        strategy=tuple(names),
        seeds=seeds,
        budget=f"{BUDGET:g}flop",
    )
    Store(root).declare(Declaration(experiment=experiment, rows=tuple(rows)))
    return len(runs.written)


def _seed(runs: _Runs, dataset: str, strategy: str, target: str, seed: int, steps: int) -> SeedRuns:
    """Write the runs that one seed of a row compares."""
    anchors: dict[AnchorName, tuple[tuple[str, ...], int, float]] = {
        "full": ((target,), STEPS, BUDGET),
        "same-steps": ((target,), steps, BUDGET * steps / STEPS),
        "split": (TASKS, STEPS // 2, BUDGET / 2),
        "slim": (TASKS, STEPS // 2 + 100, BUDGET / 2),
    }
    single = single_task().name
    return SeedRuns(
        seed=seed,
        strategy=runs.run(dataset, TASKS, strategy, seed, steps, BUDGET),
        anchors={
            anchor: {task: runs.run(dataset, (task,), single, seed, n, used) for task in tasks}
            for anchor, (tasks, n, used) in anchors.items()
        },
    )


if __name__ == "__main__":
    folder, pairs, strategies, seeds = sys.argv[1:]
    print(f"{fill(Path(folder), int(pairs), int(strategies), int(seeds)):,} runs")
