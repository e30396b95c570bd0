"""Finds plugins, and reads the names users type into strategies, networks, data sets and pairs.

A plugin is any concrete subclass of a contract in a module of `bench.strategies`, `bench.networks`,
`bench.datasets` or `bench.launch`. It may also be one that an installed package names as an entry
point: itself, or a module or package with any number of them. What fails to import is listed as
broken with its reason and hurts nobody else. What would end or hold this process is found in
another one first.
"""

import contextlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, partial, wraps
from importlib.metadata import entry_points
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import bench
from bench.contracts import (
    Aggregation,
    Auxiliary,
    Component,
    Dataset,
    Network,
    Schedule,
    Sharing,
    Weighting,
)
from bench.errors import UserError, described, message_of, readable, unknown
from bench.spec import handed
from bench.spec.guarded import deadly, unforked
from bench.spec.limits import MOST_KNOB
from bench.spec.shorthand import ENTRY_POINTS
from bench.tasks import Pair, split_placebo

#: What a user can put behind a task's name to make a placebo of it, and what that does.
PLACEBOS: Mapping[str, str] = {
    "shuffled": "its labels are shuffled among the images",
    "noise": "its images are replaced by noise, its labels kept",
    "none": "it is there, with loss weight 0",
}

#: The kinds of component that make up a strategy.
COMPONENTS: Mapping[str, type[Component]] = {
    "sharing": Sharing,
    "weighting": Weighting,
    "aggregation": Aggregation,
    "schedule": Schedule,
    "auxiliary": Auxiliary,
}

T = TypeVar("T")

_BOOLEANS = {"true": True, "false": False}
_KNOBS = (bool, int, float, str)


@dataclass(frozen=True)
class Plugins:
    """Plugin classes by name, and the reason of each module that cannot be imported."""

    found: Mapping[str, type[Any]]
    broken: Mapping[str, str]

    def get(self, what: str, name: str) -> type[Any]:
        """Return a plugin. Raises `UserError` with the nearest name where there is none."""
        if name in self.found:
            return self.found[name]
        for module in (name, name.replace("-", "_")):  # usually it is called after its plugin
            if module in self.broken:
                raise UserError(f"{what} '{name}' is broken: {self.broken[module]}")
        raise unknown(what, name, self.found)


def beside_knobs(plugin: type[Any]) -> tuple[str, ...]:
    """Return the fields of a plugin that users give after a colon: a path, or a model."""
    if issubclass(plugin, Dataset):
        return ("path",) if plugin.takes_path else ()
    return ("model",) if issubclass(plugin, Network) and plugin.models else ()


#: Texts of a plugin that lists and records show.
_SHOWN = ("name", "summary", "paper", "needs")


def _classes(source: object) -> Iterator[type[Any]]:
    """Yield the classes that a module or package defines, or the class itself."""
    if isinstance(source, type):
        yield source
    elif isinstance(source, ModuleType):
        inside = f"{source.__name__}."
        for _, found in inspect.getmembers(source, inspect.isclass):
            if f"{found.__module__}.".startswith(inside):
                yield found
    else:
        raise TypeError(f"{source!r} is neither a module nor a class")


def _plugins(source: object, base: type[Any]) -> Iterator[Any]:
    """Yield the plugins of a module, or a class that is one. Raises where one is not whole."""
    for plugin in _classes(source):
        if not issubclass(plugin, base):
            continue
        if inspect.isabstract(plugin):
            if hasattr(plugin, "name"):  # without one it is a base class for others
                missing = ", ".join(sorted(vars(plugin)["__abstractmethods__"]))
                raise TypeError(f"{plugin.__name__} has no '{missing}'")
            continue
        for attribute in base.__annotations__:
            if not hasattr(plugin, attribute):
                raise TypeError(f"{plugin.__name__} has no '{attribute}'")
        for attribute in _SHOWN:
            text = getattr(plugin, attribute, "")
            if not isinstance(text, str) or text != readable(text):
                raise TypeError(f"the {attribute} of {plugin.__name__} is no text in UTF-8")
        if not plugin.name.isprintable():
            raise TypeError(f"the name of {plugin.__name__} cannot be typed")
        hints = get_type_hints(plugin)
        for knob in fields(plugin):
            try:
                _knob_type(hints[knob.name])
            except TypeError as error:
                raise TypeError(f"knob '{knob.name}' of {plugin.__name__}: {error}") from None
        yield plugin


