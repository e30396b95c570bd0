"""The answer in words: what each verdict says, and that it claims no more than was shown."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from bench.decide.groupings import GroupChoice, GroupingResult, Option, Verdict, verdict
from bench.report.groups.wording import (
    Standing,
    answer_of,
    budget_lines,
    compared_lines,
    grouping_sentence,
    networks_of,
    standings,
)
from bench.store.groupings import OptionName

Make = Callable[..., GroupingResult]
WORLDS = ("one network", "grouping", "separate", "trade", "undecided")


def _option(result: GroupingResult, name: OptionName) -> Option:
    return next(option for option in result.options if option.name is name)


def _shifted(option: Option, by: float) -> Option:
    """Return an option all of whose gains are higher by so many points."""
    targets = tuple(
        replace(target, gains={seed: gain + by for seed, gain in target.gains.items()})
        for target in option.candidate.targets
    )
    return replace(option, candidate=replace(option.candidate, targets=targets))


@pytest.mark.parametrize("world", WORLDS)
def test_a_world_gets_its_verdict(make_result: Make, world: str) -> None:
    found = make_result(5, world).verdict
    assert found is not None
    assert found.choice == world


@pytest.mark.parametrize("world", ["", *WORLDS])
@pytest.mark.parametrize("tasks", [3, 5, 8, 12, 40])
def test_sentences_have_at_most_thirty_words(make_result: Make, tasks: int, world: str) -> None:
    for drawn in ((0.95, 0.05), (0.4, 0.3, 0.3), ()):
        result = make_result(tasks, world, frequencies=drawn)
        text = f"{grouping_sentence(result, 1.0, 'there was no time left')} "
        text += " ".join((*budget_lines(result, 1.0), *compared_lines(result)))
        for sentence in re.split(r"(?<=[.:;])\s+", text):
            assert len([w for w in sentence.split() if re.search(r"\w", w)]) <= 30, sentence


def _halved(result: GroupingResult, gains: Mapping[str, float]) -> GroupingResult:
    """Return a result in which half of the budget gives tasks such gains."""
    assert result.apart is not None
    assert result.apart.halved is not None
    halved = result.apart.halved
    targets = tuple(
        replace(t, gains={n: gains[t.target] + 0.1 * (-1) ** n for n in range(10)})
        for t in halved.targets
    )
    candidate = replace(halved, targets=targets)
    return replace(result, apart=replace(result.apart, halved=candidate))


def test_a_budget_is_short_for_the_tasks_that_lose_by_half_of_it(make_result: Make) -> None:
    result = make_result(3, "one network")
    shown = budget_lines(_halved(result, {"gender": -3.0, "season": -0.2, "colour": -1.0}), 1.0)
    assert shown == [
        "30 GFLOPs bought one network 384 steps, the proposed grouping 192 steps and networks of "
        "their own 128 steps.",
        "The budget is short for gender: half of it costs a network of its own more than 1 point. "
        "With more training the answer may be another.",
    ]
    open_, long = (
        budget_lines(_halved(result, dict(zip(result.tasks, gains, strict=True))), 1.0)[1]
        for gains in ((-0.2, -0.2, -1.0), (-0.2, -0.3, 0.1))
    )
    assert open_ == "The budget is not shown to be long enough for colour."
    assert long == (
        "The budget is long enough: half of it costs no network of its own more than 1 point."
    )


def test_a_grouping_is_told_with_its_proof_its_gain_and_what_it_saves(make_result: Make) -> None:
    result = make_result(5, "grouping")
    found = _option(result, OptionName.GROUPING).delta_m
    assert result.verdict is not None
    assert grouping_sentence(result, 1.0) == (
        "Two networks, {gender, colour, usage} and {season, category}: no task loses more than 1 "
        "point against a network of its own at 50 GFLOPs in total (p = 0.001). "
        f"Δm is {found.mean:+.1f} % ({found.low:.1f} to {found.high:.1f}), a gain, and inference "
        "takes 60 % fewer FLOPs. With one network for all this is not shown."
    )
    assert answer_of(result) == _option(result, OptionName.GROUPING).grouping


def test_a_grouping_that_is_preferred_to_one_network_says_so(make_result: Make) -> None:
    result = make_result(5, "one network")
    better = [
        _shifted(option, 3.0) if option.name is OptionName.GROUPING else option
        for option in result.options
    ]
    preferred = replace(result, options=tuple(better), verdict=verdict(better))
    assert "One network for all passes too, with a lower Δm (p =" in grouping_sentence(
        preferred, 1.0
    )


def test_one_network_is_recommended(make_result: Make) -> None:
    text = grouping_sentence(make_result(5, "one network"), 1.0)
    assert text.startswith("One network for all 5 tasks: no task loses more than 1 point")
    assert "80 % fewer FLOPs" in text


@pytest.mark.parametrize(("mean", "said"), [(0.05, "not shown to differ"), (-0.6, "a loss")])
def test_only_an_interval_above_zero_is_a_gain(make_result: Make, mean: float, said: str) -> None:
    result = make_result(5, "one network")
    shift = mean - _option(result, OptionName.ONE).delta_m.mean * 0.8
    options = [_shifted(option, shift) for option in result.options]
    changed = replace(result, options=tuple(options), verdict=verdict(options))
    text = grouping_sentence(changed, 1.0)
    assert text.startswith("One network")
    assert said in text
    assert "a gain" not in text


def test_without_costs_of_use_nothing_is_said_to_be_saved(make_result: Make) -> None:
    result = make_result(5, "one network")
    options = [replace(o, candidate=replace(o.candidate, use=None)) for o in result.options]
    changed = replace(result, options=tuple(options), verdict=verdict(options))
    assert "inference" not in grouping_sentence(changed, 1.0)


def test_separate_trade_and_undecided_recommend_no_sharing(make_result: Make) -> None:
    separate, trade, undecided = (
        make_result(5, world) for world in ("separate", "trade", "undecided")
    )
    assert grouping_sentence(separate, 1.0).startswith("A network for each of the 5 tasks: both")
    assert "four tasks gain and gender loses more than 1 point" in grouping_sentence(trade, 1.0)
    assert grouping_sentence(undecided, 1.0).startswith("Undecided between one network")
    assert [answer_of(each) for each in (separate, trade, undecided)] == [(), (), ()]


def test_seeds_that_would_decide_are_told(make_result: Make) -> None:
    result = replace(make_result(5, "undecided"), verdict=Verdict(GroupChoice.UNDECIDED, seeds=31))
    assert "About 31 seeds would decide" in grouping_sentence(result, 1.0)


def test_what_is_verified_beside_a_proposal_of_one_network_is_not_called_the_proposal(
    make_result: Make,
) -> None:
    result = make_result(5, "separate")
    one = next(each for each in result.proposal.best if each.networks == 1)
    changed = replace(result, proposal=replace(result.proposal, chosen=one))
    text = grouping_sentence(changed, 1.0)
    assert "with the grouping of two networks" in text
    assert "proposed" not in text


def test_what_is_not_verified_is_a_proposal(make_result: Make) -> None:
    result = make_result(5)
    text = grouping_sentence(result, 1.0, "the time was up.")
    assert text.startswith("Proposal, not verified (the time was up): two networks, {gender,")
    assert "95 % of the draws of the seeds came to it." in text
    assert answer_of(result) == result.grouping


def test_affinities_without_a_unit_predict_no_gain(make_result: Make) -> None:
    assert "Δm" not in grouping_sentence(make_result(5, unit=""), 1.0)


def test_a_proposal_that_changes_with_the_seeds_is_undecided(make_result: Make) -> None:
    result = make_result(5, frequencies=(0.45, 0.38, 0.1, 0.07))
    assert grouping_sentence(result, 1.0, "nothing to verify") == (
        "Undecided: the affinities settle on no grouping. These came out of the draws of "
        "the seeds: {gender, colour, usage} {season, category} in 45 %, "
        "{gender, season, colour, category, usage} in 38 % and two others in the rest. "
        "Not verified: nothing to verify."
    )
    assert answer_of(result) == ()


def test_what_other_numbers_of_networks_may_bring_leaves_a_proposal_undecided(
    make_result: Make,
) -> None:
    result = make_result(5)
    open_ = replace(result, proposal=replace(result.proposal, at_stake=2.3, little=1.0))
    text = grouping_sentence(open_, 1.0)
    assert text.startswith("Undecided: two networks, {gender, colour, usage} and {season,")
    assert "came out of 95 % of the draws of the seeds" in text
    assert "may bring up to 2.3 points of Δm more" in text
    assert answer_of(open_) == ()


def test_too_few_seeds_cannot_say_how_sure_a_proposal_is(make_result: Make) -> None:
    result = make_result(5, frequencies=(), affinity_seeds=2)
    assert grouping_sentence(result, 1.0).startswith("Undecided: two seeds cannot say")
    assert answer_of(result) == ()


def test_controls_are_compared_by_paired_differences(make_result: Make) -> None:
    result = make_result(5, "grouping")
    ours, random = (
        _option(result, name).delta_m.mean for name in (OptionName.GROUPING, OptionName.RANDOM)
    )
    one, shuffled, slim = compared_lines(result)
    assert one.startswith("One network for all: Δm")
    assert f"Δm {ours - random:.1f} points lower than the grouping's (" in shuffled
    assert slim.startswith("Slim networks")
    assert compared_lines(make_result(5)) == []


def test_equal_options_are_not_shown_to_differ(make_result: Make) -> None:
    result = make_result(5, "grouping", spread=4.0)
    slim = compared_lines(result)[-1]
    assert slim.endswith("not shown to differ.")


def test_each_task_has_a_word(make_result: Make) -> None:
    result = make_result(5, "grouping")
    words = standings(_option(result, OptionName.ONE).candidate)
    assert words == {
        "gender": Standing.LOSES,
        **dict.fromkeys(("season", "colour", "category", "usage"), Standing.GAINS),
    }
    few = standings(make_result(5, "grouping", seeds=4).options[0].candidate)
    assert set(few.values()) == {Standing.SCREEN}
    wide = standings(make_result(5, "undecided").options[0].candidate)
    assert set(wide.values()) == {Standing.INCONCLUSIVE}
    own = _option(result, OptionName.ONE).candidate
    diverged = replace(own.targets[0], excluded="a run diverged")
    changed = replace(own, targets=(diverged, *own.targets[1:]))
    assert standings(changed)["gender"] is Standing.EXCLUDED


def test_many_tasks_are_counted_not_named() -> None:
    halves = tuple(tuple(f"t{n}" for n in range(at, at + 5)) for at in (0, 5))
    assert networks_of(halves) == "two networks, of 5 and 5 tasks"
    thirds = tuple((f"{n}a", f"{n}b", f"{n}c")[: 2 + n % 2] for n in range(11))
    assert networks_of(thirds) == "11 networks, of 2 to 3 tasks"


def test_a_choice_that_only_the_wish_for_few_networks_speaks_for_is_undecided(
    make_result: Make,
) -> None:
    result = make_result(5, "", frequencies=(0.95, 0.05))
    assert result.proposal.stable
    doubtful = replace(result.proposal, at_stake=3.21, little=0.5)
    text = grouping_sentence(replace(result, proposal=doubtful), 1.0)
    assert text.startswith("Undecided")
    assert "may bring up to 3.2 points of Δm more" in text
