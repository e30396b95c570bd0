"""Each weighting against the rule of its paper, worked out by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import SecondLook
from bench.errors import UserError
from bench.spec.registry import parse_strategy
from bench.task_types import Classification
from bench.tasks import Task

TASKS = [Task("a", Classification(), 2), Task("b", Classification(), 2)]
EQUAL = torch.tensor([0.5, 0.5])


def _module(weighting: str, shared: list[nn.Parameter] | None = None) -> nn.Module:
    return parse_strategy(weighting).weighting.build(TASKS, shared or [])


def _weights(module: nn.Module, losses: list[float], own: Tensor = EQUAL) -> Tensor:
    """Return the derivatives of what is descended by the losses: their weights."""
    given = torch.tensor(losses, requires_grad=True)
    module(given, own).backward()
    assert given.grad is not None
    return given.grad


def test_fixed_weights_are_those_given_times_the_tasks_own() -> None:
    assert _weights(_module("fixed@7/3"), [1.0, 2.0]).tolist() == pytest.approx([0.7, 0.3])
    own = torch.tensor([0.25, 0.75])
    assert _weights(_module("fixed@0.75/0.25"), [1.0, 2.0], own).tolist() == pytest.approx(
        [0.5, 0.5]
    )


def test_fixed_weights_are_one_a_task() -> None:
    with pytest.raises(UserError, match=r"3 weights for 2 tasks \(a, b\)"):
        _module("fixed@1/1/1")


@pytest.mark.parametrize("knobs", ["0/1", "1/-1", "1/inf", "nan/1"])
def test_fixed_weights_that_make_no_sense_are_refused(knobs: str) -> None:
    with pytest.raises(UserError, match="at least 0"):
        parse_strategy(f"fixed@{knobs}")


def test_the_geometric_mean_descends_as_its_gradient_does() -> None:
    losses = torch.tensor([0.5, 2.0], requires_grad=True)
    losses.prod().sqrt().backward()
    assert losses.grad is not None
    papers = losses.grad
    ours = _weights(_module("geometric"), [0.5, 2.0])
    torch.testing.assert_close(ours, papers / papers.sum())
    # The paper's is longer by the geometric mean over the harmonic one: 1 / 0.8.
    assert papers.sum().item() == pytest.approx(1 / 0.8)


def test_the_tasks_own_weights_are_exponents_of_the_geometric_mean() -> None:
    losses, own = torch.tensor([0.5, 2.0], requires_grad=True), torch.tensor([0.8, 0.2])
    (losses**own).prod().backward()
    assert losses.grad is not None
    ours = _weights(_module("geometric"), [0.5, 2.0], own)
    torch.testing.assert_close(ours, losses.grad / losses.grad.sum())


def test_random_weights_are_a_softmax_of_normal_numbers_from_the_global_generator() -> None:
    module = _module("rlw")
    torch.manual_seed(5)
    expected = [torch.randn(2).softmax(0) for _ in range(3)]
    torch.manual_seed(5)
    for weights in expected:
        torch.testing.assert_close(_weights(module, [1.0, 3.0]), weights)


def test_uncertainty_follows_the_papers_objective() -> None:
    module = _module("uncertainty")
    (s,) = module.parameters()
    with torch.no_grad():
        s.copy_(torch.tensor([0.3, -0.6]))
    weights = _weights(module, [0.5, 2.0])

    losses = torch.tensor([0.5, 2.0], requires_grad=True)
    papers_s = s.detach().clone().requires_grad_()
    (torch.exp(-papers_s) * losses + papers_s / 2).sum().backward()
    assert losses.grad is not None
    torch.testing.assert_close(s.grad, papers_s.grad)
    torch.testing.assert_close(weights, losses.grad / losses.grad.sum())


def test_the_half_of_regression_only_moves_where_the_variance_starts() -> None:
    loss, s = 0.7, 0.2
    half = 0.5 * math.exp(-s) * loss + s / 2
    moved = s + math.log(2)
    assert half + math.log(2) / 2 == pytest.approx(math.exp(-moved) * loss + moved / 2)


def test_uncertainty_settles_at_one_over_twice_the_loss() -> None:
    module = _module("uncertainty")
    (s,) = module.parameters()
    optimizer = torch.optim.Adam([s], lr=0.02)
    for _ in range(800):
        optimizer.zero_grad()
        weights = _weights(module, [0.1, 0.4])
        optimizer.step()
    torch.testing.assert_close(torch.exp(-s), torch.tensor([5.0, 1.25]), rtol=1e-2, atol=0)
    assert weights.tolist() == pytest.approx([0.8, 0.2], rel=1e-2)


def test_dynamic_weights_are_the_softmax_of_the_last_two_epochs_ratios() -> None:
    module = _module("dwa@temperature=2,epoch=2")
    epochs = [[(1.0, 4.0), (3.0, 4.0)], [(1.0, 2.0), (0.0, 4.0)], [(9.0, 9.0), (9.0, 9.0)]]
    found = [[_weights(module, [*losses]) for losses in epoch] for epoch in epochs]
    for weights in (*found[0], *found[1]):
        torch.testing.assert_close(weights, EQUAL)
    # Mean losses 2, 4, then 0.5, 3.
    expected = (torch.tensor([0.5 / 2, 3 / 4]) / 2).softmax(0)
    for weights in found[2]:
        torch.testing.assert_close(weights, expected)


def test_a_high_temperature_makes_dynamic_weights_equal() -> None:
    module = _module("dwa@1e6,epoch=1")
    for losses in ([1.0, 1.0], [0.1, 1.0], [0.1, 1.0]):
        weights = _weights(module, losses)
    torch.testing.assert_close(weights, EQUAL)


def _gradnorm_by_hand(w: Tensor, norms: Tensor, ratios: Tensor, alpha: float) -> Tensor:
    """The gradient of the paper's L_grad by w, of constants as its section 3 has them."""
    g = w * norms
    goals = g.mean() * (ratios / ratios.mean()) ** alpha
    return torch.sign(g - goals) * norms


