"""The contract of a strategy's components, as checks.

Components are tried on a pair of tasks defined in this module and drawn in memory. Both tasks use
the same images in one case, and images of their own in the other.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts import (
    Aggregation,
    Auxiliary,
    Component,
    MultiTaskNetwork,
    Schedule,
    Sharing,
    Weighting,
)
from bench.errors import UserError, described
from bench.networks import Shape
from bench.plan.search import respelled, searched
from bench.randomness import seeded, stream
from bench.spec.budget import TOLERANCE, Price
from bench.spec.experiment import Recipe
from bench.spec.registry import (
    Strategy,
    default_strategy,
    parse_strategy,
    shown,
    spelling,
    strategy_components,
)
from bench.task_types import Classification
from bench.tasks import ImageSet, Task, TaskData
from bench.train.batches import Batch, Batches
from bench.train.loop import TrainingState, build_encoder, build_network
from bench.train.pricing import count, count_flops
from bench.validation.checks import (
    COUNTED,
    RECIPE,
    SEED,
    InapplicableError,
    ViolationError,
    check_documented,
    check_spelled,
    origin,
)

_CPU = torch.device("cpu")
_NETWORKS = ("lenet", "resnet8")
#: Number of steps per phase that a state is trained for.
_STEPS = 8


def _image_set(name: str, image: Shape) -> ImageSet:
    """Return 32 + 16 images of a shape."""
    generator = stream(SEED, "validation", name)
    pixels = torch.randint(0, 256, (48, *image), dtype=torch.uint8, generator=generator)
    return ImageSet(name, pixels[:32], pixels[32:])


def _task(name: str, images: ImageSet, classes: int) -> TaskData:
    generator = stream(SEED, "validation", name)
    labels = torch.randint(0, classes, (48,), generator=generator)
    return TaskData(Task(name, Classification(), classes), images, labels[:32], labels[32:])


#: The smallest images that every network takes.
_IMAGE = (3, 16, 16)


def drawn_tasks(image: Shape = _IMAGE) -> dict[str, tuple[TaskData, TaskData]]:
    """Return two tasks on the same images, and two on different ones, drawn in memory."""
    images = _image_set("validation", image)
    target = _task("first", images, 3)
    return {
        "tasks on the same images": (target, _task("second", images, 4)),
        "tasks on different images": (target, _task("second", _image_set("others", image), 4)),
    }


@dataclass(frozen=True)
class Candidate:
    """A component under test, in a strategy with defaults for everything else."""

    plugin: Component
    strategy: Strategy

    @cached_property
    def given(self) -> Mapping[str, tuple[TaskData, TaskData]]:
        """The target and the partner of each arm, which nothing may change."""
        return drawn_tasks()

    @cached_property
    def arms(self) -> Mapping[str, list[TaskData]]:
        """The tasks that a run trains, on one set of images and on two."""
        given = dict(self.given)
        if isinstance(self.plugin, Aggregation) and self.plugin.on_features:
            del given["tasks on different images"]  # they have no features in common
        return {words: self._arm(target, partner) for words, (target, partner) in given.items()}

    def _arm(self, target: TaskData, partner: TaskData) -> list[TaskData]:
        if not self.strategy.auxiliaries:
            return [target, partner]
        attached = [a.attach(target, [partner]) for a in self.strategy.auxiliaries]
        return [target, *(d for group in attached for d in group)]

    @cached_property
    def cases(self) -> Sequence[tuple[str, list[TaskData], Recipe]]:
        """Every arm on every network: a description, its tasks and its recipe."""
        return [
            (f"{network}, {words}", data, RECIPE.model_copy(update={"network": network}))
            for words, data in self.arms.items()
            for network in _NETWORKS
        ]

    @property
    def priced(self) -> Sequence[tuple[str, list[TaskData], Recipe]]:
        """The cases whose steps are counted: all but one, as counting takes most of the time."""
        return [self.cases[0], *self.cases[2:]] if len(self.arms) > 1 else self.cases

    @cached_property
    def prices(self) -> Sequence[Sequence[Price]]:
        """The prices of each of `priced`, one per phase. Raises what a step without data raises."""
        return [count(self.strategy, data, recipe, 1.0) for _, data, recipe in self.priced]

    @cached_property
    def trained(self) -> Mapping[str, tuple[TrainingState, list[Tensor]]]:
        """The state of each arm after a few steps per phase, and each arm's losses `[steps, T]`."""
        return {words: trained_steps(self.strategy, data) for words, data in self.arms.items()}


