"""Facts that planning needs about an arm before it runs, and that take plugin code to find out.

All of it is plain data, so that a worker can answer: a plugin that fails here costs one answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch

from bench import accelerator
from bench.contracts import DataSource
from bench.errors import UserError
from bench.spec.budget import Price
from bench.spec.experiment import RunSpec
from bench.spec.registry import parse_dataset, parse_network, parse_strategy
from bench.store.provenance import machine
from bench.train.device import prepare, resolve_device
from bench.train.job import arm_data, network_identity
from bench.train.load import fingerprint
from bench.train.loop import build_network
from bench.train.pricing import TimedPhase, count, price_name, step_flops, steps_in_turns
from bench.train.proof import prove
from bench.train.splits import draw_split
from bench.train.use import forward_flops


@dataclass(frozen=True)
class ArmFacts:
    """An arm's facts as given by its plugins.

    `tasks` is the number of tasks that it trains. `images` is the number of images that a seed
    trains on, the most of any task; `spare` is how many its pools have beside, the fewest.
    `validation` and `test` are the images that an evaluation on either runs through.
    `fingerprint` is that of their data. `phases` has the number of tasks of each phase and its
    share of the budget.
    `trained_in` are the phases that train each scored task. Arms of one `price` cost the same on
    one machine.
    """

    tasks: int
    images: int
    spare: int
    validation: int
    test: int
    phases: tuple[tuple[int, float], ...]
    trained_in: Mapping[str, tuple[int, ...]]
    fingerprint: str
    price: str


@dataclass(frozen=True)
class Host:
    """Where runs execute: their device, and the kind of machine that enters their keys.

    `memory` is that of an accelerator in bytes, 0 for a CPU.
    """

    device: str
    machine: tuple[str, ...]
    memory: int = 0


def host(asked: str) -> Host:
    """Return what this process runs on where a device is asked for. Raises as `resolve_device`."""
    device = resolve_device(asked)
    known = None if accelerator.on_host(device) else accelerator.memory(device)
    return Host(device, tuple(machine(device)), known[1] if known else 0)


def prepare_network(network: str, download: bool) -> list[str]:
    """Make sure that a network can be built; return what a user must know of it.

    Raises `UserError` where it cannot.
    """
    plugin = parse_network(network)
    head = network.partition("@")[0]
    lines = [f"network {head}: {line}" for line in plugin.prepare(download)]
    network_identity(plugin)  # all its files can be read
    return lines


def check_dataset(dataset: str, tasks: Sequence[str], source: DataSource) -> None:
    """Raise a `UserError` with every reason why these tasks of a data set cannot be loaded."""
    parse_dataset(dataset).check(source, tasks)


@lru_cache(maxsize=1024)
def arm_facts(spec: RunSpec, source: DataSource) -> ArmFacts:
    """Return the facts of an arm, with its data loaded and its auxiliary tasks attached.

    Raises `UserError` where there are too few images, or where no image has a label of a task.
    """
    strategy, data = parse_strategy(spec.strategy), arm_data(spec, source)
    sizes = []
    evaluated: dict[int, tuple[int, int]] = {}
    for d in data:
        split = draw_split(d.images, spec.recipe, seed=0)
        drawn = len(split.train)
        sizes.append((drawn, len(d.images.train) - drawn))
        if d.task.scored:
            evaluated[id(d.images)] = len(split.validation), len(d.images.test)
        for half, known in zip(("training", "test"), d.known, strict=True):
            if d.task.scored and not known.any():
                raise UserError(f"no {half} image of {spec.dataset} has a label of {d.task.name}")
    phases = strategy.schedule.phases([d.task for d in data])
    return ArmFacts(
        tasks=len(data),
        images=max(drawn for drawn, _ in sizes),
        spare=min(spare for _, spare in sizes),
        validation=sum(validation for validation, _ in evaluated.values()),
        test=sum(test for _, test in evaluated.values()),
        phases=tuple((len(phase.tasks), phase.share) for phase in phases),
        trained_in={
            d.task.name: tuple(n for n, phase in enumerate(phases) if place in phase.tasks)
            for place, d in enumerate(data)
            if d.task.scored
        },
        fingerprint=fingerprint(data),
        price=price_name(strategy, data, spec.recipe, spec.width),
    )


@lru_cache(maxsize=1024)
def arm_parameters(spec: RunSpec, source: DataSource) -> int:
    """Return the number of parameters of an arm's network, auxiliary heads included."""
    strategy, data = parse_strategy(spec.strategy), arm_data(spec, source)
    with torch.device("meta"):
        network = build_network(
            strategy, data, spec.recipe.network, spec.width, 0, spec.recipe.dense_head
        )
    return sum(p.numel() for p in network.parameters())


@lru_cache(maxsize=1024)
def arm_flops(spec: RunSpec, source: DataSource) -> float:
    """Return the FLOPs of an arm's step; see `bench.train.pricing.step_flops`."""
    data = arm_data(spec, source)
    return step_flops(parse_strategy(spec.strategy), data, spec.recipe, spec.width)


@lru_cache(maxsize=1024)
def arm_use_flops(spec: RunSpec, source: DataSource) -> float:
    """Return the FLOPs of an image's forward pass through an arm's network, for scored tasks."""
    strategy, data = parse_strategy(spec.strategy), arm_data(spec, source)
    with torch.device("meta"):
        network = build_network(
            strategy, data, spec.recipe.network, spec.width, 0, spec.recipe.dense_head
        )
    return forward_flops(network, data, torch.device("meta"))


def arm_prices(spec: RunSpec, source: DataSource) -> tuple[Price, ...]:
    """Return the price of a step of each phase of an arm, untimed."""
    data = arm_data(spec, source)
    return count(parse_strategy(spec.strategy), data, spec.recipe, spec.width)


def timed_phase(spec: RunSpec, phase: int, source: DataSource) -> TimedPhase:
    """Return a phase of an arm, ready to take timed steps."""
    return TimedPhase(
        parse_strategy(spec.strategy),
        arm_data(spec, source),
        spec.recipe,
        spec.width,
        phase,
        accelerator.own(spec.device),
        source,
    )


def time_arms(
    arms: Sequence[tuple[RunSpec, int]], source: DataSource
) -> Iterator[int | list[float | str]]:
    """Time a step of each arm in one of its phases, alternating between arms.

    Yields the position of an arm before each stretch of work on it. Finally it yields what
    `bench.train.pricing.steps_in_turns` yields: seconds, or why an arm has none.
    """
    if arms:
        prepare(arms[0][0].device)
    yield from steps_in_turns([partial(timed_phase, *arm, source) for arm in arms])


#: What depends on the machine. Where runs execute elsewhere, it is asked there.
MEASURED = (host, time_arms, prove)
