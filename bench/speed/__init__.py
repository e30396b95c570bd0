"""How fast the harness is, measured side by side in one session: seven tables, each with a plot.

Everything is timed in turns and shown as a ratio with an interval, because a time alone mostly
reflects the state of the machine. The names of networks, strategies and data sets are in
`full.toml`.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack

from bench.speed.settings import Settings
from bench.speed.tables import Table

#: The number of tables; the second has two parts.
TABLES = 7


def measure(
    settings: Settings, only: Collection[int], cores: int, say: Callable[[str], None]
) -> Iterator[Table]:
    """Measure the requested tables, by number, and yield each."""
    from bench.speed.growth import growth
    from bench.speed.matrix import matrix
    from bench.speed.overhead import overhead
    from bench.speed.photographs import photographs
    from bench.speed.step import against_machine, against_peers, by_hand
    from bench.speed.turns import own_process
    from bench.speed.verdict import verdict

    with ExitStack() as stack:
        pool = [stack.enter_context(own_process(worker=True)) for _ in range(cores)]
        other = stack.enter_context(own_process())
        measures: list[tuple[int, str, Callable[[], Table]]] = [
            (1, "a training step against a loop by hand", lambda: by_hand(settings, pool[0])),
            (2, "other libraries", lambda: against_peers(settings, pool, other)),
            (2, "a whole experiment", lambda: matrix(settings, cores, other)),
            (3, "the machine's limit", lambda: against_machine(settings, pool[0])),
            (4, "cost as work grows", lambda: growth(settings)),
            (5, "overhead of a whole command", lambda: overhead(settings, cores)),
            (6, "what a verdict costs", lambda: verdict(settings, cores, other)),
            (7, "photographs", lambda: photographs(settings, pool[0])),
        ]
        for number, what, take in measures:
            if number in only:
                say(f"{number} of {TABLES}: {what}")
                yield take()
