"""Heads for label maps: what DeepLab's and FPN compute and cost, and how a recipe chooses one."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.contracts import DataSource, Sharing
from bench.errors import UserError
from bench.networks import DeepLabHead, DenseHead, FPNHead, read
from bench.networks.deeplab import Bilinear, atrous_rates
from bench.networks.fpn import pyramid_levels
from bench.spec.experiment import DenseHeadName, Recipe, RunSpec
from bench.spec.registry import networks, parse_strategy, strategy_components
from bench.task_types import (
    DENSE_HEADS,
    VOID,
    Classification,
    Depth,
    Reconstruction,
    Segmentation,
    SurfaceNormals,
)
from bench.tasks import ImageSet, Task, TaskData
from bench.train.batches import Batches
from bench.train.flops import flop_counter
from bench.train.job import run_key
from bench.train.loop import TrainingState, build_encoder
from bench.train.pricing import count, count_flops
from bench.validation import validate

CPU = torch.device("cpu")
NETWORKS = sorted(name for name, plugin in networks().found.items() if not plugin.models)
SHARING = sorted(
    name
    for name, part in strategy_components().found.items()
    if issubclass(part, Sharing) and name != "faulty"
)
SIZE = (24, 32)
#: Networks whose features are vectors, or whose maps have one size.
_WITHOUT_A_PYRAMID = ("lenet", "linear", "mlp", "patches")
#: Each head on a network that suits it, and a width. In a strided 1 × 1 convolution of fewer than
#: eight channels oneDNN 3.12 writes past the end of its memory where there is AVX2 alone.
SUITED: list[tuple[str, DenseHeadName, float]] = [
    ("segnet", "decoder", 0.1),
    ("resnet8", "deeplab", 0.1),
    ("resnet8", "fpn", 0.1),
]


def _data() -> dict[str, TaskData]:
    """Return noise images with the three kinds of label maps; a part of each is unknown."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20, 3, *SIZE), dtype=torch.uint8, generator=draw)
    images = ImageSet("noise", pixels[:12], pixels[12:])
    unknown = torch.rand(20, *SIZE, generator=draw) < 0.1
    classes = torch.randint(0, 5, (20, *SIZE), dtype=torch.uint8, generator=draw)
    depth = 1 + torch.rand(20, *SIZE, generator=draw)
    normals = F.normalize(torch.randn(20, 3, *SIZE, generator=draw), dim=1)
    labels = {
        "segmentation": (Segmentation(), 5, classes.masked_fill(unknown, VOID)),
        "depth": (Depth.of(depth), 1, depth.masked_fill(unknown, torch.nan)),
        "normals": (SurfaceNormals(), 3, normals.masked_fill(unknown[:, None], torch.nan)),
    }
    return {
        name: TaskData(Task(name, kind, outputs), images, of[:12], of[12:])
        for name, (kind, outputs, of) in labels.items()
    }


def _recipe(network: str, head: DenseHeadName) -> Recipe:
    return Recipe(network=network, dense_head=head, batch_size=4, train_size=8, validation_size=4)


# --------------------------------------------------------------------------------------- the head


@pytest.mark.parametrize("sides", [(9, 12), (5, 7), (1, 1), (24, 32)])
def test_bilinear_interpolation_is_torchs_with_its_gradient(sides: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *sides, requires_grad=True)
    ours = Bilinear(sides, SIZE)(x)
    theirs = F.interpolate(x, SIZE, mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours, theirs)
    slope = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, x, slope)[0],
        torch.autograd.grad(theirs, x, slope)[0],
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("sides", "image", "rates"),
    [
        ((36, 48), (288, 384), (12, 24, 36)),  # a stride of 8, as DeepLab has it
        ((18, 24), (288, 384), (6, 12, 18)),  # 16
        ((9, 12), (288, 384), (3, 6, 9)),  # 32
        ((16, 32), (128, 256), (5, 10, 15)),  # 8, and no more than the map has
        ((2, 3), (72, 96), (1, 2, 3)),
    ],
)
def test_rates_are_deeplabs_and_stay_on_the_map(
    sides: tuple[int, int], image: tuple[int, int], rates: tuple[int, int, int]
) -> None:
    assert atrous_rates(sides, image) == rates


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("image", [(3, 288, 384), (3, 96, 64), (3, 65, 131), (1, 28, 28)])
@pytest.mark.parametrize("kind", DENSE_HEADS)
def test_every_head_covers_the_image_on_every_network(
    kind: str, image: tuple[int, ...], network: str
) -> None:
    with torch.device("meta"):
        encoder = build_encoder(network, image)
        if kind == "fpn" and network in _WITHOUT_A_PYRAMID:
            with pytest.raises(UserError, match="a network with maps of several sizes"):
                DENSE_HEADS[kind](encoder.stage_shapes, image, 13)
            return
        head = DENSE_HEADS[kind](encoder.stage_shapes, image, 13)
        maps = read(head, encoder.activations(torch.empty(2, *image)))
    assert maps.shape == (2, 13, *image[1:])