@dataclass(frozen=True)
class _Source:
    """What may hold plugins: a module or an entry point, and its import.

    `ours` is set where it came with the package, so that its import is known to do no harm.
    """

    name: str
    load: Callable[[], object]
    ours: bool


def _sources(package_name: str) -> Iterator[_Source]:
    package = importlib.import_module(package_name)
    own = Path(bench.__file__).resolve().parent
    for info in pkgutil.iter_modules(package.__path__):
        load = partial(importlib.import_module, f"{package_name}.{info.name}")
        folder = Path(getattr(info.module_finder, "path", ""))
        yield _Source(info.name, load, folder.resolve().is_relative_to(own))
    for entry in entry_points(group=ENTRY_POINTS):
        yield _Source(entry.name, entry.load, False)


#: By package, what must not be imported, and why. Worker processes are told it.
_deadly: dict[str, Mapping[str, str]] = {}


def deadly_plugins() -> Mapping[str, Mapping[str, str]]:
    """Return by package which modules must not be imported, as far as that has been tried."""
    return dict(_deadly)


def avoid(known: Mapping[str, Mapping[str, str]]) -> None:
    """Import no module that another process has found to be deadly, and try none again."""
    _deadly.update(known)


def _try(source: _Source, base: type[Any]) -> None:
    """Do with its plugins what lists do: import them, and make those that need no path."""
    for plugin in _plugins(source.load(), base):
        if issubclass(plugin, Component | Dataset | Network) and not beside_knobs(plugin):
            made = plugin()
            if isinstance(made, Dataset):
                list(made.tasks)
                declared_pairs(made)


def discover(package_name: str, base: type[Any]) -> Plugins:
    """Return all plugins of a contract, from the modules of a package and from entry points."""
    sources = list(_sources(package_name))
    if package_name not in _deadly:
        foreign = {s.name: partial(_try, s, base) for s in sources if not s.ours}
        _deadly[package_name] = deadly(foreign)
    found: dict[str, type[Any]] = {}
    broken = dict(_deadly[package_name])
    for source in sources:
        if source.name in broken:
            continue
        try:
            # What a plugin prints is no result of the command.
            with unforked(), contextlib.redirect_stdout(sys.stderr):
                plugins = list(_plugins(source.load(), base))
            for plugin in plugins:
                if plugin.name in found:
                    raise ValueError(f"the name '{plugin.name}' is taken by another plugin")
                found[plugin.name] = plugin
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module may exit when it is imported
            broken[source.name] = described(error)
    return Plugins(found | handed.classes(base.__name__), broken)


@cache
def strategy_components() -> Plugins:
    """Return the components of strategies by name."""
    return discover("bench.strategies", Component)


@cache
def networks() -> Plugins:
    """Return the networks by name."""
    return discover("bench.networks", Network)


@cache
def datasets() -> Plugins:
    """Return the data sets by name."""
    return discover("bench.datasets", Dataset)


#: What a class has to be so that it can be handed, with its word and where such plugins are found.
_HANDED: Mapping[type[Any], tuple[str, Callable[[], Plugins]]] = {
    Component: ("strategy", strategy_components),
    Network: ("network", networks),
    Dataset: ("data set", datasets),
}


