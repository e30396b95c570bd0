"""The faults, in a seeded order: what is done to a command, and when."""

import errno
import random
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.campaign.scenarios import SCENARIOS, Scenario
from tests.campaign.shim import Moment

#: How often each call was made by an undisturbed command, by scenario and state.
Counts = Mapping[tuple[str, str], Mapping[tuple[str, str], int]]

#: Errors of each call. A full disk stays full until space is freed.
_ERRORS = {
    "open": ("EIO", "EACCES", "EMFILE", "EINTR"),
    "create": ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EMFILE", "EIO", "EINTR"),
    "read": ("EIO", "EINTR"),
    "write": ("ENOSPC", "EDQUOT", "EIO", "EINTR"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT"),
    "rename": ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "EINTR"),
    "unlink": ("EACCES", "EROFS", "EIO"),
    "mkdir": ("ENOSPC", "EDQUOT", "EROFS", "EACCES"),
    "list": ("EIO", "EACCES", "EMFILE"),
    "link": ("EPERM", "EIO"),
}
_LASTING = {"ENOSPC", "EDQUOT", "EROFS"}
_SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGINT twice")


@dataclass(frozen=True)
class Fault:
    """What is done to a command.

    It happens at a `moment`, at a `stage` and `after` so many seconds of it, or `size` bytes of
    disk are all there is.
    """

    number: int
    group: str
    """Which row of the table it counts for."""
    scenario: Scenario
    state: str
    what: str
    target: str = ""
    moment: Moment | None = None
    lasts: bool = False
    stage: str = ""
    after: float = 0.0
    size: int = 0
    plain: bool = False

    @property
    def where(self) -> str:
        """What it happens at, in a word or two."""
        if self.moment is not None:
            return f"calls on: {self.moment.kind}"
        if self.size:
            return "a small disk"
        return f"stage: {self.stage}" if self.stage else f"any time of: {self.scenario.name}"

    @property
    def kills(self) -> bool:
        """Whether it is a signal."""
        return self.what.startswith("SIG")

    def __str__(self) -> str:
        when = f"after {self.after:.2f} s {f'of {self.stage}' if self.stage else ''}"
        if (at := self.moment) is not None:
            when = f"{at.when} {at.call} {at.nth} of {at.kind}"
        elif self.size:
            when = f"{self.size} bytes"
        where = f" to {self.target}" if self.target else ""
        how = f"{' for good' if self.lasts else ''}{', plain' if self.plain else ''}"
        return f"{self.scenario.name}/{self.state}: {self.what}{where}, {when}{how}"


def faults(
    seed: int, counts: Counts, seconds: Mapping[tuple[str, str], float], *, disks: bool
) -> Iterator[Fault]:
    """Yield faults without end, the same ones for the same seed and counts.

    `seconds` are how long the undisturbed commands took. `disks` says whether small disks can be
    made.
    """
    rng = random.Random(seed)
    makers = [_error] * 17 + [_signal_at_call] * 5 + [_signal_in_time] * 4 + [_signal_in_stage] * 3
    makers += [_plain_signal] + [_small_disk] * disks
    number = 0
    while True:
        order = list(makers)
        rng.shuffle(order)
        for make in order:
            yield make(number, rng, counts, seconds)
            number += 1


Seconds = Mapping[tuple[str, str], float]


def _scenario(rng: random.Random) -> tuple[Scenario, str]:
    scenario = rng.choice(SCENARIOS)
    return scenario, rng.choice(scenario.states)


def _call(rng: random.Random, counts: Counts) -> tuple[Scenario, str, str, str, int]:
    """Choose a call: first the command, then the kind of file, then the call, then which."""
    scenario, state = _scenario(rng)
    seen = counts[scenario.name, state]
    kind = rng.choice(sorted({kind for kind, _ in seen}))
    call = rng.choice(sorted(call for k, call in seen if k == kind))
    return scenario, state, kind, call, rng.randint(1, seen[kind, call])


def _error(number: int, rng: random.Random, counts: Counts, seconds: Seconds) -> Fault:
    scenario, state, kind, call, nth = _call(rng, counts)
    what = rng.choice(_ERRORS[call])
    when = "before"
    if call in ("write", "rename") and what != "EINTR":
        when = rng.choice(("before", "in") if call == "write" else ("before", "before", "after"))
    return Fault(
        number,
        f"{what}",
        scenario,
        state,
        what,
        moment=Moment(kind, call, when, nth),
        lasts=what in _LASTING and rng.random() < 0.7,
    )


def _signal_at_call(number: int, rng: random.Random, counts: Counts, seconds: Seconds) -> Fault:
    while True:
        scenario, state, kind, call, nth = _call(rng, counts)
        # Those calls that change something are what a kill may come between.
        if call not in ("read", "list") and (call != "open" or rng.random() < 0.2):
            break
    when = rng.choice(("before", "in", "after") if call == "write" else ("before", "after"))
    what, target = rng.choice(_SIGNALS), rng.choice(("command", "group"))
    at = Moment(kind, call, when, nth)
    return Fault(number, f"{what}, at a call", scenario, state, what, target, moment=at)


def _signal_in_time(number: int, rng: random.Random, counts: Counts, seconds: Seconds) -> Fault:
    scenario, state = _scenario(rng)
    after = rng.uniform(0, seconds[scenario.name, state])
    what, target = rng.choice(_SIGNALS), rng.choice(("command", "group"))
    return Fault(number, f"{what}, at any time", scenario, state, what, target, after=after)


def _signal_in_stage(number: int, rng: random.Random, counts: Counts, seconds: Seconds) -> Fault:
    staged = [scenario for scenario in SCENARIOS if scenario.marks]
    scenario = rng.choice(staged)
    state = rng.choice([state for state in scenario.states if state != "whole"])
    stage, _ = rng.choice(scenario.marks)
    if rng.random() < 0.5:
        what, target = rng.choice(("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")), "worker"
    else:
        what, target = rng.choice(_SIGNALS), rng.choice(("command", "group"))
    after = rng.uniform(0, 0.4)
    title = f"{what} to a worker" if target == "worker" else f"{what}, at a stage"
    return Fault(number, title, scenario, state, what, target, stage=stage, after=after)


def _plain_signal(number: int, rng: random.Random, counts: Counts, seconds: Seconds) -> Fault:
    """A signal to a command that starts as a user starts it, most often while it imports."""
    scenario, state = _scenario(rng)
    after = rng.choice((rng.uniform(0, 1), rng.uniform(0, 3), rng.uniform(0, 12)))
    what, target = rng.choice(_SIGNALS), rng.choice(("command", "group"))
    title = f"{what}, from the start"
    return Fault(number, title, scenario, state, what, target, after=after, plain=True)


def _small_disk(number: int, rng: random.Random, counts: Counts, seconds: Seconds) -> Fault:
    scenario = rng.choice([s for s in SCENARIOS if "empty" in s.states])
    size = 4096 * rng.randint(1, 100)
    return Fault(number, "a full disk", scenario, "empty", "ENOSPC", size=size)


def signal_number(what: str) -> int:
    """Return the number of a signal."""
    return int(signal.Signals[what.partition(" ")[0]])


def error_number(what: str) -> int:
    """Return the number of an error."""
    return int(getattr(errno, what))
