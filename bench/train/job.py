"""A run that is ready to start, with its data and key: shared by planning and execution."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bench.contracts import DataSource, Network
from bench.digest import digest
from bench.errors import UserError
from bench.files import file_digest
from bench.spec.budget import Price, TuningCost, cost
from bench.spec.experiment import Recipe, RunSpec
from bench.spec.registry import dataset_identity, parse_network, parse_strategy, spelling
from bench.store.provenance import code_fingerprint, machine
from bench.store.records import SCHEMA_VERSION
from bench.tasks import TaskData, split_placebo
from bench.train.load import ChangedDataError, check_unchanged, task_data

#: A step is a forward pass and a backward pass of twice its work.
_PASSES_OF_A_STEP = 3


def evaluation_seconds(price: Price) -> float:
    """Return the device-seconds of evaluating an image, as the price of a step lets expect."""
    return (price.seconds or 0.0) / price.samples / _PASSES_OF_A_STEP


@dataclass(frozen=True)
class Job:
    """A run that is ready to start: its prices, one per phase, are known and frozen.

    `fault` says why its arm could not be priced; such a job fails without being tried. `tuning` is
    the cost of choosing its recipe and knobs.
    """

    spec: RunSpec
    prices: tuple[Price, ...]
    key: str
    source: DataSource
    fault: str = ""
    tuning: TuningCost | None = None
    evaluated: int = 0
    """Images that it is evaluated on, each time counted."""
    machine: tuple[str, ...] = ()
    """The kind of machine in its key, see `bench.store.provenance.machine`; empty for any."""

    @property
    def expected_seconds(self) -> float:
        """Device-seconds of its training steps and its evaluation."""
        if not self.prices:
            return 0.0
        evaluation = self.evaluated * evaluation_seconds(self.prices[-1])
        return cost(self.prices, self.spec.steps, "s") + evaluation


def scored_by(data: TaskData, recipe: Recipe) -> TaskData:
    """Return a task with gains in the metric that a recipe chooses for it, if it does.

    A placebo goes by the name of what it is made of. Raises `UserError` where the task has no such
    metric.
    """
    metrics = recipe.metrics
    metric = metrics.get(split_placebo(data.task.name)[0], metrics.get("", ""))
    return replace(data, task=data.task.by(metric)) if metric else data


def arm_data(spec: RunSpec, source: DataSource) -> list[TaskData]:
    """Return the tasks that a run trains, scored ones marked, auxiliary ones attached.

    Raises `ChangedDataError` where an auxiliary task changes those that it is attached to.
    """
    strategy = parse_strategy(spec.strategy)
    with suppress(ChangedDataError):  # that of an earlier run, which has its reason
        check_unchanged()
    own = [scored_by(task_data(spec.dataset, t, source), spec.recipe) for t in spec.tasks]
    if strategy.auxiliaries:
        target, *partners = own
        attached = [a.attach(target, partners) for a in strategy.auxiliaries]
        check_unchanged()
        return [target, *(d for group in attached for d in group)]
    return [replace(d, task=replace(d.task, scored=d.task.name in spec.scored)) for d in own]


def network_identity(network: Network) -> str:
    """Return the spelling of a network with the content of its files in the place of their paths.

    Raises `UserError` where one of them cannot be read.
    """
    contents = {knob: f"sha256:{file_digest(path)}" for knob, path in network.files.items()}
    return spelling(network, **contents)


def run_key(spec: RunSpec, data: str, kind: Sequence[str] = ()) -> str:
    """Return the hash of everything that defines a run: spec, seed, data, code, and machine type.

    `data` is the fingerprint of its data. `kind` is that of the machine which runs it, if it is not
    this one; see `bench.store.provenance.machine`.
    """
    (key,) = run_keys(spec, [spec.seed], data, kind)
    return key


def run_keys(spec: RunSpec, seeds: Iterable[int], data: str, kind: Sequence[str] = ()) -> list[str]:
    """Return the keys of runs that differ by their seed alone. Their code is looked at once."""
    code = code_fingerprint(parse_strategy(spec.strategy), spec.recipe.network, spec.dataset)
    made = [SCHEMA_VERSION, list(kind) or machine(spec.device)]
    keyed = _keyed(spec).model_dump(mode="json")
    return [digest({**keyed, "seed": seed}, data, code, made)[:40] for seed in seeds]


def _keyed(spec: RunSpec) -> RunSpec:
    """Return a run as its key has it, in which no path is spelled.

    Raises `UserError` where a file that its network reads cannot be read.
    """
    network = network_identity(parse_network(spec.recipe.network))
    recipe = spec.recipe.model_copy(update={"network": network})
    return spec.model_copy(update={"dataset": dataset_identity(spec.dataset), "recipe": recipe})


def same_run(one: RunSpec, other: RunSpec) -> bool:
    """Return whether two specifications are of one run, if their data is the same."""
    try:
        return one == other or _keyed(one) == _keyed(other)
    except UserError:  # one of them is from a record, which may name no data set
        return False
