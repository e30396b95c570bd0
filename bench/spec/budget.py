"""Budgets, prices and ledgers: a step has a price, a budget buys steps.

A budget is an amount on one axis. A price is what one training step of an arm costs on every axis;
it is measured before the scored run and then frozen, so that a scored run never looks at a clock.
A run has one phase or several, one after another, whose steps have a price of their own each. The
ledger of a run says what was asked and what was used.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.errors import UserError, shortened, unknown
from bench.spec.limits import MOST_COMPUTE, MOST_STEPS

Axis = Literal["flop", "s", "steps", "samples"]
#: What a budget may be asked in: an axis, or a unit that a plan makes an amount of.
Unit = Literal["flop", "s", "steps", "samples", "epochs", "converged"]
AXIS_NAMES: Mapping[Axis, str] = {
    "flop": "FLOPs",
    "s": "device-seconds",
    "steps": "steps",
    "samples": "samples",
}
#: How far the amounts used by two arms may lie apart before their comparison loses its verdict.
TOLERANCE: Mapping[Axis, float] = {"flop": 0.005, "s": 0.05, "steps": 0.005, "samples": 0.005}
#: A run that waits for images for a larger share of its training is flagged.
STALL_LIMIT = 0.05
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18}
_UNITS: Mapping[str, Unit] = {
    **dict.fromkeys(("flop", "flops"), "flop"),
    **dict.fromkeys(("s", "sec", "second", "seconds"), "s"),
    **dict.fromkeys(("step", "steps"), "steps"),
    **dict.fromkeys(("sample", "samples"), "samples"),
    **dict.fromkeys(("epoch", "epochs"), "epochs"),
}


@dataclass(frozen=True)
class Budget:
    """An amount of compute on one axis."""

    amount: float
    axis: Axis

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read `2e12flop`, `30s`, `500steps`, `64000samples`; SI prefixes go before `flop`."""
        asked = AskedBudget.parse(text)
        if asked.unit == "epochs" or asked.unit == "converged":
            raise UserError(f"budget '{text}' is no amount of compute: write {_EXAMPLES}")
        return cls(asked.amount, asked.unit)

    def split(self, shares: float) -> "Budget":
        """Return one of `shares` equal shares."""
        return Budget(self.amount / shares, self.axis)

    @property
    def text(self) -> str:
        """The amount as a user writes it: `60gflop`."""
        amount, prefix = self.amount, ""
        if self.axis == "flop":
            reached = [name for name, scale in _PREFIXES.items() if amount >= scale]
            prefix = reached[-1] if reached else ""
            amount /= _PREFIXES[prefix]
        return f"{amount:.12g}{prefix}{self.axis}"

    def __str__(self) -> str:
        return f"{self.amount:.12g}{self.axis}"


_EXAMPLES = "for example 2e12flop, 500gflop, 30s, 500steps or 64000samples"


@dataclass(frozen=True)
class AskedBudget:
    """A budget as a user asks for it.

    `epochs` are passes of a single-task network over a seed's training images. `converged` is the
    smallest budget at which more brings the single-task networks little, or a fraction of it. A
    plan makes an amount on an axis of both, once it knows images and prices.
    """

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> "AskedBudget":
        """Read what `Budget` reads, `20epochs`, `converged` and `converged/4`."""
        text = shortened(text)
        match = re.fullmatch(r"\s*converged(?:\s*/\s*([0-9]+(?:\.[0-9]+)?))?\s*", text.lower())
        if match is not None:
            divisor = float(match[1] or 1)
            if divisor < 1:
                raise UserError(f"budget '{text}': divide by 1 or more")
            return cls(1 / divisor, "converged")
        match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]+)\s*", text.lower())
        if match is None:
            raise UserError(
                f"budget '{text}' is not an amount and a unit: "
                f"write {_EXAMPLES}, 20epochs or converged"
            )
        number, unit = match.groups()
        scale = 1.0
        if unit not in _UNITS and unit[0] in _PREFIXES and unit[1:] in ("flop", "flops"):
            scale, unit = _PREFIXES[unit[0]], unit[1:]
        if unit not in _UNITS:
            raise unknown("unit of budget", unit, [*_UNITS, "gflop", "tflop", "converged"])
        try:
            amount = float(number) * scale
        except ValueError:
            raise UserError(f"budget '{text}': '{number}' is not a number") from None
        known = _UNITS[unit]
        if not 0 < amount <= MOST_COMPUTE[known]:
            most = f"{MOST_COMPUTE[known]:.0e}".replace("e+0", "e").replace("e+", "e")
            raise UserError(
                f"budget '{text}' is none that a run can have: give an amount above zero, and up "
                f"to {most}{known}"
            )
        return cls(amount, known)


