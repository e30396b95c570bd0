"""MGDA-UB: gradients merged at the shared features."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.contracts import UserError
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy
from bench.tasks import TaskData
from bench.train.batches import Batch
from bench.train.loop import TrainingState
from bench.train.pricing import count

CPU = torch.device("cpu")
Toy = Callable[[str], TaskData]


def _lane(strategy: str, toy: Toy, recipe: Recipe, width: float = 1.0) -> TrainingState:
    data = [toy("row"), toy("column"), toy("low")]
    return TrainingState(parse_strategy(strategy), data, recipe, width, 3, CPU)


def _encoder_gradient(state: TrainingState, batch: Batch) -> Tensor:
    state.step(batch)
    gradients = [p.grad for p in state.network.shared_parameters()]
    return torch.cat([g.reshape(-1) for g in gradients if g is not None])


def _orthonormal(batch: Batch) -> Batch:
    """Return the batch with images at right angles to each other, all of one length."""
    x = batch.images[0]
    assert x is not None
    g = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(x[0].numel(), len(x), generator=g))
    return Batch([(3 * basis.T).reshape(x.shape)] * 3, batch.targets)


@pytest.mark.parametrize("normalization", ["none", "l2", "loss", "loss-l2"])
def test_where_the_encoders_jacobian_is_orthonormal_it_is_mgda(
    toy: Toy, recipe: Recipe, normalization: str
) -> None:
    """A linear encoder on images at right angles: lengths on features and on weights agree."""
    recipe = recipe.model_copy(update={"network": "linear"})
    found = []
    for strategy in (f"mgda-ub@{normalization}", f"mgda@{normalization}"):
        state = _lane(strategy, toy, recipe, width=6)
        found.append(_encoder_gradient(state, _orthonormal(next(iter(state.batches())))))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-7)


def test_elsewhere_it_is_not(toy: Toy, recipe: Recipe) -> None:
    recipe = recipe.model_copy(update={"network": "linear"})
    ub, mgda = (_lane(s, toy, recipe, width=6) for s in ("mgda-ub", "mgda"))
    batch = next(iter(ub.batches()))
    ours, theirs = _encoder_gradient(ub, batch), _encoder_gradient(mgda, batch)
    assert (ours - theirs).norm() > 0.02 * theirs.norm()


@pytest.mark.parametrize("sharing", ["hard", "branch@1", "branch@2"])
def test_the_encoder_descends_the_losses_with_torchjds_weights(
    toy: Toy, recipe: Recipe, sharing: str
) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    state = _lane(f"{sharing}+mgda-ub", toy, recipe)
    batch = next(iter(state.batches()))
    features, outputs = state.network.split_point(batch.images)
    losses = state._losses_at(outputs, batch)
    rows = torch.stack(
        [torch.autograd.grad(loss, features, retain_graph=True)[0].reshape(-1) for loss in losses]
    )
    # TorchJD's iteration ends at 1e-3 of a weight where it is not told otherwise.
    weigh = aggregation.MGDA(epsilon=1e-12, max_iters=20_000).gramian_weighting
    weights = weigh((rows @ rows.T).double()).float()
    shared = state.network.shared_parameters()
    gradients = torch.autograd.grad((torch.stack(losses) * weights).sum(), shared)
    expected = torch.cat([g.reshape(-1) for g in gradients])
    found = _encoder_gradient(state, batch)
    assert (found - expected).norm() < 2e-3 * expected.norm()


def test_the_heads_learn_from_their_own_weighted_losses(toy: Toy, recipe: Recipe) -> None:
    state, plain = _lane("mgda-ub", toy, recipe), _lane("hard", toy, recipe)
    batch = next(iter(state.batches()))
    for each in (state, plain):
        each.step(batch)
    for (name, p), q in zip(
        state.network.named_parameters(), plain.network.parameters(), strict=True
    ):
        if "heads" in name:
            assert p.grad is not None
            assert q.grad is not None
            torch.testing.assert_close(p.grad, q.grad)


def test_features_cost_a_pass_of_the_heads_a_task(toy: Toy, recipe: Recipe) -> None:
    data = [toy("row"), toy("column"), toy("low")]
    plain, ub, mgda = (
        count(parse_strategy(s), data, recipe, 1.0)[0].flops for s in ("hard", "mgda-ub", "mgda")
    )
    # Each head's pass is one that hard sharing takes too; what is left is the Gramian and the sum.
    gramian = 2 * 9 * recipe.batch_size * 50 + 2 * 3 * recipe.batch_size * 50
    assert ub - plain == pytest.approx(gramian, rel=0.1)
    assert mgda > 1.4 * ub


def test_gradients_of_tasks_without_common_features_are_refused(toy: Toy, recipe: Recipe) -> None:
    for strategy, data, words in (
        ("cross-stitch+mgda-ub", [toy("row"), toy("column")], "no one point"),
        ("film+mgda-ub", [toy("row"), toy("column")], "no one point"),
        ("mgda-ub", [toy("row"), toy("column~noise")], "on images of their own"),
        ("branch@1+mgda-ub", [toy("row"), toy("column~noise")], "on images of their own"),
    ):
        with pytest.raises(UserError, match=words):
            count(parse_strategy(strategy), data, recipe, 1.0)


@pytest.mark.parametrize("name", ["hard", "branch@1"])
def test_parting_gives_the_outputs_of_a_pass(toy: Toy, recipe: Recipe, name: str) -> None:
    state = _lane(name, toy, recipe)
    images = next(iter(state.batches())).images
    _, outputs = state.network.split_point(images)
    for ours, theirs in zip(outputs, state.network(images), strict=True):
        assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))
