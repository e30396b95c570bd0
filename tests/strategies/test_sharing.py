"""What sharing parts keep beside the contract, and what each is at the ends of its dial.

The contract itself is tried on every part in tests/validation/test_validation.py.
"""

from collections.abc import Callable, Sequence
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import MultiTaskNetwork, Sharing
from bench.errors import UserError
from bench.networks import ClassificationHead, Encoder
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy, strategy_components
from bench.tasks import TaskData
from bench.train.batches import Batches
from bench.train.loop import TrainingState, build_encoder, build_network
from bench.train.pricing import count, count_flops

CPU = torch.device("cpu")
Toy = Callable[[str], TaskData]
PARTS = sorted(name for name, p in strategy_components().found.items() if issubclass(p, Sharing))
SHARING = [*PARTS, "branch@0", "branch@2", "mmoe@experts=3,width=0.5"]
#: What is trained on both tasks' losses, so that the partner moves the target's weights.
SHARED = [s for s in SHARING if s not in ("single", "renamed", "ensemble", "branch@0")]
PAIRS = [("row", "column"), ("row", "column~noise")]


def _network(
    sharing: str, data: Sequence[TaskData], network: str = "lenet", seed: int = 0
) -> MultiTaskNetwork:
    return build_network(parse_strategy(sharing), data, network, 1.0, seed)


def _images(data: Sequence[TaskData]) -> list[Tensor | None]:
    """Return a batch a set of images; tasks on one set hold the same tensor."""
    generator = torch.Generator().manual_seed(1)
    batches = {id(d.images): torch.randn(5, *d.images.image, generator=generator) for d in data}
    return [batches[id(d.images)] for d in data]


def _trained(
    sharing: str, data: Sequence[TaskData], recipe: Recipe, network: str, steps: int = 12
) -> TrainingState:
    recipe = recipe.model_copy(update={"network": network})
    torch.manual_seed(0)
    state = TrainingState(parse_strategy(sharing), data, recipe, 1.0, 3, CPU)
    for _ in state.train(Batches(data, recipe, 3, CPU), steps, [steps]):
        pass
    return state


def _outputs(network: MultiTaskNetwork, images: list[Tensor | None]) -> list[Tensor]:
    found = network(images)
    return [output for output in found if output is not None]


def test_the_fields_sharing_parts_are_here() -> None:
    known = {"adapters", "branch", "cross-stitch", "film", "hard", "mmoe", "mtan", "single"}
    assert known <= set(PARTS)


@pytest.mark.parametrize("image", [(1, 16, 16), (3, 21, 19), (3, 64, 72)])
@pytest.mark.parametrize("network", ["linear", "mlp", "lenet", "resnet8", "resnet18"])
@pytest.mark.parametrize("sharing", SHARING)
def test_it_has_an_output_a_task_on_images_of_any_size_same_or_disjoint(
    sharing: str, network: str, image: tuple[int, ...]
) -> None:
    def new_encoder(width: float = 1.0) -> Encoder:
        return build_encoder(network, image, width / 4)

    if sharing == "branch@2" and len(new_encoder().stages) < 2:
        pytest.skip("the network has fewer stages than are to be shared")
    heads = [lambda encoder, n=n: ClassificationHead(encoder.features, n) for n in (4, 7)]
    built = parse_strategy(sharing).sharing.build(new_encoder, heads).eval()
    x, y = torch.randn(2, 3, *image)
    for images in ([x, x], [x, y]):
        outputs = _outputs(built, [*images])
        assert [tuple(output.shape) for output in outputs] == [(3, 4), (3, 7)]
        for task in range(2):
            alone = built([image if t == task else None for t, image in enumerate(images)])
            assert alone[1 - task] is None
            assert torch.equal(torch.as_tensor(alone[task]), outputs[task])


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("sharing", SHARING)
def test_a_real_step_costs_what_is_counted_without_data_to_the_last_flop(
    toy: Toy, recipe: Recipe, sharing: str, pair: tuple[str, str]
) -> None:
    data, strategy = [toy(name) for name in pair], parse_strategy(sharing)
    state = TrainingState(strategy, data, recipe, 1.0, 0, CPU)
    batch = next(iter(Batches(data, recipe, 0, CPU)))
    (price,) = count(strategy, data, recipe, 1.0)
    assert count_flops(state, batch) == price.flops
    assert state.parameters == price.parameters


