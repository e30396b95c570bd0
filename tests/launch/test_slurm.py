"""Runs under a real Slurm of two nodes on this machine; skipped where Slurm is not installed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launch.real_clusters import Command, commands, ended, gains, running, until, wait
from tests.launch.slurm_cluster import SlurmCluster, missing, node_of, slurm_cluster

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
pytest.importorskip("submitit", reason="submitit is not installed")

#: A pack for each run, so that both nodes have some.
LAUNCHER = "slurm@pack=1s,poll=1"


@pytest.fixture(name="cluster", scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


Begin = Callable[..., Command]


@pytest.fixture(name="begin")
def _begin(cluster: SlurmCluster, tmp_path: Path) -> Iterator[Begin]:
    with commands(tmp_path, cluster.environment) as begin:
        yield begin


def test_two_nodes_give_the_numbers_of_this_machine_whatever_is_killed(
    cluster: SlurmCluster, begin: Begin, tmp_path: Path
) -> None:
    ended(begin("run", "toy.toml", "--results", "here", "--workers", 1))
    there = tmp_path / "there"
    parent = begin("run", "toy.toml", "--results", there, "--launcher", LAUNCHER)
    wait(lambda: running(there), parent)
    cluster.call("scontrol", "update", "nodename=n1,n2", "state=drain", "reason=test")
    parent.kill()  # the jobs go on
    parent.communicate()
    shown = json.loads(ended(begin("status", "--results", there, "--json")))
    assert any(job["live"] for job in shown)

    again = begin("run", "toy.toml", "--results", there, "--launcher", LAUNCHER)
    until(again, "of an earlier command")
    *_, last = cluster.call("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i").split()
    cluster.call("scancel", last)
    until(again, "its job is gone")  # Slurm forgets a part of an array that had not begun
    cluster.kill("slurmctld")
    until(again, "slurm does not answer, trying again")
    cluster.start("slurmctld")
    wait(cluster.resumed, again)
    wait(lambda: running(there, lambda pid: node_of(pid) == "n1"), again)
    cluster.kill("n1")
    until(again, "its node was lost")
    cluster.start("n1")
    ended(again)
    assert gains(there) == gains(tmp_path / "here")
    records = list(there.glob("runs/*/*/run.json"))
    assert all(json.loads(path.read_text())["status"] == "ok" for path in records)
    assert not [path for path in there.glob("leases/*/*") if path.is_file()]


def test_cancelled_jobs_end_and_the_same_command_goes_on(
    begin: Begin, tmp_path: Path, cluster: SlurmCluster
) -> None:
    results = tmp_path / "results"
    first = begin("run", "toy.toml", "--results", results, "--launcher", LAUNCHER)
    wait(lambda: running(results), first)
    assert "cancelled" in ended(begin("cancel", "--results", results))
    said, _ = first.communicate()
    assert first.returncode == 2
    assert "the jobs were cancelled; what is finished is kept" in said
    before = {path: path.stat().st_mtime for path in results.glob("runs/*/*/run.json")}
    ended(begin("run", "toy.toml", "--results", results, "--launcher", LAUNCHER))
    after = {path: path.stat().st_mtime for path in results.glob("runs/*/*/run.json")}
    assert before.items() <= after.items()  # nothing is trained twice


def test_what_slurm_refuses_is_one_line(begin: Begin) -> None:
    end = begin("run", "toy.toml", "--launcher", "slurm@partition=nowhere")
    said, _ = end.communicate()
    assert end.returncode == 2
    assert "error: Slurm refuses the jobs: " in said
    assert "invalid partition" in said.lower()
    assert "Traceback" not in said
