"""Runs the checks on plugins, and reports what each found.

Checks run code of plugins, so they run where a caller says. A plugin that ends or holds its process
fails the check that it was tried by, and no other plugin notices.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.contracts import DataSource
from bench.errors import LauncherError, UserError, described, message_of, readable, unknown
from bench.launch.worker import RequestError, answer
from bench.plan.survey import Ask
from bench.spec.registry import (
    component_of,
    datasets,
    networks,
    parse_dataset,
    strategy_components,
)
from bench.train.device import prepare
from bench.validation.checks import InapplicableError, ViolationError, origin
from bench.validation.components import COMPONENT_CHECKS, COMPONENT_GATES, Candidate, candidate
from bench.validation.datasets import DATASET_CHECKS, DATASET_GATES, Loaded
from bench.validation.networks import NETWORK_CHECKS, NETWORK_GATES, Tried, tried_network

Outcome = Literal["ok", "failed", "skipped"]

#: Checks that others depend on. Where one fails or cannot be made, the later ones are left out.
_GATES = {check.__name__ for check in (*COMPONENT_GATES, *NETWORK_GATES, *DATASET_GATES)}


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


def _finding(check: Callable[[Any], None], tried: Candidate | Tried | Loaded) -> CheckResult:
    name = check.__name__
    try:
        check(tried)
    except InapplicableError as reason:
        return CheckResult(name, "skipped", str(reason))
    except ViolationError as violation:
        return CheckResult(name, "failed", readable(str(violation)))
    except UserError as error:
        if not isinstance(tried, Candidate):
            return CheckResult(name, "failed", message_of(error))
        # A component may refuse tasks that it cannot handle.
        return CheckResult(name, "skipped", f"cannot be tried here: {message_of(error)}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        place = origin(error, tried.plugin)
        return CheckResult(name, "failed", f"{described(error)}{place}")
    return CheckResult(name, "ok")


def _findings(
    checks: Iterable[Callable[[Any], None]], tried: Candidate | Tried | Loaded
) -> Iterator[CheckResult | str]:
    for check in checks:
        yield check.__name__
        finding = _finding(check, tried)
        yield finding
        if finding.outcome != "ok" and finding.check in _GATES:
            return


def component_findings(text: str) -> Iterator[CheckResult | str]:
    """Check a component; yield the name of each check before its result."""
    prepare("cpu")
    try:
        tried = candidate(text)
    except InapplicableError as reason:
        yield CheckResult("builds", "skipped", str(reason))
        return
    plugin = type(tried.plugin)
    checks = [check for check, base in COMPONENT_CHECKS.items() if issubclass(plugin, base)]
    yield from _findings(checks, tried)


def network_findings(text: str) -> Iterator[CheckResult | str]:
    """Check a network; yield the name of each check before its result."""
    prepare("cpu")
    plugin = networks().found[text.partition("@")[0].partition(":")[0]]
    if plugin.models and ":" not in text:
        yield CheckResult("stages", "skipped", f"needs a model: validate {text}:MODEL")
        return
    yield from _findings(NETWORK_CHECKS, tried_network(text))


def dataset_findings(text: str, source: DataSource) -> Iterator[CheckResult | str]:
    """Check a data set; yield the name of each check before its result."""
    prepare("cpu")
    plugin = datasets().found[text.partition(":")[0].partition("@")[0]]
    if plugin.takes_path and ":" not in text:
        yield CheckResult("loads", "skipped", f"needs {plugin.needs}: validate {text}:PATH")
        return
    yield from _findings(DATASET_CHECKS, Loaded(parse_dataset(text), source))


def _report(plugin: str, component: str, findings: Iterator[CheckResult | str]) -> PluginReport:
    began = time.perf_counter()
    found: list[CheckResult] = []
    trying = "knobs"
    try:
        for item in findings:
            if isinstance(item, str):
                trying = item
            else:
                found.append(item)
    except RequestError as error:
        found.append(CheckResult(trying, "failed", str(error)))
    except LauncherError:
        raise
    except UserError as error:
        found.append(CheckResult("knobs", "failed", message_of(error)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        found.append(CheckResult(trying, "failed", described(error)))
    return PluginReport(plugin, component, tuple(found), time.perf_counter() - began)


def selected(names: Sequence[str]) -> list[str]:
    """Return the plugins to validate: those named, or all of them, broken ones included.

    Raises `UserError` for an unknown name, with the nearest known one.
    """
    every = strategy_components(), networks(), datasets()
    known = [name for plugins in every for name in plugins.found]
    known += [name for plugins in every for name in plugins.broken]
    for text in names:
        head = text.partition(":")[0].partition("@")[0]
        if head not in known:
            raise unknown("plugin", head, known)
    return list(names) or list(dict.fromkeys(known))


def validate(name: str, source: DataSource, ask: Ask = answer) -> Iterator[PluginReport]:
    """Try all checks on a plugin: a component, a network, a data set, or all that share a name.

    `name` is as users type it: `component@knob=value`, `network:MODEL`, `dataset@knob=value` or
    `dataset:PATH`. The checks run where `ask` calls them, in this process if none is given.
    """
    head = name.partition(":")[0].partition("@")[0]
    if head in strategy_components().found:
        component = component_of(strategy_components().found[head])
        yield _report(name, component, ask(component_findings, name))
    if head in networks().found:
        yield _report(name, "network", ask(network_findings, name))
    if head in datasets().found:
        yield _report(name, "data set", ask(dataset_findings, name, source))
    every = strategy_components(), networks(), datasets()
    reasons = next((p.broken[head] for p in every if head in p.broken), "")
    if reasons:
        yield PluginReport(name, "broken", (CheckResult("imports", "failed", reasons),), 0.0)
