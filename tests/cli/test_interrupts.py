"""Ctrl-C ends a command with 130 and one line, whatever it is doing; what lies outside is told."""

import errno
import subprocess
import sys
from types import SimpleNamespace

import pytest

import bench.__main__ as program
from bench.cli import app
from bench.cli.interrupts import STOPPED

_PRESS = "import os, signal; press = lambda: os.kill(os.getpid(), signal.SIGINT); "
_WATCH = _PRESS + "from bench.cli.interrupts import orderly, watch; watch(); "


def _python(program: str) -> "subprocess.CompletedProcess[str]":
    # What a shell starts in the background ignores interrupts, and so would this.
    begin = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    return subprocess.run(
        [sys.executable, "-c", begin + program], capture_output=True, text=True, check=False
    )


def test_ctrl_c_ends_a_command_at_once_with_a_line() -> None:
    done = _python(_WATCH + "press(); print('went on')")
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", f"{STOPPED}\n")


def test_ctrl_c_while_a_command_is_imported_shows_no_traceback() -> None:
    hook = (
        "import sys\nclass Press:\n    def find_spec(self, name, *_):\n"
        f"        if name == 'bench.cli.app': {_PRESS}press()\n"
        "sys.meta_path.insert(0, Press())\nimport bench.__main__ as m\nm.main()"
    )
    done = _python(hook)
    assert done.returncode == 130
    assert done.stderr == f"{STOPPED}\n"


def test_the_first_ctrl_c_is_raised_where_there_is_something_to_tell() -> None:
    first = "    try: press()\n    except KeyboardInterrupt: print('told', flush=True)\n"
    done = _python(f"{_WATCH}\nwith orderly():\n{first}    press(); print('went on')")
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("told\n", f"{STOPPED}\n")


@pytest.mark.parametrize(
    "foreign",
    [
        "try: press()\n    except KeyboardInterrupt: raise ValueError from None",
        "from contextlib import suppress\n    with suppress(ValueError): press()",
    ],
)
def test_an_interrupt_stays_one_whatever_is_made_of_it(foreign: str) -> None:
    done = _python(
        f"{_WATCH}\ntry:\n  with orderly():\n    {foreign}\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_an_interrupt_that_python_drops_ends_the_command() -> None:
    dropped = "\nclass Dropped:\n  def __del__(self): press()\nwith orderly():\n  one = Dropped()"
    done = _python(f"{_WATCH}{dropped}; del one; print('went on')")
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", f"{STOPPED}\n")


def test_a_program_that_uses_bench_keeps_its_interrupts() -> None:
    done = _python(
        _PRESS + "from bench.cli.interrupts import orderly\nwith orderly():\n"
        "  try: press()\n  except KeyboardInterrupt: print('mine')"
    )
    assert (done.returncode, done.stdout) == (0, "mine\n")


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_what_is_wrong_outside_is_a_line_and_no_defect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "why", "where")

    monkeypatch.setattr("bench.cli.list.listing", fail)
    with pytest.raises(SystemExit) as end:
        app.main(["list", "pairs"])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.count("\n") == 1
    assert "cannot go on: why 'where'" in said


def test_workers_that_cannot_be_ended_are_no_regression(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(errno.EMFILE, "why")

    monkeypatch.setitem(sys.modules, "bench.fork_server", SimpleNamespace(end_all=fail))
    assert program._workers_ended() == 6
    assert "worker processes may be left: [Errno" in capfd.readouterr().err


def test_a_command_that_fails_ends_its_workers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    def leave(code: int) -> None:
        raise SystemExit(code)

    workers = SimpleNamespace(end_all=lambda: ended.append(True))
    monkeypatch.setitem(sys.modules, "bench.fork_server", workers)
    monkeypatch.setattr("os._exit", leave)
    with pytest.raises(SystemExit) as end:
        program._end(4)
    assert (ended, end.value.code) == ([True], 4)
