"""Honest comparisons of sharing strategies in multi-task learning for vision.

`bench.run` trains an experiment and returns its `Report`, `bench.load` reads one that is finished,
and `bench.plan` says what `run` would do. `bench.group` finds which tasks should share a network.
They load what they need when they are called.

Strategies and data sets are plugins: one file each in the packages `bench.strategies` and
`bench.datasets`. In a checkout they live in `strategies/` and `datasets/` beside this folder; a
user's own live in any folder named in the environment variable `BENCH_PLUGINS` (several are joined
like PATH), which holds a `strategies/` or a `datasets/` folder of its own. An installed package may
bring some too, see `bench.spec.registry`.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api.groups import GroupReport, group, load_groups
    from bench.api.preview import Preview
    from bench.api.report import Report
    from bench.api.run import load, plan, run
    from bench.errors import UserError
    from bench.spec.experiment import Experiment

__all__ = [
    "Experiment",
    "GroupReport",
    "Preview",
    "Report",
    "UserError",
    "group",
    "load",
    "load_groups",
    "plan",
    "run",
]
__version__ = "0.1.0"

_here = Path(__file__).resolve().parent
#: The checkout that this package runs from, or None where it is installed.
checkout = (
    _here.parent
    if all((_here.parent / n).exists() for n in ("pyproject.toml", "strategies"))
    else None
)
#: The folders that BENCH_PLUGINS names.
plugin_folders = [Path(p) for p in os.environ.get("BENCH_PLUGINS", "").split(os.pathsep) if p]


class PluginFolders(MetaPathFinder):
    """Finds `bench.strategies` and `bench.datasets`: all folders of that name, in one package.

    A search path of `bench` itself would do too, but would make everything importable that lies
    beside those folders. An `__init__.py` in one of them hides no other.
    """

    packages = ("bench.strategies", "bench.datasets")

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the package of all folders, or None for any other module."""
        if fullname not in self.packages:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        roots = [_here, *([checkout] if checkout else []), *plugin_folders]
        folders = [root / fullname.rpartition(".")[2] for root in roots]
        # In a checkout `bench/strategies` is a link to the folder beside it, for type checkers.
        found = dict.fromkeys(str(folder.resolve()) for folder in folders if folder.is_dir())
        spec.submodule_search_locations = [*found]
        return spec


sys.meta_path.insert(0, PluginFolders())

#: Where the names of `__all__` are defined.
_DEFINED = {
    "Experiment": "bench.spec.experiment",
    "Preview": "bench.api.preview",
    "GroupReport": "bench.api.groups",
    "Report": "bench.api.report",
    "UserError": "bench.errors",
    "group": "bench.api.groups",
    "load": "bench.api.run",
    "load_groups": "bench.api.groups",
    "plan": "bench.api.run",
    "run": "bench.api.run",
}


def defined(name: str) -> Any:
    """Return what a name of `__all__` stands for, which loads it."""
    return getattr(import_module(_DEFINED[name]), name)


if not TYPE_CHECKING:  # a type checker knows each name from its import

    def __getattr__(name: str) -> Any:
        if name == "plan":  # the room of this name, which is callable
            return import_module("bench.plan")
        if name in _DEFINED:
            return defined(name)
        raise AttributeError(f"module 'bench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
