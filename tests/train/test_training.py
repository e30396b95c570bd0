"""The promises of the loop: the exact null, common random numbers, no waiting for the device."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from bench.accelerator import never_waiting
from bench.contracts import EncoderFactory, SecondLook, Sharing, Weighting
from bench.contracts import MultiTaskNetwork as Network
from bench.networks import Encoder
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy, strategy_components
from bench.tasks import Task, TaskData
from bench.train.batches import Batches
from bench.train.device import prepare
from bench.train.loop import TrainingState, build_network, learning_rate
from bench.validation import candidate

CPU = torch.device("cpu")
Toy = Callable[[str], TaskData]


def _data(strategy: str, data: Sequence[TaskData]) -> list[TaskData]:
    auxiliaries = parse_strategy(strategy).auxiliaries
    return [*data, *(d for a in auxiliaries for d in a.attach(data[0], []))]


def _trained(
    strategy: str, data: Sequence[TaskData], recipe: Recipe, steps: int = 25
) -> TrainingState:
    state = TrainingState(parse_strategy(strategy), _data(strategy, data), recipe, 1.0, 3, CPU)
    for _ in state.train(Batches(_data(strategy, data), recipe, 3, CPU), steps, [steps]):
        pass
    return state


def _state(state: TrainingState, *parts: str) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in state.network.state_dict().items()
        if any(part in name for part in parts)
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("network", ["lenet", "resnet8"])
@pytest.mark.parametrize("strategy", ["hard", "hard+pcgrad"])
def test_the_exact_null_a_partner_of_weight_zero_changes_no_bit(
    toy: Toy, recipe: Recipe, strategy: str, network: str, precision: str
) -> None:
    recipe = recipe.model_copy(update={"network": network, "precision": precision})
    alone = _trained("hard", [toy("row")], recipe)
    beside = _trained(strategy, [toy("row"), toy("column~none")], recipe)
    for name, value in _state(alone, "encoder", "heads.0").items():
        assert torch.equal(value, beside.network.state_dict()[name]), name


def test_the_exact_null_holds_for_a_partner_on_other_images(toy: Toy, recipe: Recipe) -> None:
    noise = toy("column~noise")
    silent = replace(noise, task=replace(noise.task, weight=0.0))
    alone = _trained("hard", [toy("row")], recipe)
    beside = _trained("hard", [toy("row"), silent], recipe)
    for name, value in _state(alone, "encoder", "heads.0").items():
        assert torch.equal(value, beside.network.state_dict()[name]), name


def test_the_null_is_no_accident_a_partner_with_weight_changes_the_encoder(
    toy: Toy, recipe: Recipe
) -> None:
    alone = _trained("hard", [toy("row")], recipe)
    beside = _trained("hard", [toy("row"), toy("column")], recipe)
    name = "encoder.stages.0.0.weight"
    assert not torch.equal(alone.network.state_dict()[name], beside.network.state_dict()[name])


def test_hard_sharing_of_one_task_is_single_task_learning_bit_for_bit(
    toy: Toy, recipe: Recipe
) -> None:
    single = [*_trained("single", [toy("row")], recipe).network.state_dict().values()]
    hard = [*_trained("hard", [toy("row")], recipe).network.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(single, hard, strict=True))


def test_separate_networks_trained_in_one_run_equal_those_trained_alone(
    toy: Toy, recipe: Recipe
) -> None:
    # Each task's loss weighs half here, which Adam's scale-free steps leave as good as unchanged.
    together = _trained("single", [toy("row"), toy("column")], recipe).network.state_dict()
    alone = _trained("single", [toy("column")], recipe).network.state_dict()
    torch.testing.assert_close(
        together["encoders.1.stages.0.0.weight"],
        alone["encoders.0.stages.0.0.weight"],
        rtol=1e-3,
        atol=1e-4,
    )


def test_arms_of_one_seed_start_from_the_same_weights(toy: Toy) -> None:
    data = [toy("row"), toy("column")]
    single, hard, stitched = (
        build_network(parse_strategy(s), data, "lenet", 1.0, seed=5).state_dict()
        for s in ("single", "hard", "cross-stitch")
    )
    conv = "stages.0.0.weight"
    for encoder in (
        single["encoders.0." + conv],
        single["encoders.1." + conv],
        stitched["encoders.1." + conv],
    ):
        assert torch.equal(encoder, hard["encoder." + conv])
    for state in (single, stitched):
        assert torch.equal(state["heads.1.linear.weight"], hard["heads.1.linear.weight"])
    other = build_network(parse_strategy("hard"), data, "lenet", 1.0, seed=6).state_dict()
    assert not torch.equal(other["encoder." + conv], hard["encoder." + conv])


def test_a_task_is_drawn_by_its_name_and_not_by_its_place(toy: Toy) -> None:
    there = build_network(parse_strategy("hard"), [toy("row"), toy("low")], "lenet", 1.0, 0)
    here = build_network(parse_strategy("hard"), [toy("low")], "lenet", 1.0, 0)
    a, b = there.state_dict()["heads.1.linear.weight"], here.state_dict()["heads.0.linear.weight"]
    assert torch.equal(a, b)


def test_the_learning_rate_rises_and_anneals_to_zero_over_the_steps_bought() -> None:
    recipe = Recipe(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(recipe, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-3


def test_equal_gradients_give_the_encoder_what_single_task_training_gives_it(
    toy: Toy, recipe: Recipe
) -> None:
    """The one convention for the scale of losses: weights sum to 1, whatever the method."""
    row = toy("row")
    twin = replace(row, task=replace(row.task, name="twin"))
    norms = []
    for strategy, data in (("hard", [row]), ("hard", [row, twin]), ("hard+pcgrad", [row, twin])):
        state = TrainingState(parse_strategy(strategy), data, recipe, 1.0, 0, CPU)
        weights = state.network.state_dict()
        if len(data) == 2:
            weights["heads.1.linear.weight"].copy_(weights["heads.0.linear.weight"])
            weights["heads.1.linear.bias"].copy_(weights["heads.0.linear.bias"])
        state.step(next(iter(Batches(data, recipe, 0, CPU))))
        gradients = [p.grad for p in state.network.shared_parameters()]
        norms.append(torch.stack([g.norm() for g in gradients if g is not None]).norm().item())
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)
    # Two equal gradients do not conflict, so PCGrad leaves them alone.
    assert norms[2] == pytest.approx(norms[0], rel=1e-4)


@pytest.mark.device
@pytest.mark.parametrize("name", sorted(strategy_components().found))
def test_no_step_waits_for_a_device(name: str, recipe: Recipe, device: str) -> None:
    """Without one, `validate` takes the step of every part on the meta device instead."""
    tried = candidate(name)
    if tried.plugin.packages:
        pytest.skip("another package's solver may wait")
    recipe = recipe.model_copy(
        update={"train_size": 24, "validation_size": 8, "batch_size": 8, "augment": "crop+flip"}
    )
    for data in tried.arms.values():
        state = TrainingState(tried.strategy, data, recipe, 1.0, 0, prepare(device))
        batches = iter(state.batches())
        state.step(next(batches))
        with never_waiting(device) as tells:
            if not tells:
                pytest.skip(f"torch cannot tell of waits for {device}")
            for batch in islice(batches, 3):
                state.step(batch)


def test_a_step_that_waits_for_the_device_is_caught(toy: Toy, recipe: Recipe) -> None:
    meta = torch.device("meta")
    state = TrainingState(parse_strategy("hard+faulty@wait"), [toy("row")], recipe, 1.0, 0, meta)
    with pytest.raises(RuntimeError, match="item"):
        state.step(next(iter(Batches([toy("row")], recipe, 0, meta))))


def test_an_encoder_of_another_width_is_a_multiple_of_the_runs_own(toy: Toy) -> None:
    class Narrow(Sharing):
        def build(
            self, new_encoder: EncoderFactory, heads: Sequence[Callable[[Encoder], nn.Module]]
        ) -> Network:
            assert new_encoder(0.5).stage_shapes[-1] == (12,)
            assert new_encoder().stage_shapes[-1] == (25,)
            assert all(
                torch.equal(a, b)
                for a, b in zip(
                    new_encoder(1.0).parameters(), new_encoder().parameters(), strict=True
                )
            )
            return parse_strategy("hard").sharing.build(new_encoder, heads)

    build_network(replace(parse_strategy("hard"), sharing=Narrow()), [toy("row")], "lenet", 0.5, 0)


def test_a_second_look_sees_the_same_batch_after_the_step(toy: Toy, recipe: Recipe) -> None:
    seen = []

    class Curious(SecondLook):
        def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
            return (losses * weights).sum()

        def look_again(self, losses: Tensor) -> None:
            assert not losses.requires_grad
            seen.append(losses)

    class Watching(Weighting):
        name = "watching"

        def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
            assert len(shared) == 6
            return Curious()

    data = [toy("row"), toy("column")]
    strategy = replace(parse_strategy("hard"), weighting=Watching())
    state = TrainingState(strategy, data, recipe, 1.0, 0, CPU)
    batch = next(iter(Batches(data, recipe, 0, CPU)))
    first = state.step(batch)
    assert not torch.equal(seen[0], first)
    assert torch.equal(state.step(batch), seen[0])


@pytest.mark.parametrize(
    ("strategy", "moves"),
    [("hard", False), ("fixed@0.8/0.2", False), ("uncertainty", True), ("gradnorm", True)],
)
def test_the_weights_that_a_step_descends_are_watched(
    toy: Toy, recipe: Recipe, strategy: str, moves: bool
) -> None:
    data = [toy("row"), toy("column")]
    state = TrainingState(parse_strategy(strategy), data, recipe, 1.0, 3, CPU)
    watched = []
    for _ in state.train(Batches(data, recipe, 3, CPU), 30, [1, 15, 30]):
        assert state.task_weights is not None
        watched.append(state.task_weights.tolist())
    # A mean: GradNorm takes gradients of the losses by itself, and they must not count.
    assert [sum(weights) for weights in watched] == pytest.approx([1.0] * 3, abs=1e-5)
    assert (watched[0] != watched[-1]) is moves
    if strategy.startswith("fixed"):
        assert watched[-1] == pytest.approx([0.8, 0.2])


def test_aggregated_gradients_have_no_weights_to_watch(toy: Toy, recipe: Recipe) -> None:
    assert _trained("pcgrad", [toy("row"), toy("column")], recipe).task_weights is None


@pytest.mark.parametrize("strategy", ["hard", "single", "branch@1", "cross-stitch", "mmoe"])
def test_encoders_may_learn_at_a_rate_of_their_own(toy: Toy, recipe: Recipe, strategy: str) -> None:
    data = [toy("row"), toy("column")]
    slow = recipe.model_copy(update={"encoder_rate": 1e-3})
    state = TrainingState(parse_strategy(strategy), data, slow, 1.0, 0, torch.device("cpu"))
    before = {name: p.clone() for name, p in state.network.named_parameters()}
    list(state.train(state.batches(), 4, [4]))
    moved = {
        name: float((p - before[name]).abs().max().detach())
        for name, p in state.network.named_parameters()
    }
    heads = [move for name, move in moved.items() if "heads" in name or "stitches" in name]
    encoders = [m for n, m in moved.items() if "encoder" in n or "experts" in n or "stem" in n]
    assert heads
    assert encoders
    assert max(encoders) < min(heads) / 50


def test_without_a_rate_of_their_own_encoders_learn_as_all_else_does(
    toy: Toy, recipe: Recipe
) -> None:
    states = []
    for rate in (None, 1.0):
        one = recipe.model_copy(update={"encoder_rate": rate})
        state = TrainingState(
            parse_strategy("hard"), [toy("row")], one, 1.0, 0, torch.device("cpu")
        )
        list(state.train(state.batches(), 4, [4]))
        states.append(state.network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
