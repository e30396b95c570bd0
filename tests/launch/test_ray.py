"""Runs under a real Ray on this machine; skipped where Ray is not installed."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.launch.packs import Answer, Pack, execute, question, reply
from bench.train.survey import host
from tests.conftest import toy_jobs
from tests.launch.real_clusters import Gate, commands, ended, gains, running, wait
from tests.launch.slurm_cluster import asked

needs_ray = pytest.mark.skipif(
    not asked() or find_spec("ray") is None,
    reason="BENCH_CLUSTERS=1 runs it, where ray is installed",
)


@needs_ray
def test_ray_gives_the_numbers_of_this_machine_whatever_is_killed(
    tmp_path: Path, found_here: bytes
) -> None:
    there, gate = tmp_path / "there", Gate(tmp_path / "gate")
    launcher = "ray@address=local,pack=5s,poll=0.5"
    on_ray = ("run", "toy.toml", "--results", there, "--launcher", launcher)
    gate.close()
    # Ray's workers would wait for whatever else the machine does.
    with commands(tmp_path, {"RAY_worker_niceness": "0"}, gate) as begin:
        parent = begin(*on_ray)
        first = wait(lambda: running(there), parent)
        os.kill(first.pid, signal.SIGKILL)  # a worker of Ray
        wait(lambda: (now := running(there)) and now.pid != first.pid, parent)
        parent.kill()
        gate.open()
        ended(begin(*on_ray))
    assert gains(there) == found_here
    assert not [path for path in there.glob("leases/*/*") if path.is_file()]


def test_a_worker_that_does_not_see_the_results_folder_hands_results_back(tmp_path: Path) -> None:
    from bench.launch.ray import _work

    jobs = toy_jobs(tmp_path, "hard", "toy:row+column")[:2]
    pack = Pack(folder=str(tmp_path), together=1, jobs=jobs)
    results = _work(execute, str(tmp_path / "elsewhere/0.json"), pack)
    assert isinstance(results, list)
    assert [record.key for record, _ in results] == [job.key for job in jobs]
    assert all(examples for _, examples in results)
    found = _work(reply, str(tmp_path / "elsewhere/0.json"), question(host, ["cpu"]))
    assert isinstance(found, Answer)
    assert len(found.items) == 1
