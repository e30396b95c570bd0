"""TAG: what a step for one task does to the losses of others, and that watching changes nothing."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.contracts import EffectsOfSteps, Trial
from bench.spec.registry import measuring_weighting, parse_strategy
from bench.strategies.tag import Tag
from bench.task_types import Regression
from bench.tasks import Task
from bench.train.run import execute
from tests.conftest import toy_jobs


def watching(tasks: int) -> EffectsOfSteps:
    """Return the module that measures so many tasks."""
    names = [Task(str(number), Regression(), 1) for number in range(tasks)]
    module = Tag().build(names, [])
    assert isinstance(module, EffectsOfSteps)
    return module


def test_the_effect_by_hand() -> None:
    """Losses x²/2 and (x − 1)²/2 at x = 2: a step for the first moves to 1.8, and lowers both."""

    def losses(parameters: Sequence[Tensor]) -> Tensor:
        (x,) = parameters
        return torch.stack([x**2 / 2, (x - 1) ** 2 / 2])

    module = watching(2)
    trial = Trial([torch.tensor(2.0)], losses, losses, torch.tensor([0.5, 0.5]), 0.1)
    module.look_ahead(trial)
    first = module.effects()
    assert first[0].tolist() == pytest.approx([1 - 1.8**2 / 2**2, 1 - 0.8**2])
    assert all(math.isnan(value) for value in first[1].tolist()), "its turn has not come"
    module.look_ahead(trial)  # the second task: a gradient of 1, so a step to 1.9
    assert module.effects()[1].tolist() == pytest.approx([1 - 1.9**2 / 2**2, 1 - 0.9**2])


def test_a_task_that_hurts_the_other_has_a_negative_effect() -> None:
    def losses(parameters: Sequence[Tensor]) -> Tensor:
        (x,) = parameters
        return torch.stack([(x - 1) ** 2, (x + 1) ** 2])

    module = watching(2)
    module.look_ahead(Trial([torch.tensor(0.0)], losses, losses, torch.ones(2) / 2, 0.1))
    own, other = module.effects()[0].tolist()
    assert own > 0 > other


def test_a_run_learns_as_if_nobody_watched(tmp_path: Path) -> None:
    """The scores are those of plain sharing, bit for bit; the effects are in the record."""
    runs = {}
    for strategy in ("hard", "hard+tag"):
        job = next(
            job
            for job in toy_jobs(tmp_path, strategy, "toy:row+column")
            if job.spec.strategy == strategy
        )
        runs[strategy], _ = execute(job)
    plain, watched = runs["hard"], runs["hard+tag"]
    assert plain.scores == watched.scores
    assert [p.losses for p in plain.curve] == [p.losses for p in watched.curve]
    assert all(not point.effects for point in plain.curve)
    for point in watched.curve:
        assert point.effects.keys() == {"row", "column"}
        assert point.effects["row"]["row"] is not None
        assert point.effects["row"]["row"] > 0, "a step for a task lowers its own loss"
    assert plain.ledger is not None
    assert watched.ledger is not None
    # A forward and a backward pass and another forward pass beside the step's own.
    ratio = watched.ledger.prices[0].flops / plain.ledger.prices[0].flops
    assert 1.8 < ratio < 2.6


def test_it_is_the_weighting_that_measures() -> None:
    assert parse_strategy(f"hard+{measuring_weighting()}").weighting == Tag()
