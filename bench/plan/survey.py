"""Asks what planning must know of data sets and arms, wherever code of plugins is to run.

A plugin that raises, exits, dies or hangs meanwhile costs its own arm, which gets a `Fault`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from bench.contracts import DataSource
from bench.errors import LauncherError, UserError
from bench.launch.worker import RequestError, WorkerLostError
from bench.plan.arms import Arm, arm_spec
from bench.plan.description import describe
from bench.spec.budget import Price
from bench.spec.experiment import Recipe, RunSpec
from bench.train.device import reason_of
from bench.train.job import scored_by
from bench.train.load import task_data
from bench.train.pricing import Timings
from bench.train.survey import (
    ArmFacts,
    arm_facts,
    arm_flops,
    arm_parameters,
    arm_prices,
    arm_use_flops,
    check_dataset,
    prepare_network,
    time_arms,
)

#: Calls a function somewhere and yields what it returns or yields, as `bench.launch.Launcher.ask`.
Ask = Callable[..., Iterator[Any]]


@dataclass(frozen=True)
class Fault:
    """Why an arm could not be priced."""

    reason: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return the fault of an arm whose code raised, or whose worker was lost."""
        if isinstance(error, WorkerLostError):
            return cls(f"{error} while it was priced")
        reason = str(error) if isinstance(error, RequestError) else reason_of(error)
        return cls.told(reason)

    @classmethod
    def told(cls, reason: str) -> Self:
        """Return the fault of a reason, with advice where there is some."""
        hint = ""
        if "meta tensor" in reason or "waits for" in reason:
            hint = " (a step must not wait for the device: see docs/extending.md)"
        return cls(reason + hint)


def dataset_lines(
    dataset: str, tasks: Sequence[str], recipe: Recipe, source: DataSource
) -> list[str]:
    """Load tasks of a data set; return what a user must know of them."""
    data = [scored_by(task_data(dataset, t, source), recipe) for t in tasks]
    return list(describe(dataset, data, recipe))