@pytest.mark.parametrize("sharing", SHARING)
def test_a_network_is_drawn_by_its_seed_alone(toy: Toy, sharing: str) -> None:
    data = [toy("row"), toy("column")]
    torch.manual_seed(1)
    a = _network(sharing, data).state_dict()
    torch.manual_seed(2)
    b, other = _network(sharing, data).state_dict(), _network(sharing, data, seed=1).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], other[name]) for name in a)


@pytest.mark.parametrize("sharing", SHARED)
def test_the_null_is_no_accident_a_partner_with_weight_changes_the_target(
    toy: Toy, recipe: Recipe, sharing: str
) -> None:
    alone = _trained(sharing, [toy("row")], recipe, "lenet").network
    beside = _trained(sharing, [toy("row"), toy("column")], recipe, "lenet").network
    (x, _) = _images([toy("row"), toy("column")])
    a, b = alone.eval()([x])[0], beside.eval()([x, None])[0]
    assert not torch.equal(torch.as_tensor(a), torch.as_tensor(b))


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("network", ["lenet", "resnet8"])
@pytest.mark.parametrize("end", ["single", "hard"])
def test_the_ends_of_branching_are_single_and_hard_bit_for_bit(
    toy: Toy, recipe: Recipe, network: str, end: str, pair: tuple[str, str]
) -> None:
    data = [toy(name) for name in pair]
    stages = {"lenet": 3, "resnet8": 4}[network]
    ours = _trained(f"branch@{stages if end == 'hard' else 0}", data, recipe, network)
    theirs = _trained(end, data, recipe, network)
    assert ours.parameters == theirs.parameters
    images = _images(data)
    for a, b in zip(_outputs(ours.network, images), _outputs(theirs.network, images), strict=True):
        assert torch.equal(a, b)
    assert len(ours.network.shared_parameters()) == len(theirs.network.shared_parameters())


def test_branching_has_the_parameters_of_its_stages_by_hand(toy: Toy, recipe: Recipe) -> None:
    data = [toy("row"), toy("column")]
    conv1, conv2, linear, head = 10 * 25 + 10, 20 * 250 + 20, 20 * 50 + 50, 50 * 4 + 4
    found = [
        count(parse_strategy(f"branch@{k}"), data, recipe, 1.0)[0].parameters for k in range(4)
    ]
    assert found[1] == conv1 + 2 * (conv2 + linear + head)
    assert found[2] == conv1 + conv2 + 2 * (linear + head)
    assert found == sorted(found, reverse=True)


def test_sharing_more_stages_than_there_are_says_how_many_there_are(toy: Toy) -> None:
    with pytest.raises(UserError, match="the network has 3: give a number from 0 to 3"):
        _network("branch@4", [toy("row"), toy("column")])


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("network", ["lenet", "resnet8"])
@pytest.mark.parametrize("sharing", ["adapters", "film"])
def test_task_modules_start_as_hard_sharing_bit_for_bit(
    toy: Toy, sharing: str, network: str, pair: tuple[str, str]
) -> None:
    data = [toy(name) for name in pair]
    images = _images(data)
    ours, theirs = (_outputs(_network(s, data, network), images) for s in (sharing, "hard"))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("sharing", ["adapters", "film", "mtan", "mmoe"])
def test_what_is_the_tasks_own_learns(toy: Toy, recipe: Recipe, sharing: str) -> None:
    data = [toy("row"), toy("column")]
    recipe = recipe.model_copy(update={"learning_rate": 0.01})
    state = _trained(sharing, data, recipe, "lenet")
    start = _network(sharing, data, seed=3).state_dict()
    own = [name for name in start if name.split(".")[0] in ("modules_of", "attentions", "gates")]
    assert own
    assert all(not torch.equal(state.network.state_dict()[name], start[name]) for name in own)


def test_a_scale_and_a_shift_are_those_of_the_channel(toy: Toy) -> None:
    from bench.strategies.film import _ScaleAndShift

    module = _ScaleAndShift((3, 2, 2))
    module.scale.data = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    module.shift.data = torch.tensor([0.0, -1.0, 5.0]).view(3, 1, 1)
    x = torch.ones(1, 3, 2, 2)
    assert module(x)[0, :, 1, 0].tolist() == [1.0, 1.0, 8.0]


