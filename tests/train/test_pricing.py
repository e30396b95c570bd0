import errno
from collections.abc import Callable
from functools import partial

import pytest
import torch

from bench.contracts import DataSource
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy
from bench.tasks import TaskData
from bench.train.batches import Batch, Batches
from bench.train.device import OUT_OF_MEMORY, out_of_memory, reason_of
from bench.train.loop import TrainingState
from bench.train.pricing import Clock, TimedPhase, count, count_flops, steps_in_turns

Toy = Callable[[str], TaskData]
CPU = torch.device("cpu")


def _phase(strategy: str, data: list[TaskData], recipe: Recipe) -> Callable[[], TimedPhase]:
    parsed = parse_strategy(strategy)
    return partial(TimedPhase, parsed, data, recipe, 1.0, 0, CPU, DataSource())


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
    # A partner on images of its own costs a second pass of the encoder.
    assert _price("hard", [row, toy("column~noise")], recipe) == pytest.approx(2 * single, rel=0.01)


def test_gradients_of_each_task_cost_one_pass_of_what_the_task_went_through(
    toy: Toy, recipe: Recipe
) -> None:
    # On images of their own the tasks have no pass in common, so there is nothing to repeat.
    apart = [toy("row"), toy("column~noise")]
    assert _price("hard+pcgrad", apart, recipe) == pytest.approx(
        _price("hard", apart, recipe), rel=0.02
    )
    # On the same images the encoder's backward pass is taken once more, and no head's is.
    data = [toy("row"), toy("column")]
    b = recipe.batch_size
    first, second, linear = (2 * b * n for n in (12 * 12 * 10 * 25, 2 * 2 * 20 * 250, 20 * 50))
    encoder = first + 2 * (second + linear)
    assert _price("hard+pcgrad", data, recipe) - _price("hard", data, recipe) == pytest.approx(
        encoder, rel=0.05
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
    encoder = (10 * 25 + 10) + (20 * 250 + 20) + (20 * 50 + 50)
    assert price.parameters == encoder + 2 * (50 * 4 + 4)


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
    data = [toy("row")]
    arms = [_phase("hard", data, recipe.model_copy(update={"batch_size": n})) for n in (8, 256)]
    *_, found = steps_in_turns(arms, rounds=3, block_seconds=1e-4)
    assert isinstance(found, list)
    assert found == [pytest.approx(seconds_per_image * size) for size in (8, 256)]


def test_an_arm_that_raises_while_it_is_timed_holds_up_no_other(toy: Toy, recipe: Recipe) -> None:
    for how, reason in (("raise", "RuntimeError: planted fault"), ("exit", "SystemExit: 0")):
        strategies = (f"hard+faulty@{how},time", "hard")
        arms = [_phase(strategy, [toy("row")], recipe) for strategy in strategies]
        *places, found = steps_in_turns(arms, rounds=3, block_seconds=0.005)
        assert places == [0, 1, 1, 1, 1]
        assert isinstance(found, list)
        assert found[0] == reason
        assert isinstance(found[1], float)


@pytest.mark.parametrize("tick", [0.004, 0.015625])
def test_a_coarse_clock_gives_a_step_its_price(
    toy: Toy, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tick: float
) -> None:
    now, step = 0.0, TrainingState.step

    def timed(state: TrainingState, batch: Batch) -> torch.Tensor:
        nonlocal now
        now += 1e-3
        return step(state, batch)

    def coarse() -> float:
        nonlocal now
        now += 1e-6
        return now // tick * tick

    monkeypatch.setattr(TrainingState, "step", timed)
    monkeypatch.setattr("time.process_time", coarse)
    phase = _phase("hard", [toy("row")], recipe)
    assert 0 < phase().block(1) < 2 * tick
    *_, found = steps_in_turns([phase])
    assert isinstance(found, list)
    assert found == [pytest.approx(1e-3, rel=0.07)]


def test_a_clock_that_stands_still_is_told_of(
    toy: Toy, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.process_time", lambda: 1.0)
    monkeypatch.setattr("bench.train.pricing._LONGEST", 4)
    *_, found = steps_in_turns([_phase("hard", [toy("row")], recipe)])
    assert found == ["RuntimeError: the clock of the process stands still: 8 steps took no time"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError("no"), True),
        (torch.OutOfMemoryError("no"), True),
        (OSError(errno.ENOMEM, "no"), True),
        (OSError(errno.ENOENT, "no"), False),
        (RuntimeError("out of range"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_memory_that_runs_out_is_recognised(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) == expected
    assert (reason_of(error) == OUT_OF_MEMORY) == expected


def test_memory_that_runs_out_on_a_cpu_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert reason_of(caught.value) == OUT_OF_MEMORY


def test_an_error_whose_own_words_fail_has_its_name() -> None:
    class SpeechlessError(RuntimeError):
        def __str__(self) -> str:
            raise ValueError("nothing to say")

    assert reason_of(SpeechlessError()) == "SpeechlessError"


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
