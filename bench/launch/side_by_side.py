"""How many processes train on one device side by side: as many as memory holds and as pay.

One small network leaves most of a device idle, and a large one leaves nothing. So it is measured,
on a step of the plan itself.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from typing import Any

from bench import accelerator
from bench.contracts import DataSource
from bench.errors import note
from bench.launch.worker import RequestError, Worker
from bench.spec.experiment import RunSpec
from bench.train.throughput import make_ready, steps_per_second

#: Numbers of processes that are tried.
COUNTS = (1, 2, 4, 8)
#: Seconds for which each number of them takes steps.
_SECONDS = 2.0
#: More processes must bring so much more than fewer: each holds memory, and starts.
_PAYS = 1.05
#: Seconds that a process may take to get ready.
_PATIENCE = 300.0

#: Returns the steps per second that so many processes take together; None where no more fit.
Measure = Callable[[int], float | None]


def rates(measure: Measure) -> dict[int, float]:
    """Return the steps per second by number of processes, of those that fit."""
    found: dict[int, float] = {}
    for count in COUNTS:
        rate = measure(count)
        if rate is None:
            break
        found[count] = rate
    return found


def fewest_that_pay(found: Mapping[int, float]) -> int:
    """Return the fewest processes that nearly reach the highest rate; 1 where none is known."""
    most = max(found.values(), default=0.0)
    return min((count for count, rate in found.items() if rate * _PAYS >= most), default=1)


class Processes:
    """Measures with processes that all train on the first device.

    `each` are the bytes that one needs at most, and `seconds` how long each number is measured.
    """

    def __init__(
        self, spec: RunSpec, source: DataSource, each: float, seconds: float = _SECONDS
    ) -> None:
        self._spec, self._source, self._each, self._seconds = spec, source, each, seconds
        self._workers: list[Worker] = []
        self._most = math.inf
        self._stack = ExitStack()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, count: int) -> float | None:
        """Return the steps per second of so many processes; None where no more of them fit."""
        if count > self._most:
            return None
        try:
            while len(self._workers) < count:
                self._start()
            rates: Iterator[float] = self._all(steps_per_second, self._spec, self._seconds)
            return sum(rates)
        except RequestError:  # as where memory runs out all the same
            return None

    def _start(self) -> None:
        devices = max(1, accelerator.count())
        worker = Worker(len(self._workers) * devices)
        self._stack.callback(worker.stop)
        worker.send(make_ready, self._spec, self._source, limit=_PATIENCE)
        (free,) = worker.answers()
        if not self._workers and free is not None:
            self._most = 1 + free // self._each
        self._workers.append(worker)

    def _all(self, function: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
        """Call a function in all processes at once; yield what each returns."""
        for worker in self._workers:
            worker.send(function, *arguments, limit=_PATIENCE)
        for worker in self._workers:
            (found,) = worker.answers()
            yield found


@cache
def processes_that_pay(spec: RunSpec, source: DataSource, each: float) -> int:
    """Return how many processes suit one device for an arm; `each` are the bytes of one."""
    with Processes(spec, source, each) as measure:
        found = rates(measure)
    best = fewest_that_pay(found)
    told = ", ".join(f"{count}: {rate:,.0f}" for count, rate in found.items())
    note(f"steps per second on {spec.device} by processes side by side: {told}; {best} it is")
    return best
