from collections.abc import Callable

import pytest
import torch

from bench.contracts import DataSource
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy
from bench.tasks import TaskData
from bench.train.batches import Batch, Batches
from bench.train.loop import TrainingState
from bench.train.pricing import Clock, count, count_flops, time_steps

Toy = Callable[[str], TaskData]
CPU = torch.device("cpu")


def _price(strategy: str, data: list[TaskData], recipe: Recipe, width: float = 1.0) -> float:
    return count(parse_strategy(strategy), data, recipe, width)[0].flops


def test_flops_of_a_step_are_those_of_its_layers_by_hand(toy: Toy, recipe: Recipe) -> None:
    # LeNet on 16 × 16: two flops a multiply-add, forward once and backward twice, but the first
    # layer, whose input needs no gradient.
    first = 2 * (12 * 12) * 10 * (1 * 25)
    second = 2 * (2 * 2) * 20 * (10 * 25)
    linear = 2 * (20 * 1 * 1) * 50 + 2 * 50 * 4
    by_hand = recipe.batch_size * (2 * first + 3 * (second + linear))
    assert _price("hard", [toy("row")], recipe) == by_hand


def test_work_that_a_method_adds_is_billed(toy: Toy, recipe: Recipe) -> None:
    row, column = toy("row"), toy("column")
    single, hard, pcgrad, stitched, apart = (
        _price(s, d, recipe)
        for s, d in (
            ("single", [row]),
            ("hard", [row, column]),
            ("hard+pcgrad", [row, column]),
            ("cross-stitch", [row, column]),
            ("single", [row, column]),
        )
    )
    assert single < hard < 1.1 * single
    assert hard < pcgrad < 2 * hard
    assert apart == 2 * single
    assert stitched == pytest.approx(apart, rel=0.01)
    # A partner on images of its own costs a second pass of the trunk.
    assert _price("hard", [row, toy("column~noise")], recipe) == pytest.approx(2 * single, rel=0.01)


def test_gradients_of_each_task_cost_one_pass_of_what_the_task_went_through(
    toy: Toy, recipe: Recipe
) -> None:
    # On images of their own the tasks have no pass in common, so there is nothing to repeat.
    apart = [toy("row"), toy("column~noise")]
    assert _price("hard+pcgrad", apart, recipe) == pytest.approx(
        _price("hard", apart, recipe), rel=0.02
    )
    # On the same images the trunk's backward pass is taken once more, and no head's is.
    data = [toy("row"), toy("column")]
    b = recipe.batch_size
    first, second, linear = (2 * b * n for n in (12 * 12 * 10 * 25, 2 * 2 * 20 * 250, 20 * 50))
    trunk = first + 2 * (second + linear)
    assert _price("hard+pcgrad", data, recipe) - _price("hard", data, recipe) == pytest.approx(
        trunk, rel=0.05
    )


def test_a_silent_partner_is_billed_too(toy: Toy, recipe: Recipe) -> None:
    pair, silent = ([toy("row"), toy(name)] for name in ("column", "column~none"))
    assert _price("hard", silent, recipe) == _price("hard", pair, recipe)


def test_a_real_step_has_the_flops_that_were_counted_without_data(toy: Toy, recipe: Recipe) -> None:
    for strategy in ("hard", "hard+pcgrad", "cross-stitch"):
        data = [toy("row"), toy("column")]
        state = TrainingState(parse_strategy(strategy), data, recipe, 1.0, 0, CPU)
        batch = next(iter(Batches(data, recipe, 0, CPU)))
        assert count_flops(state, batch) == _price(strategy, data, recipe)


def test_peak_memory_holds_weights_gradients_and_the_optimisers_state(
    toy: Toy, recipe: Recipe
) -> None:
    (price,) = count(parse_strategy("hard"), [toy("row")], recipe, 1.0)
    assert price.peak_bytes > 4 * 4 * price.parameters
    (wide,) = count(
        parse_strategy("hard"), [toy("row")], recipe.model_copy(update={"batch_size": 64}), 1.0
    )
    activations = 4 * 64 * 10 * 12 * 12
    assert wide.peak_bytes - price.peak_bytes > activations / 2
    assert count(parse_strategy("hard"), [toy("row")], recipe, 1.0) == (price,)


def test_what_was_not_counted_is_named(toy: Toy, recipe: Recipe) -> None:
    recipe = recipe.model_copy(update={"network": "resnet8"})
    uncounted = count(parse_strategy("hard"), [toy("row")], recipe, 1.0)[0].uncounted
    assert "native_group_norm" in uncounted
    assert not {"convolution", "mm", "addmm", "zeros_like", "detach"} & set(uncounted)


def test_parameters_are_those_of_the_network_that_is_trained(toy: Toy, recipe: Recipe) -> None:
    (price,) = count(parse_strategy("hard"), [toy("row"), toy("column")], recipe, 1.0)
    trunk = (10 * 25 + 10) + (20 * 250 + 20) + (20 * 50 + 50)
    assert price.parameters == trunk + 2 * (50 * 4 + 4)


@pytest.mark.parametrize("seconds_per_image", [1e-6, 1e-2])
def test_timing_gives_each_arm_its_own_seconds(
    toy: Toy, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, seconds_per_image: float
) -> None:
    # A clock that only steps move, on a fast machine and on a slow one.
    now = 0.0
    step = TrainingState.step

    def timed(state: TrainingState, batch: Batch) -> torch.Tensor:
        nonlocal now
        now += seconds_per_image * len(batch.targets[0])
        return step(state, batch)

    monkeypatch.setattr(TrainingState, "step", timed)
    monkeypatch.setattr("time.process_time", lambda: now)
    hard, data = parse_strategy("hard"), [toy("row")]
    arms = [
        (hard, data, recipe.model_copy(update={"batch_size": size}), 1.0, 0) for size in (8, 256)
    ]
    found = time_steps(arms, CPU, DataSource(), rounds=3, block_seconds=1e-4)
    assert found == [pytest.approx(seconds_per_image * size) for size in (8, 256)]


def test_an_arm_that_raises_while_it_is_timed_holds_up_no_other(toy: Toy, recipe: Recipe) -> None:
    arms = [
        (parse_strategy(s), [toy("row")], recipe, 1.0, 0) for s in ("hard+faulty@early", "hard")
    ]
    bad, good = time_steps(arms, CPU, DataSource(), rounds=3, block_seconds=0.005)
    assert isinstance(bad, RuntimeError)
    assert isinstance(good, float)


def test_a_clock_adds_up_its_intervals_only() -> None:
    clock = Clock(CPU)
    assert clock.seconds == 0
    for _ in range(2):
        clock.start()
        sum(range(200_000))
        clock.stop()
    measured = clock.seconds
    sum(range(2_000_000))
    assert clock.seconds == measured > 0
