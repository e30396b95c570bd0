"""The contract of a plugin: the components of a strategy, a network, and a data set.

A strategy is four independent choices and any number of auxiliary tasks:

- `Sharing`: which parameters the tasks share;
- `Weighting`: how their losses become one;
- `Aggregation`: or how their gradients on the shared parameters become one direction;
- `Schedule`: which of them are trained when, in phases one after another;
- `Auxiliary`: tasks that are trained on but not scored.

Some helpers for plugins are here too. `UserError` is for what a user can fix. `unknown` is for an
unknown name, and suggests the nearest one. `stream` is for draws that must not move any other.

A component is a frozen dataclass in a file of its own in `strategies/`. Its fields are knobs for
users (`-s hard+partner@0.3`); `--tune` searches a field declared with `tuned`. A network is such a
class in `networks/`, and a data set is one in `datasets/`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from bench.errors import UserError, unknown
from bench.networks import Encoder, SeparateStatistics, Shape
from bench.randomness import stream
from bench.task_types import TaskType
from bench.tasks import Expectation, Task, TaskData

__all__ = [
    "Aggregation",
    "Aggregator",
    "Auxiliary",
    "Component",
    "DataSource",
    "Dataset",
    "EffectsOfSteps",
    "EncoderFactory",
    "Glance",
    "LookAhead",
    "MultiTaskNetwork",
    "Network",
    "Normalisation",
    "Phase",
    "Range",
    "Schedule",
    "SecondLook",
    "Sharing",
    "Trial",
    "UserError",
    "Weighting",
    "range_of",
    "stream",
    "tuned",
    "unknown",
]

# ---------------------------------------------------------------------------------- strategies


class MultiTaskNetwork(nn.Module, ABC):
    """A network with one output per task.

    Where its layers keep the statistics of tasks apart, a call of it is a call of `forward` for
    each set of images. These layers are told whose images pass; tasks on the same images pass
    together, as the first of them.
    """

    #: The layers that do, and the first task on the images of each task.
    _separate: Sequence[SeparateStatistics] = ()
    _first: Sequence[int] = ()

    def keep_apart(self, sets: Sequence[str]) -> None:
        """Let such layers, if it has any, begin statistics for each task.

        `sets` has the name of each task's set of images.
        """
        self._first = [sets.index(name) for name in sets]
        self._separate = [m for m in self.modules() if isinstance(m, SeparateStatistics)]
        for layer in self._separate:
            layer.keep_apart(len(sets))

    def attend(self, task: int) -> None:
        """Tell such layers whose activations pass from here on, until something else is said.

        A network says so in `forward` where it lets others pass for each task on the same images.
        """
        for layer in self._separate:
            layer.at = task

    def attend_to(self, images: Sequence[Tensor | None]) -> None:
        """Tell such layers the first task of images, which are those of `forward`, of one set."""
        if self._separate:
            self.attend(self._first[next(t for t, x in enumerate(images) if x is not None)])

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Leave all running statistics as they are within the block, whatever passes."""
        for layer in self._separate:
            layer.track_running_stats = False
        try:
            yield
        finally:
            for layer in self._separate:
                layer.track_running_stats = True

    def __call__(self, images: Sequence[Tensor | None]) -> list[Any]:
        """Return what `forward` does."""
        if not self._separate:
            whole: list[Any] = super().__call__(images)
            return whole
        outputs: list[Any] = [None] * len(images)
        for one in {id(x): x for x in images if x is not None}.values():
            own = [x if x is one else None for x in images]
            self.attend_to(own)
            for place, output in enumerate(super().__call__(own)):
                if output is not None:
                    outputs[place] = output
        return outputs

    @abstractmethod
    def forward(self, images: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the output of each task for its own images.

        `images[t]` is `[N, C, H, W]`, or None where task t is not wanted now. Tasks on the same
        images get the identical tensor object, so an implementation can encode it once.
        """

    @abstractmethod
    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that more than one task trains, in forward order."""

    def split_point(self, images: Sequence[Tensor | None]) -> tuple[Tensor, list[Tensor | None]]:
        """Return the features at which the tasks' paths split, and the outputs of `forward`.

        Everything that the tasks share lies before that one point. A network that has such a point
        overrides this method, and raises `UserError` where the images are not the same. This
        default always raises it.
        """
        raise UserError(
            "these networks have no one point at which the tasks' paths part, so there are no "
            "features to merge gradients on: share with hard or branch, or merge on parameters"
        )


class EncoderFactory(Protocol):
    """Builds an encoder; every call starts from the same initial weights.

    So arms share their draw. Encoders of another width, a multiple of the run's own, have their own
    draw.
    """

    def __call__(self, width: float = 1.0) -> Encoder:
        """Return a fresh encoder, of `width` times the run's width."""


@dataclass(frozen=True)
class Range:
    """Where a knob is searched: from `low` to `high`, uniformly or log-uniformly.

    Raises `ValueError` unless low < high, and low > 0 with `log`.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"a range ascends, and is above 0 with log, not {self}")


_Knob = TypeVar("_Knob", int, float, tuple[float, ...])


def tuned(default: _Knob, range: Range) -> _Knob:
    """Return the field of a knob that `--tune` searches unless a user sets it.

    In a tuple each entry is drawn separately. The range may change neither the cost of a step nor
    the network's parameters: an arm has one price, whatever its settings.
    """
    made: _Knob = field(default=default, metadata={Range: range})
    return made


def range_of(knob: Field[Any]) -> Range | None:
    """Return the range in which `--tune` searches a knob, or None where it does not."""
    return knob.metadata.get(Range)


@dataclass(frozen=True)
class Component:
    """The base of every component: the name users type, a one-sentence summary, and its source."""

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str]
    #: Whether this component is used where a user names none.
    default: ClassVar[bool] = False
    #: Packages, besides torch, whose versions affect its numbers; part of a run's key.
    packages: ClassVar[Sequence[str]] = ()
    #: Whether a partner of weight 0 changes no bit of the target, as if it were not there.
    exact_null: ClassVar[bool] = True


@dataclass(frozen=True)
class Sharing(Component, ABC):
    """Which parameters the tasks share: builds the network."""

    #: Whether nothing is shared: the single-task end of the dial, which the anchors are made of.
    single_task: ClassVar[bool] = False

    @abstractmethod
    def build(
        self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
    ) -> MultiTaskNetwork:
        """Return a fresh network.

        `heads[t](encoder)` builds the head of task t for that encoder's features. The network calls
        it with features, or with `bench.networks.read(head, activations)`, which gives a pyramid
        the task's activations after all stages. Such a head raises `UserError` for features alone.
        """


class SecondLook(nn.Module, ABC):
    """A module of a weighting that is told the effect of its step.

    It costs another forward pass per step, which is part of the step's price.
    """

    @abstractmethod
    def look_again(self, losses: Tensor) -> None:
        """Receive the losses `[T]` of the same batch after the optimizer's step, detached."""


@dataclass(frozen=True)
class Trial:
    """What a weighting may ask before a step: the losses that other parameters would give.

    `parameters` are the network's parameters that the phase trains. `losses` maps such a list to
    the losses `[T]` of the step's batch, `second` to those of its second batch; where there is
    none, it is `losses`. `weights` `[T]` are the tasks' own in this step, divided by their sum;
    `rate` is the step's learning rate.
    """

    parameters: Sequence[Tensor]
    losses: Callable[[Sequence[Tensor]], Tensor]
    second: Callable[[Sequence[Tensor]], Tensor]
    weights: Tensor
    rate: float


class LookAhead(nn.Module, ABC):
    """A module of a weighting that tries out a step before it is taken.

    Where it needs one, its weighting asks for a `second_batch`. All its passes are part of the
    step's price.
    """

    @abstractmethod
    def look_ahead(self, trial: Trial) -> None:
        """Use the trial before the step. Gradients are recorded."""


class EffectsOfSteps(LookAhead, ABC):
    """A look ahead that measures what a step for one task does to the losses of all.

    A run records it along its learning curve. `bench group` reads it there.
    """

    @abstractmethod
    def effects(self) -> Tensor:
        """Return the mean effects `[T, T]` since the last call, on the device.

        Row i, column j is the share of task j's loss that a step for task i alone took away;
        negative where the loss rose. NaN where none was measured.
        """


@dataclass(frozen=True)
class Weighting(Component, ABC):
    """How the losses of the tasks become one loss."""

    #: Whether it weighs all tasks the same and its module is an `EffectsOfSteps`.
    measures_effects: ClassVar[bool] = False

    @property
    def second_batch(self) -> float | None:
        """Share of the run's training images reserved for second batches; None for no second batch.

        These images count as training data and are kept out of the step's own batches. Where it is
        0, both batches are drawn from all training images.
        """
        return None

    @abstractmethod
    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return a module that maps (losses `[T]`, weights `[T]`) to the scalar to descend.

        `weights` are the tasks' own in this step, divided by their sum. The network must descend a
        weighted mean of the losses. The weights of that mean are the tasks' own times the method's,
        divided by their sum. So a task of weight 0 has no effect and no method changes the scale.
        The module's parameters, if any, are trained with the network's.

        `shared` are the network's shared parameters, for methods that need the gradients of losses
        there; that cost is priced. A `SecondLook` also receives the effect of its step, and a
        `LookAhead` may try the step out first.
        """


class Aggregator(Protocol):
    """Maps per-task gradients to one direction."""

    def __call__(self, gradients: Tensor, losses: Tensor, weights: Tensor) -> Tensor:
        """Return the direction `[P]` of gradients `[T, P]`.

        `losses` `[T]` are the tasks' own, detached. `weights` `[T]` are those of this step; they
        sum to 1. The gradients come multiplied by them.
        """


@dataclass(frozen=True)
class Aggregation(Component, ABC):
    """How per-task gradients on the shared parameters become one direction."""

    #: The aggregation with the same direction for two tasks, up to a positive factor.
    #: Two such rows of a table count as one finding.
    same_for_two: ClassVar[str] = ""
    #: Whether it tells auxiliary tasks from the target, and so needs one.
    needs_auxiliary: ClassVar[bool] = False
    #: Whether P counts the features at the split point, `MultiTaskNetwork.split_point`, and not the
    #: shared parameters. The direction then goes back through the encoder once for all tasks.
    on_features: ClassVar[bool] = False

    @abstractmethod
    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return a function that maps gradients `[T, P]` to the direction `[P]`.

        Row t is the gradient of task t's loss times its weight in this step (weights sum to 1). The
        plain sum of the rows is thus the gradient of the weighted loss. Where the tasks' own
        gradients are equal, the direction is that gradient. The function must not wait for the
        device. `generator` is the strategy's own stream, on the CPU.
        """


@dataclass(frozen=True)
class Phase:
    """A stretch of a run.

    `tasks` are the positions of the tasks trained in it; the others are not even computed. `share`
    is the fraction of the budget that buys its steps, and the shares of a run sum to 1. If
    `frozen`, the shared parameters stay as they are, and no backward pass goes through them.
    """

    tasks: tuple[int, ...]
    share: float = 1.0
    frozen: bool = False


@dataclass(frozen=True)
class Schedule(Component, ABC):
    """When the tasks of a run are trained: in one phase or in several, one after another."""

    #: Whether it tells auxiliary tasks from the target, and so needs one.
    needs_auxiliary: ClassVar[bool] = False

    @abstractmethod
    def phases(self, tasks: Sequence[Task]) -> Sequence[Phase]:
        """Return the phases of a run with these tasks, in order.

        The network carries over from one phase to the next. Everything else starts afresh: the
        optimizer, the weighting or aggregation (built for the phase's tasks alone) and the order of
        the images. The learning rate rises and anneals over each phase's steps. Every phase has its
        own price.
        """


@dataclass(frozen=True)
class Auxiliary(Component, ABC):
    """Tasks that are trained along with one target and are not scored themselves."""

    #: Whether it needs the other tasks of the pair; if not, one run serves all pairs.
    uses_partners: ClassVar[bool] = False

    @abstractmethod
    def attach(self, target: TaskData, partners: Sequence[TaskData]) -> Sequence[TaskData]:
        """Return the auxiliary tasks for `target`, each with `scored=False` and a weight."""


# ----------------------------------------------------------------------------------- networks


@dataclass(frozen=True)
class Normalisation:
    """How a network expects its images: less a mean, divided by a standard deviation.

    One of each per channel, of pixels scaled from 0 to 1.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class Network(ABC):
    """A kind of encoder, which strategies share between tasks: a frozen dataclass with knobs.

    Users name it with `--network name@knob=value`. Strategies see what it builds: an `Encoder`,
    which is a list of stages, and the shape of the activation after each of them.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str]
    #: Packages, besides torch, whose versions affect its numbers; part of a run's key.
    packages: ClassVar[Sequence[str]] = ()
    #: Whether it can be built narrower and wider. The anchor `slim`, and the references `wide` and
    #: `same-size`, are left out where it cannot.
    widths: ClassVar[bool] = True
    #: The training images from which it suits a user's own images where nothing pretrained is at
    #: hand. None where it is not chosen for anybody.
    suits: ClassVar[int | None] = None
    #: Whether the features of an image depend on the others of its batch, as with batch statistics.
    mixes_images: ClassVar[bool] = False
    #: The package whose functions marked `register_model` are its models, if it has models. Users
    #: then type `name:MODEL`, and the model becomes the field `model`.
    models: ClassVar[str] = ""

    @classmethod
    def pretrained(cls, device: str, download: bool) -> str | None:
        """Return a pretrained encoder for a user's photographs, as `--network` spells it.

        One whose weights are on this machine, or may be fetched if `download`; None if there is
        none. `device` is cpu or the name of an accelerator.
        """
        return None

    @property
    def normalisation(self) -> Normalisation | None:
        """The images that it expects; None for images standardised by the training pool."""
        return None

    @property
    def files(self) -> Mapping[str, Path]:
        """The files that it reads, by the knob that names each.

        Their content, and not their path, is part of a run's key.
        """
        return {}

    def prepare(self, download: bool) -> Sequence[str]:
        """Make sure that it can be built, and return lines on what a user must know of it.

        Called once, before anything is priced. Missing files are fetched only if `download`. Raises
        `UserError` with the fix.
        """
        return ()

    @abstractmethod
    def build(self, image: Shape, width: float) -> Encoder:
        """Return a fresh encoder for images of shape (C, H, W), `width` times its usual width.

        Weights are drawn from torch's global generator. On the meta device nothing is read. A
        parameter that does not require a gradient stays as it is. Training and evaluation compute
        the same function, unless it mixes images. Raises `UserError` where the network does not
        suit the images.
        """


