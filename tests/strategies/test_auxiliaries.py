from collections.abc import Callable

import pytest
import torch

from bench.contracts import Auxiliary
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy
from bench.tasks import TaskData
from bench.train.batches import Batches
from bench.train.loop import TrainingState

Toy = Callable[[str], TaskData]


def _attached(strategy: str, target: TaskData, *partners: TaskData) -> list[TaskData]:
    (auxiliary,) = parse_strategy(strategy).auxiliaries
    assert isinstance(auxiliary, Auxiliary)
    return [target, *auxiliary.attach(target, partners)]


def test_reconstruction_learns_to_rebuild_the_targets_own_images(toy: Toy) -> None:
    recipe = Recipe(train_size=100, validation_size=50, batch_size=16, learning_rate=5e-3)
    data = _attached("reconstruction", toy("row"))
    assert data[1].images is data[0].images
    state = TrainingState(
        parse_strategy("reconstruction"), data, recipe, 1.0, 0, torch.device("cpu")
    )
    batches = Batches(data, recipe, 0, torch.device("cpu"))
    (losses,) = state.train(batches, 120, [120])
    assert losses[-10:, 1].mean() < 0.5 * losses[:3, 1].mean()


def test_the_weight_of_reconstruction_does_not_depend_on_the_image_size() -> None:
    from bench.task_types import Reconstruction

    kind = Reconstruction()
    small, large = (torch.ones(2, 1, side, side) for side in (8, 32))
    assert kind.loss(small, 0 * small) == kind.loss(large, 0 * large) == 1


def test_a_partner_serves_the_target_at_its_weight_and_is_not_scored(toy: Toy) -> None:
    target, partner = _attached("partner@0.25", toy("row"), toy("column"))
    assert (target.task.weight, target.task.scored) == (1.0, True)
    assert (partner.task.weight, partner.task.scored) == (0.25, False)
    assert partner.task.name == "column"


def test_a_silent_partner_stays_silent(toy: Toy) -> None:
    assert _attached("partner", toy("row"), toy("column~none"))[1].task.weight == 0


@pytest.mark.parametrize("strategy", ["reconstruction", "partner"])
def test_an_auxiliary_task_is_never_scored(toy: Toy, strategy: str) -> None:
    assert [d.task.scored for d in _attached(strategy, toy("row"), toy("column"))] == [True, False]
