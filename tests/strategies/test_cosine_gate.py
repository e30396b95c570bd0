import pytest
import torch
from torch import Tensor

from bench.errors import UserError
from bench.spec.registry import parse_strategy
from bench.strategies.cosine_gate import CosineGate
from bench.task_types import Classification
from bench.tasks import Task


def _tasks(*weights: float) -> list[Task]:
    """Return a target of weight 1 and auxiliary tasks of these weights."""
    auxiliary = [
        Task(f"aux {k}", Classification(), 2, weight, scored=False)
        for k, weight in enumerate(weights)
    ]
    return [Task("target", Classification(), 2), *auxiliary]


def _merge(gradients: Tensor, *weights: float, soft: bool = False) -> Tensor:
    """Aggregator plain gradients, weighted as the loop weighs them."""
    each = torch.tensor([1.0, *weights])
    rows = gradients * (each / each.sum())[:, None]
    merge = CosineGate(soft).build(_tasks(*weights), torch.Generator())
    direction: Tensor = merge(rows, torch.ones(len(rows)), each / each.sum())
    return direction


def test_an_auxiliary_gradient_that_agrees_is_added() -> None:
    gradients = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
    torch.testing.assert_close(_merge(gradients, 1.0), gradients.mean(0))
    torch.testing.assert_close(_merge(gradients, 0.5), (gradients[0] + 0.5 * gradients[1]) / 1.5)


def test_one_that_conflicts_is_dropped_and_leaves_what_single_task_training_gives() -> None:
    gradients = torch.tensor([[1.0, 0.5], [-1.0, 1.0]])
    torch.testing.assert_close(_merge(gradients, 1.0), gradients[0])


def test_each_auxiliary_task_has_a_gate_of_its_own() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 5.0], [2.0, 1.0]])
    torch.testing.assert_close(
        _merge(gradients, 1.0, 0.5), (gradients[0] + 0.5 * gradients[2]) / 1.5
    )


def test_the_weighted_form_multiplies_by_the_cosine() -> None:
    gradients = torch.tensor([[2.0, 0.0], [3.0, 4.0], [-3.0, 4.0]])
    expected = (gradients[0] + 0.6 * gradients[1]) / 1.6
    torch.testing.assert_close(_merge(gradients, 1.0, 1.0, soft=True), expected)


@pytest.mark.parametrize("soft", [False, True])
def test_equal_gradients_keep_their_scale_and_silent_tasks_change_no_bit(soft: bool) -> None:
    gradient = torch.randn(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_merge(gradient.expand(2, -1), 0.3, soft=soft), gradient)
    silent = torch.stack([gradient, torch.ones(9)])
    assert torch.equal(_merge(silent, 0.0, soft=soft), gradient)


def test_without_an_auxiliary_task_there_is_nothing_to_gate() -> None:
    with pytest.raises(UserError, match="there is none"):
        parse_strategy("cosine-gate")
