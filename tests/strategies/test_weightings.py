"""What every weighting keeps beside the contract, which tests/validation tries on each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor

from bench.contracts import Weighting
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy, strategy_components
from bench.tasks import TaskData
from bench.train.batches import Batches
from bench.train.loop import TrainingState
from bench.train.pricing import count

CPU, META = torch.device("cpu"), torch.device("meta")
Toy = Callable[[str], TaskData]
WEIGHTINGS = sorted(
    name
    for name, part in strategy_components().found.items()
    if issubclass(part, Weighting) and name != "faulty"
)


def _lane(
    weighting: str, data: Sequence[TaskData], recipe: Recipe, **given: torch.device
) -> TrainingState:
    strategy = parse_strategy(f"hard+{weighting}")
    return TrainingState(strategy, data, recipe, 1.0, 3, given.get("device", CPU))


def _encoder_gradient(state: TrainingState) -> Tensor:
    gradients = [p.grad for p in state.network.shared_parameters()]
    return torch.cat([g.reshape(-1) for g in gradients if g is not None])


def _trained(weighting: str, data: Sequence[TaskData], recipe: Recipe, steps: int) -> TrainingState:
    torch.manual_seed(0)
    state = _lane(weighting, data, recipe)
    for _ in state.train(state.batches(), steps, [steps]):
        pass
    return state


def test_the_fields_weightings_are_here() -> None:
    known = {"dwa", "famo", "fixed", "geometric", "gradnorm", "rlw", "uncertainty", "uniform"}
    assert known <= set(WEIGHTINGS)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_equal_gradients_give_the_encoder_what_single_task_training_gives_it(
    toy: Toy, recipe: Recipe, weighting: str
) -> None:
    """Twins have equal losses and gradients, so any weighted mean of them is that of one.

    At the first step, for all methods. Later the heads of twins may part: random weights differ.
    """
    row = toy("row")
    twin = replace(row, task=replace(row.task, name="twin"))
    alone, beside = _lane("uniform", [row], recipe), _lane(weighting, [row, twin], recipe)
    weights = beside.network.state_dict()
    for part in ("weight", "bias"):
        weights[f"heads.1.linear.{part}"].copy_(weights[f"heads.0.linear.{part}"])
    torch.manual_seed(0)
    alone.step(next(iter(Batches([row], recipe, 0, CPU))))
    batch = next(iter(Batches([row, twin], recipe, 0, CPU)))
    beside.step(replace(batch, second=batch))
    torch.testing.assert_close(_encoder_gradient(beside), _encoder_gradient(alone))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_step_is_priced_without_data_and_a_real_one_costs_as_much(
    toy: Toy, recipe: Recipe, weighting: str
) -> None:
    from bench.train.pricing import count_flops

    data = [toy("row"), toy("column~noise")]
    strategy = parse_strategy(f"hard+{weighting}")
    state = TrainingState(strategy, data, recipe, 1.0, 0, CPU)
    batch = next(iter(state.batches()))
    price = count(strategy, data, recipe, 1.0)[0].flops
    assert count_flops(state, batch) == price
    state.step(batch)
    assert count_flops(state, batch) == price


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("sharing", ["single", "cross-stitch"])
def test_it_weighs_the_losses_of_any_sharing(
    toy: Toy, recipe: Recipe, weighting: str, sharing: str
) -> None:
    data = [toy("row"), toy("column~noise")]
    state = TrainingState(parse_strategy(f"{sharing}+{weighting}"), data, recipe, 1.0, 0, CPU)
    for batch in islice(state.batches(), 3):
        assert state.step(batch).isfinite().all()


def test_a_second_look_is_a_forward_pass_more(toy: Toy, recipe: Recipe) -> None:
    # Forward once more: two products of three a layer, but two of two in the first, which has no
    # gradient of its input to compute.
    data = [toy("row"), toy("column")]
    plain, famo = (
        count(parse_strategy(s), data, recipe, 1.0)[0].flops for s in ("hard", "hard+famo")
    )
    first = 2 * (12 * 12) * 10 * 25 * recipe.batch_size
    assert famo - plain == (plain + first) / 3