def test_gradnorm_moves_the_weights_as_the_papers_gradient_does() -> None:
    layer = nn.Parameter(torch.tensor([[1.0, 2.0], [0.5, -1.0]]))
    bias = nn.Parameter(torch.zeros(2))
    module = _module("gradnorm@alpha=1.5", [layer, bias])
    directions = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 0.0]]])
    norms = torch.tensor([5.0, 1.0])

    def losses(scales: list[float]) -> Tensor:
        return (directions * layer).sum((1, 2)) + bias.sum() + torch.tensor(scales)

    module(losses([2.0, 5.0]), EQUAL).backward()
    first = losses([2.0, 5.0]).detach()
    (logits,) = module.parameters()
    with torch.no_grad():
        logits.copy_(torch.tensor([0.2, -0.1]))
    logits.grad = layer.grad = None
    second = losses([3.0, 8.0])
    module(second, EQUAL).backward()

    chain = logits.detach().clone().requires_grad_()
    w = 2 * chain.softmax(0)
    by_w = _gradnorm_by_hand(w.detach(), norms, second.detach() / first, 1.5)
    w.backward(by_w)
    torch.testing.assert_close(logits.grad, chain.grad)
    share = w.detach() / 2
    torch.testing.assert_close(layer.grad, (share[:, None, None] * directions).sum(0))


def test_gradnorm_makes_equal_norms_when_alpha_is_0() -> None:
    layer = nn.Parameter(torch.ones(1, 1))
    module = _module("gradnorm@0", [layer])
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(600):
        optimizer.zero_grad()
        module(torch.stack([4 * layer.sum(), layer.sum()]), EQUAL).backward()
        optimizer.step()
    (logits,) = module.parameters()
    # Weights of 1 and 4 out of 5 give both gradients one length.
    assert logits.softmax(0).tolist() == pytest.approx([0.2, 0.8], abs=0.02)


def test_gradnorm_weighs_equally_where_nothing_is_shared() -> None:
    assert list(_module("gradnorm").parameters()) == []
    assert _weights(_module("gradnorm"), [1.0, 5.0]).tolist() == [0.5, 0.5]


def test_famo_takes_the_papers_step() -> None:
    """Two steps of Algorithm 1 with autograd and Adam as the paper's code composes them."""
    module = _module("famo@rate=0.1,decay=0.01")
    assert isinstance(module, SecondLook)
    xi = torch.zeros(2, requires_grad=True)
    adam = torch.optim.Adam([xi], lr=0.1, weight_decay=0.01)
    for before, after in (([1.0, 2.0], [0.9, 1.0]), ([0.8, 1.5], [0.9, 1.4])):
        old, new = (torch.tensor(losses, requires_grad=True) for losses in (before, after))
        z = xi.softmax(0)
        c = (z / old).sum().detach()
        (z.detach() * old.log() / c).sum().backward()
        torch.testing.assert_close(_weights(module, before), old.grad)
        adam.zero_grad()
        z.backward((old.log() - new.log()).detach())
        adam.step()
        module.look_again(new.detach())
        (logits,) = module.parameters()
        torch.testing.assert_close(logits, xi)
    assert xi[0] > xi[1]  # the second task's loss fell more


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dwa@0", "temperature"),
        ("dwa@2,0", "at least 1"),
        ("gradnorm@-1", "at least 0"),
        ("famo@nan", "at least 0"),
    ],
)
def test_knobs_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_strategy(text)
