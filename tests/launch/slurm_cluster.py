"""A Slurm cluster of two nodes on this machine, for as long as a block."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

NODES = ("n1", "n2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")

CONF = """
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=5
KillWait=1
InactiveLimit=0
MinJobAge=60
JobRequeue=0
NodeName=n1 NodeHostname=localhost Port={ports[1]} CPUs=1 RealMemory=4000
NodeName=n2 NodeHostname=localhost Port={ports[2]} CPUs=1 RealMemory=4000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def asked() -> bool:
    """Return whether real clusters are to be started: they take minutes, and root's rights."""
    return bool(os.environ.get("BENCH_CLUSTERS"))


def missing() -> str:
    """Return why there can be no cluster here; empty if there can."""
    if not asked():
        return "BENCH_CLUSTERS=1 runs it"
    if os.geteuid() != 0:
        return "Slurm's daemons are started as root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"Slurm is not installed: no {absent[0]}" if absent else ""


#: Where Debian has daemons.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass
class SlurmCluster:
    """The daemons of a cluster, by name: `munged`, `slurmctld`, `n1`, `n2`."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm's commands need to find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _PATH}

    def start(self, name: str) -> None:
        """Start a daemon."""
        munge, folder = str(self.folder / "munge"), self.folder
        command = {
            "munged": [
                *("munged", "--foreground", "--force", f"--key-file={munge}.key"),
                *(f"--socket={munge}.socket", f"--pid-file={munge}.pid"),
                *(f"--log-file={munge}.log", f"--seed-file={munge}.seed"),
            ],
            "slurmctld": ["slurmctld", "-D", "-i"],
        }.get(name, ["slurmd", "-D", "-N", name])
        with (folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                command,
                env=os.environ | self.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Kill a daemon, and with a node what runs on it, as where its power fails."""
        daemon = self.daemons.pop(name)
        lost = [daemon.pid, *_on(name)] if name in NODES else [daemon.pid]
        for pid in lost:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def call(self, *command: str) -> str:
        """Return what a command of Slurm prints."""
        done = subprocess.run(
            command,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    def pending(self) -> list[str]:
        """Return the jobs that wait; none while the scheduler is down."""
        with suppress(subprocess.SubprocessError):
            return self.call("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i").split()
        return []

    def resumed(self, node: str) -> bool:
        """Let a drained node work again; return whether it does, as a restart takes a while."""
        with suppress(subprocess.SubprocessError):
            if "drain" not in self.call("sinfo", "-h", "-N", "-n", node, "-o", "%T"):
                return True
            self.call("scontrol", "update", f"nodename={node}", "state=resume")
        return False

    def idle(self) -> bool:
        """Return whether both nodes wait for jobs."""
        with suppress(subprocess.SubprocessError):
            return self.call("sinfo", "-h", "-N", "-o", "%N %T").split() == [
                *("n1", "idle"),
                *("n2", "idle"),
            ]
        return False


def node_of(pid: int) -> str:
    """Return the node on which a job has started a process; empty if it has ended."""
    with suppress(psutil.Error):
        return str(psutil.Process(pid).environ().get("SLURMD_NODENAME", ""))
    return ""


def _on(node: str) -> list[int]:
    """Return the processes of a node's jobs: who would tell of an end before who ends."""
    jobs = [process for process in psutil.process_iter() if node_of(process.pid) == node]
    above = {each.pid: each.name() for process in jobs for each in process.parents()}
    steps = [pid for pid, name in above.items() if name.startswith("slurmstepd")]
    return [*steps, *(process.pid for process in jobs)]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[SlurmCluster]:
    """Start a cluster with its files in a folder; yield it once both nodes are idle."""
    (folder / "state").mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    (folder / "slurm.conf").write_text(CONF.format(folder=folder, ports=_free_ports(3)))
    cluster = SlurmCluster(folder)
    try:
        for name in ("munged", "slurmctld", "n1", "n2"):
            cluster.start(name)
            time.sleep(0.5)
        end = time.monotonic() + 60
        while not cluster.idle():
            if time.monotonic() > end:
                logs = "\n".join(
                    f"{path.name}: {path.read_text(errors='replace')[-2000:]}"
                    for path in folder.glob("*.out")
                )
                raise TimeoutError(f"the nodes are not idle: {logs}")
            time.sleep(0.5)
        yield cluster
    finally:
        with suppress(subprocess.SubprocessError):
            cluster.call("scancel", "--user=root")
            end = time.monotonic() + 30
            while cluster.call("squeue", "-h").strip() and time.monotonic() < end:
                time.sleep(0.5)
        for daemon in reversed(list(cluster.daemons.values())):
            daemon.send_signal(signal.SIGTERM)
        for daemon in cluster.daemons.values():
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
