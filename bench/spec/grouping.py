"""What `bench group` is asked: an experiment on one set of tasks, and what a grouping must be."""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from bench.errors import UserError, unknown
from bench.spec.experiment import Asked, Experiment, asked_for

AffinityMethod = Literal["auto", "pairs", "joint", "higher-order"]

#: Up to so many tasks all pairs are trained, where nothing else is said; beyond, one joint run.
_PAIRS_UP_TO = 8
#: The name of a question that no file asks.
_PLAIN: Mapping[str, Any] = {"name": "grouping"}
_CAP = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*x\s*", re.IGNORECASE)


class GroupExperiment(Experiment):
    """All that defines a question of groups. The keys are the long flags of `bench group`.

    `pair` is the one set of tasks, `strategy` the one that tasks of a group share by, and `budget`
    what one task gets: a network of k tasks gets k times as much. `seeds` are those of the
    verification.
    """

    #: Fields of an experiment that a question of groups has no use for.
    unused: ClassVar = (
        "until_decided",
        "race",
        "tune",
        "also",
        "also_against",
        "reference",
    )

    affinity: AffinityMethod = "auto"
    """How tasks are related: pairs trains all of them, joint one network of all (TAG), higher-order
    checks pairs by triples; auto is pairs up to 8 tasks."""
    affinity_seeds: int = Field(default=5, ge=1, le=100, strict=True)
    """Seeds at which affinities are measured, different from those of the verification."""
    at_most_networks: int | None = Field(default=None, ge=1, le=1000, strict=True)
    """The most networks that may be deployed."""
    at_most_flops: str | None = None
    """The most inference FLOPs, as a multiple of one network for all tasks, such as 1.5x."""
    at_most_memory: str | None = None
    """The most memory for weights, as a multiple of one network for all tasks, such as 2x."""
    together: tuple[str, ...] = ()
    """Tasks that must share a network, as TASK+TASK. May be repeated."""
    apart: tuple[str, ...] = ()
    """Tasks that must not share a network, as TASK+TASK. May be repeated."""
    weight: tuple[str, ...] = ()
    """How much a task counts, as TASK=NUMBER; 1 if not given. May be repeated."""
    propose_only: bool = Field(default=False, strict=True)
    """Stop after the proposal, which nothing has verified."""

    @field_validator("together", "apart", "weight", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("at_most_flops", "at_most_memory")
    @classmethod
    def _is_multiple(cls, value: str | None) -> str | None:
        if value is not None and _multiple(value) < 1:
            raise ValueError("one network for all tasks costs 1x: give 1x or more")
        return value

    @model_validator(mode="after")
    def _one_set(self) -> "GroupExperiment":
        for field in self.unused:
            if getattr(self, field):
                raise UserError(f"a question of groups has no {field.replace('_', '-')}: remove it")
        if len(self.pair) > 1 or len(self.strategy) > 1:
            raise UserError(
                "bench group takes one set of tasks, as -p DATASET:TASK+TASK+TASK, and one strategy"
            )
        if not self.validation_size:
            raise UserError("affinities are scored on the validation split: raise validation-size")
        return self

    def method(self, tasks: int) -> Literal["pairs", "joint", "higher-order"]:
        """Return how the affinities of so many tasks are measured."""
        if self.affinity != "auto":
            return self.affinity
        return "pairs" if tasks <= _PAIRS_UP_TO else "joint"

    def most_flops(self) -> float | None:
        """Return the cap on inference FLOPs, in those of one network for all tasks."""
        return None if self.at_most_flops is None else _multiple(self.at_most_flops)

    def most_memory(self) -> float | None:
        """Return the cap on the memory of weights, in that of one network for all tasks."""
        return None if self.at_most_memory is None else _multiple(self.at_most_memory)

    def pairs_of(
        self, field: Literal["together", "apart"], tasks: tuple[str, ...]
    ) -> list[tuple[int, int]]:
        """Return the pairs of positions that must, or must not, share a network.

        Raises `UserError` for what is none of the tasks.
        """
        found: list[tuple[int, int]] = []
        for text in getattr(self, field):
            names = text.split("+")
            for name in names:
                _check_task(field, name, tasks)
            if len(set(names)) < 2:
                raise UserError(f"--{field} {text}: name two tasks or more, as TASK+TASK")
            places = sorted(tasks.index(name) for name in set(names))
            if field == "together":
                found += pairwise(places)
            else:
                found += [(a, b) for n, a in enumerate(places) for b in places[n + 1 :]]
        return found

    def weights_of(self, tasks: tuple[str, ...]) -> tuple[float, ...]:
        """Return how much each task counts. Raises `UserError` for what is no weight of a task."""
        weights = dict.fromkeys(tasks, 1.0)
        for text in self.weight:
            task, _, number = text.rpartition("=")
            _check_task("weight", task, tasks)
            try:
                weights[task] = float(number)
            except ValueError:
                weights[task] = -1.0
            if not 0 < weights[task] < 1e6:
                raise UserError(f"--weight {text}: give TASK=NUMBER, with a number above 0")
        return tuple(weights.values())


def _multiple(text: str) -> float:
    match = _CAP.fullmatch(text)
    if match is None:
        raise ValueError("give a multiple of one network for all tasks, such as 1.5x")
    return float(match[1])


def _check_task(field: str, name: str, tasks: tuple[str, ...]) -> None:
    if name not in tasks:
        raise unknown(f"task of --{field}", name, tasks)


def group_asked_for(asked: Asked, overrides: Mapping[str, Any]) -> GroupExperiment:
    """Return the question that is meant, with its flags laid over it.

    Without a file it has the recipe of the default experiment. Of several budgets or training sizes
    the largest counts. Raises `UserError`.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    if asked == "default" and not given.get("pair"):
        raise UserError("name the tasks, as -p labels.csv:a+b+c or -p creatures:species+kin+coat")
    if isinstance(asked, str | Path) and not str(asked).endswith(".toml"):
        given = {**_PLAIN, **given}
    found = asked_for(GroupExperiment, asked, given)
    return found.model_copy(update={"smaller_budgets": (), "smaller_train_sizes": ()})