def test_its_flops_are_those_of_the_formula_dilated_convolutions_and_products_included() -> None:
    features, image, outputs, batch = (40, 6, 8), (3, *SIZE), 5, 2
    head, channels, pixels = DeepLabHead(features, image, outputs), 40, 6 * 8
    x = torch.randn(batch, *features, requires_grad=True)
    with flop_counter() as counter:
        y = head(x)
    convolutions = 2 * pixels * channels * (40 * (1 + 3 * 9) + 5 * channels + 9 * channels)
    convolutions += 2 * pixels * channels * outputs
    convolutions += 2 * 40 * channels  # of the mean over the map, one pixel
    across = 2 * outputs * (SIZE[1] * 8 * 6)
    down = 2 * outputs * (SIZE[0] * 6 * SIZE[1])
    forward = batch * (convolutions + across + down)
    assert counter.get_total_flops() == forward
    with flop_counter() as counter:
        y.sum().backward()
    # A convolution has two gradients. The matrices of the interpolation are fixed.
    assert counter.get_total_flops() == batch * (2 * convolutions + across + down)


def test_each_branch_sees_as_far_as_its_rate() -> None:
    head = DeepLabHead((32, 12, 16), (3, 96, 128), 1)  # a stride of 8: rates 4, 8 and 12
    assert [branch[0].dilation for branch in head.branches[1:]] == [(4, 4), (8, 8), (12, 12)]  # type: ignore[index]
    x = torch.zeros(1, 32, 12, 16, requires_grad=True)
    convolution: nn.Conv2d = head.branches[2][0]  # type: ignore[index]
    seen = torch.autograd.grad(convolution(x)[0, :, 6, 8].sum(), x)[0].abs().sum((0, 1)).nonzero()
    assert {tuple(place) for place in seen.tolist()} == {(6, 0), (6, 8)}


@pytest.mark.parametrize(
    ("sides", "levels"),
    [
        ([(48, 64), (24, 32), (12, 16), (6, 8), (3, 4)], [4, 3, 2, 1]),  # a quarter and coarser
        ([(96, 128), (48, 64), (48, 64)], [2, 0]),  # of one size the last, though all are fine
        ([(12, 16), (6, 8), (12, 16), (48, 64)], [1, 2, 3]),  # up again: the last map counts
        ([(24, 32), (12, 1), (12, 16)], [2, 0]),  # a row of tokens is no map
    ],
)
def test_a_pyramid_has_the_last_map_of_each_size(
    sides: list[tuple[int, int]], levels: list[int]
) -> None:
    assert pyramid_levels([(8, *side) for side in sides], (3, 96, 128)) == levels


