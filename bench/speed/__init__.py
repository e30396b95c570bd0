"""How fast the harness is, measured side by side in one session: seven tables, each with a plot.

Everything is timed in turns and shown as a ratio with an interval, because a time alone mostly
reflects the state of the machine. The names of networks, strategies and data sets are in
`full.toml`.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.speed.settings import Settings
from bench.speed.tables import Table

#: The number of tables; the second has two parts.
TABLES = 7


def measure(
    settings: Settings,
    only: Collection[int],
    cores: int,
    say: Callable[[str], None],
    experiment: str | None = None,
) -> Iterator[Table]:
    """Measure the requested tables, by number, and yield each.

    Table 5 is about `experiment`, by name or file, and without one about that of table 6, which is
    trained once for both.
    """
    from bench.speed.growth import growth
    from bench.speed.matrix import matrix
    from bench.speed.overhead import overhead
    from bench.speed.photographs import photographs
    from bench.speed.step import against_machine, against_peers, by_hand
    from bench.speed.turns import own_process
    from bench.speed.verdict import experiment_file, verdict
    from bench.speed.whole import WholeRun

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        asked = WholeRun(str(experiment_file(settings, scratch)), scratch / "verdict", cores)
        whole, called = asked, "The command of table 6"
        if experiment is not None:
            whole, called = WholeRun(experiment, scratch / "whole", cores), f"`run {experiment}`"
        pool = [stack.enter_context(own_process(worker=True)) for _ in range(cores)]
        other = stack.enter_context(own_process())
        measures: list[tuple[int, str, Callable[[], Table]]] = [
            (1, "a training step against a loop by hand", lambda: by_hand(settings, pool[0])),
            (2, "other libraries", lambda: against_peers(settings, pool, other)),
            (2, "a whole experiment", lambda: matrix(settings, cores, other)),
            (3, "the machine's limit", lambda: against_machine(settings, pool[0])),
            (4, "cost as work grows", lambda: growth(settings)),
            (5, "overhead of a whole command", lambda: overhead(settings, cores, whole, called)),
            (6, "what a verdict costs", lambda: verdict(settings, cores, other, asked)),
            (7, "photographs", lambda: photographs(settings, pool[0])),
        ]
        for number, what, take in measures:
            if number in only:
                say(f"{number} of {TABLES}: {what}")
                yield take()
