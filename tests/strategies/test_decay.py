"""Auxiliary weights that fall to nothing over the steps."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.contracts import UserError
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy
from bench.task_types import Classification
from bench.tasks import Task, TaskData
from bench.train.loop import TrainingState

CPU = torch.device("cpu")
Toy = Callable[[str], TaskData]


def _lane(strategy: str, toy: Toy, recipe: Recipe, partner: str = "column") -> TrainingState:
    parts = parse_strategy(strategy)
    attached = [d for a in parts.auxiliaries for d in a.attach(toy("row"), [toy(partner)])]
    return TrainingState(parts, [toy("row"), *attached], recipe, 1.0, 3, CPU)


def _weights(state: TrainingState, steps: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Return the weights `[steps, T]` that the steps of a state are taken with."""
    seen = []
    step = TrainingState.step

    def watched(self: TrainingState, batch: object, watch: bool = False) -> Tensor:
        seen.append(self._weights.clone())
        return step(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingState, "step", watched)
    list(state.train(state.batches(), steps, [steps]))
    return torch.stack(seen)


@pytest.mark.parametrize(
    ("decay", "left"),
    [
        ("none", [0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.5, 0.375, 0.25, 0.125]),
        ("cosine", [0.5 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]),
    ],
)
def test_the_weight_falls_and_the_weights_of_every_step_sum_to_one(
    toy: Toy, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, decay: str, left: list[float]
) -> None:
    state = _lane(f"reconstruction@weight=0.5,decay={decay}", toy, recipe)
    target, auxiliary = _weights(state, 4, monkeypatch).T
    torch.testing.assert_close(target + auxiliary, torch.ones(4))
    torch.testing.assert_close(auxiliary / target, torch.tensor(left))


def test_a_weight_is_all_there_at_the_start_and_gone_at_the_end() -> None:
    for decay in ("linear", "cosine"):
        task = Task("a", Classification(), 2, 0.3, decay=decay)
        assert task.weight_at(0) == 0.3
        assert task.weight_at(0.5) == pytest.approx(0.15)
        assert task.weight_at(1) == pytest.approx(0, abs=1e-12)
        assert task.weight_at(0.1) > task.weight_at(0.2) > task.weight_at(0.9)


@pytest.mark.parametrize("aggregation", ["mgda@l2", "cagrad", "cosine-gate", "pcgrad"])
def test_a_merge_sees_the_weights_of_the_step(toy: Toy, recipe: Recipe, aggregation: str) -> None:
    """With twins for tasks the encoder gets one task's gradient, whatever the weights are now."""
    state = _lane(f"{aggregation}+partner@decay=linear", toy, recipe, partner="row")
    for part in ("weight", "bias"):
        weights = state.network.state_dict()
        weights[f"heads.1.linear.{part}"].copy_(weights[f"heads.0.linear.{part}"])
    batch = next(iter(state.batches()))
    alone = torch.autograd.grad(state._losses_of(batch)[0], state.network.shared_parameters())
    state._weights = state._weights_over(10)[8]
    state.step(batch)
    for p, g in zip(state.network.shared_parameters(), alone, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad, g, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("auxiliary", ["partner", "reconstruction", "rotation", "jigsaw"])
def test_every_auxiliary_task_can_decay(toy: Toy, recipe: Recipe, auxiliary: str) -> None:
    state = _lane(f"{auxiliary}@decay=cosine", toy, recipe)
    assert state.tasks[1].decay == "cosine"
    assert not state.tasks[1].scored


def test_a_decay_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="decay is none, linear or cosine, not slow"):
        parse_strategy("rotation@decay=slow")
    assert parse_strategy("rotation@decay=none").name == "hard+rotation"
