"""Strategies, networks and data sets that a program hands as objects, by the names they have here.

Only what is no text needs the registry, which imports torch.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bench.errors import UserError, shortened


def named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an experiment's fields with names in the place of objects.

    Their classes become plugins of this process and of its workers. Raises `UserError` for an
    object that cannot be one.
    """
    found = {field: value for field, value in values.items() if value is not None}
    for field, read in (("pair", _pair), ("strategy", _strategy)):
        if field in found:
            found[field] = _several(found[field], read)
    for field, read in (("reference", _strategy), ("network", _network)):
        if field in found:
            found[field] = _one(found[field], read)
    return found


def _several(value: Any, read: Callable[[Any], str]) -> tuple[str, ...]:
    """Return the names of one value or of several."""
    alone = isinstance(value, str) or not isinstance(value, Iterable)
    return tuple(_one(each, read) for each in ((value,) if alone else value))


def _one(value: Any, read: Callable[[Any], str]) -> str:
    return value if isinstance(value, str) else read(value)


def _strategy(value: Any) -> str:
    """Return the name of a component, or of several in a tuple, which are joined."""
    if isinstance(value, tuple):
        return "+".join(_one(part, _strategy) for part in value)
    from bench.contracts import Component
    from bench.spec.registry import parse_plugin, spelling, strategy_components

    def read(text: str) -> object:
        return parse_plugin(strategy_components(), "strategy", text)

    return _name(value, Component, spelling, read)


def _network(value: Any) -> str:
    from bench.contracts import Network
    from bench.spec.registry import parse_network, spelling

    return _name(value, Network, spelling, parse_network)


def _pair(value: Any) -> str:
    """Return a data set as a pair is spelled; of a tuple the second is the text of its tasks."""
    if isinstance(value, tuple):
        dataset, tasks = value
        return f"{_one(dataset, _pair)}:{tasks}"
    from bench.contracts import Dataset
    from bench.spec.registry import dataset_name, parse_dataset
    from bench.train.load import forget_data

    forget_data()  # that of a class of this name before
    return _name(value, Dataset, dataset_name, parse_dataset)


def _name(
    value: Any, base: type[Any], spell: Callable[[Any], str], read: Callable[[str], object]
) -> str:
    """Return the name of a plugin, or of an object of one with its knobs.

    Raises `UserError` where the name would make another object.
    """
    from bench.spec.registry import hand

    plugin = value if isinstance(value, type) else type(value)
    if not issubclass(plugin, base):
        what = shortened(f"{value!r}")
        raise UserError(f"{what} is no {base.__name__}: derive its class from bench.contracts")
    name = hand(plugin)
    if value is plugin:
        return name
    text = spell(value)
    made = read(text)
    beside = {one for one in vars(value).keys() - vars(made).keys() if not hasattr(plugin, one)}
    if made != value or beside:
        raise UserError(
            f"the {name} that is given is not the one that '{text}' makes: all that it is has to "
            "be in its knobs, the fields of a dataclass"
        )
    return text
