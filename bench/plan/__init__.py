"""From an experiment to runs: arms, rows, tuning.

`bench.plan` is a function of the package too. So that both can have the name, this room is called
like that function.
"""

import sys
from types import ModuleType
from typing import Any

import bench


class _Room(ModuleType):
    """A module that is called as `bench.api.run.plan` is."""

    def __call__(self, *arguments: Any, **flags: Any) -> Any:
        return bench.defined("plan")(*arguments, **flags)


sys.modules[__name__].__class__ = _Room
