"""A device is trusted where it differs from the CPU by rounding alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from bench.contracts import DataSource
from bench.spec.experiment import RunSpec
from bench.train.batches import Batch
from bench.train.devices import facts_of
from bench.train.loop import TrainingState
from bench.train.proof import Difference, UntriedError, compare, prove
from tests.conftest import toy_jobs
from tests.fake_accelerator import DEVICE, FakeAccelerator

Step = Callable[[TrainingState, Batch], Tensor]

SOURCE = DataSource()


def _spec(folder: Path, strategy: str = "hard", **how: Any) -> RunSpec:
    jobs = toy_jobs(folder, strategy, "toy:row+column", **how)
    spec = next(job.spec for job in jobs if len(job.spec.tasks) == 2)
    return spec.arm.model_copy(update={"device": str(DEVICE)})


def _on_the_device(
    monkeypatch: pytest.MonkeyPatch, changed: Callable[[Step, TrainingState, Batch], Tensor]
) -> None:
    """Let steps on the device alone go another way."""
    step = TrainingState.step

    def taken(state: TrainingState, batch: Batch, watch: bool = False) -> Tensor:
        return step(state, batch) if state.device != DEVICE else changed(step, state, batch)

    monkeypatch.setattr(TrainingState, "step", taken)


class _Tf32(TorchDispatchMode):
    """Rounds the factors of products to ten bits, as TF32 does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket.__name__ in ("convolution", "convolution_backward", "mm", "addmm"):
            args = tree_map_only(Tensor, self._rounded, args)
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _rounded(tensor: Tensor) -> Tensor:
        bits = tensor.contiguous().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def _other_kernels(step: Step, state: TrainingState, batch: Batch) -> Tensor:
    with torch.backends.mkldnn.flags(enabled=False):
        return step(state, batch)


def _tf32(step: Step, state: TrainingState, batch: Batch) -> Tensor:
    with _Tf32():
        return step(state, batch)


def _other_rate(step: Step, state: TrainingState, batch: Batch) -> Tensor:
    state.optimizer.rate *= 1.001
    return step(state, batch)


def _no_number(step: Step, state: TrainingState, batch: Batch) -> Tensor:
    return step(state, batch) * float("nan")


def _raises(step: Step, state: TrainingState, batch: Batch) -> Tensor:
    raise RuntimeError("no kernel image is available for execution on the device")


@pytest.mark.parametrize("strategy", ["hard", "hard+rlw", "hard+graddrop", "hard+uncertainty"])
def test_a_device_that_computes_as_the_cpu_is_trusted(
    tmp_path: Path, fake: FakeAccelerator, strategy: str
) -> None:
    assert prove([_spec(tmp_path, strategy)], SOURCE) == ""


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_other_kernels_differ_by_rounding(
    tmp_path: Path, fake: FakeAccelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_the_device(monkeypatch, _other_kernels)
    spec = _spec(tmp_path, network="resnet8")
    assert prove([spec], SOURCE) == ""
    assert max(d.found for d in compare(spec, SOURCE, DEVICE)) > 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (_tf32, "differ from the CPU's by"),
        (_other_rate, "the optimizer's steps differ from the CPU's by 1.0e-03"),
        (_no_number, "losses differ from the CPU's by nan"),
        (_raises, "fails on cpu:0: RuntimeError: no kernel image"),
    ],
)
def test_a_device_that_computes_something_else_is_not_trusted(
    tmp_path: Path,
    fake: FakeAccelerator,
    monkeypatch: pytest.MonkeyPatch,
    changed: Callable[[Step, TrainingState, Batch], Tensor],
    said: str,
) -> None:
    _on_the_device(monkeypatch, changed)
    assert said in prove([_spec(tmp_path)], SOURCE)


@pytest.mark.parametrize("how", ["raise", "diverge"])
def test_what_the_cpu_cannot_train_says_nothing_about_the_device(
    tmp_path: Path, fake: FakeAccelerator, how: str
) -> None:
    spec = _spec(tmp_path).model_copy(update={"strategy": f"hard+faulty@{how},time"})
    assert prove([spec], SOURCE) == ""
    with pytest.raises(UntriedError):
        list(compare(spec, SOURCE, DEVICE))


def test_a_difference_is_rounding_up_to_its_bound() -> None:
    assert Difference("losses", 1e-5, 1e-8, 1e-5).fault == ""
    assert "rounding explains 1.0e-05" in Difference("losses", 2e-5, 1e-8, 1e-5).fault


def test_draws_are_the_same_on_both_sides(tmp_path: Path, fake: FakeAccelerator) -> None:
    found = list(compare(_spec(tmp_path, "hard+rlw"), SOURCE, DEVICE))
    assert max(d.found for d in found) == 0


def test_a_cpu_has_its_facts() -> None:
    facts = facts_of("cpu")
    assert facts.device == "cpu"
    assert facts.name
    assert set(facts.precisions) == {"fp32", "bf16"}
    assert facts.precisions["fp32"].startswith("off by")
    assert facts.unordered == ()
    assert facts.free is not None
    assert not facts.waits


def test_an_accelerator_has_its_facts(fake: FakeAccelerator) -> None:
    facts = facts_of(str(DEVICE))
    assert (facts.name, facts.count, facts.waits) == ("Fake 1000", 1, True)
    assert (facts.free, facts.total) == (8 * 2**30, 16 * 2**30)


@pytest.mark.device
@pytest.mark.parametrize("strategy", ["hard", "hard+pcgrad", "hard+reconstruction"])
def test_the_accelerator_of_this_machine_computes_as_the_cpu(
    tmp_path: Path, device: str, strategy: str
) -> None:
    jobs = toy_jobs(tmp_path, strategy, "toy:row+column")
    arms = [job.spec.arm.model_copy(update={"device": device}) for job in jobs]
    assert prove(arms, SOURCE) == ""
