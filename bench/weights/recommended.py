"""Which networks the decisions recommend, and which run of each is kept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.decide.pairs import Choice, TaskSet
from bench.store.records import Declaration, Record, Row


@dataclass(frozen=True)
class Recommended:
    """A network that the decision for a set of tasks recommends.

    `tasks` are those that it answers. `keys` are its runs, by ascending seed.
    """

    decided: TaskSet
    tasks: tuple[str, ...]
    keys: tuple[str, ...]

    def kept(self, find: Callable[[str], Record | None]) -> Record | None:
        """Return the run whose network is kept: that of the first seed that ended well, if any.

        No score has a say in it, so that the test set chooses nothing.
        """
        runs = (find(key) for key in self.keys)
        return next((run for run in runs if run is not None and run.status == "ok"), None)


def recommended(declaration: Declaration, decided: Sequence[TaskSet]) -> Iterator[Recommended]:
    """Yield the network of the chosen strategy, or those of each task where they are separate.

    A trade and what is undecided recommend nothing.
    """
    for tasks in decided:
        rows = [row for row in declaration.rows if row.pair == tasks.pair]
        match tasks.decision.choice:
            case Choice.SHARE:
                row = next(row for row in rows if row.strategy == tasks.decision.strategy)
                yield Recommended(tasks, tasks.targets, _keys(row, alone=False))
            case Choice.SEPARATE:
                for target in tasks.targets:
                    row = next(row for row in rows if row.target == target)
                    yield Recommended(tasks, (target,), _keys(row, alone=True))


def _keys(row: Row, alone: bool) -> tuple[str, ...]:
    seeds = sorted(row.seeds, key=lambda seed: seed.seed)
    return tuple(s.anchors["full"][row.target] if alone else s.strategy for s in seeds)