def test_it_adds_coarser_maps_to_finer_ones_by_the_formula() -> None:
    stages, image = [(4, 24, 32), (6, 12, 16), (8, 6, 8)], (3, 96, 128)
    head = FPNHead(stages, image, 2)
    maps = [torch.randn(2, *shape) for shape in stages]
    fine, middle, coarse = (
        F.conv2d(x, layer.weight, layer.bias)  # type: ignore[arg-type]
        for x, layer in zip(maps, reversed(list(head.lateral)), strict=True)
    )
    middle = middle + F.interpolate(coarse, (12, 16), mode="nearest")
    fine = fine + F.interpolate(middle, (24, 32), mode="nearest")
    smooth = [nn.Sequential(*list(layer)[:3]) for layer in head.smooth]  # type: ignore[call-overload]
    both = [
        F.interpolate(layer(x), (24, 32), mode="bilinear")
        for layer, x in zip(smooth, (coarse, middle, fine), strict=True)
    ]
    ours = read(head, maps)
    theirs = F.interpolate(head.classify(sum(both)), (96, 128), mode="bilinear")
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sharing", ["hard", "branch@shared=2", "mtan", "cross-stitch"])
def test_a_pyramid_sees_what_a_strategy_makes_of_every_level(sharing: str) -> None:
    data = list(_data().values())[:2]
    strategy, recipe = parse_strategy(sharing), _recipe("resnet8", "fpn")
    network = TrainingState(strategy, data, recipe, 1.0, 0, CPU).network
    x = torch.randn(1, 3, *SIZE)
    seen: list[list[Tensor]] = []
    for head in network.heads:  # type: ignore[union-attr]
        head.register_forward_pre_hook(lambda _, given: seen.append(list(given[0])))
    network([x, x])
    own, other = seen
    assert [tuple(y.shape[1:]) for y in own] == [(16, *SIZE), (16, *SIZE), (32, 12, 16), (64, 6, 8)]
    shared = [torch.equal(a, b) for a, b in zip(own, other, strict=True)]
    # From one draw, branches hold equal maps of their own; attention and stitches start apart.
    assert shared == {"mtan": [False] * 4}.get(sharing, [True] * 4)
    same = [a is b for a, b in zip(own, other, strict=True)]
    assert same == {"hard": [True] * 4, "branch@shared=2": [True, True, False, False]}.get(
        sharing, [False] * 4
    )


@pytest.mark.parametrize("sharing", ["hard+mgda-ub", "branch@shared=2+mgda-ub"])
def test_gradients_on_one_split_point_are_refused_where_heads_see_earlier_maps(
    sharing: str,
) -> None:
    data, strategy = list(_data().values()), parse_strategy(sharing)
    with pytest.raises(UserError, match="choose --dense-head decoder or deeplab"):
        count(strategy, data, _recipe("resnet8", "fpn"), 0.1)
    assert count(strategy, data, _recipe("resnet8", "deeplab"), 0.1)[0].flops > 0


# ------------------------------------------------------------------------------------- the recipe


def test_a_recipe_names_the_heads_that_there_are() -> None:
    assert set(get_args(DenseHeadName)) == DENSE_HEADS.keys()
    assert Recipe().dense_head == "decoder"


def test_a_recipe_chooses_the_head_of_label_maps_and_no_other() -> None:
    stages, image = [(16, 12, 16), (32, 6, 8)], (3, *SIZE)
    for kind in (Segmentation(), Depth(), SurfaceNormals()):
        assert isinstance(kind.chosen_head("deeplab", stages, image, 3), DeepLabHead)
        assert isinstance(kind.chosen_head("fpn", stages, image, 3), FPNHead)
        assert isinstance(kind.head(stages[-1], image, 3), DenseHead)
    reconstruction = Reconstruction().chosen_head("fpn", stages, image, 3)
    assert isinstance(reconstruction, DenseHead)
    classes = Classification()
    assert type(classes.chosen_head("fpn", stages, image, 3)) is type(
        classes.head(stages[-1], image, 3)
    )


def test_the_default_is_no_part_of_a_document_and_a_choice_is_of_the_key() -> None:
    # Records, baselines and reports that are older than the choice stay what they are.
    assert "dense_head" not in Recipe().model_dump()
    assert Recipe.model_validate(Recipe(dense_head="deeplab").model_dump()).dense_head == "deeplab"
    usual, chosen = (
        RunSpec(
            dataset="creatures",
            tasks=("species",),
            scored=("species",),
            strategy="single",
            width=1.0,
            budget="5steps",
            steps=(5,),
            seed=0,
            device="cpu",
            recipe=recipe,
        )
        for recipe in (Recipe(), Recipe(dense_head="deeplab"))
    )
    assert run_key(usual, "data") != run_key(chosen, "data")


# ------------------------------------------------------------------------------------- in training


