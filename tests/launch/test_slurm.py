"""Runs under a real Slurm of two nodes on this machine; skipped where Slurm is not installed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launch.real_clusters import Command, Gate, commands, ended, gains, running, until, wait
from tests.launch.slurm_cluster import SlurmCluster, missing, node_of, slurm_cluster

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
pytest.importorskip("submitit", reason="submitit is not installed")

#: A run a pack, so that both nodes have one and others wait.
LAUNCHER = "slurm@pack=1s,poll=1"


@pytest.fixture(name="cluster", scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


Begin = Callable[..., Command]


@pytest.fixture(name="gate")
def _gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture(name="begin")
def _begin(cluster: SlurmCluster, tmp_path: Path, gate: Gate) -> Iterator[Begin]:
    with commands(tmp_path, cluster.environment, gate) as begin:
        yield begin


def test_two_nodes_give_the_numbers_of_this_machine_whatever_is_cancelled_or_killed(
    cluster: SlurmCluster, begin: Begin, gate: Gate, tmp_path: Path, found_here: bytes
) -> None:
    there = tmp_path / "there"
    on_slurm = ("run", "toy.toml", "--results", there, "--launcher", LAUNCHER)
    gate.close(tickets=1)
    first = begin(*on_slurm)
    wait(lambda: _written(there), first)
    wait(lambda: running(there), first)
    assert "cancelled" in ended(begin("cancel", "--results", there))
    said, _ = first.communicate()
    assert first.returncode == 2
    assert "the jobs were cancelled; what is finished is kept" in said
    kept = _written(there)

    parent = begin(*on_slurm)
    wait(lambda: running(there), parent)
    cluster.call("scontrol", "update", "nodename=n1,n2", "state=drain", "reason=test")
    parent.kill()  # the jobs go on
    parent.communicate()
    shown = json.loads(ended(begin("status", "--results", there, "--json")))
    assert any(job["live"] for job in shown)

    again = begin(*on_slurm)
    until(again, "of an earlier command")
    cluster.kill("slurmctld")
    until(again, "slurm does not answer, trying again")
    cluster.start("slurmctld")
    *_, last = wait(cluster.pending, again)
    cluster.call("scancel", last)
    until(again, "to run again: its job")  # was cancelled; Slurm forgets it, or says so
    wait(lambda: cluster.resumed("n1"), again)  # what is left runs there
    wait(lambda: running(there, lambda pid: node_of(pid) == "n1"), again)
    cluster.kill("n1")
    until(again, "its node was lost")
    gate.open()
    cluster.start("n1")
    wait(lambda: cluster.resumed("n2"), again)
    ended(again)
    assert gains(there) == found_here
    assert kept
    assert kept.items() <= _written(there).items()  # nothing is trained twice
    records = list(there.glob("runs/*/*/run.json"))
    assert all(json.loads(path.read_text())["status"] == "ok" for path in records)
    assert not [path for path in there.glob("leases/*/*") if path.is_file()]


def _written(results: Path) -> dict[Path, float]:
    """Return when each record was written."""
    return {path: path.stat().st_mtime for path in results.glob("runs/*/*/run.json")}


def test_what_slurm_refuses_is_one_line(begin: Begin) -> None:
    end = begin("run", "toy.toml", "--launcher", "slurm@partition=nowhere")
    said, _ = end.communicate()
    assert end.returncode == 2
    assert "error: Slurm refuses the jobs: " in said
    assert "invalid partition" in said.lower()
    assert "Traceback" not in said