def hand(plugin: type[Any]) -> str:
    """Make a class a plugin of this process and of its workers; return its name.

    A class takes the place of one that was handed under its name before. Raises `UserError` for
    what is no plugin, or where its name is that of another one.
    """
    base = next((base for base in _HANDED if issubclass(plugin, base)), None)
    if base is None:
        raise UserError(
            f"{plugin.__qualname__} is no component of a strategy, no network and no data set: "
            "derive it from a class of bench.contracts"
        )
    what, plugins = _HANDED[base]
    try:
        if not list(_plugins(plugin, base)):
            raise TypeError("it is abstract and has no name")
    except TypeError as error:
        raise UserError(f"{what} {plugin.__qualname__} is not whole: {error}") from None
    known = plugins().found.get(plugin.name)
    if known is plugin:
        return str(plugin.name)
    if known is not None and plugin.name not in handed.classes(base.__name__):
        raise UserError(
            f"the name '{plugin.name}' of {plugin.__qualname__} is taken by another {what}: give "
            "it another name"
        )
    handed.keep(base.__name__, plugin)
    _forget()
    return str(plugin.name)


def receive(sent: Iterable[handed.Sent]) -> None:
    """Make what another process was handed plugins of this one too. Raises `UserError`."""
    if handed.receive(sent):
        _forget()


def _forget() -> None:
    """Look for plugins anew, and read names anew."""
    for known in (strategy_components, networks, datasets):
        known.cache_clear()
    for read in (parse_strategy, parse_network, _dataset):
        read.cache_clear()


@dataclass(frozen=True)
class Strategy:
    """A strategy made of components."""

    sharing: Sharing
    weighting: Weighting
    schedule: Schedule
    aggregation: Aggregation | None = None
    auxiliaries: tuple[Auxiliary, ...] = ()

    @cached_property
    def name(self) -> str:
        """Its canonical spelling."""
        return "+".join(spelling(component) for component in self.named)

    @property
    def named(self) -> tuple[Component, ...]:
        """The components that its name spells out: the sharing, and whatever is no default."""
        components = (self.weighting, self.aggregation, *self.auxiliaries, self.schedule)
        return (self.sharing, *(part for part in components if part and not part.default))

    @property
    def components(self) -> tuple[Component, ...]:
        """All components."""
        aggregation = (self.aggregation,) if self.aggregation else ()
        return (self.sharing, self.weighting, *aggregation, *self.auxiliaries, self.schedule)

    @property
    def same_for_two(self) -> str:
        """The strategy that has the same direction where there are two tasks, or an empty text."""
        twin = self.aggregation.same_for_two if self.aggregation else ""
        others = (self.sharing, *self.auxiliaries, self.schedule)
        return twin and parse_strategy("+".join([twin, *map(spelling, others)])).name

    @property
    def uses_partners(self) -> bool:
        """Whether a run reads tasks beside the ones it scores."""
        return any(auxiliary.uses_partners for auxiliary in self.auxiliaries)


def _default(base: type[Any]) -> Any:
    for component in strategy_components().found.values():
        if issubclass(component, base) and component.default:
            return component()
    raise UserError(f"no {base.__name__.lower()} component is marked as default in strategies/")


def component_of(component: type[Component]) -> str:
    """Return which kind of component a plugin is."""
    return next(name for name, base in COMPONENTS.items() if issubclass(component, base))


def default_strategy(sharing: Sharing | None = None) -> Strategy:
    """Return the strategy that is meant where nothing is named, or where only its sharing is."""
    sharing = sharing or _default(Sharing)
    return Strategy(sharing, _default(Weighting), _default(Schedule))


def single_task() -> Strategy:
    """Return the strategy that shares nothing, which the anchors are made of."""
    for component in strategy_components().found.values():
        if issubclass(component, Sharing) and component.single_task:
            return default_strategy(component())
    raise UserError("no sharing component in strategies/ is marked as single_task")


def measuring_weighting() -> str:
    """Return the weighting whose runs record what steps for one task do to the others."""
    for name, component in strategy_components().found.items():
        if issubclass(component, Weighting) and component.measures_effects:
            return name
    raise UserError("no weighting in strategies/ is marked as measures_effects")


