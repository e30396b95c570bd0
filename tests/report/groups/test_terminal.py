"""What a terminal shows of groups, at the widths that terminals have."""

from collections.abc import Callable

import pytest

from bench.decide.groupings import GroupingResult
from bench.report.groups import grouping_sentence, grouping_summary

Make = Callable[..., GroupingResult]


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("tasks", [3, 5, 12, 40])
def test_lines_fit(make_result: Make, tasks: int, width: int) -> None:
    text = grouping_summary(make_result(tasks, "grouping"), 1.0, width=width)
    assert max(map(len, text.splitlines())) <= width


def test_it_begins_with_the_answer_and_has_every_option_and_control(make_result: Make) -> None:
    result = make_result(5, "grouping")
    text = grouping_summary(result, 1.0, width=400)
    assert text.startswith(grouping_sentence(result, 1.0))
    lines = [line.split("  ")[0] for line in text.splitlines()]
    assert {"one network", "grouping", "random grouping", "slim"} <= set(lines)
    assert "A random grouping of the same shape: Δm" in text
    assert "    loses: gender -6 [" in text
    assert "+0.80 [+0.50, +0.93]" in text


def test_the_tasks_of_each_network_are_listed(make_result: Make) -> None:
    text = grouping_summary(make_result(40, "grouping", blocks=4), 1.0, width=1000)
    assert "\n  1: gender, usage, attribute 8," in text
    assert "\n  4: category, collar," in text
    assert "others" in text  # of forty tasks with one word only some are named


def test_a_proposal_has_no_options(make_result: Make) -> None:
    text = grouping_summary(make_result(5), 1.0, "the time was up")
    assert "Proposal, not verified (the time was up)" in text
    assert "random grouping" not in text


def test_names_are_not_obeyed(hostile: GroupingResult) -> None:
    text = grouping_summary(hostile, 1.0)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "##[" not in text
    assert "<script>" in text  # a terminal obeys no markup
