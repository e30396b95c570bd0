"""Honest comparisons of sharing strategies in multi-task learning for vision.

Strategies and data sets are plugins: one file each in the packages `bench.strategies` and
`bench.datasets`. In a checkout they live in `strategies/` and `datasets/` beside this folder; a
user's own live in any folder named in the environment variable `BENCH_PLUGINS` (several are joined
like PATH), which holds a `strategies/` or a `datasets/` folder of its own. An installed package may
bring some too, see `bench.spec.registry`.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

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
