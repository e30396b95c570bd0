"""What a user asks for, validated: experiments from TOML and flags, and the run they resolve to.

Nothing here imports torch, so that a wrong flag is answered at once.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from bench.clean import file_name
from bench.errors import UserError, shortened, unknown
from bench.spec.budget import AskedBudget, Budget
from bench.spec.limits import (
    LONGEST_NAME,
    MOST,
    MOST_BATCH,
    MOST_BYTES,
    MOST_CURVE_POINTS,
    MOST_DOTTED,
    MOST_NESTED,
    nested,
)
from bench.spec.shorthand import of_path, spelled_out

Precision = Literal["fp32", "bf16"]
#: The keys of `bench.task_types.DENSE_HEADS`.
DenseHeadName = Literal["decoder", "deeplab", "fpn"]

#: The most seeds of an experiment that goes on until it is decided, where nothing else is said.
MOST_SEEDS = 20


class Recipe(BaseModel):
    """How a network is trained: one recipe for all arms of an experiment.

    The docstring of a field is the help text of its flag.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    network: str = "lenet"
    """Encoder, as `list networks` names it, such as resnet8 or timm:MODEL@weights=PATH."""
    dense_head: DenseHeadName = "decoder"
    """Head of tasks with a label per pixel: a light decoder, DeepLab's (ASPP), or a pyramid."""
    batch_size: int = Field(default=32, ge=1, le=MOST_BATCH, strict=True)
    """Images per step."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak learning rate of AdamW."""
    encoder_rate: float | None = Field(default=None, gt=0, le=1e3)
    """Learning rate of encoders, as a multiple of that of all else, such as 0.1 with weights."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of AdamW."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Fraction of the steps with a rising learning rate, before its cosine decay."""
    augment: Literal["none", "crop", "crop+flip"] = "none"
    """Random changes of the training images."""
    train_size: int | None = Field(default=None, ge=1, le=MOST, strict=True)
    """Training images that each seed draws from the pool; the whole pool if not given. May be
    repeated."""
    validation_size: int = Field(default=500, ge=0, le=MOST, strict=True)
    """Images of the pool held out for the learning curve, never trained on."""
    curve_points: int = Field(default=8, ge=1, le=MOST_CURVE_POINTS, strict=True)
    """Evaluations on the validation split, evenly over the steps."""
    precision: Precision = "fp32"
    """Precision of the networks' passes, the same for all arms."""
    metric: tuple[str, ...] = ()
    """Metric that gains are computed in, NAME or TASK=NAME; else what its type or data set says.
    May be repeated."""

    @field_validator("metric", mode="before")
    @classmethod
    def _one_metric_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("metric")
    @classmethod
    def _one_metric_per_task(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Return them in one order, since they are part of a run's key."""
        if not all(name for _, name in map(_task_and_metric, value)):
            raise ValueError("give the name of a metric, or TASK=NAME")
        tasks = [task for task, _ in map(_task_and_metric, value)]
        if twice := [task for task, times in Counter(tasks).items() if times > 1]:
            raise ValueError(f"give one metric for {twice[0] or 'all tasks'}")
        return tuple(sorted(value))

    @property
    def metrics(self) -> dict[str, str]:
        """The metric that is chosen for a task, by its name; under `` that of all other tasks."""
        return dict(map(_task_and_metric, self.metric))

    @model_serializer(mode="wrap")
    def _older_documents(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is younger than the committed results where it is as it was before."""
        values: dict[str, Any] = dump(self)
        if values.get("dense_head") == "decoder":
            del values["dense_head"]
        if not values.get("metric", True):
            del values["metric"]
        return values


def _task_and_metric(text: str) -> tuple[str, str]:
    """Return the two sides of TASK=NAME; the first is empty where there is a NAME alone."""
    task, _, name = text.rpartition("=")
    return task, name


class Group(BaseModel):
    """Pairs and the strategies they are run with."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    pair: tuple[str, ...]
    """DATASET, DATASET:TASK+TASK, TABLE.csv:COLUMN+COLUMN, or FOLDER:class. May be repeated."""
    strategy: tuple[str, ...]
    """Strategy, as `list strategies` names it. May be repeated."""

    @field_validator("pair", "strategy", "also_against", mode="before", check_fields=False)
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("pair")
    @classmethod
    def _spelled_out(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(spelled_out, value))

    @field_validator("pair", "strategy")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one")
        return value


class Experiment(Recipe, Group):
    """All that defines an experiment. The keys are the long flags of `bench run`."""

    name: str = Field(
        default="custom", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_NAME
    )
    """Name of the report."""
    description: str = ""
    """What is asked, in a sentence."""
    seeds: int = Field(default=10, ge=1, le=MOST, strict=True)
    """Paired seeds; fewer than 8 give no verdict."""
    until_decided: bool = Field(default=False, strict=True)
    """Analyse after each quarter of --seeds (20 if not given); go on with undecided pairs only."""
    race: bool = Field(default=False, strict=True)
    """Analyse after each quarter of --seeds (20 if not given); go on with what may be best."""
    budget: str
    """Compute of a run: 2e12flop, 30s (device-seconds), 500steps, 64000samples, 20epochs, or
    converged (which pilot runs find) and converged/4. May be repeated."""
    smaller_budgets: tuple[str, ...] = ()
    """Further budgets, all smaller: those of a list of budgets but the largest."""
    smaller_train_sizes: tuple[int, ...] = ()
    """Further training sizes, all smaller: those of a list of them but the largest."""
    at_most: str | None = None
    """Largest converged budget, such as 2e13flop: pilot runs go no further."""
    margin: float = Field(default=1.0, gt=0, le=1e6)
    """Half width of the region of equivalence, in points of the metric."""
    device: str = Field(default="auto", pattern=r"^[a-z]+(:[0-9]+)?$", max_length=LONGEST_NAME)
    """Device that trains: auto, cpu, or an accelerator as `devices` names it."""
    reference: str | None = None
    """A strategy that the others are compared with too."""
    also_against: tuple[Literal["wide", "same-size"], ...] = ()
    """Also compare with wide: one larger single-task network of the same FLOPs per step; or with
    same-size: plain sharing with as many parameters. May be repeated."""
    tune: int = Field(default=0, ge=0, le=MOST, strict=True)
    """Trials of every arm, scored on the validation split; 0 uses the recipe as it is."""
    tune_seeds: int = Field(default=1, ge=1, le=MOST, strict=True)
    """Seeds of each trial, different from those of the results."""
    also: tuple[Group, ...] = ()
    """Further pairs with strategies of their own, such as placebo partners."""

    @model_validator(mode="before")
    @classmethod
    def _largest_level(cls, values: Any) -> Any:
        """Take a list of budgets or training sizes apart: the largest is the experiment's own."""
        if not isinstance(values, dict):
            return values
        budgets, sizes = values.get("budget"), values.get("train_size")
        if isinstance(budgets, list | tuple):
            if not budgets or not all(isinstance(text, str) for text in budgets):
                raise UserError("budget: give one amount or several, such as 30gflop")
            *smaller, largest = sorted(budgets, key=lambda text: AskedBudget.parse(text).amount)
            values = {**values, "budget": largest, "smaller_budgets": tuple(smaller)}
        if isinstance(sizes, list | tuple):
            if not sizes or not all(type(size) is int for size in sizes):
                raise UserError("train-size: give one number of images or several, such as 500")
            *fewer, most = sorted(sizes)
            values = {**values, "train_size": most, "smaller_train_sizes": tuple(fewer)}
        return values

    @model_validator(mode="before")
    @classmethod
    def _race_is_analysed(cls, values: Any) -> Any:
        """Make a race an experiment with interim analyses."""
        racing = isinstance(values, dict) and values.get("race") is True
        return {**values, "until_decided": True} if racing else values

    @field_validator("budget")
    @classmethod
    def _budget_reads(cls, value: str, info: ValidationInfo) -> str:
        converged = AskedBudget.parse(value).unit == "converged"
        if converged and info.data.get("validation_size") == 0:
            raise ValueError("pilots are scored on the validation split: raise validation-size")
        return value

    @field_validator("smaller_budgets")
    @classmethod
    def _budgets_ascend(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "budget" in info.data:
            budgets = [AskedBudget.parse(text) for text in (*value, info.data["budget"])]
            if len({budget.unit for budget in budgets}) > 1:
                raise ValueError("give all budgets in one unit")
            amounts = [budget.amount for budget in budgets]
            if any(a >= b for a, b in pairwise(amounts)):
                raise ValueError("give budgets that differ")
        return value

    @field_validator("smaller_train_sizes")
    @classmethod
    def _sizes_ascend(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if value:
            if any(a >= b for a, b in pairwise((*value, info.data.get("train_size") or 0))):
                raise ValueError("give training sizes that differ")
            if value[0] < 1:
                raise ValueError("give 1 or more")
            if info.data.get("smaller_budgets"):
                raise ValueError("give several budgets or several training sizes, not both")
        return value

    @field_validator("at_most")
    @classmethod
    def _at_most_reads(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            Budget.parse(value)
            if "budget" in info.data and AskedBudget.parse(info.data["budget"]).unit != "converged":
                raise ValueError("it bounds a converged budget, and this budget is an amount")
        return value

    @field_validator("tune")
    @classmethod
    def _tune_can_choose(cls, value: int, info: ValidationInfo) -> int:
        if value == 1:
            raise ValueError("the first trial is the recipe itself: give 2 or more, or 0")
        if value and info.data.get("validation_size") == 0:
            raise ValueError("trials are scored on the validation split: raise validation-size")
        return value

    @property
    def levels(self) -> "tuple[Experiment, ...]":
        """One experiment per budget or training size, the smallest first; the last is this one."""
        alone = {"smaller_budgets": (), "smaller_train_sizes": ()}
        changes: list[tuple[str, dict[str, Any]]] = [
            *((file_name(text), {"budget": text}) for text in self.smaller_budgets),
            *((f"{size}images", {"train_size": size}) for size in self.smaller_train_sizes),
        ]
        smaller = (
            self.model_copy(update={"name": f"{self.name}-{name}", **change, **alone})
            for name, change in changes
        )
        return (*smaller, self)

    @property
    def recipe(self) -> Recipe:
        """The recipe alone."""
        return Recipe(**{field: getattr(self, field) for field in Recipe.model_fields})

    @property
    def groups(self) -> tuple[Group, ...]:
        """All pairs with their strategies, the main group first."""
        return (Group(pair=self.pair, strategy=self.strategy), *self.also)


class RunSpec(BaseModel):
    """One run: all that its numbers follow from, but the data and the code."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    dataset: str
    tasks: tuple[str, ...]
    """Tasks that the run reads from the data set, the target of an auxiliary strategy first."""
    scored: tuple[str, ...]
    strategy: str
    width: float
    budget: str
    steps: tuple[int, ...]
    """Of each phase."""
    seed: int
    device: str
    recipe: Recipe
    split: Literal["test", "validation"] = "test"
    """What the run is scored on; a trial of tuning never sees the test set."""
    trials: int = 0
    """Runs that its recipe and knobs were chosen by; 0 where nobody chose."""

    @property
    def arm(self) -> "RunSpec":
        """The run without its seed, budget and steps: what has one price."""
        return self.model_copy(update={"seed": 0, "budget": "", "steps": ()})

    @property
    def label(self) -> str:
        """What a person is shown."""
        width = f", width {self.width:.2f}" if self.width != 1 else ""
        return f"{self.strategy} on {self.dataset}:{'+'.join(self.tasks)}{width}"


def shipped_experiments() -> dict[str, Path]:
    """Return the experiments that come with the project, by name."""
    return {path.stem: path for path in (Path(__file__).parent / "experiments").glob("*.toml")}


#: A shipped experiment, a file, a table of labels, or what a file holds.
Asked = str | Path | Mapping[str, Any] | Experiment

#: What is asked: an experiment, or one with more fields.
Kind = TypeVar("Kind", bound=Experiment)


def load_experiment(name_or_path: str, overrides: Mapping[str, Any]) -> Experiment:
    """Return what `load_as` does, as a plain experiment."""
    return load_as(Experiment, name_or_path, overrides)


def load_as(kind: type[Kind], name_or_path: str, overrides: Mapping[str, Any]) -> Kind:
    """Read a shipped or a user's experiment of a kind and lay the flags over it.

    Raises `UserError` for a missing or malformed file, an unknown key (with the nearest known
    one) and a value out of range.
    """
    shipped = shipped_experiments()
    if _is_data(name_or_path):
        if overrides.get("pair"):
            raise UserError(
                f"give '{shortened(name_or_path)}' or --pair, not both: -p may be repeated"
            )
        return load_as(kind, "default", {**overrides, "pair": (name_or_path,)})
    path = shipped.get(name_or_path, Path(name_or_path))
    try:
        if path.suffix != ".toml" and not path.is_file():
            if ":" in name_or_path:
                text = shortened(name_or_path)
                raise UserError(f"'{text}' is no experiment: data sets follow -p, as in -p {text}")
            raise unknown("experiment", name_or_path, shipped)
        values = _toml(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot read experiment '{shortened(str(path))}': {reason}") from None
    return _laid_over(kind, values, overrides, path, shipped=path in shipped.values())


def asked_for(kind: type[Kind], experiment: Asked, overrides: Mapping[str, Any]) -> Kind:
    """Return what `load_as` does, also for what a file would hold, or for an experiment."""
    if isinstance(experiment, Experiment):
        return _laid_over(kind, experiment.model_dump(), overrides, Path(experiment.name))
    if isinstance(experiment, Mapping):
        return _laid_over(kind, {"name": "custom", **experiment}, overrides, Path("the experiment"))
    return load_as(kind, str(experiment), overrides)


def _laid_over(
    kind: type[Kind],
    values: Mapping[str, Any],
    overrides: Mapping[str, Any],
    path: Path,
    shipped: bool = False,
) -> Kind:
    """Return the experiment of some keys with flags laid over it; `path` names it in errors."""
    keys = Counter(key.replace("_", "-") for key in values)
    if twice := [key for key, times in keys.items() if times > 1]:
        raise UserError(f"{path}: '{shortened(twice[0])}' is given twice")
    values = {key.replace("-", "_"): value for key, value in values.items()}
    values.setdefault("name", path.stem)
    given = {key: value for key, value in overrides.items() if value is not None}
    for those in (given, values):
        if those.get("until_decided") or those.get("race"):
            those.setdefault("seeds", MOST_SEEDS)
            break
    if {"pair", "strategy"} & given.keys():
        # A question of the user's own: the side questions go, and a shipped report stays its own.
        values.pop("also", None)
        values.pop("description", None)
        if shipped:
            values["name"] = "custom"
            if any(map(_of_a_file, given.get("pair", ()))):
                # Budget and number of images of a shipped experiment were chosen for its own world.
                values = {**values, "budget": "converged", "train_size": None}
    # Those of the file were smaller than its own.
    if "budget" in given:
        values.pop("smaller_budgets", None)
        values.pop("at_most", None)
    if "train_size" in given:
        values.pop("smaller_train_sizes", None)
    return _validated(kind, {**values, **given}, str(path), given)


def free_fields(experiment: Asked, overrides: Mapping[str, Any]) -> frozenset[str]:
    """Return the fields that are chosen from a user's own images: all that no flag says.

    Empty where the question is not one of the user's own images.
    """
    pairs = overrides.get("pair") or ()
    own = bool(pairs) and experiment == "default" and all(map(_of_a_file, pairs))
    if not (own or (isinstance(experiment, str | Path) and _is_data(str(experiment)))):
        return frozenset()
    return frozenset(Experiment.model_fields) - {k for k, v in overrides.items() if v is not None}


def _is_data(name_or_path: str) -> bool:
    """Return whether what stands for an experiment is a path of a user's own images."""
    known = name_or_path in shipped_experiments() or name_or_path.endswith(".toml")
    return not known and of_path(name_or_path) is not None


def _of_a_file(pair: str) -> bool:
    """Return whether a pair is of a user's own images: `DATASET:PATH:TASKS`, or `PATH:TASKS`."""
    return spelled_out(pair).count(":") > 1 or of_path(pair) is not None


#: More parts of a dotted key than an experiment has a use for. Reading one takes the square of
#: their number in time.
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_DOTTED = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*\.[ \t]*{_PART}){{{MOST_DOTTED}}}")


def _toml(path: Path) -> dict[str, Any]:
    """Read an experiment file. Raises `UserError` where it is no TOML, or none of any sense."""
    if path.exists() and not path.is_file():
        raise UserError(f"cannot read experiment '{path}': it is no file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"{path} is larger than {MOST_BYTES // 1_000_000} MB: no experiment is")
    values: dict[str, Any] = {}
    try:
        text = content.decode("utf-8").replace("\r\n", "\n")
        deep = _DOTTED.search(text) is not None
        values = {} if deep else tomllib.loads(text)
    except RecursionError:
        deep = True
    except ValueError as error:  # a number of too many digits, too
        raise UserError(f"{path} is not valid TOML: {error}") from None
    if deep or nested(values) > MOST_NESTED:
        raise UserError(
            f"{path} nests values too deeply: an experiment has keys, lists, and groups in [[also]]"
        )
    return values


def experiment_toml(experiment: Experiment) -> str:
    """Return a resolved experiment as a file that `bench run` takes."""
    import tomli_w

    values = experiment.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps({key.replace("_", "-"): value for key, value in values.items()})


#: Fields that hold a part of what was given as another one.
_PARTS: Mapping[str, str] = {"smaller_budgets": "budget", "smaller_train_sizes": "train_size"}


def _validated(
    kind: type[Kind], values: Mapping[str, Any], path: str, flags: Mapping[str, Any]
) -> Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        # A misspelt key is also a missing one: the misspelling is what the user can fix.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        # The smaller levels are a part of what was given as one field.
        loc = [_PARTS.get(str(part), str(part)) for part in first["loc"]]
        key = ".".join(loc)
        origin = "the flags" if loc[0] in flags else path
        if first["type"] == "extra_forbidden":
            fields = Group.model_fields if "." in key else kind.model_fields
            known = [field.replace("_", "-") for field in fields]
            problem = unknown("key", str(first["loc"][-1]).replace("_", "-"), known)
            raise UserError(f"{origin}: {problem}") from None
        given = first.get("input")
        apart = any(part in _PARTS for part in first["loc"])
        shown = "" if first["type"] == "missing" or apart else f" (given: {shortened(repr(given))})"
        message = _plainly(first["type"], first["msg"], first.get("ctx", {}))
        raise UserError(f"{origin}: {key.replace('_', '-')}: {message}{shown}") from None


def _plainly(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Return what is wrong with a value without pydantic's words."""
    match kind:
        case "literal_error":
            return f"choose {str(context['expected']).replace(chr(39), '')}"
        case "greater_than_equal":
            return f"give {context['ge']} or more"
        case "greater_than":
            return f"give more than {context['gt']}"
        case "less_than_equal":
            most = context["le"]
            return f"give {most if isinstance(most, int) else f'{most:g}'} or less"
        case "string_too_long":
            return f"give at most {context['max_length']} signs"
        case "less_than":
            return f"give less than {context['lt']}"
        case "int_type" | "int_parsing" | "int_from_float":
            return "give a whole number"
        case "float_type" | "float_parsing":
            return "give a number"
        case "finite_number":
            return "give a finite number"
        case "string_type":
            return "give a text"
        case "bool_type" | "bool_parsing":
            return "give true or false"
        case "missing":
            return "is needed"
    message = message.removeprefix("Value error, ")  # one of ours, as pydantic puts it
    return f"{message[0].lower()}{message[1:]}"
