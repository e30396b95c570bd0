"""Runs under a real Slurm of two nodes on this machine; skipped where Slurm is not installed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launch.real_clusters import EXPERIMENT, ended, gains, running, wait
from tests.launch.slurm_cluster import SlurmCluster, missing, slurm_cluster

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
    # One cluster for all of them.
    pytest.mark.xdist_group("slurm"),
]
pytest.importorskip("submitit", reason="submitit is not installed")

#: A few packs, so that both nodes have some.
LAUNCHER = "slurm@pack=3s,poll=1"


@pytest.fixture(name="cluster", scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture(name="begin")
def _begin(cluster: SlurmCluster, tmp_path: Path) -> Begin:
    (tmp_path / "toy.toml").write_text(EXPERIMENT)

    def begin(*arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | cluster.environment | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


def test_two_nodes_give_the_numbers_of_this_machine_whatever_is_killed(
    cluster: SlurmCluster, begin: Begin, tmp_path: Path
) -> None:
    ended(begin("run", "toy.toml", "--results", "here", "--workers", 1))
    there = tmp_path / "there"
    parent = begin("run", "toy.toml", "--results", there, "--launcher", LAUNCHER)
    wait(lambda: running(there))
    parent.kill()  # the jobs go on
    parent.communicate()
    shown = json.loads(ended(begin("status", "--results", there, "--json")))
    assert any(job["live"] for job in shown)

    again = begin("run", "toy.toml", "--results", there, "--launcher", LAUNCHER)
    pack, _ = wait(lambda: running(there))
    index, name = pack.stem, pack.parent.name
    (job,) = {
        line.split("|")[0]
        for line in cluster.call("squeue", "-h", "-r", "-o", "%A|%j|%K").splitlines()
        if line.endswith((f"|{name}|{index}", f"|{name}|N/A"))
    } or {""}
    if job:
        cluster.call("scancel", job)
    cluster.kill("slurmctld")
    time.sleep(3)
    cluster.start("slurmctld")
    wait(lambda: running(there) or again.poll() is not None)
    cluster.kill("n1")
    time.sleep(15)
    cluster.start("n1")
    said = ended(again)
    assert "of an earlier command" in said
    assert gains(there) == gains(tmp_path / "here")
    records = list(there.glob("runs/*/*/run.json"))
    assert all(json.loads(path.read_text())["status"] == "ok" for path in records)
    assert not [path for path in there.glob("leases/*/*") if path.is_file()]


def test_cancelled_jobs_end_and_the_same_command_goes_on(
    begin: Begin, tmp_path: Path, cluster: SlurmCluster
) -> None:
    results = tmp_path / "results"
    first = begin("run", "toy.toml", "--results", results, "--launcher", LAUNCHER)
    wait(lambda: running(results))
    assert "cancelled" in ended(begin("cancel", "--results", results))
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 2
    assert "the jobs were cancelled; what is finished is kept" in said
    wait(lambda: not cluster.call("squeue", "-h").strip())
    before = {path: path.stat().st_mtime for path in results.glob("runs/*/*/run.json")}
    ended(begin("run", "toy.toml", "--results", results, "--launcher", LAUNCHER))
    after = {path: path.stat().st_mtime for path in results.glob("runs/*/*/run.json")}
    assert before.items() <= after.items()  # nothing is trained twice


def test_what_slurm_refuses_is_one_line(begin: Begin) -> None:
    end = begin("run", "toy.toml", "--launcher", "slurm@partition=nowhere")
    said, _ = end.communicate(timeout=120)
    assert end.returncode == 2
    assert "error: Slurm refuses the jobs: " in said
    assert "invalid partition" in said.lower()
    assert "Traceback" not in said
