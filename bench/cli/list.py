"""What can be run, as rows for `list`."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, fields
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.clean import one_line, printable
from bench.cli.console import console, show_json
from bench.contracts import Aggregation, Component, Dataset, Network, range_of
from bench.errors import UserError, described, readable
from bench.spec.experiment import shipped_experiments
from bench.spec.registry import (
    COMPONENTS,
    Plugins,
    beside_knobs,
    component_of,
    datasets,
    declared_pairs,
    networks,
    parse_dataset,
    shown,
    strategy_components,
)
from bench.task_types import Classification

if TYPE_CHECKING:
    from bench.validation import PluginReport

Rows = list[dict[str, str]]


def listing(what: str) -> tuple[Rows, Mapping[str, str]]:
    """Return the rows of a list, and the plugins that cannot be listed with their reasons."""
    match what:
        case "pairs":
            return _rows(datasets(), _pairs)
        case "datasets":
            return _rows(datasets(), _dataset)
        case "strategies":
            rows, broken = _rows(strategy_components(), _component)
            order = list(COMPONENTS)
            return sorted(rows, key=lambda row: order.index(row["component"])), broken
        case "experiments":
            return _experiments(), {}
        case "launchers":
            from bench.launch import launchers

            return _rows(launchers(), _launcher)
        case "exporters":
            from bench.export import exporters

            return _rows(exporters(), _exporter)
        case _:
            return _rows(networks(), _network)


def _rows(
    plugins: Plugins, describe: Callable[[type[Any]], Rows]
) -> tuple[Rows, Mapping[str, str]]:
    """Return the rows of all plugins by name; one that cannot be described costs no other."""
    rows: Rows = []
    broken = dict(plugins.broken)
    for name, plugin in sorted(plugins.found.items()):
        try:
            rows += [{k: readable(text) for k, text in r.items()} for r in describe(plugin)]
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            broken[name] = described(error)
    return rows, broken


def filtered(what: str, rows: Rows, containing: str | None) -> Rows:
    """Return the rows with a text in any of their cells, in any case; all rows if none is given.

    Raises `UserError` where no row has it.
    """
    if not containing:
        return rows
    found = [row for row in rows if any(containing.lower() in c.lower() for c in row.values())]
    if not found:
        raise UserError(f"no entry of `list {what}` has '{containing}': leave the text out")
    return found


def _pairs(plugin: type[Any]) -> Rows:
    if plugin.takes_path:
        return [
            {
                "pair": f"{plugin.name}:PATH:TASK+TASK",
                "tasks": plugin.summary,
                "images": "your own",
                "expected": "–",
                "why": "–",
                "needs": plugin.needs,
            }
        ]
    dataset = parse_dataset(plugin.name)
    return [
        {
            "pair": pair.name,
            "tasks": "; ".join(_task(dataset, task) for task in pair.tasks),
            "images": _images(dataset, pair.tasks),
            "expected": pair.expect or "–",
            "why": pair.why,
            "needs": dataset.needs,
        }
        for pair in declared_pairs(dataset)
    ]


def _task(dataset: Dataset, task: str) -> str:
    kind = dataset.task_types.get(task, Classification())
    return f"{task}: {dataset.tasks[task]} ({kind.metrics[0].name})"


def _images(dataset: Dataset, tasks: Sequence[str]) -> str:
    """Return what images a pair has, and whether both tasks are on the same."""
    if isinstance(dataset.images, str):
        return f"same images: {dataset.images}"
    sets = list(dict.fromkeys(dataset.images[task] for task in tasks))
    return f"{'same' if len(sets) == 1 else 'disjoint'} images: {' and '.join(sets)}"


def _dataset(plugin: type[Any]) -> Rows:
    return [
        {
            "data set": f"{plugin.name}:PATH" if plugin.takes_path else plugin.name,
            "what it is": plugin.summary,
            "tasks": "its columns" if plugin.takes_path else ", ".join(plugin().tasks),
            "knobs": _knobs(plugin),
            "needs": plugin.needs,
        }
    ]


def _knobs(plugin: type[Any]) -> str:
    """Return the knobs of a plugin with their defaults, and the ranges of those that are tuned."""
    knobs = (f for f in fields(plugin) if f.name not in beside_knobs(plugin))
    return ", ".join(f"{f.name}={shown(f.default)}{_range(f)}" for f in knobs) or "–"


def _range(knob: "Field[Any]") -> str:
    range = range_of(knob)
    return f" (tuned: {range.low:g} to {range.high:g})" if range else ""


def _component(part: type[Any]) -> Rows:
    return [
        {
            "strategy": part.name,
            "component": component_of(part),
            "what it does": part.summary + _same_for_two(part),
            "knobs": _knobs(part),
            "source": part.paper,
        }
    ]


def _same_for_two(part: type[Component]) -> str:
    other = part.same_for_two if issubclass(part, Aggregation) else ""
    return f" (with two tasks: the direction of {other})" if other else ""


def _network(plugin: type[Network]) -> Rows:
    return [
        {
            "network": f"{plugin.name}:MODEL" if plugin.models else plugin.name,
            "what it is": plugin.summary,
            "widths": "any" if plugin.widths else "one",
            "knobs": _knobs(plugin),
            "source": plugin.paper,
        }
    ]


def _experiments() -> Rows:
    rows = []
    for name, path in sorted(shipped_experiments().items()):
        values = tomllib.loads(path.read_text("utf-8"))
        rows.append({"experiment": name, "what it asks": values.get("description", "")})
    return rows


def _launcher(plugin: type[Any]) -> Rows:
    return [{"launcher": plugin.name, "what it does": plugin.summary, "knobs": _knobs(plugin)}]


def _exporter(plugin: type[Any]) -> Rows:
    needs = f"extra {plugin.extra}" if plugin.extra else "–"
    return [{"exporter": plugin.name, "what it writes": plugin.summary, "needs": needs}]


def show(what: str, rows: Sequence[Mapping[str, str]], as_json: bool) -> None:
    """Print rows as a table or as JSON."""
    if as_json:
        show_json(rows)
        return
    rows = [{key: printable(value) for key, value in row.items()} for row in rows]
    out = console()
    table = Table(box=box.SIMPLE_HEAD, leading=1)
    for position, column in enumerate(rows[0] if rows else [what]):
        # The name is what a user copies, so it is never broken.
        table.add_column(column, no_wrap=position == 0, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    unbroken = out.measure(table, options=out.options.update(max_width=10_000)).minimum
    out.print(table if unbroken <= out.width else Group(*map(_block, rows)))
    if what == "strategies":
        print("Join parts with +, set knobs with @: hard+partner@0.5, hard+pcgrad.")
    if what == "networks":
        print("Set knobs with @: NAME@knob=value, NAME:MODEL@knob=value.")
    if what == "datasets":
        print("Set knobs with @: NAME@knob=value:TASK+TASK.")
    if what == "pairs":
        print(
            "Any tasks of a data set make a pair: DATASET:TASK+TASK. "
            "'DATASET:TASK*TASK*TASK' means every pair of these tasks. "
            "~shuffled, ~noise or ~none behind a task make it a placebo."
        )


def _block(row: Mapping[str, str]) -> Group:
    """Return a row for a terminal too narrow for columns: its name, and a line a property."""
    (_, name), *properties = row.items()
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for key, value in properties:
        grid.add_row(key, value)
    return Group(Text(name, style="bold"), Padding(grid, (0, 0, 1, 2)))


def show_validation(reports: "Sequence[PluginReport]", as_json: bool) -> None:
    """Print what was found of each plugin: a line each, and below it what does not hold.

    As JSON, a list of plugins with all their findings.
    """
    if as_json:
        rows = [{**asdict(report), "outcome": report.outcome} for report in reports]
        show_json(rows)
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("plugin", "component", "checks", "found", "seconds"):
        # Names and what was found give way, figures do not.
        table.add_column(column, overflow="fold", no_wrap=column in ("checks", "seconds"))
    for report in reports:
        held = sum(finding.outcome == "ok" for finding in report.findings)
        told = [f"{f.check}: {f.reason}" for f in report.findings if f.outcome == "failed"]
        told += [
            f"{f.check} skipped: {f.reason}" for f in report.findings if f.outcome == "skipped"
        ]
        table.add_row(
            printable(report.plugin),
            report.component,
            f"{held} of {len(report.findings)}",
            Text("\n".join([report.outcome, *map(one_line, told)])),
            f"{report.seconds:.1f}",
        )
    console().print(table)
    outcomes = [report.outcome for report in reports]
    counts = ", ".join(
        f"{outcomes.count(outcome)} {outcome}"
        for outcome in ("ok", "failed", "skipped")
        if outcome in outcomes
    )
    print(f"{len(reports)} plugin{'s' * (len(reports) != 1)}: {counts}.")