# ---------------------------------------------------------------------------------- data sets


@dataclass(frozen=True)
class DataSource:
    """Where real data lies, and how it is read.

    `root` is a folder in torchvision's layout, which may be filled if `download`. Decoded images
    are kept in `cache`, if given. Bad images are reported, or skipped and counted if
    `skip_bad_images`. `resident` says whether images live on the device: `auto` where they fit.
    """

    root: Path | None = None
    download: bool = False
    cache: Path | None = None
    skip_bad_images: bool = False
    resident: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True)
class Glance:
    """What is known of a user's images before one is decoded: what settings are chosen from.

    `train` and `test` are numbers of images, of the smallest of several sets. `side` is the shorter
    side in pixels of the middle one of a sample, which may be all `grey`. `usable` are the tasks
    that can be trained.
    """

    train: int
    test: int
    side: int
    usable: tuple[str, ...]
    grey: bool = False


@dataclass(frozen=True)
class Dataset(ABC):
    """A set of images with several label columns.

    `load` returns every task by name; the harness composes pairs, subsets and placebos from them.
    A subclass that is a frozen dataclass with fields has knobs, as the components of strategies do:
    `name@knob=value:task+task`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    #: What a user must have or do, for `list pairs`: "nothing", or the flags and the size.
    needs: ClassVar[str] = "nothing"
    #: Number and size of images: one text, or one per task where tasks have their own images.
    #: Tasks of one text are on the same images.
    images: ClassVar[str | Mapping[str, str]] = ""
    #: Whether users give a path, `name:PATH:task+task`, which becomes the field `path`.
    takes_path: ClassVar[bool] = False
    #: Endings of paths that stand for this data set where its name is left out, `PATH:task+task`.
    #: `/` is the ending of folders, and a folder that is there needs none.
    #: They are written out as a tuple, since they are read without an import.
    suffixes: ClassVar[Sequence[str]] = ()

    @property
    @abstractmethod
    def tasks(self) -> Mapping[str, str]:
        """Maps each task's name to a short description; a subclass may just assign it."""

    @property
    @abstractmethod
    def pairs(self) -> Sequence[tuple[tuple[str, ...], Expectation | None, str]]:
        """Pairs that a user runs by naming the data set alone: (tasks, expectation, reason)."""

    @property
    def task_types(self) -> Mapping[str, TaskType]:
        """Types of the tasks other than classification; a subclass may just assign them."""
        return {}

    def with_tasks(self, names: Collection[str]) -> "Dataset":
        """Return the data set that has these tasks, where a user may compose a task of others.

        By default it is itself. A name that makes no sense is left for `tasks` not to have.
        """
        return self

    def glance(self, source: DataSource) -> Glance | None:
        """Return what a user's own images are, read quickly; None where settings are not chosen.

        Raises `UserError` where they cannot be read.
        """
        return None

    def check(self, source: DataSource, tasks: Collection[str]) -> None:  # noqa: B027
        """Raise a `UserError` that lists every reason why these tasks cannot be loaded.

        Called before anything is loaded or trained, with every requested task. A data set whose
        faults cannot be the user's has nothing to check.
        """

    @abstractmethod
    def load(self, source: DataSource) -> Mapping[str, TaskData]:
        """Return the data of every task. Raises `UserError` with the fix where it cannot.

        A mapping that makes a task on request saves the work for the others.
        """