@dataclass
class Survey:
    """What is known of the data sets and arms of one plan, each asked for once.

    `asked` are the tasks of each data set; the process that answers loads them before anything
    else, for which there is no limit of time.
    """

    asked: Mapping[str, Sequence[str]]
    recipe: Recipe
    device: str
    source: DataSource
    ask: Ask
    _loaded: bool = False
    _known: dict[tuple[Callable[..., Any], RunSpec], Any] = field(default_factory=dict)

    def check_datasets(self) -> None:
        """Raise `UserError` with all that keeps the data from being loaded."""
        for dataset, tasks in self.asked.items():
            self._of_dataset("checked", check_dataset, dataset, tasks, self.source)

    def prepare_network(self) -> tuple[str, ...]:
        """Return what a user must know of the network. Raises `UserError` with its fault."""
        network = self.recipe.network
        try:
            (lines,) = self.ask(prepare_network, network, self.source.download, limited=False)
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise UserError(
                f"network '{network}' cannot be used: {Fault.of(error).reason}"
            ) from error
        return tuple(lines)

    def load(self) -> tuple[str, ...]:
        """Load the data; return what a user must know of them. Raises `UserError`."""
        lines: list[str] = []
        for dataset, tasks in self.asked.items():
            lines += self._of_dataset(
                "loaded", dataset_lines, dataset, tasks, self.recipe, self.source
            )
        self._loaded = True
        return tuple(lines)

    def _of_dataset(
        self, what: str, function: Callable[..., Any], dataset: str, *arguments: Any
    ) -> Any:
        try:
            (found,) = self.ask(function, dataset, *arguments, limited=False)
        except (UserError, KeyboardInterrupt):
            raise
        except WorkerLostError as error:
            raise UserError(f"data set '{dataset}': {error} while it was {what}") from None
        except BaseException as error:
            raise UserError(
                f"data set '{dataset}' cannot be {what}: {Fault.of(error).reason}"
            ) from error
        return found

    def _of_arm(self, function: Callable[..., Any], arm: Arm) -> Any:
        """Return what a function says of an arm, or a fault. Raises `UserError` as it does."""
        spec = arm_spec(arm, self.recipe, self.device)
        if (function, spec) not in self._known:
            if not self._loaded:
                self.load()
            try:
                (self._known[function, spec],) = self.ask(function, spec, self.source)
            except (UserError, KeyboardInterrupt):
                raise
            except BaseException as error:
                self._note(error)
                self._known[function, spec] = Fault.of(error)
        return self._known[function, spec]

    def _note(self, error: BaseException) -> None:
        if isinstance(error, WorkerLostError):
            self._loaded = False  # the next one begins without data

    def facts(self, arm: Arm) -> ArmFacts | Fault:
        """Return an arm's tasks and phases."""
        found: ArmFacts | Fault = self._of_arm(arm_facts, arm)
        return found

    def parameters(self, arm: Arm) -> float | None:
        """Return how many parameters an arm's network has; None where it cannot be built."""
        return self._size(arm_parameters, arm)

    def flops(self, arm: Arm) -> float | None:
        """Return the FLOPs of an arm's step; None where it cannot take one."""
        return self._size(arm_flops, arm)

    def use_flops(self, arm: Arm) -> float | None:
        """Return the FLOPs of an image's forward pass; None where the network cannot be built."""
        return self._size(arm_use_flops, arm)

    def _size(self, function: Callable[..., float], arm: Arm) -> float | None:
        found: float | Fault = self._of_arm(function, arm)
        return None if isinstance(found, Fault) else found

    def tasks(self, arm: Arm) -> int | None:
        """Return how many tasks an arm trains; None where its code fails."""
        facts = self.facts(arm)
        return None if isinstance(facts, Fault) else facts.tasks

    def prices(
        self, arms: Sequence[Arm], timings: Timings, say: Callable[[str], None]
    ) -> dict[Arm, tuple[Price, ...] | Fault]:
        """Return the prices of each arm, one per phase: counted anew, timed once and then read.

        An arm that cannot take a step has its fault for a price. Arms that differ only in what
        their images and labels show share one price.
        """
        faults: dict[Arm, Fault] = {}
        names: dict[Arm, str] = {}
        for arm in arms:
            facts = self.facts(arm)
            if isinstance(facts, Fault):
                faults[arm] = facts
            else:
                names[arm] = facts.price
        models = {name: arm for arm, name in names.items()}
        prices: dict[str, list[Price] | Fault] = {}
        for name, arm in models.items():
            counted: Sequence[Price] | Fault = self._failed(arm) or self._of_arm(arm_prices, arm)
            prices[name] = (
                counted
                if isinstance(counted, Fault)
                else [
                    replace(price, seconds=timings.timing(f"{name}-{phase}"))
                    for phase, price in enumerate(counted)
                ]
            )
        untimed = [
            (name, phase)
            for name, each in prices.items()
            if not isinstance(each, Fault)
            for phase, price in enumerate(each)
            if not price.seconds
        ]
        if untimed:
            kinds = "one kind" if len(untimed) == 1 else f"{len(untimed)} kinds"
            say(f"timing a step of {kinds} of network, in turns")
        for (name, phase), found in self._timed(untimed, models).items():
            each = prices[name]
            if isinstance(found, Fault):
                prices[name] = found
            elif not isinstance(each, Fault):
                label = arm_spec(models[name], self.recipe, self.device).label
                seconds = timings.freeze_timing(f"{name}-{phase}", found, label)
                each[phase] = replace(each[phase], seconds=seconds)
        priced = {arm: prices[name] for arm, name in names.items()} | faults
        return {
            arm: found if isinstance(found, Fault) else tuple(found)
            for arm, found in ((arm, priced[arm]) for arm in arms)
        }

    def _failed(self, arm: Arm) -> Fault | None:
        """Return the fault of an arm that has failed before, so that no worker dies of it again."""
        spec = arm_spec(arm, self.recipe, self.device)
        found = (self._known.get((f, spec)) for f in (arm_parameters, arm_flops))
        return next((fault for fault in found if isinstance(fault, Fault)), None)

    def _timed(
        self, untimed: Sequence[tuple[str, int]], models: Mapping[str, Arm]
    ) -> dict[tuple[str, int], float | Fault]:
        """Return the device-seconds of a step of each phase, by price and phase.

        All are timed in turns in one process. Where it dies of one, the others begin again.
        """
        found: dict[tuple[str, int], float | Fault] = {}
        waiting = list(untimed)
        while waiting:
            specs = [
                (arm_spec(models[name], self.recipe, self.device), phase) for name, phase in waiting
            ]
            if not self._loaded:
                self.load()
            place = 0
            try:
                for item in self.ask(time_arms, specs, self.source):
                    if isinstance(item, int):
                        place = min(item, len(waiting) - 1)
                        continue
                    for timed, result in zip(waiting, item, strict=True):
                        found[timed] = Fault.told(result) if isinstance(result, str) else result
                for timed in waiting:
                    found.setdefault(timed, Fault("its step was not timed"))
                break
            except (LauncherError, KeyboardInterrupt):
                raise
            except BaseException as error:
                self._note(error)
                lost = waiting[place]
                found[lost] = Fault.of(error)
                waiting = [timed for timed in waiting if timed[0] != lost[0]]
        return found
