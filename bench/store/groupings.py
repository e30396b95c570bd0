"""What a question of groups declares before its runs: who is trained with whom, at which seeds."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Literal, Self

from pydantic import model_validator

from bench.spec.grouping import GroupExperiment
from bench.store.records import Amount, Document, Key, Seed


class OptionName(StrEnum):
    """What is verified: one network, the grouping, and two controls that nobody has to deploy."""

    ONE = "one network"
    GROUPING = "grouping"
    RANDOM = "random grouping"
    SLIM = "slim"


class SeedRun(Document):
    """The run of a network at one seed."""

    seed: Seed
    key: Key


class NetworkRuns(Document):
    """One network: the tasks that it serves, and its run at each seed."""

    tasks: tuple[str, ...]
    runs: tuple[SeedRun, ...]

    @property
    def keys(self) -> set[str]:
        """The keys of its runs."""
        return {run.key for run in self.runs}


class AffinityRuns(Document):
    """The runs that measure affinities, on the validation split at seeds below zero.

    `alone` has the network of each task, `groups` those of pairs or more; both are empty where one
    `joint` network measures all. All networks take equally many steps.
    """

    alone: tuple[NetworkRuns, ...] = ()
    groups: tuple[NetworkRuns, ...] = ()
    joint: NetworkRuns | None = None

    @property
    def networks(self) -> tuple[NetworkRuns, ...]:
        """All of them."""
        return (*self.alone, *self.groups, *([self.joint] if self.joint else []))


class OptionRuns(Document):
    """The networks of one way to serve all tasks, with a share of the whole budget for each."""

    name: OptionName
    networks: tuple[NetworkRuns, ...]


class VerificationRuns(Document):
    """The runs that verify a proposal: networks of one task each, and what is compared with them.

    All ways to serve the tasks have the same budget in total. `halved` are networks of one task
    each at half of it, which say whether it is long enough.
    """

    apart: tuple[NetworkRuns, ...]
    options: tuple[OptionRuns, ...]
    halved: tuple[NetworkRuns, ...] = ()

    @property
    def networks(self) -> tuple[NetworkRuns, ...]:
        """All of them."""
        options = (network for each in self.options for network in each.networks)
        return (*self.apart, *options, *self.halved)


class GroupDeclaration(Document):
    """A question of groups as declared: affinities first, then what verifies their proposal.

    `most` is the most networks that its caps allow; None where there is no cap. `every_group` are
    the FLOPs that training every group of tasks would take, at the steps and seeds of the
    affinities.
    """

    schema_version: Literal[1] = 1
    experiment: GroupExperiment
    tasks: tuple[str, ...]
    method: Literal["pairs", "joint", "higher-order"]
    affinity: AffinityRuns
    verification: VerificationRuns | None = None
    most: int | None = None
    every_group: Amount = 0.0
    data: tuple[str, ...] = ()
    """What the images and tasks are, in words."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        tasks = set(self.tasks)
        if len(tasks) < len(self.tasks) or len(tasks) < 2:
            raise ValueError("a question of groups has two different tasks or more")
        if any(not network.runs or not set(network.tasks) <= tasks for network in self._networks()):
            raise ValueError("a network serves tasks of the question, and has runs")
        served = []
        if (verified := self.verification) is not None:
            served = [verified.apart, *(option.networks for option in verified.options)]
            served += [verified.halved] if verified.halved else []
        if any(sorted(t for n in part for t in n.tasks) != sorted(tasks) for part in served):
            raise ValueError("each way to serve the tasks serves each of them once")
        return self

    def _networks(self) -> Iterator[NetworkRuns]:
        yield from self.affinity.networks
        if self.verification is not None:
            yield from self.verification.networks

    @property
    def keys(self) -> set[str]:
        """The keys of all runs."""
        return set[str]().union(*(network.keys for network in self._networks()))
