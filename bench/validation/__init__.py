"""The contract suite: checks of every strategy component and data set.

A check is a function that takes a plugin under test and returns where it holds. Where it does not
it raises: `ViolationError` with what is wrong and the fix, `InapplicableError` with the reason why
it cannot be asked. Whatever else it raises is the plugin's fault and counts as a violation.
"""

from bench.validation.checks import InapplicableError, ViolationError
from bench.validation.components import Candidate, candidate
from bench.validation.suite import CheckResult, PluginReport, selected, validate

__all__ = [
    "Candidate",
    "CheckResult",
    "InapplicableError",
    "PluginReport",
    "ViolationError",
    "candidate",
    "selected",
    "validate",
]
