"""Reduced precision: only the networks' passes, for every part, near the float32 numbers."""

from collections.abc import Callable
from itertools import islice

import pytest
import torch

from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy, strategy_components
from bench.tasks import TaskData
from bench.train.batches import Batches
from bench.train.loop import TrainingState
from bench.train.pricing import count
from bench.validation import InapplicableError, candidate

CPU = torch.device("cpu")
Toy = Callable[[str], TaskData]


@pytest.fixture
def bf16(recipe: Recipe) -> Recipe:
    """The quick recipe in bfloat16."""
    return recipe.model_copy(update={"precision": "bf16"})


def _lane(strategy: str, data: list[TaskData], recipe: Recipe) -> TrainingState:
    return TrainingState(parse_strategy(strategy), data, recipe, 1.0, 0, CPU)


def test_convolutions_compute_in_bfloat16_and_losses_in_float32(toy: Toy, bf16: Recipe) -> None:
    data = [toy("row"), toy("column")]
    state = _lane("hard", data, bf16)
    seen: list[torch.dtype] = []
    for module in state.network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    losses = state.step(next(iter(Batches(data, bf16, 0, CPU))))
    assert seen
    assert set(seen) == {torch.bfloat16}
    assert losses.dtype == torch.float32
    kept = [*state.network.parameters(), *state.optimizer.state]
    assert {tensor.dtype for tensor in kept} == {torch.float32}


def test_one_step_has_the_losses_of_float32_to_the_digits_of_bfloat16(
    toy: Toy, recipe: Recipe, bf16: Recipe
) -> None:
    data = [toy("row"), toy("column")]
    batch = next(iter(Batches(data, recipe, 0, CPU)))
    whole, reduced = (_lane("hard", data, r).step(batch) for r in (recipe, bf16))
    assert not torch.equal(whole, reduced)
    torch.testing.assert_close(reduced, whole, rtol=2**-7, atol=0)  # eight bits of mantissa


def test_both_precisions_have_one_price(toy: Toy, recipe: Recipe, bf16: Recipe) -> None:
    data = [toy("row"), toy("column")]
    assert count(parse_strategy("hard"), data, bf16, 1.0) == count(
        parse_strategy("hard"), data, recipe, 1.0
    )


@pytest.mark.parametrize("name", sorted(strategy_components().found))
def test_every_part_trains_in_bfloat16(name: str, bf16: Recipe) -> None:
    try:
        tried = candidate(name)
    except InapplicableError as reason:
        pytest.skip(str(reason))
    for data in tried.arms.values():
        small = bf16.model_copy(update={"train_size": 24, "validation_size": 8, "batch_size": 8})
        state = TrainingState(tried.strategy, data, small, 1.0, 0, CPU)
        for batch in islice(state.batches(), 3):
            assert state.step(batch).isfinite().all()
