"""Where tuning looks: a strategy's trials, drawn from the ranges of its recipe and components.

The first trial is the recipe itself; the others are points of a Halton sequence, which spreads few
points evenly over any number of knobs. The first knobs are the recipe's own, so that all strategies
are tried at the same learning rates and weight decays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from bench.contracts import Component, Range, range_of
from bench.errors import UserError
from bench.spec.experiment import Recipe
from bench.spec.registry import Strategy, parse_strategy, spelling

#: The recipe's own numbers are searched up to this many times, and down to this fraction.
#: One that is not set is not searched.
_REACH: Mapping[str, float] = {"learning_rate": 8.0, "weight_decay": 10.0, "encoder_rate": 10.0}
#: Where the sequence is scrambled; every machine and every experiment draws the same points.
_SCRAMBLE = 0
#: Share of a range at each end that counts as its border.
_BORDER = 0.1


@dataclass(frozen=True)
class Knob:
    """A number that is searched, or several: of a component, or of the recipe if there is none."""

    component: Component | None
    field: str
    default: Any
    range: Range

    @property
    def name(self) -> str:
        """What a person is shown."""
        field = self.field
        return f"{self.component.name} {field}" if self.component else field.replace("_", " ")

    @property
    def size(self) -> int:
        """How many numbers it is."""
        return len(self.default) if isinstance(self.default, tuple) else 1

    def at(self, point: Sequence[float]) -> Any:
        """Return its value at a point of the unit cube, to three digits."""
        values = [float(f"{_value(self.range, share):.3g}") for share in point]
        if isinstance(self.default, tuple):
            return tuple(values)
        return round(values[0]) if isinstance(self.default, int) else values[0]

    def on_border(self, value: Any) -> bool:
        """Return whether a value lies in the outer tenth of the range: more may lie beyond.

        Of several, whether entries lie at both ends: often it is only their ratios that count.
        """
        places = [_share(self.range, v) for v in (value if isinstance(value, tuple) else (value,))]
        low, high = min(places) < _BORDER, max(places) > 1 - _BORDER
        return low and high if len(places) > 1 else low or high


@dataclass(frozen=True)
class Setting:
    """What tuning chooses: a strategy, spelled with its knobs, and a recipe; `values` has both."""

    strategy: str
    recipe: Recipe
    values: Mapping[Knob, Any]


def _value(range: Range, share: float) -> float:
    if range.log:
        return float(range.low * (range.high / range.low) ** share)
    return range.low + (range.high - range.low) * share


def _share(range: Range, value: float) -> float:
    """Return where in a range a value lies, from 0 to 1."""
    if range.log:
        return float(np.log(value / range.low) / np.log(range.high / range.low))
    return (value - range.low) / (range.high - range.low)


def searched(strategy: Strategy, recipe: Recipe) -> list[Knob]:
    """Return a strategy's search space: the recipe's own knobs, then those of its components.

    A knob that the strategy's name sets is the user's. A recipe without weight decay, or without a
    rate of its own for encoders, has none.
    """
    own = [(name, getattr(recipe, name), reach) for name, reach in _REACH.items()]
    knobs = [
        Knob(None, name, value, Range(value / reach, value * reach, log=True))
        for name, value, reach in own
        if value
    ]
    for component in strategy.named:
        for field in fields(component):
            range = range_of(field)
            if range and getattr(component, field.name) == field.default:
                knobs.append(Knob(component, field.name, field.default, range))
    return knobs


def settings(strategy: Strategy, recipe: Recipe, count: int) -> list[Setting]:
    """Return `count` trials, the recipe with the strategy's own knobs first.

    A longer list begins with a shorter one. Raises `UserError` where a
    component refuses its own range.
    """
    from scipy.stats import qmc  # takes a second, and most experiments tune nothing

    knobs = searched(strategy, recipe)
    found = [Setting(strategy.name, recipe, {knob: knob.default for knob in knobs})]
    sizes = [knob.size for knob in knobs]
    sequence = qmc.Halton(sum(sizes), rng=np.random.default_rng(_SCRAMBLE))
    for point in sequence.random(count - 1):
        pieces = np.split(point, np.cumsum(sizes)[:-1])
        values = {knob: knob.at(at.tolist()) for knob, at in zip(knobs, pieces, strict=True)}
        own = {knob.field: value for knob, value in values.items() if knob.component is None}
        found.append(Setting(respelled(strategy, values), recipe.model_copy(update=own), values))
    return found


def respelled(strategy: Strategy, values: Mapping[Knob, Any]) -> str:
    """Return the name of a strategy with these values of its components' knobs.

    Raises `UserError` where a component refuses one.
    """
    pieces = []
    for component in strategy.named:
        own = {knob.field: value for knob, value in values.items() if knob.component == component}
        try:
            pieces.append(spelling(replace(component, **own)))
        except ValueError as error:
            raise UserError(
                f"{component.name} refuses a value of its own range for --tune: {error}"
            ) from None
    return parse_strategy("+".join(pieces)).name
