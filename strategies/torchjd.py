"""Any aggregator of TorchJD, used as that library implements it: `hard+torchjd@ConFIG`.

It gets the rows that every aggregation gets, in the network's dtype. Aggregators that need
arguments (CAGrad, FairGrad, Nash-MTL) cannot be named. Some of TorchJD's aggregators add and others
average. So the result for equal gradients is computed once, and every result is divided by it. An
aggregator that draws its weights, or adapts them over the steps, keeps the scale only on average.
Some of TorchJD's tolerances are absolute: UPGrad treats gradients as zero where their squared
lengths sum to under 1e-4.

Many of its solvers run on the host, so a step waits for the device; no other component does that. A
budget in device-seconds bills that. A solver on the host has no FLOPs to count, and the meta device
gives it nothing to solve. So the price is that of the Gramian and of adding the gradients.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.contracts import Aggregation, Aggregator, UserError, unknown
from bench.tasks import Task

_INSTALL = "pip install 'torchjd[quadprog-projector]'"


def _aggregators() -> Mapping[str, type[Any]]:
    """Return the aggregators of TorchJD by name."""
    try:
        from torchjd import aggregation
    except ImportError:
        raise UserError(f"torchjd is not installed: {_INSTALL}") from None
    return {
        name: found
        for name, found in vars(aggregation).items()
        if inspect.isclass(found)
        and issubclass(found, aggregation.Aggregator)
        and not name.endswith("Aggregator")  # the base classes
    }


def _aggregator(name: str) -> Any:
    """Return a new aggregator. Raises `UserError` where it cannot be made from its name alone."""
    known = _aggregators()
    if name not in known:
        raise unknown("aggregator of TorchJD", name, known)
    parameters = inspect.signature(known[name]).parameters.values()
    if needs := [p.name for p in parameters if p.default is inspect.Parameter.empty]:
        raise UserError(f"torchjd: {name} needs {', '.join(needs)}, which cannot be given here")
    try:
        return known[name]()
    except ImportError as error:  # of its solver
        raise UserError(f"torchjd: {error}; or {_INSTALL}") from None


@dataclass(frozen=True)
class TorchJD(Aggregation):
    """Hand the gradients to TorchJD."""

    name = "torchjd"
    summary = "an aggregator of TorchJD, whose solvers may wait for the device"
    paper = "Quinton and Rey 2024, Jacobian Descent for Multi-Objective Optimization"
    packages = ("torchjd",)

    aggregator: str = "UPGrad"
    """The name of a class in `torchjd.aggregation`."""

    def __post_init__(self) -> None:
        _aggregator(self.aggregator)

    def build(self, tasks: Sequence[Task], generator: torch.Generator) -> Aggregator:
        """Return the aggregator. TorchJD's classes draw from torch's global generator."""
        if any(task.decay != "none" for task in tasks):
            raise UserError(f"{self.name} keeps its scale for fixed weights only: leave decay out")
        aggregator = _aggregator(self.aggregator)
        fixed = torch.tensor([task.weight for task in tasks], dtype=torch.float64)
        equal = (fixed / fixed.sum())[:, None]  # [T, 1]: all tasks' own gradients are 1
        scale = 1 / float(_aggregator(self.aggregator)(equal))
        weigh = getattr(aggregator, "gramian_weighting", None)

        def merge(gradients: Tensor, losses: Tensor, weights: Tensor) -> Tensor:
            if weigh is None:
                direction: Tensor = aggregator(gradients)
            else:
                gram = gradients @ gradients.T
                direction = (gram[0] if gram.is_meta else weigh(gram)) @ gradients
            return scale * direction

        return merge