def trained_steps(
    strategy: Strategy, data: Sequence[TaskData], recipe: Recipe = RECIPE
) -> tuple[TrainingState, list[Tensor]]:
    """Train as a run does: the global generator is the strategy's own stream.

    Returns the state after a few steps of each phase, and the losses `[steps, T]` of each.
    """
    with seeded(SEED, "strategy", strategy.name):
        state = TrainingState(strategy, data, recipe, 1.0, SEED, _CPU)
        return state, _steps(state)


def _steps(state: TrainingState) -> list[Tensor]:
    """Take a few steps of each phase and return their losses `[steps, T]`."""
    losses: list[Tensor] = []
    for phase in range(len(state.phases)):
        state.enter(phase)
        losses += state.train(state.batches(), _STEPS, [_STEPS])
    return losses


def _first_batch(data: Sequence[TaskData], recipe: Recipe) -> Batch:
    return next(iter(Batches(data, recipe, SEED, _CPU)))


def same_bits(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return whether two states have the same bits; NaN equals NaN."""
    return a.keys() == b.keys() and all(
        torch.equal(torch.as_tensor(a[name]).nan_to_num(), torch.as_tensor(b[name]).nan_to_num())
        for name in a
    )


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's state, by name."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def documented(candidate: Candidate) -> None:
    """It has a docstring, a summary and a source."""
    check_documented(type(candidate.plugin), ("summary", "paper"))


def knobs(candidate: Candidate) -> None:
    """It has one spelling, whether its defaults are named or not."""
    component = candidate.plugin
    beside = [a.name for a in candidate.strategy.auxiliaries if a is not component]

    def parse(text: str) -> str:
        found = parse_strategy("+".join([text, *beside]))
        return next(spelling(p) for p in found.components if type(p) is type(component))

    check_spelled(component, spelling(component), parse)


def builds(candidate: Candidate) -> None:
    """Its network has one output per task, for any of the tasks, on the same images or not."""
    for words, data, recipe in candidate.cases:
        for d in data[1:] if candidate.strategy.auxiliaries else ():
            if d.task.scored or not 0 <= d.task.weight < math.inf:
                raise ViolationError(
                    f"the auxiliary task '{d.task.name}' is scored, or its weight is not a number "
                    "of at least 0: give its Task scored=False and a weight"
                )
        if candidate.strategy.auxiliaries and len(data) < 2:
            raise ViolationError(
                "attach returns no task: there is nothing to train along with the target"
            )
        network = build_network(candidate.strategy, data, recipe.network, 1.0, SEED).eval()
        own = {id(p) for p in network.parameters()}
        if not {id(p) for p in network.shared_parameters()} <= own:
            raise ViolationError(
                f"{words}: shared_parameters returns what is none of the network's"
            )
        batch = _first_batch(data, recipe)
        _check_outputs(words, network, data, recipe, batch.images)


def _check_outputs(
    words: str,
    network: MultiTaskNetwork,
    data: Sequence[TaskData],
    recipe: Recipe,
    images: Sequence[Tensor | None],
) -> None:
    together = network(images)
    if len(together) != len(data):
        raise ViolationError(
            f"{words}: {len(together)} outputs for {len(data)} tasks: return one per task"
        )
    for task, d in enumerate(data):
        x, output = images[task], together[task]
        assert x is not None
        encoder = build_encoder(recipe.network, d.images.image)
        features = encoder(x)
        wanted = d.task.type.head(encoder.features, d.images.image, d.task.outputs)(features).shape
        if output is None or output.shape != wanted:
            shape = None if output is None else list(output.shape)
            raise ViolationError(
                f"{words}: the output of task {task} is {shape}, not {list(wanted)}: give each "
                "head, built for its encoder, the features of the task's own images"
            )
        alone = network([x if t == task else None for t in range(len(data))])
        if any(output is not None for t, output in enumerate(alone) if t != task):
            raise ViolationError(
                f"{words}: a task whose images are None has an output: return None"
            )
        if alone[task] is None or not torch.equal(torch.as_tensor(alone[task]), output):
            raise ViolationError(
                f"{words}: the output of task {task} is another where the other tasks' images are "
                "None: evaluation asks for them one by one"
            )


def shared(candidate: Candidate) -> None:
    """Its shared parameters are those that more than one task's output depends on."""
    for words, data, recipe in candidate.cases:
        network = build_network(candidate.strategy, data, recipe.network, 1.0, SEED).eval()
        # After some training, because modules that start at zero let no gradient through.
        draw = stream(SEED, "validation", "noise")
        parameters = dict(network.named_parameters())
        for parameter in parameters.values():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw)
        reached = dict.fromkeys(parameters, 0)
        for output in network(_first_batch(data, recipe).images):
            assert output is not None
            gradients = torch.autograd.grad(
                output.square().sum(), [*parameters.values()], retain_graph=True, allow_unused=True
            )
            for name, gradient in zip(parameters, gradients, strict=True):
                reached[name] += gradient is not None and bool(gradient.abs().sum() > 0)
        returned = {id(p) for p in network.shared_parameters()}
        for name, parameter in parameters.items():
            if (reached[name] > 1) != (id(parameter) in returned):
                tasks = f"{reached[name]} of {len(data)} tasks depend on it"
                not_ = "not " if reached[name] > 1 else ""
                raise ViolationError(
                    f"{words}: {tasks}, and '{name}' is {not_}among shared_parameters: aggregation "
                    "methods merge there, and only there"
                )