@pytest.mark.parametrize(("network", "head", "width"), SUITED)
@pytest.mark.parametrize("sharing", SHARING)
def test_every_sharing_strategy_trains_three_label_maps(
    sharing: str, network: str, head: DenseHeadName, width: float
) -> None:
    data, recipe = list(_data().values()), _recipe(network, head)
    strategy = parse_strategy(sharing)
    if (sharing, head) == ("mmoe", "fpn"):  # its gates mix the experts' features alone
        with pytest.raises(UserError, match="has the last one for it: choose --dense-head"):
            count(strategy, data, recipe, width)
        return
    state = TrainingState(strategy, data, recipe, width, 0, CPU)
    batches = iter(Batches(data, recipe, 0, CPU))
    before = [p.clone() for p in state.network.parameters()]
    assert state.step(next(batches)).isfinite().all()
    assert all(p.isfinite().all() for p in state.network.parameters())
    assert any(
        not torch.equal(p, q) for p, q in zip(before, state.network.parameters(), strict=True)
    )
    if sharing != "ensemble":  # which takes its members in turn
        assert count_flops(state, next(batches)) == count(strategy, data, recipe, width)[0].flops


@pytest.mark.parametrize(("network", "head", "width"), SUITED)
def test_a_partner_of_weight_0_changes_no_bit(
    network: str, head: DenseHeadName, width: float
) -> None:
    from dataclasses import replace

    data, recipe = _data(), _recipe(network, head)
    silent = replace(data["normals"], task=replace(data["normals"].task, weight=0.0))

    def outputs(tasks: list[TaskData]) -> Tensor:
        state = TrainingState(parse_strategy("hard"), tasks, recipe, width, 0, CPU)
        for _ in state.train(Batches(tasks, recipe, 0, CPU), 4, [4]):
            pass
        x = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            return torch.as_tensor(state.network.eval()([x, *[None] * (len(tasks) - 1)])[0])

    assert torch.equal(outputs([data["depth"], silent]), outputs([data["depth"]]))


# ------------------------------------------------------------------------------------- networks


def test_segnet_has_the_convolutions_of_vgg16_and_their_mirror_image() -> None:
    with torch.device("meta"):
        encoder = build_encoder("segnet", (3, 288, 384))
    sizes = [sum(p.numel() for p in stage.parameters() if p.dim() == 4) for stage in encoder.stages]
    # Of VGG-16 without its biases; the mirror image ends at 64 channels, not at 3.
    assert sum(sizes[:5]) == 14_710_464
    assert sum(sizes[5:]) == 14_710_464 + 9 * 64 * (64 - 3)
    assert [shape[1:] for shape in encoder.stage_shapes] == [
        (144, 192),
        (72, 96),
        (36, 48),
        (18, 24),
        (9, 12),
        (18, 24),
        (36, 48),
        (72, 96),
        (144, 192),
        (288, 384),
    ]
    assert encoder.features == (64, 288, 384)


@pytest.mark.parametrize("image", [(3, 37, 65), (1, 16, 200), (3, 2, 5)])
def test_segnet_ends_at_the_size_of_any_image(image: tuple[int, ...]) -> None:
    assert build_encoder("segnet", image, 0.1).features[1:] == image[1:]


def test_segnet_refuses_what_has_no_half() -> None:
    with pytest.raises(UserError, match="1 × 9 has no half"):
        build_encoder("segnet", (3, 1, 9))


@pytest.mark.parametrize("stride", [8, 16])
def test_a_dilated_resnet_is_torchvisions(stride: int) -> None:
    from torchvision.models import resnet50

    from bench.networks._stages import replace_by_group_norm

    encoder = build_encoder(f"torchvision:resnet50@stride={stride}", (3, 64, 96))
    assert encoder.features == (2048, 64 // stride, 96 // stride)
    assert len(encoder.stages) == 5  # a layer each, whether it halves its map or not
    theirs = resnet50(replace_stride_with_dilation=[False, stride == 8, True])
    replace_by_group_norm(theirs)
    theirs.fc = nn.Identity()
    for ours, p in zip(encoder.parameters(), theirs.parameters(), strict=True):
        p.data.copy_(ours.data)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x).mean((2, 3)), theirs(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("torchvision:resnet50@stride=4", "stride is one of 8, 16 and 32, not 4"),
        ("torchvision:resnet18@stride=8", "resnet18 has no stride of 8: .* such as resnet50"),
        ("torchvision:convnext_tiny@stride=16", "convnext_tiny has no stride of 16"),
    ],
)
def test_a_stride_that_a_model_has_not_is_refused(network: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_encoder(network, (3, 64, 64))


@pytest.mark.slow
def test_a_dilated_resnet_keeps_the_contract() -> None:
    (report,) = validate("torchvision:resnet50@stride=16", DataSource())
    assert (report.component, report.outcome, report.failed) == ("network", "ok", ())
