"""Leases of runs in progress, on the semantics that network file systems have."""

import json
import os
import platform
import time
from pathlib import Path

import pytest

from bench.store import leases
from bench.store.leases import EXPIRY, Leases, alive

KEY = "ab" * 20


def _beat(root: Path, number: int, **content: object) -> Path:
    """Return the beat of a holder that was heard just now."""
    path = root / "launch" / "batch" / f"{number}.beat"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_one_holder_has_a_run_until_it_gives_it_up(tmp_path: Path) -> None:
    one, other = (Leases(tmp_path, _beat(tmp_path, number)) for number in (1, 2))
    assert one.claim(KEY)
    assert one.claim(KEY)  # a job that was put back into the queue finds its own
    assert not other.claim(KEY)
    other.release(KEY)  # which is not its own
    assert Leases(tmp_path).held(KEY)
    one.release(KEY)
    assert not Leases(tmp_path).held(KEY)
    assert other.claim(KEY)


def test_a_holder_that_is_heard_no_more_is_replaced(tmp_path: Path) -> None:
    beat = _beat(tmp_path, 1)
    one, other = Leases(tmp_path, beat), Leases(tmp_path, _beat(tmp_path, 2))
    assert one.claim(KEY)
    _age(beat, EXPIRY - 10)
    assert not other.claim(KEY)
    _age(beat, EXPIRY + 10)
    assert not Leases(tmp_path).held(KEY)
    assert other.claim(KEY)
    assert not one.claim(KEY)
    one.release(KEY)
    assert other.claim(KEY)
    assert not list((tmp_path / "leases").rglob("*.part"))


def test_a_holder_whose_beat_was_taken_away_is_gone(tmp_path: Path) -> None:
    beat = _beat(tmp_path, 1)
    assert Leases(tmp_path, beat).claim(KEY)
    beat.unlink()
    assert Leases(tmp_path, _beat(tmp_path, 2)).claim(KEY)


def test_a_process_of_this_machine_that_has_ended_is_gone_at_once(tmp_path: Path) -> None:
    assert alive(_beat(tmp_path, 1, node=platform.node(), pid=os.getpid()))
    assert alive(_beat(tmp_path, 2, node="elsewhere", pid=2**22 + 1))
    assert not alive(_beat(tmp_path, 3, node=platform.node(), pid=2**22 + 1))


def test_who_loses_the_race_for_an_expired_lease_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, quick, slow = (_beat(tmp_path, number) for number in (1, 2, 3))
    assert Leases(tmp_path, gone).claim(KEY)
    _age(gone, EXPIRY + 10)
    looked = leases.alive

    def beaten(beat: Path) -> bool:
        found = looked(beat)
        if not found:  # between the look and what follows from it
            monkeypatch.setattr(leases, "alive", looked)
            assert Leases(tmp_path, quick).claim(KEY)
        return found

    monkeypatch.setattr(leases, "alive", beaten)
    assert not Leases(tmp_path, slow).claim(KEY)
    assert Leases(tmp_path, quick).claim(KEY)


@pytest.mark.parametrize("content", ["../../etc/passwd", "launch/../x/1.beat", "/tmp/1.beat"])
def test_a_lease_leads_out_of_no_folder(tmp_path: Path, content: str) -> None:
    path = tmp_path / "leases" / KEY[:2] / KEY
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert not Leases(tmp_path).held(KEY)
    assert Leases(tmp_path, _beat(tmp_path, 1)).claim(KEY)
    assert path.read_text() == "launch/batch/1.beat"


def test_a_lease_that_is_being_written_is_held(tmp_path: Path) -> None:
    path = tmp_path / "leases" / KEY[:2] / KEY
    path.parent.mkdir(parents=True)
    path.touch()
    assert not Leases(tmp_path, _beat(tmp_path, 1)).claim(KEY)
    _age(path, EXPIRY + 10)
    assert Leases(tmp_path, _beat(tmp_path, 1)).claim(KEY)