def phases(candidate: Candidate) -> None:
    """Each phase trains some of the tasks, the target is trained, and the shares sum to 1."""
    for words, data in candidate.arms.items():
        tasks = [d.task for d in data]
        found = candidate.strategy.schedule.phases(tasks)
        for phase in found:
            if not phase.tasks or not set(phase.tasks) <= set(range(len(tasks))):
                raise ViolationError(
                    f"{words}: a phase trains the tasks {list(phase.tasks)} of {len(tasks)}: give "
                    f"positions from 0 to {len(tasks) - 1}"
                )
        if not all(phase.share > 0 for phase in found) or not math.isclose(
            sum(phase.share for phase in found), 1
        ):
            raise ViolationError(
                f"{words}: the phases' shares of the budget are {[p.share for p in found]}: give "
                "each more than 0, with the sum 1"
            )
        trained = {place for phase in found for place in phase.tasks}
        for place, task in enumerate(tasks):
            if task.scored and place not in trained:
                raise ViolationError(f"{words}: '{task.name}' is scored and trained in no phase")


def prices(candidate: Candidate) -> None:
    """Its step can be taken without data, on the meta device, so it waits for no value."""
    try:
        found = candidate.prices
    except UserError:
        raise
    except Exception as error:
        place = origin(error, candidate.plugin)
        raise ViolationError(
            f"a step without data raises {described(error)}{place}; a step must not "
            "wait for the device: no .item(), no `if` on a tensor, no value read"
        ) from None
    for each, (words, _, _) in zip(found, candidate.priced, strict=True):
        if not all(price.flops > 0 for price in each):
            raise ViolationError(f"{words}: a step is counted to cost nothing")


def costs(candidate: Candidate) -> None:
    """A real step has the FLOPs counted without data, and the same number of parameters."""
    try:
        found = candidate.prices
    except Exception:
        raise InapplicableError("it has no price") from None
    for each, (words, data, recipe) in zip(found, candidate.priced, strict=True):
        with seeded(SEED, "strategy", candidate.strategy.name):
            state = TrainingState(candidate.strategy, data, recipe, 1.0, SEED, _CPU)
            for phase, price in enumerate(each):
                state.enter(phase)
                _check_costs(words, state, price)


def _check_costs(words: str, state: TrainingState, price: Price) -> None:
    batch = next(iter(state.batches()))
    state.step(batch)
    real = sum(count_flops(state, batch) for _ in range(COUNTED)) / COUNTED
    if abs(real / price.flops - 1) > TOLERANCE["flop"]:
        raise ViolationError(
            f"{words}: a step costs {real:.4g} FLOPs and is priced at {price.flops:.4g}: do "
            "the same work whatever the values, in every step and on the meta device too"
        )
    if state.parameters != price.parameters:
        raise ViolationError(
            f"{words}: {state.parameters} parameters, and {price.parameters} without data"
        )