def _knob_type(hint: Any) -> tuple[type[Any], bool, bool]:
    """Return the type of a knob's values, whether it takes many of them, and whether none.

    Raises `TypeError` for what users could not type.
    """
    given = get_args(hint)
    optional = type(None) in given and len(given) == 2  # float | None
    if optional:
        (hint,) = set(given) - {type(None)}
    many = get_args(hint) if get_origin(hint) is tuple else ()  # tuple[float, ...]
    value = many[0] if many[1:] == (...,) else hint
    if value not in _KNOBS:
        names = ", ".join(kind.__name__ for kind in _KNOBS)
        raise TypeError(f"its type is none of {names}, tuple[…, ...] of one, or one with | None")
    return value, bool(many), optional


def _value(text: str, hint: Any, where: str) -> Any:
    kind, many, optional = _knob_type(hint)
    if optional and text.lower() == "none":
        return None

    def one(piece: str) -> Any:
        return _BOOLEANS[piece.lower()] if kind is bool else kind(piece)

    try:
        return tuple(map(one, text.split("/"))) if many else one(text)
    except KeyError:
        raise UserError(f"{where}: '{text}' is neither true nor false") from None
    except ValueError:
        raise UserError(f"{where}: '{text}' is not a {kind.__name__}") from None


def _with_knobs(plugin: type[Any], arguments: str, where: str, **given: Any) -> Any:
    """Return a plugin with the knobs of `value` or `knob=value,knob=value`."""
    hints = get_type_hints(plugin)
    knobs = [f.name for f in fields(plugin) if f.name not in given]
    values: dict[str, Any] = {}
    for position, argument in enumerate(filter(None, arguments.split(","))):
        knob, equals, value = argument.partition("=")
        if not equals:
            if position >= len(knobs):
                has = f"takes at most {len(knobs)} of them" if knobs else "has no knobs"
                raise UserError(f"{where}: {plugin.name} {has}")
            knob, value = knobs[position], argument
        if knob not in knobs:
            raise (
                unknown(f"knob of {plugin.name}", knob, knobs)
                if knobs
                else UserError(f"{where}: {plugin.name} has no knobs")
            )
        if knob in values:
            raise UserError(f"{where}: {knob} is given twice")
        values[knob] = _value(value, hints[knob], where)
    try:
        made = plugin(**values, **given)
    except ValueError as error:
        raise UserError(f"{where}: {message_of(error)}") from None
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UserError(f"{where}: {plugin.name} cannot be made: {described(error)}") from error
    for knob, value in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not abs(number) <= MOST_KNOB:
                raise UserError(f"{where}: {knob} is of no use: give up to {MOST_KNOB:g}")
    return made


def parse_plugin(plugins: Plugins, what: str, text: str) -> Any:
    """Read `name`, `name@value` or `name@knob=value,knob=value`. Raises `UserError`."""
    name, _, arguments = text.partition("@")
    return _with_knobs(plugins.get(what, name), arguments, f"{what} '{text}'")


def shown(value: Any) -> str:
    """Return the value of a knob as users type it."""
    if isinstance(value, tuple):
        return "/".join(f"{v:g}" if isinstance(v, float) else shown(v) for v in value)
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def spelling(plugin: Component | Dataset | Network, **instead: str) -> str:
    """Return the canonical spelling: knobs are named where they are not the default.

    `instead` are texts that take the place of the values of some knobs.
    """
    changed = []
    for f in fields(plugin):
        value = getattr(plugin, f.name)
        if value != f.default and f.name not in beside_knobs(type(plugin)):
            changed.append(f"{f.name}={instead.get(f.name, shown(value))}")
    model = f":{plugin.model}" if isinstance(plugin, Network) and plugin.models else ""  # type: ignore[attr-defined]
    return plugin.name + model + ("@" + ",".join(changed) if changed else "")


