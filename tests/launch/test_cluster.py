"""What all launchers of clusters have in common: packs, leases, tries, questions."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.api.batch import RunBatch
from bench.api.jobs import cancel, jobs
from bench.api.progress import Quiet
from bench.cli.jobs import end_jobs, show_jobs
from bench.contracts import DataSource
from bench.errors import UserError
from bench.launch import Finished, WorkerPool, launchers
from bench.launch import cluster as clusters
from bench.launch.cluster import packed
from bench.launch.packs import CANCELLED, execute, read_pack
from bench.launch.worker import RequestError
from bench.spec.budget import Price
from bench.store.leases import Leases
from bench.store.records import Record
from bench.store.store import Store
from bench.train.job import Job
from bench.train.proof import prove
from bench.train.survey import Host, host, time_arms
from tests.conftest import toy_jobs


@pytest.fixture(name="calls", autouse=True)
def _calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the scheduler was asked for."""
    monkeypatch.setattr(clusters, "_TICK", 0.01)
    desk: Any = launchers().found["desk"]
    calls: list[str] = sys.modules[desk.__module__].CALLS
    calls.clear()
    desk.failures.clear()
    desk.victims.clear()
    return calls


@pytest.fixture(name="planned")
def _planned(tmp_path: Path) -> tuple[Job, ...]:
    return toy_jobs(tmp_path, "hard", "toy:row+column")


def _carried_out(folder: Path, planned: tuple[Job, ...], launcher: str) -> dict[str, Record]:
    """Carry runs out as commands do; return the records by key."""
    with WorkerPool(launcher, None, folder) as pool:
        batch = RunBatch.of(Store(folder), planned, pool.workers, False)
        return batch.carry_out(Store(folder), pool, Quiet())


def _scores(records: dict[str, Record]) -> dict[str, object]:
    return {key: (record.scores, record.curve) for key, record in records.items()}


def test_workers_write_records_with_the_numbers_of_this_machine(
    tmp_path: Path, planned: tuple[Job, ...], calls: list[str]
) -> None:
    here = _carried_out(tmp_path / "here", planned, "processes")
    there = _carried_out(tmp_path / "there", planned, "desk@pack=1m,at_once=5")
    assert _scores(here) == _scores(there)
    assert calls == ["execute 1 5"]
    assert not [path for path in (tmp_path / "there/launch").iterdir() if path.name != "hosts"]
    assert not [path for path in (tmp_path / "there/leases").rglob("*") if path.is_file()]


def _timed(job: Job, seconds: float) -> Job:
    price = Price(flops=1.0, samples=1, peak_bytes=1, parameters=1, seconds=seconds)
    return replace(job, prices=(price,), evaluated=0, key=f"{seconds:g}".replace(".", ""))


def test_packs_take_about_the_same_time_and_begin_with_the_longest(
    planned: tuple[Job, ...],
) -> None:
    steps = sum(planned[0].spec.steps)
    long = [_timed(planned[0], each / steps) for each in (1, 50, 200, 10, 60, 40)]
    packs = [[round(job.expected_seconds) for job in pack] for pack in packed(long, 100)]
    assert packs == [[200], [60], [50, 40], [10, 1]]
    assert packed([], 100) == []


