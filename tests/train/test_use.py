"""What a trained network costs to use: counted by hand for LeNet, and told in the decision."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.decide.pairs import together
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy
from bench.store.records import Use
from bench.tasks import TaskData
from bench.train.loop import TrainingState, build_network
from bench.train.run import execute
from bench.train.use import cost_of_use
from tests.conftest import toy_jobs

Toy = Callable[[str], TaskData]
CPU = torch.device("cpu")


def _use(strategy: str, data: list[TaskData], recipe: Recipe) -> Use:
    chosen = parse_strategy(strategy)
    state = TrainingState(chosen, data, recipe, 1.0, seed=0, device=CPU)
    with torch.device("meta"):
        shadow = build_network(chosen, data, recipe.network, 1.0, seed=0)
    return cost_of_use(state.network, shadow, data, recipe.precision, CPU)


def test_the_flops_of_an_image_are_those_of_a_forward_pass_by_hand(
    toy: Toy, recipe: Recipe
) -> None:
    # LeNet on 16 × 16 grey: 5 × 5 kernels to 12 × 12, pooled to 6 × 6, then to 2 × 2, pooled to 1.
    first = 2 * 25 * 10 * 12 * 12
    second = 2 * 10 * 25 * 20 * 2 * 2
    linear, head = 2 * 20 * 50, 2 * 50 * 4
    one = _use("single", [toy("row")], recipe)
    assert one.flops_per_image == first + second + linear + head
    both = _use("hard", [toy("row"), toy("column")], recipe)
    # The encoder is passed once for tasks on the same images.
    assert both.flops_per_image == one.flops_per_image + head
    column = toy("column")
    elsewhere = replace(column, images=replace(column.images, name="elsewhere"))
    apart = _use("hard", [toy("row"), elsewhere], recipe)
    assert apart.flops_per_image == 2 * one.flops_per_image
    assert both.parameters == one.parameters + 50 * 4 + 4


def test_time_and_memory_are_above_zero_and_memory_holds_weights_and_a_batch(
    toy: Toy, recipe: Recipe
) -> None:
    use = _use("hard", [toy("row"), toy("column")], recipe)
    assert use.seconds_alone > 0
    assert use.seconds_in_batch > 0
    images, first = 64 * 16 * 16 * 4, 64 * 10 * 12 * 12 * 4
    assert use.peak_bytes >= 4 * use.parameters + images + first
    assert use.peak_bytes < 4 * use.parameters + images + 4 * first


def test_an_auxiliary_task_is_not_asked_for(tmp_path: Path) -> None:
    (alone,) = (j for j in toy_jobs(tmp_path, "single", "toy:row"))
    plain = execute(alone)[0].use
    (job,) = (
        j
        for j in toy_jobs(tmp_path, "reconstruction", "toy:row+column")
        if "reconstruction" in j.spec.strategy and j.spec.scored == ("row",)
    )
    helped = execute(job)[0].use
    assert plain is not None
    assert helped is not None
    assert helped.flops_per_image == plain.flops_per_image
    assert helped.peak_bytes >= plain.peak_bytes  # its decoder's weights are still there


def test_only_the_first_seed_is_measured(tmp_path: Path) -> None:
    job, *_ = toy_jobs(tmp_path, "hard", "toy:row+column")
    later = job.spec.model_copy(update={"seed": 1})
    record, _ = execute(job.__class__(later, job.prices, job.key, job.source, "", None))
    assert record.status == "ok"
    assert record.use is None


def test_networks_apart_add_up_but_for_their_activations() -> None:
    small = Use(
        parameters=100, flops_per_image=10, seconds_alone=1, seconds_in_batch=0.5, peak_bytes=1400
    )
    large = Use(
        parameters=200, flops_per_image=30, seconds_alone=2, seconds_in_batch=1.5, peak_bytes=3800
    )
    both = together([small, large])
    assert both is not None
    assert (both.parameters, both.flops_per_image, both.seconds_alone) == (300, 40, 3)
    assert both.peak_bytes == 4 * 300 + max(1000, 3000)
    assert together([small, None]) is None


@pytest.mark.parametrize("strategy", ["cross-stitch", "mtan", "film", "mmoe"])
def test_soft_sharing_has_its_cost_too(toy: Toy, recipe: Recipe, strategy: str) -> None:
    use = _use(strategy, [toy("row"), toy("column")], recipe)
    hard = _use("hard", [toy("row"), toy("column")], recipe)
    assert use.flops_per_image > hard.flops_per_image
