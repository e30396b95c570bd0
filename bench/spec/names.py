"""The names of plugins, read from their sources without importing them.

Plugins import torch, which takes seconds. A misspelt name is answered before that: what stands in
no source is no plugin. Where a source does not say its name as a plain text, or an installed
package brings plugins, only an import can tell, and nothing is said here.
"""

import ast
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from bench.errors import UserError, missing_package, shortened, unknown
from bench.spec import handed
from bench.spec.experiment import Experiment
from bench.spec.shorthand import (
    ENTRY_POINTS,
    assigned,
    class_values,
    constant_text,
    plugin_modules,
)

#: Functions that make classes.
_MAKERS = ("type", "make_dataclass", "new_class")


@cache
def _installed() -> bool:
    """Return whether an installed package brings plugins, which takes a look at all packages."""
    return bool(entry_points(group=ENTRY_POINTS))


@cache
def _classes(folder: str) -> Mapping[str, Mapping[str, ast.expr] | None] | None:
    """Return what the bodies of the plugins of a folder assign, by name of the plugin and by field.

    A module that names no plugin has None: it may be asked for all the same. None in place of all
    where an import alone can tell.
    """
    if _installed():
        return None
    found: dict[str, Mapping[str, ast.expr] | None] = {}
    for path in plugin_modules(folder):
        # A module that fails to import is asked for by its own name, and says what is wrong.
        found.setdefault(path.stem, None)
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue  # it is broken, and its import says so
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                values = assigned(node)
                if "name" not in values:
                    continue
                name = constant_text(values["name"])
                if name is None:
                    return None
                if name:  # that of a plugin; a record of a module's own may have an empty one
                    found[name] = values
            elif _makes_a_class(node):
                return None
    return found


def static_names(folder: str) -> Mapping[str, frozenset[str] | None] | None:
    """Return the plugins of a folder such as `strategies` or `networks`, with the tasks of each.

    Tasks are empty where the source does not list them. A module that names no plugin has None: it
    may be asked for all the same. None in place of all where an import alone can tell.
    """
    classes = _classes(folder)
    if classes is None:
        return None
    return {n: None if v is None else _keys(v.get("tasks")) for n, v in classes.items()}


@cache
def declared_pairs() -> Mapping[str, int]:
    """Return how many pairs each data set declares, as far as its source lists them."""
    found: dict[str, int] = {}
    for path in plugin_modules("datasets"):
        for values in class_values(path):
            name, pairs = constant_text(values.get("name")), values.get("pairs")
            if name is not None and isinstance(pairs, ast.Tuple | ast.List):
                found[name] = len(pairs.elts)
    return found


def _makes_a_class(node: ast.stmt) -> bool:
    """Return whether a class may come of it that no class statement names."""
    call = node.value if isinstance(node, ast.Assign) else None
    named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    return named and call.func.id in _MAKERS  # type: ignore[union-attr]


def _keys(node: ast.expr | None) -> frozenset[str]:
    """Return the keys of a dictionary that is written out, else none."""
    if not isinstance(node, ast.Dict):
        return frozenset()
    keys = [constant_text(key) if key else None for key in node.keys]
    return frozenset(key for key in keys if key) if all(keys) else frozenset()


#: A function that is marked as a model of a package, in its source.
_REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


@cache
def model_names(package: str) -> frozenset[str] | None:
    """Return the names of the models of a package, from its sources; None where it is missing."""
    spec = find_spec(package.partition(".")[0])
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0], *package.split(".")[1:])
    texts = (path.read_text("utf-8") for path in folder.glob("*.py"))
    return frozenset(name for text in texts for name in _REGISTERED.findall(text))


def _check_network(text: str) -> None:
    """Raise `UserError` for a network, or a model of it, that no source has."""
    classes, head = _classes("networks"), text.partition("@")[0]
    name, _, model = head.partition(":")
    _check("network", name, static_names("networks"))
    package = constant_text(((classes or {}).get(name) or {}).get("models"))
    if not (package and model):
        return
    known, variant = model_names(package), model.partition(".")[0]
    if known is None:
        raise missing_package(head, package.partition(".")[0])
    if variant not in known:
        near = get_close_matches(variant, known, n=3, cutoff=0.5) or ["resnet18"]
        raise UserError(f"{name} has no model '{shortened(model)}': try {', '.join(near)}")


def check_exporter(text: str) -> None:
    """Raise `UserError` for the name of an exporter that no source has."""
    _check("exporter", text, static_names("export"))


def check_names(experiment: Experiment, launcher: str | None = None) -> None:
    """Raise `UserError` for the first name that no source has, with the nearest one that is one.

    Where a program has handed classes, which no source need have, their import tells.
    """
    if handed.anything():
        return
    _check_network(experiment.network)
    if launcher is not None:
        _check("launcher", launcher, static_names("launch"))
    strategies = static_names("strategies")
    named = [text for group in experiment.groups for text in group.strategy]
    for text in [*named, *([experiment.reference] if experiment.reference else [])]:
        for piece in text.split("+"):
            _check("strategy", piece, strategies)
    datasets = static_names("datasets")
    for text in (text for group in experiment.groups for text in group.pair):
        head, _, rest = text.partition(":")
        _check("data set", head, datasets)
        tasks = (datasets or {}).get(head.partition("@")[0])
        if tasks and "/" not in rest:
            for task in filter(None, rest.replace("*", "+").split("+")):
                base = task.partition("~")[0]  # bench.tasks imports torch
                if base not in tasks:
                    raise unknown(f"task of {head.partition('@')[0]}", base, tasks)


def _check(what: str, text: str, known: Mapping[str, frozenset[str] | None] | None) -> None:
    name = text.partition("@")[0]
    if known is not None and name and name not in known:
        raise unknown(what, name, [plugin for plugin, tasks in known.items() if tasks is not None])
