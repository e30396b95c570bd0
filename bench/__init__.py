"""Honest comparisons of sharing strategies in multi-task learning for vision.

Strategies and data sets are plugins: one file each in the namespace packages `bench.strategies`
and `bench.datasets`. In a checkout they live in `strategies/` and `datasets/` beside this folder;
a user's own live in any folder named in the environment variable `BENCH_PLUGINS` (several are
joined like PATH), which holds a `strategies/` or a `datasets/` folder of its own.
"""

import os
from pathlib import Path

__version__ = "0.1.0"

_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "strategies").is_dir():
    __path__.append(str(_checkout))
__path__.extend(p for p in os.environ.get("BENCH_PLUGINS", "").split(os.pathsep) if p)