def searches(candidate: Candidate) -> None:
    """It can be set to both ends of the range that `--tune` searches, at an unchanged step cost."""
    _, data, recipe = candidate.cases[0]
    for knob in searched(candidate.strategy, recipe):
        if knob.component != candidate.plugin:
            continue
        if not isinstance(knob.default, int | float | tuple) or isinstance(knob.default, bool):
            raise ViolationError(f"{knob.field} is no number, so nothing can be drawn for it")
        for end in (0.0, 1.0):
            value = knob.at([end] * knob.size)
            try:
                name = respelled(candidate.strategy, {knob: value})
            except UserError as error:
                raise ViolationError(f"{error}; narrow the range") from None
            found, usual = (
                [(price.flops, price.parameters) for price in each]
                for each in (count(parse_strategy(name), data, recipe, 1.0), candidate.prices[0])
            )
            if found != usual:
                raise ViolationError(
                    f"with {knob.field} at {shown(value)} the FLOPs of a step and the parameters "
                    f"are {found}, a phase each, and {usual} as it is: search no knob that decides "
                    "what is trained; name a row for each value"
                )


def scale(candidate: Candidate) -> None:
    """It keeps the scale of the losses: equal gradients give what single-task training gives."""
    strategy = candidate.strategy
    roles = [True, not strategy.auxiliaries]
    for weights in ([1.0, 1.0], [1.0, 0.25]):
        tasks = [
            Task(name, Classification(), 2, weight, scored)
            for name, weight, scored in zip(("first", "second"), weights, roles, strict=True)
        ]
        shares = torch.tensor(weights) / sum(weights)
        with seeded(SEED, "strategy", strategy.name):
            if isinstance(candidate.plugin, Aggregation):
                merge = candidate.plugin.build(tasks, stream(SEED, "strategy", strategy.name))
                gradient = torch.randn(50)
                direction = merge(shares[:, None] * gradient, torch.ones(2), shares)
                if direction.shape != gradient.shape:
                    raise ViolationError(
                        f"the direction is {list(direction.shape)}, not [P] = [{len(gradient)}]"
                    )
                factor = float(direction @ gradient / (gradient @ gradient))
                if not torch.allclose(direction, gradient, rtol=1e-3, atol=1e-5):
                    raise ViolationError(
                        f"tasks of weights {weights} with equal gradients get another direction, "
                        f"{factor:.3g} times as long: rows come times weights that sum to 1, so "
                        "scale the direction until equal gradients give that gradient"
                    )
            if isinstance(candidate.plugin, Weighting):
                _check_weights(candidate.plugin, tasks, shares)


def _check_weights(component: Weighting, tasks: Sequence[Task], shares: Tensor) -> None:
    layer = torch.nn.Parameter(torch.ones(3, 3))
    module = component.build(tasks, [layer])
    for size in (0.1, 3.0):
        losses = torch.stack([layer.sum() * size, layer.square().sum()])
        (weights,) = torch.autograd.grad(module(losses, shares), losses)
        if not (abs(weights.sum().item() - 1) < 1e-4 and (weights >= 0).all()):
            given = " and ".join(f"{weight:.4g}" for weight in weights.tolist())
            raise ViolationError(
                f"the network descends the losses with weights {given}: keep them at least 0 and "
                "their sum 1, or the method changes the learning rate"
            )


def trains(candidate: Candidate) -> None:
    """A few steps on the CPU move the network, and all losses and weights stay finite."""
    for words, (state, each) in candidate.trained.items():
        for phase, losses in zip(state.phases, each, strict=True):
            if not losses.isfinite().all():
                step, task = (~losses.isfinite()).nonzero()[0].tolist()
                name = state.tasks[phase.tasks[task]].name
                raise ViolationError(
                    f"{words}: the loss of '{name}' is not finite in step {step + 1}"
                )
        weights = state_of(state.network)
        if not all(value.isfinite().all() for value in weights.values()):
            raise ViolationError(
                f"{words}: weights of the network are not finite after {_STEPS} steps"
            )
        data = candidate.arms[words]
        start = build_network(candidate.strategy, data, RECIPE.network, 1.0, SEED)
        if same_bits(state_of(start), weights):
            raise ViolationError(f"{words}: {_STEPS} steps move no weight of the network")


def independent(candidate: Candidate) -> None:
    """Two networks built one after the other have no weight in common."""
    for words, data in candidate.arms.items():
        with seeded(SEED, "strategy", candidate.strategy.name):
            first, second = (
                TrainingState(candidate.strategy, data, RECIPE, 1.0, SEED, _CPU) for _ in range(2)
            )
            before = state_of(second.network)
            _steps(first)
        if not same_bits(before, state_of(second.network)):
            raise ViolationError(
                f"{words}: training one network moves another: make all that learns anew in build"
            )


