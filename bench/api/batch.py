"""Trains what is missing of some runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from bench.api.progress import Progress
from bench.api.session import Session
from bench.errors import LauncherError, clock, note
from bench.launch import Started, Stored, WorkerPool, auto_workers, usable_cores
from bench.spec.budget import AskedBudget
from bench.spec.experiment import Experiment
from bench.store.records import Record
from bench.store.store import Store, reading_many
from bench.train.device import resolve_device
from bench.train.job import Job, same_run

#: What one arm uses over all seeds where several processes are busy for longer than they start.
_SURELY_WORTH_PROCESSES = {"flop": 2e11, "samples": 5e4}


@dataclass(frozen=True)
class RunBatch:
    """Runs that are trained together: what is finished of them, what is missing, and by how many.

    `what` are the runs in a word.
    """

    jobs: Sequence[Job]
    done: Mapping[str, Record]
    missing: Sequence[Job]
    workers: int
    what: str

    @classmethod
    def of(
        cls,
        store: Store,
        jobs: Sequence[Job],
        workers: int | None,
        fresh: bool,
        what: str = "runs",
    ) -> Self:
        """Look up what is finished, unless all is to be trained afresh."""
        jobs = list({job.key: job for job in jobs}.values())  # two arms may try the same
        done = {} if fresh else _finished(store, jobs)
        missing = [job for job in jobs if job.key not in done]
        # Seed by seed, so that an interrupted experiment has whole seeds; the longest first within
        # one, so that no worker ends long after the others.
        missing.sort(key=lambda job: (job.spec.seed, -job.expected_seconds))
        return cls(jobs, done, missing, workers or auto_workers(missing), what)

    @property
    def expected_wall(self) -> float:
        """Seconds that the missing runs will take."""
        total = sum(job.expected_seconds for job in self.missing)
        return total / max(1, min(self.workers, len(self.missing)))

    @property
    def prospect(self) -> str:
        """What is to be trained, in words."""
        kept = len(self.jobs) - len(self.missing)
        return (
            f"{len(self.missing)} {self.what} to train"
            f"{f' ({kept} are finished already)' if kept else ''} on {self.workers} "
            f"worker{'s' if self.workers > 1 else ''}, about {clock(self.expected_wall)} of "
            "training and evaluation"
        )

    def carry_out(self, store: Store, pool: WorkerPool, progress: Progress) -> dict[str, Record]:
        """Train what is missing, and return all records by key."""
        if not self.missing:
            if self.jobs:
                note(f"all {len(self.jobs)} {self.what} are finished already; nothing to train")
            return dict(self.done)
        note(self.prospect)
        return {**self.done, **_launch(store, self, pool, progress)}


def early_pool(experiment: Experiment, session: Session, dry_run: bool = False) -> WorkerPool:
    """Return a pool whose first worker starts at once: the plan is made with its help.

    The others start with it where the work is sure to be worth it, and no time is taken meanwhile
    that buys steps.
    """
    pool = WorkerPool(session.launcher, session.worker_count, session.results, session.leaves)
    if pool.in_process:
        note("note: no worker process, so a plugin that exits, crashes or hangs ends this one")
    pool.begin_answering()
    if dry_run or pool.remote:
        return pool
    budget = AskedBudget.parse(experiment.budget)
    axis, used = budget.unit, budget.amount * experiment.seeds
    if axis == "steps":
        axis, used = "samples", used * experiment.batch_size
    sure = used >= _SURELY_WORTH_PROCESSES.get(axis, math.inf)
    if sure and resolve_device(experiment.device) == "cpu":
        pool.begin(pool.workers or usable_cores())
    return pool


def _finished(store: Store, jobs: Sequence[Job]) -> dict[str, Record]:
    """Return the records that need no new run. A failed run is tried again."""
    with reading_many():
        found = {job.key: store.load(job.key) for job in jobs}
    for job in jobs:
        if (record := found[job.key]) is not None and not same_run(record.spec, job.spec):
            store.distrust(record, "it is the record of another run")
            found[job.key] = None
    for line in store.news():
        note(f"note: {line}; it runs again")
    return {key: record for key, record in found.items() if record and record.status != "failed"}


def _stored(store: Store, job: Job) -> Record:
    """Return the record that a worker has written. Raises `LauncherError` where there is none."""
    record = store.load(job.key)
    if record is None or not same_run(record.spec, job.spec):
        raise LauncherError(f"there is no record of {job.spec.label}, seed {job.spec.seed}")
    return record


def _launch(
    store: Store, together: RunBatch, pool: WorkerPool, progress: Progress
) -> dict[str, Record]:
    done: dict[str, Record] = {}
    jobs, work = together.missing, sum(job.expected_seconds for job in together.missing)
    try:
        with progress.bar(len(jobs), work, together.what) as bar:
            for event in pool.run(jobs, together.workers):
                if isinstance(event, Started):
                    bar.started(event.job)
                    continue
                if isinstance(event, Stored):
                    record = _stored(store, event.job)
                else:
                    record = store.save(event.record, event.examples)
                done[event.job.key] = record
                bar.finished(event.job, record)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; {len(done)} of {len(jobs)} {together.what} are finished and kept. "
            f"{pool.interrupted()}Run the same command again to go on."
        ) from None
    except LauncherError as error:
        raise LauncherError(
            f"{error}; {len(done)} of {len(jobs)} {together.what} are finished and kept"
        ) from error
    return done
