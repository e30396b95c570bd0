"""The tables of a report on groups as titles, texts and cells: no markup, no escaping."""

import math
from collections.abc import Iterable

from bench.decide.groupings import Grouping, GroupingResult, Option, named
from bench.decide.pairs import TargetGains
from bench.report.groups.wording import (
    BUDGET,
    COSTS,
    DRAWS,
    OPTIONS,
    PROPOSAL,
    SCORED,
    TASKS,
    USE,
    braced,
    budget_standings,
    flops,
    standings,
    steps_of,
)
from bench.report.text.decision import USE_COLUMNS, shares, use_figures
from bench.report.text.sections import Code, Section, Strong, Table, Text, tabled
from bench.report.text.wording import NOTHING, amount, bounded, settings, share_percent, spread
from bench.spec.budget import Budget
from bench.spec.experiment import Experiment
from bench.stats.tests import paired

#: Of more groupings than this that came out, the others are counted.
_MOST_DRAWN = 10


def sections(result: GroupingResult, experiment: Experiment) -> list[Section]:
    """Return all sections that have something to show, in the order in which they are read."""
    every = (
        options_section(result),
        tasks_section(result),
        _budget(result),
        _use(result),
        _best(result),
        _drawn(result),
        scored_section(result),
        _costs(result),
        tabled("made", "Settings", ("", ""), _settings(experiment).items()),
    )
    return [section for section in every if section is not None]


def _settings(experiment: Experiment) -> dict[str, str]:
    """Return what all runs have in common, and what was asked of the grouping."""
    budget = amount(Budget.parse(experiment.budget))
    asked = {
        field.replace("_", " "): ", ".join(value) if isinstance(value, tuple) else str(value)
        for field, value in experiment
        if field not in Experiment.model_fields and value
    }
    return {
        **settings(experiment),
        "budget": f"{budget} a task; a network gets that of all its tasks",
        **asked,
    }


def _grouping(grouping: Grouping) -> Text:
    """Return the networks of a grouping."""
    shown: list[str | Code] = []
    for group in grouping:
        shown += [" " if shown else "", Code(braced(group))]
    return tuple(part for part in shown if part)


def options_section(result: GroupingResult) -> Section | None:
    """Return each way to serve the tasks that was verified, with what it brings and costs."""
    chosen = result.verdict.option if result.verdict else None
    columns = (
        "option",
        "networks",
        "Δm (%) [95 % CI]",
        "parameters",
        "inference FLOPs",
        "time an image",
        "training compute",
        "steps",
        "who shares",
    )
    lines = [
        (
            Strong(option.name) if option is chosen else str(option.name),
            str(option.networks),
            spread(option.delta_m, "%"),
            *map(share_percent, shares(option.candidate).values()),
            steps_of(option.steps),
            _grouping(option.grouping),
        )
        for option in result.options
    ]
    return tabled("options", "Ways to serve the tasks", columns, lines, OPTIONS)


def tasks_section(result: GroupingResult) -> Section | None:
    """Return what each task gains with each option, and what is shown of it."""
    if not result.options:
        return None
    words = [standings(option.candidate) for option in result.options]
    targets = [by_target(option) for option in result.options]
    lines: list[tuple[Text, ...]] = [
        (
            Code(task),
            *(
                (gained(own[task]), ", ", str(word[task])) if task in own else NOTHING
                for own, word in zip(targets, words, strict=True)
            ),
        )
        for task in result.tasks
    ]
    columns = ("task", *(str(option.name) for option in result.options))
    return tabled("tasks", "What each task gains", columns, lines, TASKS)


def by_target(option: Option) -> dict[str, TargetGains]:
    """Return the gains of an option by task."""
    return {target.target: target for target in option.candidate.targets}


def gained(target: TargetGains) -> str:
    """Return the mean gain of a task with its interval, in the unit of its metric."""
    return spread(paired(list(target.gains.values())), "")


