"""Sequential transfer: two phases, each with steps, a price and an audit of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.contracts import DataSource
from bench.errors import UserError
from bench.plan.plan import make_plan
from bench.spec.experiment import Experiment, Recipe
from bench.spec.registry import parse_strategy
from bench.store.records import Record
from bench.store.store import Store
from bench.tasks import TaskData
from bench.train.job import Job
from bench.train.loop import TrainingState
from bench.train.run import execute
from tests.conftest import toy_jobs

CPU = torch.device("cpu")
Toy = Callable[[str], TaskData]


def _job(tmp_path: Path, strategy: str, pair: str = "toy:row+column", **how: object) -> Job:
    jobs = toy_jobs(tmp_path, strategy, pair, **how)
    return next(job for job in jobs if job.spec.tasks[0] == "row" and "+" in job.spec.strategy)


def _lane(strategy: str, data: Sequence[TaskData], recipe: Recipe) -> TrainingState:
    auxiliaries = parse_strategy(strategy).auxiliaries
    attached = [d for a in auxiliaries for d in a.attach(data[0], data[1:])]
    return TrainingState(parse_strategy(strategy), [data[0], *attached], recipe, 1.0, 3, CPU)


def _state(state: TrainingState, part: str) -> dict[str, Tensor]:
    weights = state.network.state_dict()
    return {name: value.clone() for name, value in weights.items() if part in name}


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def _train(state: TrainingState, phase: int, steps: int = 12) -> Tensor:
    state.enter(phase)
    (losses,) = state.train(state.batches(), steps, [steps])
    return losses


@pytest.mark.parametrize("strategy", ["finetune", "frozen-probe"])
def test_a_phase_trains_its_own_tasks_and_no_weight_of_the_others(
    toy: Toy, recipe: Recipe, strategy: str
) -> None:
    state = _lane(f"partner+{strategy}", [toy("row"), toy("column")], recipe)
    target, encoder = _state(state, "heads.0"), _state(state, "encoder")
    assert _train(state, 0).shape == (12, 1)
    assert _same(target, _state(state, "heads.0"))
    assert not _same(encoder, _state(state, "encoder"))
    partner, encoder = _state(state, "heads.1"), _state(state, "encoder")
    _train(state, 1)
    assert _same(partner, _state(state, "heads.1"))
    assert not _same(target, _state(state, "heads.0"))
    assert _same(encoder, _state(state, "encoder")) is (strategy == "frozen-probe")


def test_pretraining_is_single_task_training_of_the_partner(toy: Toy, recipe: Recipe) -> None:
    state = _lane("partner+finetune", [toy("row"), toy("column")], recipe)
    alone = _lane("hard", [toy("column")], recipe)
    assert torch.equal(_train(state, 0), _train(alone, 0))
    assert _same(_state(state, "encoder"), _state(alone, "encoder"))


def test_fine_tuning_is_single_task_training_from_another_encoder(toy: Toy, recipe: Recipe) -> None:
    state = _lane("partner+finetune", [toy("row"), toy("column")], recipe)
    _train(state, 0)
    alone = _lane("hard", [toy("row")], recipe)
    alone.network.load_state_dict(_state(state, "encoder"), strict=False)
    assert torch.equal(_train(state, 1), _train(alone, 0))
    assert _same(_state(alone, ""), state.network.state_dict())


def test_without_a_share_it_is_single_task_training_bit_for_bit(tmp_path: Path) -> None:
    pretrained = execute(_job(tmp_path, "partner+finetune@share=0"))[0]
    job = _job(tmp_path, "partner@0")
    assert sum(job.spec.steps) == 24
    alone = execute(job)[0]
    assert pretrained.scores == alone.scores


@pytest.mark.parametrize("pair", ["toy:row+column", "toy:row+column~noise"])
def test_each_phase_is_priced_as_what_it_computes_by_hand(tmp_path: Path, pair: str) -> None:
    """The layers' products: forward once, backward twice, and no gradient of the images.

    Pretraining and fine-tuning pass one set of images, whether or not the tasks share them.
    """
    first = 2 * (12 * 12) * 10 * (1 * 25)
    second = 2 * (2 * 2) * 20 * (10 * 25)
    linear = 2 * (20 * 1 * 1) * 50
    head = 2 * 50 * 4
    whole = 16 * (2 * first + 3 * (second + linear + head))
    # The head's input needs no gradient where the encoder is frozen.
    probed = 16 * (first + second + linear + 2 * head)
    for strategy, by_hand in (("finetune", whole), ("frozen-probe", probed)):
        job = _job(tmp_path, f"partner+{strategy}", pair)
        assert [price.flops for price in job.prices] == [whole, by_hand]
        assert [price.samples for price in job.prices] == [16, 16]


@pytest.mark.parametrize("budget", ["30mflop", "1000samples", "61steps", "0.4s"])
@pytest.mark.parametrize("share", [0.5, 0.25])
def test_the_budget_is_split_over_the_phases_and_spent_to_less_than_a_step(
    tmp_path: Path, budget: str, share: float
) -> None:
    job = _job(tmp_path, f"partner+frozen-probe@share={share}", budget=budget)
    amount, axis = {
        "30mflop": (30e6, "flop"),
        "1000samples": (1000, "samples"),
        "61steps": (61, "steps"),
        "0.4s": (0.4, "s"),
    }[budget]
    costs = [price.on(axis) for price in job.prices]  # type: ignore[arg-type]
    spent = [n * each for n, each in zip(job.spec.steps, costs, strict=True)]
    assert share * amount - costs[0] < spent[0] <= share * amount * (1 + 1e-9)
    assert amount - costs[1] < sum(spent) <= amount * (1 + 1e-9)


def _record(tmp_path: Path, strategy: str, **how: object) -> Record:
    return execute(_job(tmp_path, strategy, **how))[0]  # type: ignore[arg-type]


def test_the_audit_counts_steps_of_both_phases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = _record(tmp_path, "partner+frozen-probe", budget="30mflop")
    ledger = record.ledger
    assert ledger is not None
    assert len(set(ledger.prices)) == 2
    expected = sum(n * p.flops for n, p in zip(ledger.steps, ledger.prices, strict=True))
    assert ledger.used["flop"] == expected == ledger.allotted("flop")
    assert ledger.used["steps"] == sum(ledger.steps)
    # A second phase that secretly trains the encoder costs more than its price, and is found out.
    probe = parse_strategy("partner+frozen-probe")
    job = _job(tmp_path, "partner+frozen-probe", budget="30mflop")
    unfrozen = replace(probe, schedule=parse_strategy("partner+finetune").schedule)
    monkeypatch.setattr("bench.train.run.parse_strategy", lambda _: unfrozen)
    secret = execute(job)[0].ledger
    assert secret is not None
    assert secret.used["flop"] > 1.3 * secret.allotted("flop")


def test_the_curve_goes_over_both_phases_and_ends_each(tmp_path: Path) -> None:
    record = _record(tmp_path, "partner+finetune", curve_points=3)
    assert [point.step for point in record.curve] == [8, 12, 16, 24]
    # Only what a phase trains has a loss; the target is scored all along.
    assert [set(point.losses) for point in record.curve] == [{"column"}] * 2 + [{"row"}] * 2
    assert all(set(point.scores) == {"row"} for point in record.curve)
    ledger = record.ledger
    assert ledger is not None
    used = [ledger.allotted("steps", point.step) for point in record.curve]
    assert used == [8, 12, 16, 24]


def test_each_phase_anneals_its_own_rate(
    toy: Toy, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = _lane("partner+finetune", [toy("row"), toy("column")], recipe)
    rates: list[list[float]] = []
    step = TrainingState.step

    def watched(self: TrainingState, batch: object, watch: bool = False) -> Tensor:
        rates[-1].append(self.optimizer.rate)
        return step(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingState, "step", watched)
    for phase, steps in ((0, 20), (1, 40)):
        rates.append([])
        _train(state, phase, steps)
    for each in rates:
        assert max(each) == pytest.approx(recipe.learning_rate)
        assert each[-1] < 0.02 * recipe.learning_rate


def test_both_orders_of_a_pair_are_its_rows_against_their_own_network_alone(tmp_path: Path) -> None:
    experiment = Experiment(
        pair=("toy:row+column",),
        strategy=("partner+finetune",),
        seeds=1,
        budget="24steps",
        train_size=100,
        validation_size=50,
        device="cpu",
    )
    plan = make_plan(experiment, DataSource(), Store(tmp_path), lambda _: None)
    assert [cell.target for cell in plan.declaration.rows] == ["row", "column"]
    for row in plan.declaration.rows:
        assert list(row.seeds[0].anchors) == ["full", "same-steps"]
        assert row.target_phases == (1,)


@pytest.mark.parametrize(
    "strategy",
    ["rotation+finetune", "reconstruction+frozen-probe", "branch@1+partner+frozen-probe"],
)
def test_any_auxiliary_task_pretrains_any_sharing(tmp_path: Path, strategy: str) -> None:
    record = _record(tmp_path, strategy)
    assert record.status == "ok"
    assert record.scores["row"]


@pytest.mark.parametrize("weighting", ["", "dwa+", "gradnorm+", "auto-lambda+"])
def test_a_silent_partner_teaches_nothing_and_breaks_nothing(
    tmp_path: Path, weighting: str
) -> None:
    record = _record(tmp_path, f"{weighting}partner+finetune", pair="toy:row+column~none")
    assert record.status == "ok"


def test_an_interrupted_run_repeats(tmp_path: Path) -> None:
    first, second = (_record(tmp_path, "partner+frozen-probe", augment="crop") for _ in range(2))
    assert first.scores == second.scores
    assert first.curve == second.curve


def test_images_that_only_the_partner_is_labelled_on_are_not_fine_tuned_on(toy: Toy) -> None:
    recipe = Recipe(train_size=100, validation_size=50, batch_size=16)
    row = toy("row")
    assert row.train_labels is not None
    labels = row.train_labels.clone()
    labels[::2] = -1
    halved = replace(row, train_labels=labels)
    state = _lane("partner+finetune", [halved, toy("column")], recipe)
    alone = _lane("hard", [halved], recipe)
    state.enter(1)
    ours, theirs = (next(iter(each.batches())) for each in (state, alone))
    assert torch.equal(ours.targets[0], theirs.targets[0])
    assert (ours.targets[0] >= 0).all()


def test_it_is_for_auxiliary_tasks() -> None:
    with pytest.raises(UserError, match="finetune needs an auxiliary task"):
        parse_strategy("finetune")
    with pytest.raises(UserError, match="finetune and frozen-probe are both schedule components"):
        parse_strategy("partner+finetune+frozen-probe")
    with pytest.raises(UserError, match="share is a fraction of at least 0 and below 1, not 1"):
        parse_strategy("partner+finetune@1.0")
    assert parse_strategy("finetune+partner").name == "hard+partner+finetune"
    assert parse_strategy("hard+joint").name == "hard"
