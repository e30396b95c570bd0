"""What is tried of a strategy: the same for all, spread evenly, the recipe first."""

import math
from dataclasses import fields

import pytest
from scipy.stats import qmc

from bench.contracts import Range, range_of
from bench.plan.search import Knob, Setting, searched, settings
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy, strategy_components

RECIPE = Recipe(learning_rate=4e-3, weight_decay=0.01)


def _tried(strategy: str, count: int = 16, recipe: Recipe = RECIPE) -> list[Setting]:
    return settings(parse_strategy(strategy), recipe, count)


def _rates(found: list[Setting]) -> list[tuple[float, float]]:
    return [(s.recipe.learning_rate, s.recipe.weight_decay) for s in found]


@pytest.mark.parametrize("strategy", ["hard", "cagrad", "fixed+rotation", "branch@2+partner"])
def test_every_strategy_is_tried_at_the_same_rates(strategy: str) -> None:
    assert _rates(_tried(strategy)) == _rates(_tried("single"))
    assert len(set(_rates(_tried(strategy)))) == 16


def test_the_first_trial_is_the_recipe_with_the_strategys_own_knobs() -> None:
    first = _tried("cagrad@0.3+rotation")[0]
    assert (first.strategy, first.recipe) == ("hard+cagrad@c=0.3+rotation", RECIPE)


def test_more_trials_begin_with_those_of_fewer() -> None:
    assert _tried("cagrad", 16)[:5] == _tried("cagrad", 5)


def test_rates_reach_evenly_up_and_down_from_the_recipe_in_their_logarithm() -> None:
    found = _tried("hard", 129)[1:]
    points = [
        (
            math.log(s.recipe.learning_rate / RECIPE.learning_rate, 64) + 0.5,
            math.log(s.recipe.weight_decay / RECIPE.weight_decay, 100) + 0.5,
        )
        for s in found
    ]
    assert all(-1e-3 <= x <= 1.001 for point in points for x in point)
    clipped = [[min(1.0, max(0.0, x)) for x in point] for point in points]
    # Independent draws of as many points have about ten times this discrepancy.
    assert qmc.discrepancy(clipped) < 2e-4


def test_all_else_of_a_recipe_stays() -> None:
    for setting in _tried("hard"):
        same = {"learning_rate": RECIPE.learning_rate, "weight_decay": RECIPE.weight_decay}
        assert setting.recipe.model_copy(update=same) == RECIPE


def test_a_recipe_without_weight_decay_keeps_none() -> None:
    bare = Recipe(weight_decay=0)
    found = _tried("hard", recipe=bare)
    assert {s.recipe.weight_decay for s in found} == {0}
    assert len({s.recipe.learning_rate for s in found}) == 16


def test_knobs_are_drawn_in_their_ranges_and_spelled_as_a_user_would() -> None:
    found = _tried("cagrad+rotation")[1:]
    for setting in found:
        strategy = parse_strategy(setting.strategy)
        assert strategy.name == setting.strategy
        values = {knob.name: value for knob, value in setting.values.items()}
        assert 0.1 <= values["cagrad c"] <= 0.9
        assert 0.05 <= values["rotation weight"] <= 2
    assert len({s.strategy for s in found}) == 15


def test_each_weight_of_a_tuple_is_drawn_by_itself() -> None:
    found = [s.strategy for s in _tried("fixed")]
    assert found[0] == "hard+fixed"
    weights = [text.partition("weights=")[2].split("/") for text in found[1:]]
    ratios = [float(a) / float(b) for a, b in weights]
    assert min(ratios) < 0.5
    assert max(ratios) > 2


def test_a_knob_that_the_user_sets_is_not_searched() -> None:
    knobs = searched(parse_strategy("fixed@0.7/0.3"), RECIPE)
    assert [knob.name for knob in knobs] == ["learning rate", "weight decay"]
    assert {s.strategy for s in _tried("fixed@0.7/0.3")} == {"hard+fixed@weights=0.7/0.3"}


@pytest.mark.parametrize(
    ("range", "value", "found"),
    [
        (Range(0, 1), 0.05, True),
        (Range(0, 1), 0.5, False),
        (Range(0, 1), 0.95, True),
        (Range(0.01, 100, log=True), 0.5, False),
        (Range(0.01, 100, log=True), 0.02, True),
        (Range(0, 1), (0.5, 0.99), False),
        (Range(0, 1), (0.01, 0.99), True),
        (Range(0, 1), (0.5, 0.99, 0.01), True),
        (Range(0, 1), (0.97, 0.99), False),  # as (0.5, 0.5), where only ratios count
        (Range(0, 1), (0.99,), True),
    ],
)
def test_an_outer_tenth_is_the_end_of_a_range(range: Range, value: object, found: bool) -> None:
    assert Knob(None, "x", value, range).on_border(value) is found


def test_whole_numbers_stay_whole() -> None:
    knob = Knob(None, "x", 4, Range(1, 9))
    assert [knob.at([share]) for share in (0.0, 0.44, 1.0)] == [1, 5, 9]


@pytest.mark.parametrize("ends", [(1, 1), (2, 1)])
def test_a_range_ascends(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="ascends"):
        Range(*ends)
    with pytest.raises(ValueError, match="above 0 with log"):
        Range(0, 1, log=True)


def test_the_methods_whose_papers_tune_a_number_are_tuned() -> None:
    tuned = {
        name
        for name, part in strategy_components().found.items()
        if any(range_of(knob) for knob in fields(part))
    }
    assert {"cagrad", "cross-stitch", "dwa", "famo", "fixed", "graddrop", "gradnorm"} <= tuned
    assert {"partner", "reconstruction", "rotation", "jigsaw", "colourisation"} <= tuned
    assert {"auto-lambda", "finetune", "frozen-probe"} <= tuned
    assert not {"hard", "single", "pcgrad", "branch", "mmoe"} & tuned


def test_a_rate_of_the_encoders_is_searched_where_there_is_one() -> None:
    strategy = parse_strategy("hard")
    usual, own = (searched(strategy, Recipe(encoder_rate=rate)) for rate in (None, 0.1))
    assert {knob.name for knob in own} - {knob.name for knob in usual} == {"encoder rate"}
    rates = [
        setting.recipe.encoder_rate for setting in settings(strategy, Recipe(encoder_rate=0.1), 6)
    ]
    assert rates[0] == 0.1
    assert all(rate is not None and 0.01 <= rate <= 1 for rate in rates)
    assert len(set(rates)) == 6
