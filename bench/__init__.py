"""Honest comparisons of sharing strategies in multi-task learning for vision.

Strategies and data sets are plugins: one file each in the namespace packages `bench.strategies`
and `bench.datasets`. In a checkout they live in `strategies/` and `datasets/` beside this folder;
a user's own live in any folder named in the environment variable `BENCH_PLUGINS` (several are
joined like PATH), which holds a `strategies/` or a `datasets/` folder of its own. An installed
package may bring some too, see `bench.registry`.
"""

import os
from pathlib import Path

__version__ = "0.1.0"

_parent = Path(__file__).resolve().parent.parent
#: The checkout that this package runs from, or None where it is installed.
checkout = (
    _parent if all((_parent / n).exists() for n in ("pyproject.toml", "strategies")) else None
)
#: The folders that BENCH_PLUGINS names.
plugin_folders = [Path(p) for p in os.environ.get("BENCH_PLUGINS", "").split(os.pathsep) if p]

if checkout is not None:
    __path__.append(str(checkout))
__path__.extend(map(str, plugin_folders))