def test_a_run_that_is_lost_with_its_job_is_tried_again(
    tmp_path: Path, planned: tuple[Job, ...], calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    done = _carried_out(tmp_path, planned, "desk@how=lost,times=2")
    assert {record.status for record in done.values()} == {"ok"}
    assert [call for call in calls if call.startswith("execute")] == ["execute 1 64"] * 3
    assert "7 runs of desk-" in caplog.text
    assert "are to run again: its node was lost" in caplog.text


def test_a_run_that_is_lost_too_often_is_a_row_with_its_reason_and_the_others_go_on(
    tmp_path: Path, planned: tuple[Job, ...]
) -> None:
    # The first run of a job is in progress when the job is lost; the others are not to blame.
    done = _carried_out(tmp_path, planned, "desk@how=begun,times=2,tries=2")
    lost = [record for record in done.values() if record.status == "failed"]
    assert [record.reason for record in lost] == ["its node was lost; tried 2 times"]
    assert len(done) == len(planned)
    assert Store(tmp_path).load(lost[0].key) == lost[0]


def test_a_scheduler_that_is_down_for_a_while_is_waited_for(
    tmp_path: Path, planned: tuple[Job, ...], caplog: pytest.LogCaptureFixture
) -> None:
    done = _carried_out(tmp_path, planned, "desk@how=down,times=3")
    assert len(done) == len(planned)
    assert caplog.text.count("desk does not answer, trying again: planted") == 1


def test_what_a_scheduler_refuses_is_told_and_leaves_nothing(
    tmp_path: Path, planned: tuple[Job, ...]
) -> None:
    with pytest.raises(UserError, match="planted"):
        _carried_out(tmp_path, planned, "desk@how=refuses")
    assert list((tmp_path / "launch").iterdir()) == []


def test_runs_that_another_command_has_in_progress_are_waited_for(
    tmp_path: Path, planned: tuple[Job, ...], calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = tmp_path / "launch/other/0.beat"
    beat.parent.mkdir(parents=True)
    beat.write_text("{}")
    theirs = planned[0]
    assert Leases(tmp_path, beat).claim(theirs.key)
    result = _carried_out(tmp_path / "else", (theirs,), "processes")[theirs.key]
    calls.clear()
    slept = 0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += 1
        if slept == 3:
            Store(tmp_path).save(result.model_copy(update={"examples": None}), {})
            Leases(tmp_path, beat).release(theirs.key)

    monkeypatch.setattr(time, "sleep", sleep)
    done = _carried_out(tmp_path, planned, "desk")
    assert len(done) == len(planned)
    assert calls == ["execute 1 64"]
    assert slept >= 3


def test_jobs_of_an_earlier_command_are_waited_for_and_not_submitted_again(
    tmp_path: Path,
    planned: tuple[Job, ...],
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "bench")
    desk: Any = launchers().found["desk"](how="queued")
    desk.use(tmp_path)
    first = desk.run(planned, 1)
    monkeypatch.setattr(time, "sleep", _raises)
    with pytest.raises(InterruptedError):
        next(first)  # the command is gone; its job is in the queue
    waiting = jobs(tmp_path)
    assert [(job.live, job.state, job.done, job.runs) for job in waiting] == [
        (True, "pending", 0, len(planned))
    ]
    (pack,) = (tmp_path / "launch").glob("desk-*/0.json")

    def begins(seconds: float) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(clusters, "_TICK", 0.01)
        execute(str(pack))

    monkeypatch.setattr(time, "sleep", begins)
    done = _carried_out(tmp_path, planned, "desk@how=queued")
    assert {record.status for record in done.values()} == {"ok"}
    assert calls == ["execute 1 1"]
    assert "7 runs wait or run in 1 jobs of an earlier command" in caplog.text


def _raises(seconds: float) -> None:
    raise InterruptedError


def test_what_is_cancelled_ends_for_those_who_wait(
    tmp_path: Path, planned: tuple[Job, ...], monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: cancel(tmp_path))
    with pytest.raises(UserError, match="the jobs were cancelled; what is finished is kept"):
        _carried_out(tmp_path, planned, "desk@how=queued")
    assert "end 1" in calls
    assert jobs(tmp_path) == []
    assert cancel(tmp_path) == 0
    assert [path.name for path in (tmp_path / "launch").rglob(CANCELLED)] == [CANCELLED]


def test_a_worker_on_another_kind_of_machine_refuses_and_the_plan_is_told(
    tmp_path: Path, planned: tuple[Job, ...], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "launch/hosts").mkdir(parents=True)
    foreign = tuple(replace(job, machine=("Z80", *job.machine[1:])) for job in planned)
    done = _carried_out(tmp_path, foreign, "desk@tries=1")
    assert {record.status for record in done.values()} == {"failed"}
    (reason,) = {record.reason for record in done.values()}
    assert "another kind of machine than was planned for" in reason
    assert "Z80 planned" in reason
    assert not (tmp_path / "launch/hosts").exists()  # the next plan asks anew


def test_the_machine_in_a_key_is_that_of_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.plan.plan import make_plan
    from bench.spec.experiment import Experiment

    asked = Experiment.model_validate(
        {"pair": "toy:row+column", "strategy": "hard", "budget": "5steps", "seeds": 1}
        | {"train_size": 100, "validation_size": 50}
    )
    elsewhere = Host("cuda", ("Z80", "some GPU", "0.1", "0.1"), 2**30)

    def ask(function: Callable[..., Any], *arguments: Any, **how: Any) -> Iterator[Any]:
        if function is host:
            return iter([elsewhere])
        if function is time_arms:
            return iter([[1e-3] * len(arguments[0])])
        if function is prove:
            return iter([""])  # nothing is wrong with that GPU
        return WorkerPool(None, 0).ask(function, *arguments, **how)

    # There is no GPU here, and none is needed to plan for one.
    there = make_plan(asked, DataSource(), Store(tmp_path), lambda _: None, ask)
    here = make_plan(asked, DataSource(), Store(tmp_path), lambda _: None)
    assert {job.spec.device for job in there.jobs} == {"cuda"}
    assert {job.machine for job in there.jobs} == {elsewhere.machine}
    assert not {job.key for job in there.jobs} & {job.key for job in here.jobs}
    assert {job.prices[0].seconds for job in there.jobs} == {1e-3}


def test_what_depends_on_the_machine_is_asked_where_runs_execute_and_kept(
    tmp_path: Path, planned: tuple[Job, ...], calls: list[str]
) -> None:
    with WorkerPool("desk", None, tmp_path) as pool:
        (first,) = pool.ask(host, "cpu", limited=False)
        (again,) = pool.ask(host, "cpu", limited=False)
        assert first == again == host("cpu")
        assert calls == ["reply 1 1"]
        *_, found = pool.ask(time_arms, [(planned[0].spec, 0)], DataSource())
        assert found[0] > 0
        with pytest.raises(UserError, match="--device cuda"):
            list(pool.ask(host, "cuda", limited=False))
    assert calls == ["reply 1 1"] * 3


def test_a_question_whose_job_is_lost_has_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk: Any = launchers().found["desk"]()
    desk.use(tmp_path)

    def lose(call: object, paths: list[Path], at_once: int) -> None:
        desk.failures.append(clusters.name_of(paths[0]))

    monkeypatch.setattr(desk, "start", lose)
    with pytest.raises(RequestError, match="ended without an answer \\(its node was lost\\)"):
        list(desk.ask(host, "cpu"))


def test_packs_are_documents_and_come_back_as_they_were(
    tmp_path: Path, planned: tuple[Job, ...]
) -> None:
    desk: Any = launchers().found["desk"](how="queued")
    desk.use(tmp_path)
    (live,) = desk._submitted(planned, 2, 1)
    pack = read_pack(live.path)
    assert sorted(pack.jobs, key=lambda job: job.key) == sorted(planned, key=lambda job: job.key)
    assert (pack.together, pack.folder) == (2, str(Path.cwd()))
    assert json.loads((live.path.parent / "batch.json").read_text())["launcher"] == (
        "desk@how=queued"
    )
    assert live.path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("launcher", "reason"),
    [
        ("slurm@pack=2h", "pack is longer than time allows"),
        ("slurm@time=0", "time is 1 or more"),
        ("slurm@pack=soon", "give a time such as 10m"),
        ("ray@gpus=-1", "cpus and gpus are 0 or more"),
        ("ray@tries=0", "together, tries and at_once are 1 or more"),
    ],
)
def test_knobs_that_make_no_sense_are_refused(launcher: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        WorkerPool(launcher)


@pytest.mark.parametrize(("launcher", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_package_that_is_missing_is_named_with_its_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with (
        pytest.raises(UserError, match=rf"pip install 'mtl-sharing-bench\[{launcher}\]'"),
        WorkerPool(launcher, None, tmp_path) as pool,
    ):
        list(pool.ask(host, "cpu"))


def test_a_result_that_is_handed_back_is_an_event_of_its_own(
    tmp_path: Path, planned: tuple[Job, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.launch.packs import carried_out

    desk: Any = launchers().found["desk"](how="queued")
    desk.use(tmp_path)
    pack: list[Any] = []
    monkeypatch.setattr(desk, "start", lambda call, paths, most: pack.append(read_pack(paths[0])))

    def back(name: str) -> list[Any]:
        found = [e for e in carried_out(pack[0], pack[0].jobs) if isinstance(e, Finished)]
        return [(event.record, event.examples) for event in found]

    monkeypatch.setattr(desk, "handed_back", back)
    events = list(desk.run(planned[:2], 1))
    assert [type(event).__name__ for event in events] == ["Started", "Finished"] * 2


class _Interrupted(Quiet):
    """Ctrl-C as soon as runs are trained."""

    def bar(self, jobs: int, work: float, what: str) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("launcher", "leaves", "said"),
    [
        ("desk", True, "The jobs go on: `bench status` shows them, `bench cancel` ends them. Run"),
        ("desk", False, "The jobs are cancelled. Run"),
        ("processes", False, "are finished and kept. Run"),
    ],
)
def test_ctrl_c_says_what_becomes_of_jobs(
    tmp_path: Path, planned: tuple[Job, ...], launcher: str, leaves: bool, said: str
) -> None:
    store = Store(tmp_path)
    batch = RunBatch.of(store, planned, 1, False)
    with WorkerPool(launcher, 1, tmp_path, lambda: leaves) as pool:  # noqa: SIM117
        with pytest.raises(KeyboardInterrupt, match=said):
            batch.carry_out(store, pool, _Interrupted())


def test_commands_show_and_end_the_jobs_of_a_folder(
    tmp_path: Path, planned: tuple[Job, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    desk: Any = launchers().found["desk"](how="queued")
    desk.use(tmp_path)
    desk._submitted(planned, 1, 1)
    show_jobs(tmp_path, as_json=False)
    shown = capsys.readouterr().out
    assert "1 job waits: pending" in shown
    assert "7 runs are to come" in shown
    show_jobs(tmp_path, as_json=True)
    (job,) = json.loads(capsys.readouterr().out)
    assert (job["launcher"], job["live"], job["runs"]) == ("desk@how=queued", True, 7)
    end_jobs(tmp_path)
    assert capsys.readouterr().out == "cancelled; what is finished is kept\n"
    show_jobs(tmp_path, as_json=False)
    assert capsys.readouterr().out.startswith("no job of a cluster waits or runs for ")
    with pytest.raises(UserError, match="no job of a cluster has runs of"):
        end_jobs(tmp_path)
