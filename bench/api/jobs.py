"""The jobs of clusters that have runs of a results folder: what runs where, and their end."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.launch import launchers
from bench.launch.cluster import Cluster, Standing, name_of
from bench.launch.packs import CANCELLED, Batch, beat_path, read_batch, read_beat, read_pack
from bench.spec.registry import parse_plugin
from bench.store.leases import alive


@dataclass(frozen=True)
class JobStatus:
    """A job of a cluster: its `state` in words, its `node`, and how far its runs are.

    `now` are the runs in progress. `live` says whether it waits or runs.
    """

    batch: str
    launcher: str
    number: int
    live: bool
    state: str
    node: str
    done: int
    runs: int
    now: tuple[str, ...]


def jobs(results: Path) -> list[JobStatus]:
    """Return all jobs that are known of a results folder, in the order of their submission."""
    found: list[JobStatus] = []
    seen: dict[str, dict[str, Standing] | None] = {}  # a launcher knows all of its batches
    for folder, batch in _batches(results):
        if batch.launcher not in seen:
            seen[batch.launcher] = _launcher(batch.launcher, results).seen()
        standings = seen[batch.launcher]
        found += [_status(folder, batch, number, standings) for number in range(batch.packs)]
    return found


def _status(
    folder: Path, batch: Batch, number: int, standings: dict[str, Standing] | None
) -> JobStatus:
    path = folder / f"{number}.json"
    pack, beat = read_pack(path), read_beat(path)
    standing = None if standings is None else standings.get(name_of(path))
    beats = beat is not None and not beat.ended and alive(beat_path(path))
    if beat is not None and beat.ended:
        state = beat.refused or "ended"
    elif standing is not None:
        state = standing.word
    elif beats:
        state = "running"
    else:
        state = "unknown: the scheduler does not answer" if standings is None else "gone"
    labels = {job.key: f"{job.spec.label}, seed {job.spec.seed}" for job in pack.jobs}
    over = beat is not None and beat.ended
    return JobStatus(
        batch=folder.name,
        launcher=batch.launcher,
        number=number,
        live=not over and (beats or (standing is not None and standing.live)),
        state=state,
        node=beat.node if beat else "",
        done=len(beat.done) if beat else 0,
        runs=len(pack.jobs),
        now=tuple(labels.get(key, key) for key in beat.running) if beat else (),
    )


def cancel(results: Path) -> int:
    """End all jobs of a results folder; return how many batches had some. Records stay."""
    texts = {batch.launcher.partition("@")[0]: batch.launcher for _, batch in _batches(results)}
    return sum(_launcher(text, results).cancel() for text in texts.values())


def _batches(results: Path) -> Iterator[tuple[Path, Batch]]:
    for folder in sorted((results / "launch").glob("*-*/")):
        batch = read_batch(folder)
        if batch is not None and not (folder / CANCELLED).exists():
            yield folder, batch


def _launcher(text: str, results: Path) -> Cluster:
    launcher = parse_plugin(launchers(), "launcher", text)
    if not isinstance(launcher, Cluster):
        raise UserError(f"'{text}' has no jobs that go on: delete {results / 'launch'}")
    launcher.use(results)
    return launcher