def test_an_adapter_adds_a_linear_map_of_the_channels(toy: Toy) -> None:
    from bench.strategies.adapters import _Adapter

    a = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    spatial, vector = _Adapter((2, 3, 3)), _Adapter((2,))
    spatial.map.weight.data, vector.map.weight.data = a.view(2, 2, 1, 1), a
    x = torch.randn(4, 2, 3, 3)
    torch.testing.assert_close(spatial(x), x + torch.einsum("oc,nchw->nohw", a, x))
    torch.testing.assert_close(vector(x[:, :, 0, 0]), spatial(x)[:, :, 0, 0])


def test_attention_masks_the_encoders_activations_by_the_papers_rule() -> None:
    from bench.strategies.mtan import _Attention

    shapes = [(2, 4, 4), (3, 2, 2), (5,)]
    attention = _Attention(shapes)
    masks = [[*mask.children()] for mask in attention.masks]
    p = [torch.rand(6, *shape) for shape in shapes]
    picked = torch.sigmoid(nn.Sequential(*masks[0][:3])(p[0])) * p[0]
    for level in (1, 2):
        f = attention.bridges[level - 1](picked)
        assert f.shape == p[level].shape
        g = nn.Sequential(*masks[level][:2])(torch.cat([p[level], f], dim=1))
        picked = torch.sigmoid(masks[level][2](g)) * p[level]
    torch.testing.assert_close(attention(p)[-1], picked)


def test_experts_are_drawn_differently_and_alike_in_distribution(toy: Toy) -> None:
    data = [toy("row"), toy("column")]
    state = _network("mmoe@3", data, "resnet8").state_dict()
    hard = _network("hard", data, "resnet8").state_dict()["encoder.stages.1.conv1.weight"]
    first, second, third = (state[f"experts.{k}.stages.1.conv1.weight"] for k in range(3))
    assert torch.equal(first, hard)
    assert not torch.equal(second, third)
    assert not torch.equal(first, second)
    assert torch.equal(first.flatten().sort().values, second.flatten().sort().values)
    assert torch.equal(state["experts.1.stages.1.norm1.weight"], torch.ones(16))


def test_the_gates_begin_with_the_mean_of_the_experts(toy: Toy) -> None:
    data = [toy("row"), toy("column")]
    network = _network("mmoe@2", data)
    (x, _) = _images(data)
    modules = dict(network.named_modules())
    first, second = modules["experts.0"](x), modules["experts.1"](x)
    torch.testing.assert_close(network([x, None])[0], modules["heads.0"]((first + second) / 2))


def test_one_expert_is_hard_sharing(toy: Toy, recipe: Recipe) -> None:
    data = [toy("row"), toy("column")]
    a, b = (_trained(s, data, recipe, "lenet").network for s in ("mmoe@1", "hard"))
    images = _images(data)
    for ours, theirs in zip(_outputs(a, images), _outputs(b, images), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_sharing_costs(toy: Toy, recipe: Recipe) -> None:
    """In FLOPs of a step, as multiples of hard sharing's: what the budget bills."""
    data = [toy("row"), toy("column")]
    hard, single, *rest = (
        count(parse_strategy(s), data, recipe, 1.0)[0].flops
        for s in ("hard", "single", "branch@1", "film", "adapters", "mmoe@2", "ensemble")
    )
    branch, film, adapters, mmoe, ensemble = rest
    assert hard < branch < single
    assert branch == film < adapters  # both pass the first stage once, the others twice
    assert mmoe == pytest.approx(single, rel=0.02)
    assert ensemble == single


def test_members_of_an_ensemble_take_turns_and_are_averaged(toy: Toy, recipe: Recipe) -> None:
    data = [toy("row"), toy("column")]
    state = TrainingState(parse_strategy("ensemble@3"), data, recipe, 1.0, 0, CPU)
    members = [dict(state.network.named_modules())[f"networks.0.{k}"] for k in range(3)]
    for turn, batch in enumerate(islice(Batches(data, recipe, 0, CPU), 5)):
        before = [next(m.parameters()).detach().clone() for m in members]
        state.step(batch)
        changed = [
            not torch.equal(a, next(m.parameters())) for a, m in zip(before, members, strict=True)
        ]
        assert changed == [k == turn % 3 for k in range(3)]
    (x, _) = _images(data)
    each = torch.stack([member(x) for member in members])
    torch.testing.assert_close(state.network.eval()([x, None])[0], each.mean(0))
    assert not torch.equal(each[0], each[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("branch@-1", "at least 0"),
        ("branch@half", "not a int"),
        ("mmoe@0", "from 1 to 64"),
        ("mmoe@width=0", "above 0"),
        ("ensemble@0", "from 1 to 64"),
    ],
)
def test_knobs_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_strategy(text)
