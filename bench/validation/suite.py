"""Runs the checks on plugins, and reports what each found."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.contracts import DataSource
from bench.errors import UserError, unknown
from bench.spec.registry import component_of, datasets, parse_dataset, strategy_components
from bench.train.device import prepare
from bench.validation.checks import InapplicableError, ViolationError, origin
from bench.validation.components import COMPONENT_CHECKS, COMPONENT_GATES, Candidate, candidate
from bench.validation.datasets import DATASET_CHECKS, DATASET_GATES, Loaded

Outcome = Literal["ok", "failed", "skipped"]

#: Checks that others depend on. Where one fails or cannot be made, the later ones are left out.
_GATES = {check.__name__ for check in (*COMPONENT_GATES, *DATASET_GATES)}


@dataclass(frozen=True)
class CheckResult:
    """The result of one check; `reason` is empty where it holds."""

    check: str
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class PluginReport:
    """The results of all checks of one plugin, and the wall seconds they took."""

    plugin: str
    component: str
    findings: tuple[CheckResult, ...]
    seconds: float

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that do not hold."""
        return tuple(finding for finding in self.findings if finding.outcome == "failed")

    @property
    def outcome(self) -> Outcome:
        """Failed where any check fails, skipped where one that others depend on was not made."""
        if self.failed:
            return "failed"
        tried = all(f.outcome == "ok" for f in self.findings if f.check in _GATES)
        return "ok" if tried else "skipped"


def _finding(check: Callable[[Any], None], tried: Candidate | Loaded) -> CheckResult:
    name = check.__name__
    try:
        check(tried)
    except InapplicableError as reason:
        return CheckResult(name, "skipped", str(reason))
    except ViolationError as violation:
        return CheckResult(name, "failed", str(violation))
    except UserError as error:
        if isinstance(tried, Loaded):
            return CheckResult(name, "failed", str(error))
        # A component may refuse tasks that it cannot handle.
        return CheckResult(name, "skipped", f"cannot be tried here: {error}")
    except Exception as error:
        place = origin(error, tried.plugin)
        return CheckResult(name, "failed", f"{type(error).__name__}: {error}{place}")
    return CheckResult(name, "ok")


def _findings(
    checks: Iterable[Callable[[Any], None]], tried: Candidate | Loaded
) -> Iterator[CheckResult]:
    for check in checks:
        finding = _finding(check, tried)
        yield finding
        if finding.outcome != "ok" and finding.check in _GATES:
            return


def _component_findings(text: str) -> Iterator[CheckResult]:
    try:
        tried = candidate(text)
    except InapplicableError as reason:
        yield CheckResult("builds", "skipped", str(reason))
        return
    plugin = type(tried.plugin)
    checks = [check for check, base in COMPONENT_CHECKS.items() if issubclass(plugin, base)]
    yield from _findings(checks, tried)


def _dataset_findings(text: str, source: DataSource) -> Iterator[CheckResult]:
    plugin = datasets().found[text.partition(":")[0].partition("@")[0]]
    if plugin.takes_path and ":" not in text:
        yield CheckResult("loads", "skipped", f"needs {plugin.needs}: validate {text}:PATH")
        return
    yield from _findings(DATASET_CHECKS, Loaded(parse_dataset(text), source))


def _report(plugin: str, component: str, findings: Iterator[CheckResult]) -> PluginReport:
    began = time.perf_counter()
    try:
        found = tuple(findings)
    except UserError as error:
        found = (CheckResult("knobs", "failed", str(error)),)
    except Exception as error:
        found = (CheckResult("knobs", "failed", f"{type(error).__name__}: {error}"),)
    return PluginReport(plugin, component, found, time.perf_counter() - began)


def selected(names: Sequence[str]) -> list[str]:
    """Return the plugins to validate: those named, or all of them, broken ones included.

    Raises `UserError` for an unknown name, with the nearest known one.
    """
    components, sets = strategy_components(), datasets()
    known = [*components.found, *sets.found, *components.broken, *sets.broken]
    for text in names:
        head = text.partition(":")[0].partition("@")[0]
        if head not in known:
            raise unknown("plugin", head, known)
    return list(names) or list(dict.fromkeys(known))


def validate(name: str, source: DataSource) -> Iterator[PluginReport]:
    """Try all checks on a plugin: a component, a data set, or both if they share a name.

    `name` is as users type it: `component@knob=value`, `dataset@knob=value` or `dataset:PATH`.
    """
    prepare("cpu")
    head = name.partition(":")[0].partition("@")[0]
    if head in strategy_components().found:
        component = component_of(strategy_components().found[head])
        yield _report(name, component, _component_findings(name))
    if head in datasets().found:
        yield _report(name, "data set", _dataset_findings(name, source))
    reasons = strategy_components().broken.get(head) or datasets().broken.get(head)
    if reasons:
        yield PluginReport(name, "broken", (CheckResult("imports", "failed", reasons),), 0.0)