def _told(read: Callable[[str], T]) -> Callable[[str], T]:
    """Make whatever a plugin raises while it is asked what it is a `UserError`."""

    @wraps(read)
    def call(text: str) -> T:
        try:
            with unforked():
                return read(text)
        except (UserError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise UserError(f"the plugin of '{text}' is broken: {described(error)}") from error

    return call


@cache
@_told
def parse_strategy(text: str) -> Strategy:
    """Read components joined by `+`, such as `hard`, `hard+pcgrad` or `hard+partner@0.5`.

    Where no sharing or no weighting is named, the default one is meant.
    """
    components: list[Component] = [
        parse_plugin(strategy_components(), "strategy", piece) for piece in text.split("+")
    ]

    def pick(base: type[Any]) -> Any:
        chosen = [component for component in components if isinstance(component, base)]
        if len(chosen) > 1:
            names = " and ".join(component.name for component in chosen)
            kind = base.__name__.lower()
            raise UserError(f"strategy '{text}': {names} are both {kind} components; choose one")
        return chosen[0] if chosen else None

    sharing = pick(Sharing) or _default(Sharing)
    named_weighting, aggregation = pick(Weighting), pick(Aggregation)
    if named_weighting and aggregation:
        raise UserError(
            f"strategy '{text}': {named_weighting.name} weighs losses and {aggregation.name} "
            "aggregates gradients; choose one"
        )
    auxiliaries = tuple(component for component in components if isinstance(component, Auxiliary))
    schedule = pick(Schedule) or _default(Schedule)
    for component in (aggregation, schedule):
        if component and component.needs_auxiliary and not auxiliaries:
            known = sorted(
                n for n, p in strategy_components().found.items() if issubclass(p, Auxiliary)
            )
            raise UserError(
                f"strategy '{text}': {component.name} needs an auxiliary task, and there is none: "
                f"join one to it with + ({', '.join(known)})"
            )
    names = [component.name for component in auxiliaries]
    if len(set(names)) < len(names):
        raise UserError(f"strategy '{text}' names an auxiliary task twice")
    weighting = named_weighting or _default(Weighting)
    return Strategy(sharing, weighting, schedule, aggregation, auxiliaries)


@cache
@_told
def parse_network(text: str) -> Network:
    """Read `name`, `name:MODEL`, `name@value` or `name@knob=value,knob=value`.

    Raises `UserError`.
    """
    head, _, arguments = text.partition("@")
    name, colon, model = head.partition(":")
    plugin = networks().get("network", name)
    given = {"model": model} if beside_knobs(plugin) else {}
    if given and not model:
        raise UserError(f"network '{text}': {name} needs a model: {name}:MODEL")
    if colon and not given:
        raise UserError(f"network '{text}': {name} has no models")
    network: Network = _with_knobs(plugin, arguments, f"network '{text}'", **given)
    return network


def parse_dataset(text: str) -> Dataset:
    """Read `name`, `name@knob=value` or, for a data set at a path, `name@knob=value:PATH`.

    Raises `UserError`.
    """
    return _dataset(text, str(Path.cwd()) if ":" in text else "")


@cache
def _dataset(text: str, folder: str) -> Dataset:
    """Return the same. The folder that a path is relative to makes it another data set."""
    head, colon, path = text.partition(":")
    name, _, arguments = head.partition("@")
    plugin = datasets().get("data set", name)
    given = {"path": path} if beside_knobs(plugin) else {}
    if plugin.takes_path and not path:
        raise UserError(f"'{text}': {name} needs a path: {name}:PATH:TASK+TASK")
    if colon and not given:
        raise UserError(f"'{text}': {name} takes no path")
    dataset: Dataset = _with_knobs(plugin, arguments, f"data set '{text}'", **given)
    return dataset


def dataset_name(dataset: Dataset) -> str:
    """Return the canonical spelling of a data set, which `parse_dataset` reads."""
    path = f":{dataset.path}" if dataset.takes_path else ""  # type: ignore[attr-defined]
    return spelling(dataset) + path


def dataset_identity(text: str) -> str:
    """Return what stands for a data set in keys and streams.

    That of a data set at a path is its plugin's name alone: what is there counts, and its digest is
    in every key. So a folder that is moved, or spelled in another way, keeps its runs.
    """
    dataset = parse_dataset(text)
    return dataset.name if dataset.takes_path else text


def declared_pairs(dataset: Dataset) -> list[Pair]:
    """Return the pairs that stand for a data set when it is named alone."""
    name = dataset_name(dataset)
    found = [Pair(name, tasks, expect, why) for tasks, expect, why in dataset.pairs]
    for task in (task for pair in found for task in pair.tasks):
        if task != readable(task):
            raise UserError(f"data set '{name}' has a task whose name is no text in UTF-8")
    return found


def cut_pair(text: str) -> tuple[str, str]:
    """Cut `dataset:tasks` or `dataset:PATH:tasks` before the tasks, which may be missing."""
    head, _, rest = text.partition(":")
    plugin = datasets().get("data set", head.partition("@")[0])
    if not plugin.takes_path:
        return head, rest
    path, _, tasks = rest.rpartition(":")
    # What follows the last colon is no list of tasks where it goes on with a path.
    whole = not path or "/" in tasks or "\\" in tasks
    return (text, "") if whole else (f"{head}:{path}", tasks)


def _unnamed(text: str, tasks: Mapping[str, str]) -> str:
    """Return what to say where a user has to name tasks: how, and what there is."""
    usable = [task for task, what in tasks.items() if not what.startswith("no task")] or [*tasks]
    if len(tasks) == 1:
        return f"'{text}': name its task, {text}:{usable[0]}, which is {tasks[usable[0]]}"
    first, second = [*usable, "TASK", "TASK"][:2]
    known = "; ".join(f"{task}: {what}" for task, what in tasks.items())
    return (
        f"'{text}': name its tasks, as in {text}:{first}+{second}, or * for every pair of them "
        f"(it has {known})"
    )


@_told
def parse_pairs(text: str) -> list[Pair]:
    """Read `dataset`, which means all its declared pairs, or `dataset:task+task~placebo`.

    `dataset:task*task*task` means every pair of these tasks. Raises `UserError` for an unknown
    name, with the nearest known one.
    """
    spelled, rest = cut_pair(text)
    dataset = parse_dataset(spelled)
    declared = declared_pairs(dataset)
    if not rest:
        if not declared:
            raise UserError(_unnamed(text, dataset.tasks))
        return declared
    if "*" in rest:
        if "+" in rest:
            raise UserError(f"'{text}': join tasks with + or with *, not with both")
        both = combinations(rest.split("*"), 2)
        return [pair for a, b in both for pair in parse_pairs(f"{spelled}:{a}+{b}")]
    asked = rest.split("+")
    dataset = dataset.with_tasks([split_placebo(task)[0] for task in asked])
    for task in asked:
        base, placebo = split_placebo(task)
        if base not in dataset.tasks:
            raise unknown(f"task of {dataset.name}", base, dataset.tasks)
        if base != task and placebo not in PLACEBOS:
            raise unknown("placebo", placebo, PLACEBOS)
    if len(set(asked)) < len(asked):
        raise UserError(f"pair '{text}' names a task twice")
    if not Pair("", tuple(asked)).targets:
        raise UserError(f"pair '{text}' has no real task to score")
    # One order, however a pair is typed, so that its runs and its declaration are found again.
    order = list(dataset.tasks)
    tasks = tuple(sorted(asked, key=lambda task: order.index(split_placebo(task)[0])))
    for pair in declared:
        if pair.tasks == tasks:
            return [pair]
    pair = Pair(dataset_name(dataset), tasks)
    if pair.placebo:
        pair = replace(pair, expect="none", why="a placebo partner holds nothing to transfer")
    return [pair]
