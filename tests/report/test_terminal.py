"""The terminal table keeps its numbers whole at any width it promises to read at."""

import dataclasses
import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from rich.console import Console

from bench.report import terminal_table
from bench.stats.across import contrasts
from bench.stats.comparison import RowResult
from bench.stats.gains import results


def printed(found: Sequence[RowResult], width: int, **options: Any) -> str:
    file = io.StringIO()
    Console(width=width, file=file, **options).print(terminal_table(found))
    return file.getvalue()


@pytest.fixture(name="found", scope="module")
def _found(make_world: Callable[..., Any]) -> list[RowResult]:
    world = make_world()
    return results(world.declaration, world.find)


@pytest.fixture(name="rows_of")
def _rows_of(make_world: Callable[..., Any]) -> Callable[..., list[RowResult]]:
    def rows_of(**options: Any) -> list[RowResult]:
        world = make_world(**options)
        return results(world.declaration, world.find)

    return rows_of


def assert_numbers_are_whole(found: Sequence[RowResult], text: str) -> None:
    words = text.split()
    assert "…" not in text
    for row in found:
        for comparison in (row.against["same-steps"], row.against["full"]):
            result = comparison.result
            if math.isfinite(result.low):
                assert f"{result.mean:+.2f}" in words
                assert f"±{result.high - result.mean:.2f}" in words


@pytest.mark.parametrize("width", [70, 80, 100, 120])
def test_numbers_are_whole_at_every_width(width: int, found: list[RowResult]) -> None:
    text = printed(found, width)
    assert max(map(len, text.splitlines())) <= width
    assert_numbers_are_whole(found, text)


def test_long_names_wrap_and_lose_nothing(rows_of: Callable[..., list[RowResult]]) -> None:
    strategy = "a-strategy-with-quite-a-long-name+reconstruction@0.25+uncertainty-weighting"
    pair = "a_rather_long_dataset_name_indeed:first_of_the_two_tasks_here+second_task_with_a_name"
    found = rows_of(pairs=[pair], strategies=[strategy, "hard", "a" * 50])
    text = printed(found, 80)
    assert_numbers_are_whole(found, text)
    for part in ("a-strategy-with-", "quite-a-long-name+", "reconstruction@0.25+", "weighting"):
        assert part in text
    assert pair in text.replace("\n", "")


def test_each_row_carries_its_sentence_and_its_troubles(found: list[RowResult]) -> None:
    text = " ".join(printed(found, 100).split())
    for row in found:
        assert row.verdict.sentence.rstrip(".") in text
    assert "ValueError: gradients of 'left' are None (10 runs)" in text


def test_colour_adds_nothing_to_what_the_words_say(found: list[RowResult]) -> None:
    plain = printed(found, 100)
    coloured = printed(found, 100, force_terminal=True, color_system="truecolor")
    assert coloured != plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_names_with_brackets_are_no_markup(rows_of: Callable[..., list[RowResult]]) -> None:
    text = printed(rows_of(pairs=["a:x+y"], strategies=["hard[red]"], seeds=2), 100)
    assert "hard[red]" in text


def test_one_seed_and_no_result_have_dashes(rows_of: Callable[..., list[RowResult]]) -> None:
    found = rows_of(pairs=["multimnist:left+right"], strategies=["hard", "hard+pcgrad"], seeds=1)
    text = printed(found, 80)
    assert "nan" not in text
    assert "no result" in text
    assert "screen" in text


def test_a_table_without_rows_says_so() -> None:
    file = io.StringIO()
    Console(width=80, file=file).print(terminal_table([]))
    assert "No rows were declared." in file.getvalue()


def test_a_row_of_the_finding_above_is_marked(
    make_world: Callable[..., Any],
) -> None:
    world = make_world(pairs=["a:x+y"], strategies=["hard+pcgrad", "hard+upgrad"], trouble={})
    cells = [cell.model_copy(update={"same_as": "hard+pcgrad"}) for cell in world.declaration.rows]
    found = results(world.declaration.model_copy(update={"rows": tuple(cells)}), world.find)
    text = printed(found, 80)
    assert text.count("\nhard+pcgrad") == text.count("\n= hard+upgrad") == 2
    assert "one direction: hard+pcgrad and hard+upgrad." in " ".join(text.split())


def test_names_and_reasons_cannot_move_the_cursor(found: list[RowResult]) -> None:
    named: dict[str, Any] = {
        "pair": "a:\x1b[2J+b",
        "strategy": "\x1b]0;x\x07",
        "reasons": ("\x1b[31mboom",),
    }
    text = printed([dataclasses.replace(row, failed=1, **named) for row in found[:1]], 80)
    assert "\x1b" not in text
    assert "�[31mboom" in text


def test_a_swapped_partner_is_told_under_the_rows(found: list[RowResult]) -> None:
    text = " ".join(printed(found, 100).split())
    told = [contrast for contrast in contrasts(found) if contrast.others == "shuffled"]
    assert told
    for contrast in told:
        assert f"instead of shuffled labels, {contrast.strategy} → species: " in text
        assert f"{contrast.result.mean:+.2f} [" in text
