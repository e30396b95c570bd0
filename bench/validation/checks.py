"""The errors that checks raise, and the checks common to components and data sets."""

import inspect
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from bench.contracts import Component, Dataset, Network
from bench.spec.experiment import Recipe
from bench.spec.registry import beside_knobs, shown

RECIPE = Recipe(train_size=24, validation_size=8, batch_size=8, curve_points=1)
#: Number of real steps whose FLOPs are compared with the price.
COUNTED = 4
SEED = 3


class ViolationError(Exception):
    """A check does not hold. The message says what is wrong and how to fix it."""


class InapplicableError(Exception):
    """A check cannot be made here, or the plugin does not promise it. The message says why."""


def check_documented(plugin: type[Any], wanted: Sequence[str]) -> None:
    """Raise unless a class has a docstring and the texts that lists show."""
    missing = [name for name in wanted if not getattr(plugin, name, "").strip()]
    docstring = vars(plugin).get("__doc__") or ""
    if not docstring or docstring.startswith(f"{plugin.__name__}("):
        missing.append("a docstring")  # a dataclass without one gets its signature
    if missing:
        raise ViolationError(
            f"{plugin.__name__} has no {', '.join(missing)}: lists show them, and readers ask"
        )


def check_spelled(
    plugin: Component | Dataset | Network, name: str, parse: Callable[[str], str]
) -> None:
    """Raise unless `name`, with and without its defaults spelled out, is parsed as `name`."""
    knobs = [f for f in fields(plugin) if f.name not in beside_knobs(type(plugin))]
    # A data set's path follows its knobs, and a network's model precedes them.
    head, colon, path = (name, "", "") if isinstance(plugin, Network) else name.partition(":")
    joint = "," if "@" in head else "@"
    named = [
        f"{head}{joint}{knob.name}={shown(knob.default)}{colon}{path}"
        for knob in knobs
        if getattr(plugin, knob.name) == knob.default and shown(knob.default)
    ]
    for text in (name, *named):
        try:
            found = parse(text)
        except Exception as error:
            raise ViolationError(
                f"'{text}' is not read: {error}; a knob is a field of type int, float, bool, str "
                "or a tuple of one of them, or one with | None, and a default of that type"
            ) from None
        if found != name:
            raise ViolationError(
                f"'{text}' is read as '{found}', and so has another name in records"
            )


def origin(error: BaseException, plugin: Component | Dataset | Network) -> str:
    """Return where in the plugin's own file an error came from, in words, if it came from there."""
    path = inspect.getfile(type(plugin))
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    return f" (line {lines[-1]} of its file)" if lines else ""
