"""Runs packs as jobs of Slurm, an array for each batch. submitit writes and submits the script."""

import re
import subprocess
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.clean import one_line
from bench.errors import UserError, message_of, missing_package
from bench.launch.cluster import Cluster, SchedulerError, Standing

#: States of jobs that wait or run.
_LIVE = frozenset(
    [
        *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING"),
        *("REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "SIGNALING", "STAGE_OUT"),
    ]
)
#: What a state says of a job that has ended, and what to do about it.
_ENDED = {
    "TIMEOUT": "its job reached the time limit: give more, slurm@time=MINUTES",
    "DEADLINE": "its job reached the deadline of the cluster",
    "OUT_OF_MEMORY": "its job ran out of memory: give more, slurm@mem=GB, or lower together",
    "NODE_FAIL": "its node was lost",
    "BOOT_FAIL": "its node did not start",
    "PREEMPTED": "its job was preempted",
    "CANCELLED": "its job was cancelled",
    "REVOKED": "its job was moved to another cluster",
}
#: What Slurm's commands say where the controller cannot be reached or is busy.
_DOWN = re.compile(
    r"unable to contact|timed out|connection refused|communication|temporarily|try again|"
    r"backup controller|slurm_persist_conn|not responding",
    re.IGNORECASE,
)
#: Seconds after which a command of Slurm that says nothing is one of a scheduler that is down.
_SILENCE = 60
#: Seconds before the time limit at which Slurm warns a job. Nothing of a run can be saved then.
_WARNED = 5


@dataclass
class Slurm(Cluster):
    """Jobs of Slurm. Each gets `gpus` and `cpus`, `mem` GB if any, and `time` minutes at most.

    `partition`, `account`, `qos` and `constraint` are sbatch's; left out where they are empty.
    """

    name = "slurm"
    summary = "jobs of Slurm, on a results folder that all nodes share"
    outlives = True

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: int = 60
    gpus: int = 0
    cpus: int = 0
    mem: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time < 1 or min(self.gpus, self.cpus, self.mem) < 0:
            raise ValueError("time is 1 or more, and gpus, cpus and mem are 0 or more")
        if self._pack_seconds > 60 * self.time:
            raise ValueError("pack is longer than time allows: lower pack, or raise time")

    def start(self, call: Callable[[str], None], paths: Sequence[Path], at_once: int) -> None:
        """Submit an array, or a single job for a single path. Its name is that of the batch."""
        executor = self._executor(paths[0].parent, at_once)
        try:
            executor.map_array(call, [str(path) for path in paths])
        except Exception as error:  # submitit has errors of its own, and lets some through
            raise _told(message_of(error)) from None

    def _executor(self, folder: Path, at_once: int):  # type: ignore[no-untyped-def]
        try:
            from submitit import SlurmExecutor
        except ImportError:
            raise missing_package("launcher 'slurm'", "submitit", "slurm") from None
        try:
            executor = SlurmExecutor(folder=folder / "log")
        except RuntimeError:
            raise UserError(
                "launcher 'slurm' finds no srun here: run on a login node of a Slurm cluster"
            ) from None
        named = {name: getattr(self, name) for name in ("partition", "account", "qos")}
        wanted = {
            **named,
            "constraint": self.constraint,
            "gpus_per_node": self.gpus,
            "mem_gb": self.mem,
        }
        executor.update_parameters(
            job_name=folder.name,
            time=self.time,
            cpus_per_task=self.cpus or self.together,
            array_parallelism=at_once,
            signal_delay_s=_WARNED,
            stderr_to_stdout=True,
            **{name: value for name, value in wanted.items() if value},
        )
        return executor

    def standings(self, batches: Collection[str]) -> dict[str, Standing]:
        """Ask squeue, which needs no accounting and knows jobs for some minutes after their end."""
        said = _slurm(
            "squeue",
            *("--noheader", "--array", "--states=all", f"--name={','.join(sorted(batches))}"),
            "--format=%j|%K|%T|%r|%N",
        )
        found: dict[str, Standing] = {}
        for line in said.splitlines():
            name, index, state, reason, nodes = line.strip().split("|", 4)
            where = f"{name}/{index if index.isdecimal() else 0}"
            if state in _LIVE:
                word = state.lower() + (f" ({reason})" if state == "PENDING" else f" on {nodes}")
                found[where] = Standing(True, word)
            # A job that Slurm has put back into the queue may stand there twice.
            elif where not in found or not found[where].live:
                found[where] = Standing(
                    False, _ENDED.get(state, f"its job ended ({state.lower()})")
                )
        return found

    def end(self, batches: Collection[str]) -> None:
        """Cancel the jobs of the batches."""
        for batch in batches:
            _slurm("scancel", f"--name={batch}")


def _slurm(*command: str) -> str:
    """Return what a command of Slurm prints. Raises `SchedulerError`, or `UserError`."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SILENCE, check=False
        )
    except FileNotFoundError:
        raise UserError(
            f"launcher 'slurm' finds no {command[0]} here: run on a login node of a Slurm cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command[0]} says nothing for {_SILENCE} s") from None
    if done.returncode:
        raise _told(done.stderr)
    return done.stdout


def _told(text: str) -> Exception:
    """Return the error for what Slurm says: that of a scheduler that is down, or of a user."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next((line for line in lines if "error:" in line), lines[-1] if lines else "no reason")
    said = one_line(said)
    if _DOWN.search(text):
        return SchedulerError(said)
    return UserError(f"Slurm refuses the jobs: {said}")
