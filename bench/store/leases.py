"""Which runs are in progress, and by whom: leases in the results folder, without locks.

    DIR/leases/<k2>/<key>      names the beat of who trains the run
    DIR/launch/.../*.beat      rewritten every few seconds by who trains

A lease is made by an exclusive create, which network file systems have as well (NFS since version
3). It holds as long as its holder's beat is fresh: the file server has stamped it within the last
`EXPIRY` seconds. Ages are differences of two such stamps, so clocks of machines may differ. A
process of this machine is looked for as well.

An expired lease is taken over by a rename within its folder, and what was renamed is read: where
somebody was quicker, it goes back. The worst that a lost race costs is a run that is trained twice,
with the same numbers.
"""

import contextlib
import platform
import re
from pathlib import Path

from pydantic import BaseModel

from bench.files import DocumentError, beside, delete, read_bytes, read_document

#: Seconds between two beats.
BEAT = 10.0
#: Seconds after which the holder of a beat is gone. Clients of NFS may see stamps a minute late.
EXPIRY = 180.0
#: What a lease may name: a file of this folder, and no path that leads out of it.
_HOLDER = re.compile(r"launch/[a-z0-9-]{1,100}/[0-9]{1,9}\.beat")
_MOST_LEASE = 2**10
_MOST_BEAT = 2**27


class _Holder(BaseModel):
    """Who keeps a beat, as far as a lease minds: a process on a node."""

    node: str = ""
    pid: int = 0


def alive(beat: Path) -> bool:
    """Return whether who keeps a beat is there, as far as that can be known from here."""
    if not fresh(beat):
        return False
    try:
        holder = read_document(beat, _Holder, _MOST_BEAT, follow=False)
    except (DocumentError, OSError):  # it is being written, or was ended meanwhile
        return beat.exists()
    import psutil

    here = holder.node == platform.node()
    return not (here and holder.pid) or psutil.pid_exists(holder.pid)


def fresh(beat: Path) -> bool:
    """Return whether a beat is there and of the last `EXPIRY` seconds, as its server counts."""
    try:
        age = server_time(beat.parent) - beat.stat().st_mtime
    except FileNotFoundError:
        return False
    return age < EXPIRY


def server_time(folder: Path) -> float:
    """Return the time that the server of a folder stamps now, in seconds. Raises `OSError`."""
    probe = beside(folder / "clock")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


class Leases:
    """The leases under a results folder, as one holder sees them; `beat` is its own."""

    def __init__(self, root: Path, beat: Path | None = None) -> None:
        self._root, self._folder = root, root / "leases"
        self._own = "" if beat is None else beat.relative_to(root).as_posix()

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key

    def claim(self, key: str) -> bool:
        """Take the lease of a run; return whether it is ours, which it may have been before."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                with path.open("x") as file:
                    file.write(self._own)
                return True
            except FileExistsError:
                pass
            try:
                held = self._named(path)
                if held == self._own or self._alive(held, path):
                    return held == self._own
                self._put_aside(path, held)
            except FileNotFoundError:
                continue  # it was released, or taken over, meanwhile

    def _put_aside(self, path: Path, expired: str) -> None:
        aside = beside(path)
        path.rename(aside)
        if self._named(aside) != expired:  # somebody has taken it over before
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(aside)
        aside.unlink()

    def held(self, key: str) -> bool:
        """Return whether somebody trains a run at this moment."""
        path = self._path(key)
        try:
            return self._alive(self._named(path), path)
        except FileNotFoundError:
            return False

    def release(self, key: str) -> None:
        """Give up the lease of a run, if it is ours."""
        path = self._path(key)
        with contextlib.suppress(FileNotFoundError):
            if self._named(path) == self._own:
                delete(path)

    def _named(self, path: Path) -> str:
        return read_bytes(path, _MOST_LEASE, follow=False).decode("utf-8", "replace")

    def _alive(self, holder: str, lease: Path) -> bool:
        if not holder:  # it is being written
            return fresh(lease)
        return bool(_HOLDER.fullmatch(holder)) and alive(self._root / holder)
