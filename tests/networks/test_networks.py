import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import DataSource
from bench.errors import UserError
from bench.networks import ClassificationHead, DenseHead
from bench.networks.resnet import _projection
from bench.spec.registry import networks
from bench.train.loop import build_encoder
from bench.validation import validate

#: Those that ship and take small images; the families of other libraries have a file of their own.
NETWORKS = sorted(name for name, plugin in networks().found.items() if not plugin.models)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("width", [1.0, 0.33])
def test_every_encoder_says_the_shape_of_its_stages(network: str, width: float) -> None:
    encoder = build_encoder(network, (3, 24, 24), width)
    x = torch.rand(2, 3, 24, 24)
    for stage, shape in zip(encoder.stages, encoder.stage_shapes, strict=True):
        x = stage(x)
        assert x.shape[1:] == shape
    assert encoder.features == x.shape[1:]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_result_depends_on_no_other_image_of_the_batch(network: str) -> None:
    # In double precision: a deep network rounds otherwise in a batch of another size.
    encoder = build_encoder(network, (3, 24, 24), 1.0).double().train()
    x = torch.rand(4, 3, 24, 24, dtype=torch.double)
    torch.testing.assert_close(encoder(x)[:1], encoder(x[:1]))


@pytest.mark.parametrize("network", NETWORKS)
def test_training_and_evaluation_compute_the_same_function(network: str) -> None:
    encoder = build_encoder(network, (3, 24, 24), 1.0)
    x = torch.rand(2, 3, 24, 24)
    assert torch.equal(encoder.train()(x), encoder.eval()(x))
    assert not list(encoder.buffers())


@pytest.mark.parametrize("network", [*NETWORKS, "resnet8@norm=none"])
def test_a_network_keeps_the_contract(network: str) -> None:
    report = next(iter(validate(network, DataSource())))
    assert (report.component, report.outcome, report.failed) == ("network", "ok", ())


def test_resnet18_has_the_weights_of_torchvisions() -> None:
    import torchvision

    theirs = torchvision.models.resnet18(norm_layer=lambda c: nn.GroupNorm(1, c))
    theirs.fc = nn.Identity()
    ours = build_encoder("resnet18", (3, 64, 64))
    assert [tuple(p.shape) for p in ours.parameters()] == [
        tuple(p.shape) for p in theirs.parameters()
    ]


def _sizes(network: str) -> list[int]:
    return [
        sum(p.numel() for p in build_encoder(network, (3, 24, 24), width).parameters())
        for width in (0.25, 0.5, 1.0)
    ]


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "linear"])
def test_narrower_networks_have_fewer_parameters(network: str) -> None:
    assert _sizes(network) == sorted(set(_sizes(network)))


def test_one_linear_feature_is_as_narrow_as_it_gets() -> None:
    assert set(_sizes("linear")) == {3 * 24 * 24}


def test_lenet_refuses_images_that_it_would_shrink_to_nothing() -> None:
    with pytest.raises(UserError, match="16 × 16"):
        build_encoder("lenet", (1, 12, 12))


@pytest.mark.parametrize("image", [(1, 28, 28), (3, 24, 31), (3, 33, 26)])
def test_maxima_are_the_same_with_a_gradient_and_without(image: tuple[int, int, int]) -> None:
    encoder = build_encoder("lenet", image)
    x = torch.randn(8, *image).to(memory_format=torch.channels_last)
    with torch.no_grad():
        without = encoder(x)
    assert torch.equal(encoder(x), without)
    pooled = [
        stage.get_submodule("1")(torch.ones(1, 2, 7, 9)).shape for stage in encoder.stages[:2]
    ]
    assert {tuple(shape) for shape in pooled} == {(1, 2, 3, 4)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_head_pools_as_torch_does_and_keeps_the_layout_of_what_it_pools(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    head = ClassificationHead((16, 7, 5), 3).to(dtype)
    plain = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head.linear)
    features = torch.randn(4, 16, 7, 5, dtype=dtype).to(memory_format=layout).requires_grad_()
    ours, theirs = head(features), plain(features)
    (one,), (other,) = (torch.autograd.grad(y.square().sum(), features) for y in (ours, theirs))
    if layout == torch.channels_last:  # what networks are trained in
        assert torch.equal(ours, theirs)
        assert torch.equal(one, other)
        assert one.is_contiguous(memory_format=torch.channels_last)
    else:
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("features", [(50,), (64, 7, 7), (16, 28, 28)])
@pytest.mark.parametrize("image", [(1, 28, 28), (3, 25, 27)])
def test_a_decoder_covers_the_image(features: tuple[int, ...], image: tuple[int, ...]) -> None:
    if len(features) == 3 and features[1] == 7 and image[1] == 25:
        features = (64, 7, 7)
    head = DenseHead(features, image, outputs=2)
    assert head(torch.rand(3, *features)).shape == (3, 2, *image[1:])


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "image", [(3, 288, 384), (3, 128, 256), (3, 96, 64), (3, 65, 131), (3, 16, 200), (1, 28, 28)]
)
def test_a_decoder_covers_images_that_are_longer_one_way(
    network: str, image: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        encoder = build_encoder(network, image)
        head = DenseHead(encoder.features, image, outputs=13, channels=32)
        maps = head(encoder(torch.empty(2, *image)))
    assert maps.shape == (2, 13, *image[1:])


def test_a_decoder_keeps_each_place_of_the_grid_where_it_is_in_the_image() -> None:
    # Features of one place reach that place of the map and what the convolutions see around it.
    head = DenseHead((4, 9, 12), (3, 288, 384), outputs=1)
    features = torch.zeros(1, 4, 9, 12)
    before = head(features)
    features[0, :, 2, 9] = 5
    changed = (head(features) != before)[0, 0].nonzero().float()
    centre = (changed.amin(0) + changed.amax(0) + 1) / 2
    assert centre.tolist() == pytest.approx([2.5 * 32, 9.5 * 32], abs=2)


def test_a_classification_head_pools_what_is_spatial() -> None:
    assert ClassificationHead((8, 5, 5), 4)(torch.rand(2, 8, 5, 5)).shape == (2, 4)
    assert ClassificationHead((8,), 4)(torch.rand(2, 8)).shape == (2, 4)


def test_a_projection_of_few_channels_is_the_strided_convolution() -> None:
    """Torch's own corrupts memory there on some processors, so it is computed in another way."""
    few, plain = _projection(4, 6, 2), nn.Conv2d(4, 6, 1, 2, bias=False)
    assert type(few) is not type(plain)
    assert type(_projection(8, 6, 2)) is nn.Conv2d
    plain.load_state_dict(few.state_dict())
    x = torch.randn(2, 4, 7, 9)
    torch.testing.assert_close(few(x), plain(x))
    with FlopCounterMode(display=False) as ours:
        few(x)
    with FlopCounterMode(display=False) as theirs:
        plain(x)
    assert ours.get_total_flops() == theirs.get_total_flops() > 0


def test_a_narrow_residual_network_takes_a_step() -> None:
    encoder = build_encoder("resnet8", (3, 16, 16), 0.2)
    x = torch.randn(4, 3, 16, 16).to(memory_format=torch.channels_last)
    encoder.to(memory_format=torch.channels_last)(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
