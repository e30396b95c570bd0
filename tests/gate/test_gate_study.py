"""What the gate catches and how often it cries wolf, tried on trained networks.

Minutes, so it runs when asked for: `pytest -s -m slow tests/gate/test_gate_study.py`. It prints the
figures that docs/ci.md shows. All networks are those of the shipped experiment `ci`, with one of
its strategies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.contracts import DataSource
from bench.gate.baseline import Baseline, BaselineArm, snapshot
from bench.gate.judge import Finding, check, exit_code
from bench.plan.plan import make_plan
from bench.spec.experiment import load_experiment
from bench.stats.tests import ALPHA
from bench.store.records import Record
from bench.task_types import Classification
from bench.tasks import TaskData
from bench.train import loop as training
from bench.train.batches import Batch, Batches
from bench.train.loop import TrainingState
from bench.train.run import attempt

pytestmark = pytest.mark.slow

SEEDS, POOL, CHECKS = 10, 16, 200


class _NoTimings:
    """Prices without seconds: nothing here is timed."""

    def timing(self, name: str) -> float | None:
        return 1.0

    def freeze_timing(self, name: str, seconds: float, arm: str) -> float:
        return seconds


def _trained(seeds: Sequence[int]) -> Baseline:
    """Train the runs that the gate reads, at some seeds, which are then called 0, 1, 2, ..."""
    experiment = load_experiment("ci", {"strategy": ["hard"], "seeds": max(seeds) + 1})
    plan = make_plan(experiment, DataSource(), _NoTimings(), lambda text: None)
    cells = []
    for cell in plan.declaration.rows:
        kept = [cell.seeds[s].model_copy(update={"seed": i}) for i, s in enumerate(seeds)]
        cells.append(cell.model_copy(update={"seeds": tuple(kept)}))
    declaration = plan.declaration.model_copy(update={"rows": tuple(cells)})
    jobs = {job.key: job for job in plan.jobs}

    @cache
    def find(key: str) -> Record:
        return attempt(jobs[key])[0]

    return snapshot(declaration, find).baseline


@pytest.fixture(scope="module")
def pool() -> Baseline:
    return _trained(range(POOL))


@pytest.fixture(scope="module")
def before(pool: Baseline) -> Baseline:
    """The first seeds of the pool."""
    arms = {}
    for name, arm in pool.arms.items():
        scores = {
            task: known.model_copy(
                update={"by_seed": {seed: known.by_seed[seed] for seed in range(SEEDS)}}
            )
            for task, known in arm.scores.items()
        }
        arms[name] = arm.model_copy(update={"scores": scores})
    return pool.model_copy(update={"arms": arms})


# ---------------------------------------------------------------------------------- regressions


def _tenth_of_the_rate(patch: pytest.MonkeyPatch) -> None:
    rate = training.learning_rate
    patch.setattr(training, "learning_rate", lambda *args: rate(*args) / 10)


class _Noise(nn.Module):
    """Features with as much noise as signal."""

    def forward(self, features: Tensor) -> Tensor:
        return features + torch.randn_like(features) * features.std()


def _noisy_heads(patch: pytest.MonkeyPatch) -> None:
    head = Classification.head

    def noisy(self: Classification, *args: Any) -> nn.Module:
        return nn.Sequential(_Noise(), head(self, *args))

    patch.setattr(Classification, "head", noisy)


def _shuffled_tenth(d: TaskData) -> TaskData:
    assert d.train_labels is not None
    generator = torch.Generator().manual_seed(0)
    labels = d.train_labels.clone()
    chosen = torch.randperm(len(labels), generator=generator)[: len(labels) // 10]
    labels[chosen] = labels[chosen[torch.randperm(len(chosen), generator=generator)]]
    return replace(d, train_labels=labels)


def _some_labels_shuffled(patch: pytest.MonkeyPatch) -> None:
    def batches(data: Sequence[TaskData], *args: Any) -> Batches:
        return Batches([_shuffled_tenth(d) for d in data], *args)

    patch.setattr(training, "Batches", batches)


def _extra_forward_pass(patch: pytest.MonkeyPatch) -> None:
    step = TrainingState.step

    def twice(self: TrainingState, batch: Batch) -> Tensor:
        with torch.no_grad():
            self.network(batch.images)
        return step(self, batch)

    patch.setattr(TrainingState, "step", twice)


def _told(findings: Sequence[Finding]) -> str:
    grave = [f for f in findings if f.status not in ("PASS", "NEW")]
    return "; ".join(
        f"{f.status} {f.quantity} of {f.name} {f.before:.5g} to {f.now:.5g}" for f in grave
    )


@pytest.mark.parametrize(
    ("regression", "quantity"),
    [
        (_tenth_of_the_rate, "score"),
        (_noisy_heads, "score"),
        (_some_labels_shuffled, "score"),
        (_extra_forward_pass, "FLOPs"),
    ],
)
def test_an_injected_regression_fails_the_gate(
    before: Baseline,
    monkeypatch: pytest.MonkeyPatch,
    regression: Callable[[pytest.MonkeyPatch], None],
    quantity: str,
) -> None:
    torch.manual_seed(0)  # of noise that evaluation draws
    regression(monkeypatch)
    findings = check(before, _trained(range(SEEDS)))
    print(f"\n{regression.__name__}: exit {exit_code(findings, True)}: {_told(findings)}")
    assert exit_code(findings, inconclusive_fails=True) == 1
    assert "FAIL" in {f.status for f in findings if f.quantity == quantity}


# ---------------------------------------------------------------------------------- false alarms


@dataclass(frozen=True)
class _Alarms:
    fail: int
    inconclusive: int

    def __str__(self) -> str:
        return f"{self.fail} FAIL and {self.inconclusive} INCONCLUSIVE in {CHECKS} checks"


def _drawn(
    one: Mapping[str, BaselineArm],
    other: Mapping[str, BaselineArm],
    seeds: np.ndarray,
    swapped: np.ndarray,
) -> dict[str, BaselineArm]:
    """Return the arms of a check: of each drawn seed the values of one side or of the other."""
    drawn = {}
    for name, arm in one.items():
        scores = {}
        for task, known in arm.scores.items():
            sides = known.by_seed, other[name].scores[task].by_seed
            values = {i: sides[int(swapped[i])][int(seed)] for i, seed in enumerate(seeds)}
            scores[task] = known.model_copy(update={"by_seed": values})
        drawn[name] = arm.model_copy(update={"scores": scores})
    return drawn


def _alarms(one: Baseline, other: Baseline) -> _Alarms:
    """Count the alarms of checks of equals against equals.

    Which side of a seed is the baseline is a coin's choice, so that neither can be better.
    """
    rng = np.random.default_rng(0)
    fail = inconclusive = 0
    for _ in range(CHECKS):
        seeds = rng.choice(POOL, SEEDS, replace=False)
        swapped = rng.random(SEEDS) < 0.5
        before, now = (
            one.model_copy(update={"arms": _drawn(one.arms, other.arms, seeds, coin)})
            for coin in (swapped, ~swapped)
        )
        found = {f.status for f in check(before, now)}
        fail += "FAIL" in found
        inconclusive += "INCONCLUSIVE" in found and "FAIL" not in found
    return _Alarms(fail, inconclusive)


def _other_kernels() -> Baseline:
    """Train with other kernels, whose sums round otherwise, as on another kind of machine."""
    with torch.backends.mkldnn.flags(enabled=False):
        return _trained(range(POOL))


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # torch on being told to use no oneDNN
@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("other kernels", _other_kernels),
        ("other seeds", lambda: _trained(range(POOL, 2 * POOL))),
    ],
)
def test_equals_fail_no_more_often_than_they_may(
    pool: Baseline, what: str, make: Callable[[], Baseline]
) -> None:
    other = make()
    alarms = _alarms(pool, other)
    apart = [
        abs(value - other.arms[name].scores[task].by_seed[seed])
        for name, arm in pool.arms.items()
        for task, scores in arm.scores.items()
        for seed, value in scores.by_seed.items()
    ]
    print(f"\n{what}: {alarms}; scores of one seed lie {np.mean(apart):.2f} points apart")
    assert max(apart) > 0
    assert alarms.fail <= ALPHA * CHECKS