@dataclass(frozen=True)
class Price:
    """What one training step costs.

    `flops` counts forward, backward and all that the method adds. `seconds` are device-seconds:
    CUDA events on a GPU, process time of one thread on a CPU; None where nothing was timed.
    `peak_bytes` is the largest sum of live tensors during a step. `uncounted` names the operators
    that ran and that the counter scores as zero.
    """

    flops: float
    samples: int
    peak_bytes: int
    parameters: int
    uncounted: tuple[str, ...] = ()
    seconds: float | None = None

    def on(self, axis: Axis) -> float:
        """Return the price of one step on an axis, in its unit."""
        match axis:
            case "flop":
                return self.flops
            case "samples":
                return float(self.samples)
            case "steps":
                return 1.0
            case "s":
                if self.seconds is None:
                    raise ValueError("this price was not timed")
                return self.seconds


def steps_bought(
    budget: Budget, prices: Sequence[Price], shares: Sequence[float], arm: str
) -> tuple[int, ...]:
    """Return how many steps of each phase of `arm` the budget buys: floor(its share / price).

    The last phase gets all that the others leave. Raises `UserError` with the price where a phase
    gets no step.
    """
    left, bought = budget.amount, []
    for number, (price, share) in enumerate(zip(prices, shares, strict=True), start=1):
        each = price.on(budget.axis)
        amount = left if number == len(prices) else share * budget.amount
        # Half a part in 1e12: 3 × 0.1 must buy three steps of 0.1.
        steps = math.floor(amount / each * (1 + 5e-13))
        if steps < 1:
            phase = f" in phase {number} of {len(prices)}" if len(prices) > 1 else ""
            raise UserError(
                f"{budget.amount:.4g}{budget.axis} buys no step of {arm}{phase}: one step costs "
                f"{each:.4g} {budget.axis}; give a larger --budget"
            )
        if steps > MOST_STEPS:
            raise UserError(
                f"{budget} buys {steps:,} steps of {arm}, and a run has at most {MOST_STEPS:,}: "
                "give a smaller --budget"
            )
        left -= steps * each
        bought.append(steps)
    return tuple(bought)


def cost(prices: Sequence[Price], steps: Sequence[int], axis: Axis) -> float:
    """Return what the steps of all phases cost on an axis, in its unit."""
    return sum(count * price.on(axis) for price, count in zip(prices, steps, strict=True))


@dataclass(frozen=True)
class TuningCost:
    """What choosing a run's recipe and knobs has cost: all trials of its arm, once for all seeds.

    `used` has an entry an axis.
    """

    runs: int
    used: Mapping[Axis, float]

    @classmethod
    def of(cls, ledgers: "Iterable[Ledger | None]") -> "TuningCost":
        """Return the cost of trials; one that failed has no ledger and counts as a run alone."""
        runs, used = 0, dict.fromkeys(AXIS_NAMES, 0.0)
        for ledger in ledgers:
            runs += 1
            for axis, amount in ledger.used.items() if ledger else ():
                used[axis] += amount
        return cls(runs, used)


@dataclass(frozen=True)
class Ledger:
    """What one run was allowed and what it used.

    `prices` and `steps` have an entry a phase, `used` one an axis. FLOPs used are the steps taken
    times the mean cost of some steps of their phase that were counted while they trained, not the
    price that bought them. `evaluation_seconds` are off the clock. `stall` is the share of the
    training's wall time that steps have waited for images: 0 where they live on the device.
    `tuning` came before the run, and no audit counts it.
    """

    budget: Budget
    prices: tuple[Price, ...]
    steps: tuple[int, ...]
    used: Mapping[Axis, float]
    evaluation_seconds: float
    measured_peak_bytes: int | None = None
    stall: float = 0.0
    tuning: TuningCost | None = None

    @property
    def parameters(self) -> int:
        """Number of the network's parameters."""
        return self.prices[0].parameters

    def allotted(self, axis: Axis, first: int | None = None) -> float:
        """Return what all steps, or the first so many of the run, cost on an axis by their price.

        The steps of a phase follow those of the phase before.
        """
        left = sum(self.steps) if first is None else first
        taken = []
        for steps in self.steps:
            taken.append(min(steps, left))
            left -= taken[-1]
        return cost(self.prices, taken, axis)


@dataclass(frozen=True)
class Audit:
    """Whether two sides of a comparison used the same amount on the axis of the budget."""

    axis: Axis
    used: float
    reference: float

    @property
    def deviation(self) -> float:
        """Relative difference, signed: positive where the strategy used more."""
        return self.used / self.reference - 1 if self.reference else math.inf

    @property
    def passed(self) -> bool:
        """Whether the difference is inside the tolerance of the axis."""
        return abs(self.deviation) <= TOLERANCE[self.axis]