def repeats(candidate: Candidate) -> None:
    """The same seed gives the same losses, weights and outputs twice."""
    for words, (state, losses) in candidate.trained.items():
        data = candidate.arms[words]
        again, those = trained_steps(candidate.strategy, data)
        images = _first_batch(data, RECIPE).images
        same = all(map(torch.equal, losses, those))
        same &= same_bits(state_of(state.network), state_of(again.network))
        outputs = zip(_outputs(state, images), _outputs(again, images), strict=True)
        if not (same and all(torch.equal(a, b) for a, b in outputs)):
            raise ViolationError(
                f"{words}: the same seed gave other numbers: draw from torch's global generator "
                "(or the one that build is given) alone, and keep no state outside what build "
                "returns"
            )


@torch.no_grad()
def _outputs(state: TrainingState, images: Sequence[Tensor | None]) -> list[Tensor]:
    """Return a trained network's outputs as in an evaluation, for the tasks that have images."""
    return [output for output in state.network.eval()(images) if output is not None]


def null(candidate: Candidate) -> None:
    """Partners of weight 0 change no bit of the target."""
    if not candidate.plugin.exact_null:
        raise InapplicableError("it says that a partner of weight 0 may change the target")
    for words, data in candidate.arms.items():
        target, *partners = data
        silent = [replace(d, task=replace(d.task, weight=0.0)) for d in partners]
        beside, _ = trained_steps(candidate.strategy, [target, *silent])
        alone, _ = trained_steps(default_strategy(candidate.strategy.sharing), [target])
        x = _first_batch([target], RECIPE).images[0]
        (ours,) = _outputs(beside, [x, *[None] * len(partners)])
        (theirs,) = _outputs(alone, [x])
        if not torch.equal(ours, theirs):
            raise ViolationError(
                f"{words}: a partner of weight 0 changes the target: give it no gradient and no "
                "part in the sum of weights, draw nothing for it that shifts the target's draws; "
                "or declare exact_null = False where the method means it so"
            )


def untouched(candidate: Candidate) -> None:
    """It has left images and labels as they are, whatever was done with it above."""
    for words, fresh in drawn_tasks().items():
        for ours, theirs in zip(candidate.given[words], fresh, strict=True):
            for what, kept, drawn in (
                ("images", ours.images.train, theirs.images.train),
                ("test images", ours.images.test, theirs.images.test),
                ("labels", ours.train_labels, theirs.train_labels),
                ("test labels", ours.test_labels, theirs.test_labels),
            ):
                assert kept is not None
                assert drawn is not None
                if not torch.equal(kept, drawn):
                    raise ViolationError(
                        f"{words}: it changes {what} of '{ours.task.name}' in place, and all runs "
                        "of a process share them: change a copy"
                    )


COMPONENT_CHECKS: Mapping[
    Callable[[Candidate], None], type[Component] | tuple[type[Component], ...]
] = {
    documented: Component,
    knobs: Component,
    builds: Component,
    shared: Sharing,
    phases: Schedule,
    prices: Component,
    costs: Component,
    searches: Component,
    scale: (Weighting, Aggregation),
    trains: Component,
    independent: Component,
    repeats: Component,
    null: Component,
    untouched: Component,
}
#: The checks that later ones depend on.
COMPONENT_GATES = (builds, trains)


def _strategy_text(text: str) -> str:
    """Return the strategy in which to try a component; it may include an auxiliary task."""
    component = strategy_components().get("strategy", text.partition("@")[0])
    if not (issubclass(component, Aggregation | Schedule) and component.needs_auxiliary):
        return text
    helpers = [p for p in strategy_components().found.values() if issubclass(p, Auxiliary)]
    helpers.sort(key=lambda p: (not p.uses_partners, p.name))
    if not helpers:
        raise UserError(f"{component.name} needs an auxiliary task, and there is none")
    return f"{text}+{helpers[0].name}"


def candidate(text: str) -> Candidate:
    """Return a component, named as users type it, ready to be tried.

    Raises `InapplicableError` where a package that it needs is not installed.
    """
    plugin = strategy_components().get("strategy", text.partition("@")[0])
    for package in plugin.packages:
        try:
            version(package)
        except PackageNotFoundError:
            raise InapplicableError(f"needs the package {package}") from None
    strategy = parse_strategy(_strategy_text(text))
    return Candidate(next(p for p in strategy.components if type(p) is plugin), strategy)
