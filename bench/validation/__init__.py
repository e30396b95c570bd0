"""The contract suite: checks of every strategy component and data set.

A check is a function that takes a plugin under test and returns if the check holds. Otherwise it
raises `ViolationError` with what is wrong and the fix. Where the check cannot be made, it raises
`InapplicableError` with the reason. Any other error is the plugin's fault and counts as a
violation.
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
