"""Auto-Lambda: the meta-gradient, the images it is taken on, and what it costs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor

from bench.contracts import LookAhead, Trial, UserError
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy
from bench.strategies.auto_lambda import meta_gradient
from bench.tasks import TaskData
from bench.train.batches import Batches
from bench.train.loop import TrainingState
from bench.train.pricing import count

CPU = torch.device("cpu")
Toy = Callable[[str], TaskData]
HELD_OUT = 0.2


def _linear(seed: int) -> tuple[Callable[[Sequence[Tensor]], Tensor], Tensor]:
    """Return the squared errors of three linear tasks on one matrix, and where to take them."""
    g = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(20, n, dtype=torch.float64, generator=g) for n in (5, 3))

    def losses(parameters: Sequence[Tensor]) -> Tensor:
        matrix, bias = parameters
        return (x @ matrix + bias - y).square().mean(0)

    return losses, torch.randn(6, 3, dtype=torch.float64, generator=g)


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_is_that_through_the_unrolled_step(seed: int) -> None:
    """On squares the finite difference is exact: autograd goes through the step itself."""
    (losses, start), (second, _) = _linear(seed), _linear(seed + 100)
    parameters, rate = [start[:5], start[5]], 0.07
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64, requires_grad=True)
    primary = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    trial = Trial(parameters, losses, second, weights.detach(), rate)
    found = meta_gradient(trial, weights, primary)

    own = [p.clone().requires_grad_() for p in parameters]
    step = torch.autograd.grad((losses(own) * weights).sum(), own, create_graph=True)
    ahead = [p - rate * g for p, g in zip(own, step, strict=True)]
    (exact,) = torch.autograd.grad((second(ahead) * primary).sum(), weights)
    torch.testing.assert_close(found, exact, rtol=1e-8, atol=0)


def test_a_step_by_hand() -> None:
    # At 0 the tasks pull to 1 and to -1 with equal strength, so the step that is tried stays at 0,
    # where the second batch pulls to 1: d = -1. The gradients are -0.1 * (-1)(-1), -0.1 * (-1)(1).
    def losses(parameters: Sequence[Tensor]) -> Tensor:
        (x,) = parameters
        return torch.stack([(x - 1) ** 2, (x + 1) ** 2]) / 2

    weights = torch.tensor([0.5, 0.5])
    trial = Trial([torch.tensor(0.0)], losses, losses, weights, 0.1)
    found = meta_gradient(trial, weights, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(found, torch.tensor([-0.1, 0.1]), rtol=1e-4, atol=0)

    part = parse_strategy("auto-lambda@rate=0.02").weighting
    target, partner = _tasks()
    module = part.build([target.task, replace(partner.task, scored=False)], [])
    assert isinstance(module, LookAhead)
    module.look_ahead(trial)
    # Adam's first step has the length of the rate, and no gradient is left to the run's optimizer.
    expected = torch.tensor([0.02, -0.02]).softmax(0)
    both = torch.tensor([2.0, 1.0], requires_grad=True)
    (given,) = torch.autograd.grad(module(both, weights), both)
    torch.testing.assert_close(given, expected)
    assert all(p.grad is None for p in module.parameters())


def _tasks() -> list[TaskData]:
    from bench.contracts import DataSource
    from bench.train.load import task_data

    return [task_data("toy", name, DataSource()) for name in ("row", "column")]


def _lane(strategy: str, data: Sequence[TaskData], recipe: Recipe, seed: int = 3) -> TrainingState:
    return TrainingState(parse_strategy(strategy), data, recipe, 1.0, seed, CPU)


def test_on_a_network_the_finite_difference_is_close_and_moves_nothing(recipe: Recipe) -> None:
    state = _lane("auto-lambda", _tasks(), recipe)
    state.network.double()
    batch = next(iter(state.batches()))
    assert batch.second is not None
    for each in (batch, batch.second):
        each.images[:] = [torch.as_tensor(each.images[0]).double()] * 2
    state.optimizer.rate = 0.1
    before = [p.detach().clone() for p in state.network.parameters()]
    trial = state._trial(batch)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    found = meta_gradient(trial, weights, weights)
    # The exact one, from each task's gradient: -rate times its product with that of the trial's.
    own = [p.clone().requires_grad_() for p in trial.parameters]
    rows = [
        torch.cat([g.reshape(-1) for g in _grads(loss, own)]) for loss in trial.losses(own).unbind()
    ]
    step = sum(row * 0.5 for row in rows)
    sizes = [p.numel() for p in own]
    pieces = zip(own, torch.split(torch.as_tensor(step), sizes), strict=True)
    ahead = [(p.detach() - 0.1 * g.view_as(p)).requires_grad_() for p, g in pieces]
    along = torch.cat([g.reshape(-1) for g in _grads(trial.second(ahead).mean(), ahead)])
    exact = torch.stack([-0.1 * (row @ along) for row in rows])
    torch.testing.assert_close(found, exact, rtol=2e-2, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(before, state.network.parameters(), strict=True))
    assert all(p.grad is None for p in state.network.parameters())


def _grads(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _seen(batches: Batches, second: bool) -> set[bytes]:
    found = set()
    for batch in islice(batches, 60):
        chosen = batch.second if second else batch
        assert chosen is not None
        assert chosen.images[0] is not None
        assert chosen.images[0] is chosen.images[1]
        found |= {image.numpy().tobytes() for image in chosen.images[0]}
    return found


def test_second_batches_are_training_images_that_no_step_trains_on(recipe: Recipe) -> None:
    whole = _lane("hard", _tasks(), recipe)
    everything = _seen_plain(whole.batches())
    state = _lane(f"auto-lambda@{HELD_OUT}", _tasks(), recipe)
    ours, held_out = (_seen(state.batches(), second) for second in (False, True))
    assert ours | held_out == everything
    assert not ours & held_out
    assert len(held_out) / len(everything) == pytest.approx(HELD_OUT, abs=0.02)
    assert state.batches().samples_per_step == 2 * whole.batches().samples_per_step
    # Without a share both have all images, in orders of their own.
    state = _lane("auto-lambda@0", _tasks(), recipe)
    assert _seen(state.batches(), False) == _seen(state.batches(), True) == everything
    batch = next(iter(state.batches()))
    assert batch.second is not None
    assert not torch.equal(batch.targets[0], batch.second.targets[0])


def _seen_plain(batches: Batches) -> set[bytes]:
    images = [batch.images[0] for batch in islice(batches, 60)]
    return {image.numpy().tobytes() for x in images if x is not None for image in x}


def test_the_trial_costs_two_steps_and_two_forward_passes(recipe: Recipe) -> None:
    (plain,), (ours,) = (
        count(parse_strategy(s), _tasks(), recipe, 1.0) for s in ("hard", "auto-lambda")
    )
    # Forward is one product of three a layer, and of two in the first.
    first = 2 * (12 * 12) * 10 * 25 * recipe.batch_size
    forward = (plain.flops + first) / 3
    assert ours.flops == pytest.approx(3 * plain.flops + 2 * forward, rel=0.001)
    assert ours.samples == 2 * plain.samples


def test_without_held_out_images_a_silent_partner_changes_no_bit(toy: Toy, recipe: Recipe) -> None:
    weights = []
    for strategy, data in (
        ("hard", [toy("row")]),
        ("auto-lambda@0", [toy("row"), toy("column~none")]),
    ):
        state = _lane(strategy, data, recipe)
        list(state.train(state.batches(), 12, [12]))
        weights.append(state.network.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_a_partner_that_is_the_target_gains_weight_beside_one_that_is_noise(toy: Toy) -> None:
    recipe = Recipe(train_size=200, validation_size=50, batch_size=32, learning_rate=5e-3)
    row, noise = toy("row"), toy("column~shuffled")
    twin = replace(row, task=replace(row.task, name="twin", scored=False))
    data = [row, twin, replace(noise, task=replace(noise.task, scored=False))]
    state = _lane("auto-lambda@rate=0.05", data, recipe)
    list(state.train(state.batches(), 60, [60]))
    both = torch.ones(3, requires_grad=True)
    (weights,) = torch.autograd.grad(state._combine(both, torch.ones(3) / 3), both)
    assert weights[1] > 1.5 * weights[2]


def test_knobs_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="held_out is at least 0 and below 1, not 1"):
        parse_strategy("auto-lambda@1.0")
    with pytest.raises(UserError, match="rate is a number of at least 0"):
        parse_strategy("auto-lambda@rate=-1")
