"""What is shown while runs are trained: lines of the log, and a bar in notebooks."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from bench.api import notebook
from bench.api.notebook import Notebook, progress_of
from bench.api.progress import Lines, Quiet, Tally
from bench.errors import clock
from tests.conftest import plain_record, plain_spec


def _job(seconds: float = 2.0) -> Any:
    return SimpleNamespace(spec=plain_spec(), expected_seconds=seconds)


def test_time_left_follows_the_work_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    tally = Tally(3, 10.0, "runs")
    first, second = _job(), _job()
    tally.started(first)
    tally.started(second)
    assert tally.line == "0 of 3 runs, now s on d:t seed 0, s on d:t seed 0"
    now[0] += 30
    tally.finished(first, plain_record("a", 1.0, 1.0))
    assert tally.left == "2:00 left"  # a fifth of the work took 30 s
    assert tally.line == "1 of 3 runs, 2:00 left, now s on d:t seed 0"


def test_durations_are_read_as_on_a_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 3600)] == ["0:00", "1:00", "1:00:00"]


def test_lines_are_logged_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bench")
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    jobs = [_job() for _ in range(4)]
    with Lines().bar(4, 8.0, "runs") as bar:
        for job in jobs:
            bar.started(job)
            now[0] += 6
            bar.finished(job, plain_record("a", 1.0, 1.0))
    shown = [line.partition(",")[0] for line in caplog.messages]
    assert shown == ["2 of 4 runs", "4 of 4 runs"]


def test_a_run_that_fails_is_a_warning_even_where_nothing_is_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = plain_record("a", 1.0, 1.0).model_copy(update={"status": "failed", "reason": "why"})
    with Quiet().bar(1, 1.0, "runs") as bar:
        job = _job()
        bar.started(job)
        bar.finished(job, failed)
    assert caplog.messages == ["failed: s on d:t, seed 0: why"]


def test_the_bar_of_a_notebook_is_one_output_whose_names_are_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, bar: Any) -> None:
            shown.append(bar._repr_html_())

    def display(bar: Any, display_id: bool) -> Handle:
        shown.append(bar._repr_html_())
        return Handle()

    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    job = _job()
    job.spec = plain_spec(strategy="<script>\x1b[2J")
    with Notebook().bar(1, 1.0, "runs") as bar:
        bar.started(job)
        bar.finished(job, plain_record("a", 1.0, 1.0))
    assert [text.partition(">")[0] for text in shown[0:1]] == ["<div"]
    assert 'value="0"' in shown[0]
    assert "&lt;script&gt;" in shown[1]
    assert not any("<script>" in text or "\x1b" in text for text in shown)
    assert 'max="1" value="1"' in shown[-1]


def test_a_notebook_is_known_by_its_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress_of(True), Lines)
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert notebook.in_notebook()
    assert isinstance(progress_of(True), Notebook)
    assert type(progress_of(False)) is Quiet
    own = Lines()
    assert progress_of(own) is own
