import torch
from torch import Tensor

from bench.strategies.pcgrad import PCGrad


def _merge(gradients: Tensor, seed: int = 0) -> Tensor:
    ones = torch.ones(len(gradients))
    merge = PCGrad().build([], torch.Generator().manual_seed(seed))
    direction: Tensor = merge(gradients, ones, ones)
    return direction


def _by_hand(gradients: Tensor) -> Tensor:
    """Two tasks, as the paper's algorithm writes it."""
    a, b = gradients.unbind()
    conflict = torch.clamp(a @ b, max=0)
    return (a - conflict / (b @ b) * b) + (b - conflict / (a @ a) * a)


def test_two_tasks_follow_the_papers_rule() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        gradients = torch.randn(2, 7, dtype=torch.float64, generator=generator)
        torch.testing.assert_close(_merge(gradients), _by_hand(gradients))


def test_gradients_that_do_not_conflict_are_added() -> None:
    gradients = torch.tensor([[1.0, 0.2, 0.0], [0.5, 0.0, 1.0], [0.0, 3.0, 1.0]])
    torch.testing.assert_close(_merge(gradients), gradients.sum(0))


def test_the_direction_conflicts_with_neither_of_two_tasks() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        gradients = torch.randn(2, 5, dtype=torch.float64, generator=generator)
        assert (gradients @ _merge(gradients)).min() >= -1e-12


def test_a_task_without_a_gradient_changes_nothing() -> None:
    gradients = torch.tensor([[1.0, -2.0], [0.0, 0.0]])
    assert torch.equal(_merge(gradients), gradients[0])


def test_opposite_gradients_cancel() -> None:
    gradients = torch.tensor([[1.0, -2.0], [-2.0, 4.0]])
    torch.testing.assert_close(_merge(gradients), torch.zeros(2))


def test_the_order_of_projections_is_drawn_from_the_stream() -> None:
    gradients = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
    results = [_merge(gradients, seed) for seed in range(8)]
    assert torch.equal(results[0], _merge(gradients, 0))
    assert any(not torch.allclose(results[0], other) for other in results[1:])


def test_scaling_all_gradients_scales_the_direction() -> None:
    gradients = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(_merge(3 * gradients), 3 * _merge(gradients))
