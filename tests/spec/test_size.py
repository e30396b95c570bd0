"""The size of a plan is counted without the plan, and never too small."""

import re
from pathlib import Path

import pytest

from bench.contracts import DataSource
from bench.errors import UserError
from bench.plan.plan import make_plan
from bench.spec.budget import Budget, Price, steps_bought
from bench.spec.experiment import Experiment, load_experiment, shipped_experiments
from bench.spec.limits import ASK_ABOVE_RUNS, MOST_STEPS
from bench.spec.names import declared_pairs
from bench.spec.registry import datasets, parse_pairs, parse_strategy
from bench.spec.size import PlanSize
from bench.store.store import Store

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "asked",
    [
        {"pair": "toy:row+column", "strategy": "hard"},
        {"pair": "toy:row+column", "strategy": ("hard", "hard+reconstruction", "cross-stitch")},
        {"pair": "toy:row*column", "strategy": "cross-stitch", "also_against": ("wide",)},
        {"pair": "toy:row+column~shuffled", "strategy": "hard", "reference": "cross-stitch"},
        {"pair": "toy:row", "strategy": "hard+reconstruction", "tune": 2},
    ],
)
def test_no_plan_is_larger_than_its_size(asked: dict[str, object], tmp_path: Path) -> None:
    fixed = {"seeds": 3, "budget": "12steps", "train_size": 100, "validation_size": 50}
    experiment = Experiment.model_validate({**fixed, **asked, "batch_size": 16, "device": "cpu"})
    plan = make_plan(experiment, DataSource(), Store(tmp_path), lambda _: None)
    planned = len(plan.jobs) + len(plan.trials)
    assert planned <= PlanSize.of(experiment).runs <= 3 * planned


def test_no_shipped_experiment_is_asked_about() -> None:
    for name in shipped_experiments():
        assert not PlanSize.of(load_experiment(name, {})).asks, name


def test_pairs_are_counted_as_they_are_listed() -> None:
    for name, count in declared_pairs().items():
        if not datasets().found[name].takes_path:
            assert len(parse_pairs(name)) == count, name
    one, many = (
        PlanSize.of(load_experiment("default", {"pair": [pair], "strategy": ["hard"]})).runs
        for pair in ("creatures:a+b", "creatures:a*b*c*d")
    )
    assert many == 6 * one


@pytest.mark.parametrize("strategy", ["mmoe@1000000000", "mmoe@2,17", "ensemble@1000000000"])
def test_a_knob_that_multiplies_networks_has_a_bound(strategy: str) -> None:
    with pytest.raises(UserError, match=r"up to 16|from 1 to 64"):
        parse_strategy(strategy)


@pytest.mark.parametrize("strategy", ["gradnorm@1e13", "dwa@2,10000000000000", "dwa@inf"])
def test_no_knob_is_without_a_bound(strategy: str) -> None:
    with pytest.raises(UserError, match=r"is of no use: give up to 1e\+12"):
        parse_strategy(strategy)


def test_a_run_has_a_bounded_number_of_steps() -> None:
    price = Price(flops=1.0, samples=1, peak_bytes=1, parameters=1)
    assert steps_bought(Budget(MOST_STEPS, "flop"), [price], [1.0], "a") == (MOST_STEPS,)
    with pytest.raises(UserError, match="give a smaller --budget"):
        steps_bought(Budget(2 * MOST_STEPS, "flop"), [price], [1.0], "a")


def test_the_guide_names_the_bound() -> None:
    guide = (ROOT / "docs/guide.md").read_text("utf-8")
    assert re.search(rf"more than {ASK_ABOVE_RUNS:,} runs", " ".join(guide.split()))