def _budget(result: GroupingResult) -> Section | None:
    """Return what half of the budget costs each task, and what is shown by it."""
    if result.apart is None or (halved := result.apart.halved) is None:
        return None
    words = budget_standings(halved)
    lines: list[tuple[Text, ...]] = [
        (Code(target.target), gained(target), words[target.target]) for target in halved.targets
    ]
    columns = ("task", "gain by half of the budget [95 % CI]", "the budget is")
    return tabled("budget", "Is the budget long enough?", columns, lines, BUDGET)


def _use(result: GroupingResult) -> Section | None:
    uses = [(str(option.name), option.candidate.use) for option in result.options]
    uses += [(f"{len(result.tasks)} separate", o.candidate.use_apart) for o in result.options[:1]]
    lines = [(name, *use_figures(use)) for name, use in uses if use is not None]
    return tabled("use", "Cost of use", ("networks", *USE_COLUMNS[2:]), lines, USE)


def _best(result: GroupingResult) -> Section:
    """Return the best grouping of each number of networks, by its predicted total."""
    unit = result.affinities[0].unit
    lines: list[tuple[Text, ...]] = []
    for each in result.proposal.best:
        count = str(each.networks)
        proposed = each.partition == result.proposal.chosen.partition
        lines.append(
            (
                Strong(f"{count}, proposed") if proposed else count,
                spread(paired(each.totals), "%" if unit == "%" else ""),
                _grouping(named(each.partition, result.tasks)),
            )
        )
    total = f"predicted total{' (Δm, %)' if unit == '%' else ''} [95 % CI]"
    columns = ("networks", total, "who shares")
    return Section("best", "Predicted groupings", (PROPOSAL, Table(columns, tuple(lines))))


def _drawn(result: GroupingResult) -> Section | None:
    """Return how often each grouping came out of draws of the seeds."""
    found = result.proposal.frequencies
    lines: list[tuple[Text, ...]] = [
        (share_percent(share), str(len(partition)), _grouping(named(partition, result.tasks)))
        for partition, share in found[:_MOST_DRAWN]
    ]
    if others := found[_MOST_DRAWN:]:
        left = math.fsum(share for _, share in others)
        lines.append((share_percent(left), NOTHING, f"{len(others):,} others"))
    columns = ("of the draws", "networks", "who shares")
    return tabled("draws", "How sure the proposal is", columns, lines, DRAWS)


def scored_lines(result: GroupingResult) -> Iterable[tuple[str, ...]]:
    """Return how well each method predicts, and what it took, a line each."""
    scored = {each.method: each for each in result.scored}
    whole = _exhaustive(result)
    for each in result.affinities:
        own = scored.pop(each.method, None)
        yield (
            each.method,
            bounded(own.rho, own.low, own.high, sign=True) if own else NOTHING,
            str(own.groups) if own else NOTHING,
            flops(each.flops),
            _part(each.flops, whole),
        )
    for own in scored.values():  # scored without affinities of its own: nothing was trained for it
        rho = bounded(own.rho, own.low, own.high, sign=True)
        yield own.method, rho, str(own.groups), NOTHING, NOTHING


def _part(amount: float, whole: float) -> str:
    """Return an amount as a share of a whole, to two digits."""
    return f"{100 * amount / whole:.2g} %" if whole and math.isfinite(amount) else NOTHING


def _exhaustive(result: GroupingResult) -> float:
    """Return the FLOPs of training every group of tasks; 0 where they are unknown."""
    found = result.costs.get("every group", 0.0)
    return found if math.isfinite(found) else 0.0


#: The columns of `scored_lines`.
SCORED_COLUMNS = ("affinity", "ρ [95 % CI]", "groups", "FLOPs", "of every group")


def scored_section(result: GroupingResult) -> Section | None:
    """Return how well affinities predict what was trained."""
    lines: list[tuple[Text, ...]] = [
        (Code(method), *rest) for method, *rest in scored_lines(result)
    ]
    return tabled("scored", "How well affinities predict", SCORED_COLUMNS, lines, SCORED)


def _costs(result: GroupingResult) -> Section | None:
    whole = _exhaustive(result)
    lines = [(part, flops(amount), _part(amount, whole)) for part, amount in result.costs.items()]
    return tabled("costs", "Training compute", ("", "FLOPs", "of every group"), lines, COSTS)
