"""Which tasks belong together, in words: the answer, its controls, and what each task gets."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

from bench.decide.groupings import GroupChoice, Grouping, GroupingResult, Option, differences, named
from bench.decide.pairs import Candidate, TargetGains
from bench.report.text.decision import listed, undecided
from bench.report.text.wording import (
    BUDGET_WORDS,
    NOTHING,
    amount,
    points,
    rounded_up,
    share_percent,
)
from bench.spec.budget import Budget
from bench.stats.partitions import STABLE
from bench.stats.tests import ALPHA, PairedResult, holm, paired
from bench.store.groupings import OptionName
from bench.store.records import SCREEN_BELOW

#: Of more tasks than this a sentence tells how many each network has, not their names.
_MOST_NAMED = 8
#: Groupings that compete, of which a sentence names so many.
_RIVALS = 2
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

#: What the words of the answer mean.
ANSWER = (
    "one network, grouping: with it no task loses more than the margin against a network of its "
    "own (a one-sided t test of each task; the two options by Holm). Where both pass, the one of "
    "fewer networks is recommended, unless the other has a significantly higher Δm. separate: with"
    " both, some task loses more than the margin. trade: so it is, and another task gains more "
    "than it. undecided: none of these is shown. All ways to serve the tasks have the same "
    "training budget in total. A proposal is what affinities suggest; nothing has verified it."
)
#: What the numbers of options are.
OPTIONS = (
    "Δm is the mean relative gain of all tasks over networks of their own, in percent, with its "
    "95 % interval over seeds that had no part in the proposal. Costs are shares of what networks "
    "of their own need together. A random grouping of the same shape and slim networks are "
    "controls: nobody has to deploy them."
)
#: What the words of a task mean.
TASKS = (
    "Gains are over a network of the task's own, in the unit of its metric, with 95 % intervals. "
    "keeps: shown to lose no more than the margin. gains, loses: shown to gain or lose more than "
    "the margin, corrected by Holm over the tasks of the option. inconclusive: none of these. "
    "screen: too few seeds for a word. The answer also corrects for having two options."
)
#: How a proposal came about.
PROPOSAL = (
    "The best grouping of each number of networks, by predicted total. What a task is predicted to "
    "gain is the mean of what its companions bring it. The fewest networks within two standard "
    "errors of the best number are proposed, judged at seeds that the search left out."
)
#: How often each grouping came out.
DRAWS = (
    "Seeds were drawn anew, and the choice made again with each draw. A grouping that comes of "
    "fewer than 80 % of the draws is no proposal. Nor is one beside which another number of "
    "networks may bring over a quarter of the best total more."
)
#: What the scores of affinities are.
SCORED = (
    "Spearman's ρ between what a method predicts for the tasks of a group and what they gained "
    "once that group was trained. Its 95 % interval comes from drawing the groups anew; with fewer"
    " than four groups there is none. 1 is a perfect order, 0 is none."
)
#: What the parts cost.
COSTS = "Training FLOPs of all runs of a part."
#: What it means that a budget is short.
BUDGET = (
    "What half of the budget costs the network of each task, at the same seeds. short: shown to be "
    "more than the margin, corrected by Holm over the tasks. long enough: shown to be less. "
    "perhaps short: neither. On a short budget sharing may look better than it is, since a shared "
    "network takes more steps."
)
#: What networks cost to use.
USE = (
    "What the networks cost to use: forward passes for all tasks, at the first seed. Time is that "
    "of one thread on this machine, or of the device. Peak memory is counted, weights included."
)


class Standing(StrEnum):
    """What is shown for a task in a way to serve all of them."""

    LOSES = "loses"
    INCONCLUSIVE = "inconclusive"
    SCREEN = "screen"
    EXCLUDED = "no verdict"
    KEEPS = "keeps"
    GAINS = "gains"


def standings(candidate: Candidate) -> Mapping[str, Standing]:
    """Return what is shown for each task, by name."""
    wins = holm([target.wins for target in candidate.targets])
    losses = holm([target.loses for target in candidate.targets])
    return {
        target.target: _standing(target, win, loss)
        for target, win, loss in zip(candidate.targets, wins, losses, strict=True)
    }


def _standing(target: TargetGains, win: float, loss: float) -> Standing:
    if target.excluded:
        return Standing.EXCLUDED
    if len(target.gains) < SCREEN_BELOW:
        return Standing.SCREEN
    if win <= ALPHA:
        return Standing.GAINS
    if target.keeps <= ALPHA:
        return Standing.KEEPS
    return Standing.LOSES if loss <= ALPHA else Standing.INCONCLUSIVE


def counted(count: int, one: str) -> str:
    """Return a number of things in words: `two networks`."""
    word = _NUMBERS[count] if count < len(_NUMBERS) else f"{count:,}"
    return f"{word} {one}{'s' * (count != 1)}"


def networks_of(grouping: Grouping) -> str:
    """Return the networks of a grouping: their tasks, or how many each has where that is long."""
    tasks = sum(map(len, grouping))
    if len(grouping) == 1:
        return f"one network for all {tasks} tasks"
    if len(grouping) == tasks:
        return f"a network for each of the {tasks} tasks"
    networks = counted(len(grouping), "network")
    if tasks > _MOST_NAMED:
        return f"{networks}, of {_sizes(grouping)} tasks"
    return f"{networks}, {listed([braced(group) for group in grouping])}"


def braced(group: Sequence[str]) -> str:
    """Return the tasks of a network as a set."""
    return "{" + ", ".join(group) + "}"


def _sizes(grouping: Grouping) -> str:
    sizes = sorted(map(len, grouping), reverse=True)
    most = 4
    if len(sizes) <= most:
        return listed([str(size) for size in sizes])
    return f"{sizes[-1]} to {sizes[0]}"


def grouping_sentence(result: GroupingResult, margin: float, unverified_reason: str = "") -> str:
    """Return the answer in one to three plain sentences, which claim no more than was shown.

    `margin` is the largest loss that does not matter, in points of the metric. `unverified_reason`
    says why the proposal was not verified.
    """
    verdict = result.verdict
    if verdict is None:
        return _proposed(result, unverified_reason)
    option, beyond = verdict.option, points(margin)
    own, where = "a network of its own", _total(result)
    match verdict.choice:
        case GroupChoice.ONE | GroupChoice.GROUPING:
            assert option is not None
            return (
                f"{_capital(networks_of(option.grouping))}: no task loses more than {beyond} "
                f"against {own}{where} ({_p(verdict.p)}). "
                f"{_capital(_worth(option))}.{_preferred(result)}"
            )
        case GroupChoice.SEPARATE:
            return (
                f"{_capital(networks_of(tuple((task,) for task in result.tasks)))}: "
                f"{_tried(result)}, some task loses more than {beyond} against {own}{where} "
                f"({_p(verdict.p)})."
            )
        case GroupChoice.TRADE:
            assert option is not None
            return (
                f"A trade{where}: with {_called(option, result)}, {_traded(option, beyond)} "
                f"({_p(verdict.p)}). "
                f"{_capital(_tried(result))}, some task loses as much against {own}."
            )
        case GroupChoice.UNDECIDED:
            tried = [_called(option, result) for option in deployable(result)]
            ways = [*tried, "networks of their own"]
            why = undecided([o.candidate for o in deployable(result)], verdict.seeds)
            return (
                f"Undecided between {listed(ways)}{where}: it is not settled whether some task "
                f"loses more than {beyond}. {_capital(why)}."
            )


def _total(result: GroupingResult) -> str:
    """Return the budget at which a verdict holds."""
    return f" at {amount(result.apart.total)} in total" if result.apart else ""


def budget_lines(result: GroupingResult, margin: float) -> list[str]:
    """Return what the budget bought each way to serve the tasks, and whether it is short."""
    if (apart := result.apart) is None:
        return []
    lines, ways = [], [(_called(option, result), option.steps) for option in deployable(result)]
    ways.append(("networks of their own", apart.steps))
    if all(steps for _, steps in ways):
        told = listed([f"{name} {steps_of(steps)} steps" for name, steps in ways])
        lines.append(f"{amount(apart.total)} bought {told}.")
    if apart.halved is not None:
        lines.append(_long_enough(budget_standings(apart.halved), points(margin)))
    return lines


def steps_of(steps: Sequence[int]) -> str:
    """Return the steps of several networks: `96`, or `96 to 130`; a dash where there are none."""
    if not steps:
        return NOTHING
    low, high = min(steps), max(steps)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def budget_standings(halved: Candidate) -> Mapping[str, str]:
    """Return whether the budget is long enough for the network of each task, in a word or two."""
    short = {Standing.LOSES: True, Standing.KEEPS: False, Standing.GAINS: False}
    return {task: BUDGET_WORDS[short.get(found)] for task, found in standings(halved).items()}


def _long_enough(found: Mapping[str, str], beyond: str) -> str:
    """Return whether the budget is long enough for all tasks, or for which it is not."""

    def those(word: str) -> str:
        tasks = [task for task, own in found.items() if own == word]
        if len(tasks) > _MOST_NAMED:
            return counted(len(tasks), "task")
        return listed(tasks) if tasks else ""

    if short := those(BUDGET_WORDS[True]):
        return (
            f"The budget is short for {short}: half of it costs a network of its own more than "
            f"{beyond}. With more training the answer may be another."
        )
    if unsettled := those(BUDGET_WORDS[None]):
        return f"The budget is not shown to be long enough for {unsettled}."
    return f"The budget is long enough: half of it costs no network of its own more than {beyond}."


def _p(p: float) -> str:
    return f"p = {rounded_up(p)}"


def _preferred(result: GroupingResult) -> str:
    """Return why the grouping is recommended and not one network, where it is."""
    verdict = result.verdict
    if verdict is None or verdict.choice is not GroupChoice.GROUPING:
        return ""
    if not any(option.name is OptionName.ONE for option in result.options):
        return ""
    if math.isnan(verdict.better):
        return " With one network for all this is not shown."
    return f" One network for all passes too, with a lower Δm ({_p(verdict.better)})."


def _proposed(result: GroupingResult, why: str) -> str:
    proposal, why = result.proposal, why.rstrip(".")
    after = f" Not verified: {why}." if why else ""
    if not proposal.frequencies:
        seeds = counted(len(proposal.chosen.totals), "seed")
        return (
            f"Undecided: {seeds} cannot say how sure a proposal is. The highest prediction has "
            f"{networks_of(result.grouping)}.{after}"
        )
    if proposal.frequency >= STABLE and not proposal.stable:
        unit = " points of Δm" * (result.affinities[0].unit == "%")
        return (
            f"Undecided: {networks_of(result.grouping)} came out of "
            f"{share_percent(proposal.frequency)} of the draws of the seeds, but another number of "
            f"networks may bring up to {proposal.at_stake:.2g}{unit} more.{after}"
        )
    if not proposal.stable:
        return f"Undecided: the affinities settle on no grouping. {_rivals(result)}{after}"
    often = f"{share_percent(proposal.frequency)} of the draws of the seeds came to it."
    total = f"Its predicted Δm is {_signed(proposal.chosen.mean)} %; " * (
        result.affinities[0].unit == "%"
    )
    reason = f" ({why})" if why else ""
    return f"Proposal, not verified{reason}: {networks_of(result.grouping)}. {total}{often}"


def answer_of(result: GroupingResult) -> Grouping:
    """Return the networks that are recommended, or proposed for sure; none where there are none."""
    verdict = result.verdict
    if verdict is None:
        return result.grouping if result.proposal.stable else ()
    recommended = verdict.choice in (GroupChoice.ONE, GroupChoice.GROUPING)
    return verdict.option.grouping if verdict.option and recommended else ()


def _rivals(result: GroupingResult) -> str:
    """Return the groupings that compete, with how often each came out."""
    frequencies = result.proposal.frequencies
    if len(result.tasks) > _MOST_NAMED:
        return (
            f"Of {len(frequencies):,} that came out, the most frequent did in "
            f"{share_percent(frequencies[0][1])} of the draws of the seeds."
        )
    shown = [
        f"{' '.join(map(braced, named(partition, result.tasks)))} in {share_percent(share)}"
        for partition, share in frequencies[:_RIVALS]
    ]
    if others := len(frequencies) - len(shown):
        shown.append(f"{counted(others, 'other')} in the rest")
    return f"These came out of the draws of the seeds: {listed(shown)}."


def _signed(value: float) -> str:
    return f"{value:+.1f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _called(option: Option, result: GroupingResult) -> str:
    """Return an option with its article, as a sentence has it.

    What is verified beside one network need not be what was proposed.
    """
    if option.name is OptionName.ONE:
        return "one network"
    if option.grouping == result.grouping:
        return "the proposed grouping"
    return f"the grouping of {counted(option.networks, 'network')}"


def _tried(result: GroupingResult) -> str:
    ways = [f"with {_called(option, result)}" for option in deployable(result)]
    return f"{'both ' * (len(ways) > 1)}{listed(ways)}"


def deployable(result: GroupingResult) -> list[Option]:
    """Return the options that somebody may deploy."""
    return [o for o in result.options if o.name in (OptionName.ONE, OptionName.GROUPING)]


def _traded(option: Option, beyond: str) -> str:
    """Return which tasks gain and which lose; how many where they are many."""
    found = standings(option.candidate)
    gains, losses = (
        [task for task, standing in found.items() if standing is kind]
        for kind in (Standing.GAINS, Standing.LOSES)
    )

    def those(tasks: Sequence[str], verb: str) -> str:
        if len(tasks) in (1, 2):
            return f"{listed(tasks)} {verb}{'s' * (len(tasks) == 1)}"
        return f"{counted(len(tasks), 'task')} {verb}" if tasks else f"some task {verb}s"

    return f"{those(gains, 'gain')} and {those(losses, 'lose')} more than {beyond}"


def _worth(option: Option) -> str:
    """Return Δm of an option with what its interval shows, and what it saves at inference."""
    found = option.delta_m
    if not math.isfinite(found.mean):
        told = "Δm is not defined, as some task scores 0 by itself"
    elif not math.isfinite(found.low):
        told = f"Δm is {_signed(found.mean)} %"
    elif found.low <= 0 <= found.high or found.p > ALPHA:
        told = f"Δm is not shown to differ from zero, {_signed(found.mean)} % {_between(found)}"
    else:
        word = "gain" if found.mean > 0 else "loss"
        told = f"Δm is {_signed(found.mean)} % {_between(found)}, a {word}"
    if not math.isfinite(option.saved):
        return told
    fewer = "fewer" if option.saved >= 0 else "more"
    return f"{told}, and inference takes {share_percent(abs(option.saved))} {fewer} FLOPs"


def _between(found: PairedResult, flip: bool = False) -> str:
    """Return an interval; that of the negative where the sign is told in words."""
    ends = (-found.high, -found.low) if flip else (found.low, found.high)
    low, high = (round(end, 1) + 0.0 for end in ends)  # and no -0.0
    return f"({low:.1f} to {high:.1f})"


def remarks(result: GroupingResult, margin: float) -> list[str]:
    """Return what stands below the answer: the budget, and how the other options compare."""
    return [*budget_lines(result, margin), *compared_lines(result)]


def compared_lines(result: GroupingResult) -> list[str]:
    """Return how the other options compare with the proposed one: paired differences of Δm."""
    options = {option.name: option for option in result.options}
    ours = options.get(OptionName.GROUPING) or options.get(OptionName.ONE)
    if ours is None:
        return []
    than = "one network's" if ours.name is OptionName.ONE else "the grouping's"
    labels = {
        OptionName.ONE: "One network for all",
        OptionName.RANDOM: "A random grouping of the same shape",
        OptionName.SLIM: "Slim networks, one a task, as cheap to use",
    }
    return [
        f"{labels[name]}: {_difference(paired(differences(option, ours)), than)}."
        for name, option in options.items()
        if option is not ours and name in labels
    ]


def _difference(found: PairedResult, than: str) -> str:
    """Return how Δm of another option differs from that of the one that it is compared with."""
    if not math.isfinite(found.mean):
        return "no Δm to compare"
    lower = found.mean < 0
    far = f"Δm {abs(found.mean):.1f} points {'lower' if lower else 'higher'} than {than}"
    if not math.isfinite(found.low):
        return f"{far}, at one seed"
    shown = f"{far} {_between(found, flip=lower)}"
    return shown if found.p <= ALPHA else f"{shown}, not shown to differ"


def flops(value: float) -> str:
    """Return an amount of FLOPs as a person writes it."""
    return amount(Budget(value, "flop")) if math.isfinite(value) and value > 0 else NOTHING
