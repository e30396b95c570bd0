"""A whole `bench run` from no result to its report, which tables 5 and 6 look at."""

from functools import cached_property
from pathlib import Path

from bench.speed.matrix import command


class WholeRun:
    """An experiment, by name or file, in a results folder of its own."""

    def __init__(self, experiment: str, results: Path, cores: int) -> None:
        self.experiment, self.results = experiment, results
        self.arguments = ["run", experiment, "--workers", str(cores)]

    @cached_property
    def seconds(self) -> float:
        """The wall seconds of the command. It is run when a table first asks for them."""
        return command(self.arguments, self.results)

    @cached_property
    def seconds_again(self) -> float:
        """The wall seconds of the same command once all runs are finished."""
        _ = self.seconds  # finishes them
        return command(self.arguments, self.results)
