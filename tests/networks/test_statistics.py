"""Batch statistics per task: apart, repeatable, and moved by training alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import DataSource, MultiTaskNetwork
from bench.errors import UserError
from bench.networks import SeparateStatistics
from bench.randomness import seeded
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_network, parse_strategy
from bench.tasks import TaskData
from bench.train.evaluation import evaluate, evaluation_sets
from bench.train.loop import TrainingState, build_encoder, build_network
from bench.train.pricing import count
from bench.train.survey import prepare_network
from bench.validation import validate
from bench.validation.components import drawn_tasks, same_bits, state_of, trained_steps

timm = pytest.importorskip("timm")

SMALL = "timm:test_resnet@norm=per-task"
RECIPE = Recipe(network=SMALL, train_size=24, validation_size=8, batch_size=8)
CPU = torch.device("cpu")
_DRAWN = drawn_tasks((3, 32, 32))
TARGET, OTHER = _DRAWN["tasks on different images"]
_, BESIDE = _DRAWN["tasks on the same images"]


def _silent(data: TaskData) -> TaskData:
    return replace(data, task=replace(data.task, weight=0.0))


def _trained(strategy: str, *data: TaskData, recipe: Recipe = RECIPE) -> TrainingState:
    return trained_steps(parse_strategy(strategy), list(data), recipe)[0]


def _layers(network: nn.Module) -> list[SeparateStatistics]:
    return [m for m in network.modules() if isinstance(m, SeparateStatistics)]


def _outputs(network: MultiTaskNetwork, images: Sequence[Tensor | None]) -> list[Tensor | None]:
    with torch.no_grad():
        return network.eval()(images)


def test_in_training_it_is_the_batch_normalisation_of_the_model() -> None:
    with seeded(0, "test"):
        theirs = timm.create_model("test_resnet").train()
    with seeded(0, "test"):
        ours = build_encoder(SMALL, (3, 32, 32))
    x = torch.randn(4, 3, 32, 32)
    for _ in range(3):  # in another layout, and so with other last digits
        assert torch.allclose(ours(x), theirs.forward_features(x), rtol=1e-3, atol=1e-3)
    ours.eval(), theirs.eval()
    assert torch.allclose(ours(x), theirs.forward_features(x), rtol=1e-3, atol=1e-3)
    assert {type(m).__name__ for m in _layers(ours)} == {"PerTaskBatchNorm2d"}


def test_tasks_on_different_images_have_statistics_of_their_own() -> None:
    state = _trained("hard", TARGET, OTHER)
    layers = _layers(state.network)
    assert layers
    for layer in layers:
        assert layer.means.shape[0] == 2
        assert not torch.equal(layer.means[0], layer.means[1])
        assert not torch.equal(layer.variances[0], layer.variances[1])
    assert all(layer.means.shape[0] == 1 for layer in _layers(_trained("hard", TARGET).network))
    for layer in _layers(_trained("hard", TARGET, BESIDE).network):  # pass together, as the first
        assert layer.means[0].any()
        assert not layer.means[1].any()


def test_where_tasks_have_features_of_their_own_they_have_statistics_of_their_own() -> None:
    """FiLM modulates what the first stage makes of the same images, for each task."""
    first, *later = _layers(_trained("film", TARGET, BESIDE).network)
    assert not first.means[1].any()
    assert all(layer.means[1].any() for layer in later[2:])


def test_the_statistics_of_a_task_are_those_of_its_images_alone() -> None:
    network = build_network(parse_strategy("hard"), [TARGET, OTHER], SMALL, 1.0, 0).train()
    one, other = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32) + 5
    network([one, other])
    first = _layers(network)[0]
    before = first.means.clone()
    network([None, other])
    assert torch.equal(first.means[0], before[0])
    assert not torch.equal(first.means[1], before[1])
    # Evaluated together or one after the other, each is normalised by its own.
    both = _outputs(network, [one, other])
    apart = [_outputs(network, [one, None])[0], _outputs(network, [None, other])[1]]
    for a, b in zip(both, apart, strict=True):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))


@pytest.mark.parametrize(
    "strategy", ["hard", "branch@3", "film", "adapters", "mtan", "mmoe", "ensemble", "single"]
)
@pytest.mark.parametrize("partner", [BESIDE, OTHER], ids=["same images", "different images"])
def test_a_silent_partner_changes_no_bit_wherever_an_encoder_is_shared_or_copied(
    strategy: str, partner: TaskData
) -> None:
    beside, alone = _trained(strategy, TARGET, _silent(partner)), _trained(strategy, TARGET)
    x = torch.randn(4, 3, 32, 32)
    ours, theirs = _outputs(beside.network, [x, None])[0], _outputs(alone.network, [x])[0]
    assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))
    again = _trained(strategy, TARGET, _silent(partner))
    assert same_bits(state_of(beside.network), state_of(again.network))


@pytest.mark.parametrize("strategy", ["cross-stitch", "hard+pcgrad", "hard+partner+finetune"])
def test_other_strategies_train_the_same_bits_again(strategy: str) -> None:
    one, other = _trained(strategy, TARGET, OTHER), _trained(strategy, TARGET, OTHER)
    assert same_bits(state_of(one.network), state_of(other.network))
    assert all(p.isfinite().all() for p in one.network.parameters())


@pytest.mark.parametrize("partner", [BESIDE, OTHER], ids=["same images", "different images"])
def test_both_ends_of_branching_are_single_and_hard(partner: TaskData) -> None:
    images = torch.randn(4, 3, 32, 32)
    given = [images, images if partner is BESIDE else torch.randn(4, 3, 32, 32)]
    for shared, same in ((0, "single"), (5, "hard")):
        ours = _outputs(_trained(f"branch@{shared}", TARGET, partner).network, given)
        theirs = _outputs(_trained(same, TARGET, partner).network, given)
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))


def test_members_of_an_ensemble_take_turns_as_before() -> None:
    state = _trained("ensemble@members=2", TARGET, OTHER)
    moved = [not torch.equal(layer.means[:1], layer.means[1:]) for layer in _layers(state.network)]
    # Each network has the images of one task, and has statistics of the other's that never moved.
    assert all(moved)


@pytest.mark.parametrize("strategy", ["hard", "hard+famo", "hard+auto-lambda"])
def test_of_all_passes_of_a_step_one_moves_the_statistics(strategy: str) -> None:
    """FAMO looks at a batch once more after its step, and Auto-λ several times before it."""
    state = TrainingState(parse_strategy(strategy), [TARGET, OTHER], RECIPE, 1.0, 0, CPU)
    moving: list[tuple[int, bool]] = []
    first = _layers(state.network)[0]
    first.register_forward_pre_hook(
        lambda layer, _: moving.append((layer.at, layer.track_running_stats))
    )
    list(state.train(state.batches(), 3, [3]))
    assert [at for at, moves in moving if moves] == [0, 1] * 3
    assert (len(moving) > 6) == (strategy != "hard")


def test_evaluation_and_gradient_measurements_move_no_statistics() -> None:
    state = _trained("hard", TARGET, OTHER)
    before = state_of(state.network)
    data = [TARGET, OTHER]
    sets = evaluation_sets([(d, d.images.test, d.test_labels, None) for d in data], CPU, True)
    first = evaluate(state.network, state.tasks, sets)
    state.gramian(state.batches().probe())
    second = evaluate(state.network, state.tasks, sets)
    assert same_bits(before, state_of(state.network))
    assert [s.metrics for s in first] == [s.metrics for s in second]


def test_a_price_knows_nothing_of_statistics() -> None:
    for data in ([TARGET, OTHER], [TARGET, BESIDE]):
        counted = [
            count(parse_strategy("hard"), data, RECIPE.model_copy(update={"network": text}), 1.0)
            for text in (SMALL, SMALL, "timm:test_resnet@norm=group")
        ]
        assert counted[0] == counted[1]
        assert counted[0][0].flops == counted[2][0].flops
        assert counted[0][0].parameters == counted[2][0].parameters


def test_features_are_merged_on_the_statistics_of_their_images() -> None:
    state = _trained("hard+mgda-ub", TARGET, BESIDE)
    assert all(layer.means[0].any() for layer in _layers(state.network))
    with pytest.raises(UserError, match="images of their own"):
        _trained("hard+mgda-ub", TARGET, OTHER)


def test_it_passes_every_check_but_those_that_no_batch_statistics_can() -> None:
    (report,) = validate(SMALL, DataSource())
    assert not report.failed
    skipped = [finding.check for finding in report.findings if finding.outcome == "skipped"]
    assert skipped == ["evaluates", "separates", "widths"]
    assert parse_network(SMALL).mixes_images
    assert not parse_network("timm:test_resnet").mixes_images


def test_the_plan_says_what_becomes_of_batch_statistics() -> None:
    assert (
        "network timm:test_resnet: batch normalisation takes the statistics of each batch, and "
        "running ones in evaluation, each task's apart; tasks whose features are the same, on the "
        "same images, share them, in all arms"
    ) in prepare_network(SMALL, download=False)


def test_a_frozen_stage_keeps_the_statistics_of_its_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with seeded(9, "test"):
        model = timm.create_model("test_resnet")
    state = {n: t + 0.5 if "running" in n else t for n, t in model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    network = f"timm:test_resnet@weights={tmp_path / 'w.safetensors'},norm=per-task,frozen=2"
    recipe = RECIPE.model_copy(update={"network": network})
    trained = _trained("hard", TARGET, OTHER, recipe=recipe)
    fresh = build_network(parse_strategy("hard"), [TARGET, OTHER], network, 1.0, 0)
    moved = [
        not torch.equal(ours.means, theirs.means)
        for ours, theirs in zip(_layers(trained.network), _layers(fresh), strict=True)
    ]
    assert not moved[0]
    assert moved[-1]
    assert sorted(moved) == moved  # those of the first stages stay, and all others move


def test_a_batch_of_one_image_is_refused_with_the_fix() -> None:
    encoder = build_encoder(SMALL, (3, 32, 32))
    with pytest.raises(UserError, match="raise --batch-size, or give norm=group"):
        encoder(torch.randn(1, 3, 32, 32))
