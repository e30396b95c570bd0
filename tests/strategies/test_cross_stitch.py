from collections.abc import Callable

import torch

from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy
from bench.strategies.cross_stitch import CrossStitch
from bench.strategies.single import Single
from bench.tasks import TaskData
from bench.train.batches import Batches
from bench.train.loop import TrainingState, build_network

Toy = Callable[[str], TaskData]


def test_with_identity_stitches_it_is_separate_networks_bit_for_bit(toy: Toy) -> None:
    data = [toy("row"), toy("column")]
    stitched = build_network(parse_strategy("cross-stitch@own=1"), data, "lenet", 1.0, 0)
    separate = build_network(parse_strategy("single"), data, "lenet", 1.0, 0)
    x = torch.rand(4, 1, 16, 16)
    for a, b in zip(stitched([x, x]), separate([x, x]), strict=True):
        assert a is not None
        assert b is not None
        assert torch.equal(a, b)


def test_with_identity_stitches_its_first_gradients_are_those_of_separate_networks(
    toy: Toy, recipe: Recipe
) -> None:
    # Of the first step only: the weights beside the diagonal learn, as they should.
    data = [toy("row"), toy("column")]
    stitched, separate = (
        TrainingState(parse_strategy(s), data, recipe, 1.0, 0, torch.device("cpu"))
        for s in ("cross-stitch@own=1", "single")
    )
    for state in (stitched, separate):
        state.step(next(iter(Batches(data, recipe, 0, torch.device("cpu")))))
    gradients = {name: p.grad for name, p in stitched.network.named_parameters()}
    for name, parameter in separate.network.named_parameters():
        assert parameter.grad is not None
        ours = gradients[name]
        assert ours is not None
        torch.testing.assert_close(ours, parameter.grad)


def test_a_stitch_mixes_the_encoders_by_its_weights(toy: Toy) -> None:
    data = [toy("row"), toy("column")]
    network = build_network(parse_strategy("cross-stitch@own=0.9"), data, "lenet", 1.0, 0)
    first = [p for name, p in network.named_parameters() if name == "stitches.0"]
    assert first[0].shape == (2, 2, 10)
    assert torch.allclose(first[0][:, :, 3], torch.tensor([[0.9, 0.1], [0.1, 0.9]]))


def test_one_task_alone_is_not_stitched_to_anything(toy: Toy) -> None:
    stitched = build_network(parse_strategy("cross-stitch"), [toy("row")], "lenet", 1.0, 0)
    single = build_network(parse_strategy("single"), [toy("row")], "lenet", 1.0, 0)
    x = torch.rand(4, 1, 16, 16)
    a, b = stitched([x])[0], single([x])[0]
    assert a is not None
    assert b is not None
    assert torch.equal(a, b)


def test_a_task_that_is_not_asked_for_is_not_computed(toy: Toy) -> None:
    data = [toy("row"), toy("column")]
    x = torch.rand(4, 1, 16, 16)
    for strategy in ("cross-stitch", "single", "hard"):
        network = build_network(parse_strategy(strategy), data, "lenet", 1.0, 0)
        outputs = network([None, x])
        assert outputs[0] is None
        assert outputs[1] is not None


def test_all_encoders_and_stitches_count_as_shared(toy: Toy) -> None:
    data = [toy("row"), toy("column")]
    shared = {
        part: len(build_network(parse_strategy(part), data, "lenet", 1.0, 0).shared_parameters())
        for part in (CrossStitch.name, Single.name)
    }
    assert shared == {"cross-stitch": 2 * 6 + 3, "single": 0}
