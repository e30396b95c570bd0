"""The page of a report on groups: what it shows, worked out for a template."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.decide.groupings import GroupChoice, GroupingResult, Option
from bench.report.groups.sections import by_target, gained, sections
from bench.report.groups.table import SHOWN
from bench.report.groups.wording import (
    ANSWER,
    OPTIONS,
    TASKS,
    Standing,
    answer_of,
    grouping_sentence,
    remarks,
    standings,
    steps_of,
)
from bench.report.page.parts import Bar, bar_of, figure_of, rendered
from bench.report.text.decision import shares
from bench.report.text.wording import share_percent, spread
from bench.spec.experiment import Experiment, experiment_toml
from bench.stats.tests import ALPHA, PairedResult, paired

_TITLES: Mapping[GroupChoice, str] = {
    GroupChoice.ONE: "One network",
    GroupChoice.GROUPING: "A grouping",
    GroupChoice.SEPARATE: "A network for each task",
    GroupChoice.TRADE: "A trade",
    GroupChoice.UNDECIDED: "Undecided",
}
#: How answers are coloured, by the classes of the style.
_CLASSES: Mapping[GroupChoice, str] = {
    GroupChoice.ONE: "share",
    GroupChoice.GROUPING: "share",
    GroupChoice.SEPARATE: "separate",
    GroupChoice.TRADE: "trade",
}
_KINDS: Mapping[Standing, str] = {
    Standing.GAINS: "better",
    Standing.KEEPS: "equal",
    Standing.LOSES: "worse",
}


@dataclass(frozen=True)
class Gained:
    """What a task gains with an option: in words, and as a picture."""

    text: str
    word: str
    kind: str
    bar: Bar | None


@dataclass(frozen=True)
class Served:
    """One way to serve all tasks; `gains` are by task."""

    name: str
    chosen: bool
    grouping: tuple[tuple[str, ...], ...]
    delta_m: str
    bar: Bar | None
    kind: str
    costs: tuple[str, ...]
    gains: Mapping[str, Gained]


def grouping_page(
    result: GroupingResult,
    experiment: Experiment,
    plots: Mapping[str, tuple[str, bytes]],
    margin: float,
    unverified_reason: str = "",
) -> str:
    """Return the whole page. `plots` are a text that stands for each and its SVG, by name."""
    verdict = result.verdict
    found = {section.name: section for section in sections(result, experiment)}
    return rendered(
        "groups.html",
        name=experiment.name,
        description=experiment.description,
        title=_title(result),
        choice=_CLASSES.get(verdict.choice, "undecided") if verdict else "undecided",
        sentence=grouping_sentence(result, margin, unverified_reason),
        grouping=answer_of(result),
        compared=remarks(result, margin),
        options=_served(result),
        tasks=result.tasks,
        answer=ANSWER,
        notes={"options": OPTIONS, "tasks": TASKS},
        sections={name: section for name, section in found.items() if name not in SHOWN},
        figures=[figure_of(name, text, svg) for name, (text, svg) in plots.items()],
        toml=experiment_toml(experiment),
    )


def _title(result: GroupingResult) -> str:
    if result.verdict:
        return _TITLES[result.verdict.choice]
    return "A proposal" if result.proposal.stable else "Undecided"


def _served(result: GroupingResult) -> list[Served]:
    """Return the options, with pictures of all their intervals on one scale for each task."""
    every = [by_target(option) for option in result.options]
    reaches = {
        task: _reach(
            [paired(list(own[task].gains.values())) for own in every if task in own],
            [own[task].margin for own in every if task in own],
        )
        for task in result.tasks
    }
    whole = _reach([option.delta_m for option in result.options])
    chosen = result.verdict.option if result.verdict else None
    return [_option(option, option is chosen, reaches, whole) for option in result.options]


def _reach(results: Sequence[PairedResult], margins: Sequence[float] = ()) -> float:
    """Return how far a scale goes to either side of zero so that all intervals fit in."""
    ends = [abs(end) for each in results for end in (each.mean, each.low, each.high)]
    ends += [1.5 * margin for margin in margins]
    return 1.05 * max((end for end in ends if math.isfinite(end)), default=0.0) or 1.0


def _option(option: Option, chosen: bool, reaches: Mapping[str, float], whole: float) -> Served:
    words, found = standings(option.candidate), option.delta_m
    clear = found.n > 1 and found.p <= ALPHA
    return Served(
        name=str(option.name),
        chosen=chosen,
        grouping=option.grouping,
        delta_m=spread(found, "%"),
        bar=bar_of(found, math.nan, whole),
        kind=("better" if found.mean > 0 else "worse") if clear else "open",
        costs=(
            *map(share_percent, shares(option.candidate).values()),
            steps_of(option.steps),
        ),
        gains={
            task: Gained(
                gained(target),
                str(words[task]),
                _KINDS.get(words[task], "open"),
                bar_of(paired(list(target.gains.values())), target.margin, reaches[task]),
            )
            for task, target in by_target(option).items()
        },
    )
