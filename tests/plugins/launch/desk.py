"""A cluster on a desk, for the tests of what all clusters have in common: jobs run at once."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.errors import UserError
from bench.launch.cluster import Cluster, SchedulerError, Standing, name_of
from bench.launch.packs import Beat, beat_path, execute, read_pack, write_document

#: What has gone on, for tests: a line for each call.
CALLS: list[str] = []


@dataclass
class Desk(Cluster):
    """Executes each job in this process when it is submitted. Some go wrong `how`, `times`."""

    name = "desk"
    summary = "jobs in the process of the command, for tests"
    outlives = True
    failures: ClassVar[list[str]] = []
    victims: ClassVar[list[str]] = []

    poll: float = 0.01
    how: str = ""
    times: int = 1

    def start(self, call: Callable[[str], None], paths: Sequence[Path], at_once: int) -> None:
        """Do what is asked for, unless that is to go wrong."""
        CALLS.append(f"{call.__name__} {len(paths)} {at_once}")
        wrong = CALLS.count(f"wrong {self.how}") < self.times
        if self.how == "down" and wrong:
            CALLS.append("wrong down")
            raise SchedulerError("planted")
        if self.how == "refuses":
            raise UserError("planted")
        for path in paths:
            if call is execute and wrong and self._loses(path):
                CALLS.append(f"wrong {self.how}")
                self.failures.append(name_of(path))
            elif not (call is execute and self.how == "queued"):
                call(str(path))

    def _loses(self, path: Path) -> bool:
        """Lose a job; where it is `begun`, whichever has the first run of all in progress."""
        if self.how != "begun":
            return self.how == "lost"
        keys = [job.key for job in read_pack(path).jobs]
        self.victims.append(keys[0])
        victim = self.victims[0]
        if victim in keys:
            write_document(beat_path(path), Beat(token="t", running=(victim,)))
        return victim in keys

    def standings(self, batches: Collection[str]) -> dict[str, Standing]:
        """Return that jobs have ended, or wait for ever."""
        if self.how == "queued":
            folders = (self.root / "launch" / batch for batch in batches)
            paths = [path for folder in folders for path in folder.glob("[0-9]*.json")]
            return {name_of(path): Standing(True, "pending") for path in paths}
        return {name: Standing(False, "its node was lost") for name in self.failures}

    def end(self, batches: Collection[str]) -> None:
        """End nothing: no job goes on."""
        CALLS.append(f"end {len(batches)}")
