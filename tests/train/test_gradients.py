"""Looking at the tasks' gradients tells what they are, and changes no number of a run."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import bench.train.run
from bench.spec.experiment import Recipe, RunSpec
from bench.spec.registry import parse_strategy
from bench.store.records import CurvePoint, Record
from bench.tasks import TaskData
from bench.train.batches import Batches
from bench.train.job import Job
from bench.train.loop import TrainingState
from bench.train.run import execute
from tests.conftest import toy_jobs

CPU = torch.device("cpu")
Toy = Callable[[str], TaskData]


def _job(tmp_path: Path, strategy: str, pair: str = "toy:row+column", **how: object) -> Job:
    jobs = toy_jobs(tmp_path, strategy, pair, **how)
    return next(job for job in jobs if job.spec.strategy != "single")


def _looked(record: Record) -> list[CurvePoint]:
    return [point for point in record.curve if point.norms]


@pytest.mark.parametrize(
    "strategy",
    [
        "hard",
        "hard+pcgrad",
        "hard+graddrop",  # draws from the global generator
        "hard+gradnorm",  # trains parameters of its own
        "hard+famo",  # has buffers, and a second look
        "cross-stitch",
        "mtan",
        "hard+rotation",  # on changed images
        "hard+reconstruction",
    ],
)
def test_a_run_that_is_looked_at_equals_one_that_is_not_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    job = _job(tmp_path, strategy, augment="crop+flip")
    states = []
    train = bench.train.run._train

    def remembering(spec: RunSpec, state: TrainingState, *others: Any) -> Any:
        trained = train(spec, state, *others)
        moments = state.optimizer.state
        gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
        modules = [state.network.state_dict(), state._combine.state_dict()]
        weights = [value for state in modules for value in state.values()]
        states.append([*weights, *gradients, *moments, torch.get_rng_state()])
        return trained

    monkeypatch.setattr(bench.train.run, "_train", remembering)
    looked, examples = execute(job)
    monkeypatch.setattr(bench.train.run, "_probed_points", lambda *_: set())
    blind, blind_examples = execute(job)
    assert _looked(looked)
    assert not _looked(blind)
    assert looked.scores == blind.scores
    bare = [replace(p, norms={}, cosines={}) for p in looked.curve]
    assert bare == list(blind.curve)
    assert all((examples[task] == blind_examples[task]).all() for task in examples)
    with_look, without = states
    assert all(torch.equal(a, b) for a, b in zip(with_look, without, strict=True))


def test_a_look_writes_no_gradient_and_draws_nothing(toy: Toy, recipe: Recipe) -> None:
    data = [toy("row"), toy("column")]
    state = TrainingState(parse_strategy("hard"), data, recipe, 1.0, 0, CPU)
    batches = Batches(data, recipe, 0, CPU)
    before = torch.get_rng_state()
    state.gramian(batches.probe())
    assert all(p.grad is None for p in state.network.parameters())
    assert state.network.training
    assert torch.equal(torch.get_rng_state(), before)
    fresh = next(iter(Batches(data, recipe, 0, CPU)))
    assert torch.equal(next(iter(batches)).targets[0], fresh.targets[0])


def test_every_look_of_a_seed_sees_the_same_training_images(toy: Toy, recipe: Recipe) -> None:
    data = [toy("row"), toy("column")]
    batches = Batches(data, recipe, 0, CPU)
    first, again = batches.probe(), batches.probe()
    alone = Batches(data[:1], recipe, 0, CPU, resident=False).probe()
    for batch in (again, alone):
        assert first.images[0] is not None
        assert batch.images[0] is not None
        assert torch.equal(first.images[0], batch.images[0])
        assert torch.equal(first.targets[0], batch.targets[0])
    assert first.images[0] is first.images[1]
    assert len(first.targets[0]) == recipe.batch_size
    other = Batches(data, recipe, 1, CPU).probe()
    assert not torch.equal(first.targets[0], other.targets[0])


def test_the_gramian_is_that_of_the_gradients_that_backward_gives(toy: Toy, recipe: Recipe) -> None:
    data = [toy("row"), toy("column~noise"), toy("low")]  # one of them on images of its own
    state = TrainingState(parse_strategy("hard"), data, recipe, 1.0, 0, CPU)
    batch = Batches(data, recipe, 0, CPU).probe()
    rows = []
    for task in range(3):
        state.network.zero_grad(set_to_none=True)
        state._losses_of(batch)[task].backward()
        gradients = [p.grad for p in state.network.shared_parameters()]
        rows.append(torch.cat([g.reshape(-1) for g in gradients if g is not None]))
    expected = torch.stack(rows) @ torch.stack(rows).T
    torch.testing.assert_close(state.gramian(batch), expected)


def test_equal_tasks_have_a_cosine_of_one_and_opposed_ones_of_minus_one(
    toy: Toy, recipe: Recipe
) -> None:
    row = toy("row")
    twin = replace(row, task=replace(row.task, name="twin"))
    state = TrainingState(parse_strategy("hard"), [row, twin], recipe, 1.0, 0, CPU)
    batch = Batches([row, twin], recipe, 0, CPU).probe()
    with torch.no_grad():
        for a, b in pairwise(
            [[p for n, p in state.network.named_parameters() if f"heads.{t}" in n] for t in (0, 1)]
        ):
            for p, q in zip(a, b, strict=True):
                q.copy_(p)
    norms, cosines = bench.train.run._gradients(state, batch)
    assert norms["row"] == pytest.approx(norms["twin"])
    assert cosines == {"row": {"twin": pytest.approx(1.0)}}
    own = state._losses[1]
    state._losses[1] = lambda outputs, targets: -2 * own(outputs, targets)
    norms, cosines = bench.train.run._gradients(state, batch)
    assert norms["twin"] == pytest.approx(2 * (norms["row"] or 0))
    assert cosines == {"row": {"twin": pytest.approx(-1.0)}}


def test_a_task_without_a_gradient_has_no_cosine(toy: Toy, recipe: Recipe) -> None:
    data = [toy("row"), toy("column")]
    state = TrainingState(parse_strategy("hard"), data, recipe, 1.0, 0, CPU)
    state._losses[1] = lambda outputs, targets: 0 * outputs.sum()
    norms, cosines = bench.train.run._gradients(state, Batches(data, recipe, 0, CPU).probe())
    assert norms["column"] == 0
    assert cosines == {"row": {"column": None}}


def test_all_pairs_of_a_runs_tasks_are_recorded_placebos_and_auxiliaries_too(
    tmp_path: Path,
) -> None:
    record, _ = execute(_job(tmp_path, "hard", "toy:row+column~none+low"))
    (point, *_) = _looked(record)
    # A partner of weight 0 has a gradient all the same: its own loss is not weighted here.
    assert set(point.norms) == {"row", "column~none", "low"}
    assert all(norm is not None and norm > 0 for norm in point.norms.values())
    assert {a: set(others) for a, others in point.cosines.items()} == {
        "row": {"column~none", "low"},
        "column~none": {"low"},
    }
    for others in point.cosines.values():
        assert all(c is not None and math.fabs(c) <= 1 for c in others.values())
    record, _ = execute(_job(tmp_path, "hard+reconstruction"))
    assert set(_looked(record)[0].cosines["row"]) == {"reconstruction"}
    assert "probe/toy" in record.streams


@pytest.mark.parametrize("strategy", ["branch@0", "ensemble"])
def test_networks_that_share_nothing_have_no_cosines(tmp_path: Path, strategy: str) -> None:
    record, _ = execute(_job(tmp_path, strategy))
    assert not _looked(record)


def test_looks_cost_at_most_a_hundredth_of_the_steps_and_seeds_take_turns() -> None:
    curve = list(range(1, 6))

    def looked(steps: int, tasks: int, seed: int) -> set[int]:
        return bench.train.run._probed_points(seed, steps, tasks, curve)

    # A look costs at most as many steps as there are tasks.
    assert [len(looked(steps, 2, 0)) for steps in (50, 399, 400, 999, 1000)] == [1, 1, 2, 4, 5]
    assert [len(looked(3000, tasks, 0)) for tasks in (2, 10, 30)] == [5, 3, 1]
    for steps in (200, 400, 700, 1000):
        counts = [sum(point in looked(steps, 2, seed) for seed in range(10)) for point in curve]
        assert len(set(counts)) == 1, "over seeds, every point is seen as often"
