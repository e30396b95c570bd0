"""Settings for a user's own images, chosen from the data and the machine by rules.

Rules and no search: each looks at a few facts, and says why it chose. Whatever a user gives stays
as it is. `docs/configuration.md` has the rules in a table.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.accelerator import HOST
from bench.contracts import DataSource, Glance
from bench.errors import shortened
from bench.spec.experiment import Experiment, Kind
from bench.spec.limits import LONGEST_NAME
from bench.spec.registry import cut_pair, networks, parse_dataset, parse_pairs

#: Images with a shorter side than this show too little to an encoder of photographs.
_PHOTOGRAPH = 64
#: Sides that a pretrained encoder is given at most: on the CPU, and on an accelerator.
_SIDE, _SIDE_ON_ACCELERATOR = 96, 224
#: Columns that are trained together where nobody names some; of more, people choose.
_MOST_COLUMNS = 4
#: Fewer training images than this are few.
_FEW, _SOME, _MANY = 1_000, 2_000, 10_000


@dataclass(frozen=True)
class Choice:
    """A setting that was chosen: the flag that overrides it, its value, and why."""

    flag: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.flag} {self.value}: {self.why}"


@dataclass(frozen=True)
class Seen:
    """A pair as a user gave it: its data set, the tasks that were named, and what was seen."""

    dataset: str
    tasks: tuple[str, ...]
    glance: Glance | None

    @property
    def joined(self) -> tuple[str, ...]:
        """The tasks that are trained together. Raises `UserError` where a user has to choose."""
        if self.tasks or self.glance is None:
            return self.tasks
        usable = self.glance.usable
        if not 0 < len(usable) <= _MOST_COLUMNS:
            parse_pairs(self.dataset)  # raises, and says how tasks are named
        return usable


def look_at(pair: str, source: DataSource) -> Seen:
    """Return what is known of a pair before an image is decoded. Raises `UserError`."""
    spelled, tasks = cut_pair(pair)
    named = tuple(tasks.split("+")) if tasks else ()
    if tasks:
        parse_pairs(pair)  # what is misspelt is told before anything is chosen
    return Seen(spelled, named, parse_dataset(spelled).glance(source))


@dataclass(frozen=True)
class Encoders:
    """The encoders to choose from: a pretrained one, if any, and others by the images they suit."""

    pretrained: str | None
    drawn: Mapping[int, str]

    def suiting(self, images: int) -> str:
        """Return the one that is drawn anew for so many training images."""
        return self.drawn[max(least for least in self.drawn if least <= max(images, 0))]


def encoders(device: str, download: bool) -> Encoders:
    """Return the encoders of this machine. Raises `UserError` for a plugin that is broken."""
    plugins = networks().found.values()
    spelled = (plugin.pretrained(device, False) for plugin in plugins)
    found = next(filter(None, spelled), None)
    if found is None and download:
        found = next(filter(None, (plugin.pretrained(device, True) for plugin in plugins)), None)
    suits = {p.suits: name for name, p in networks().found.items() if p.suits is not None}
    return Encoders(found, suits)


def configured(
    experiment: Kind,
    free: Collection[str],
    seen: Sequence[Seen],
    known: Encoders,
    device: str,
) -> tuple[Kind, list[Choice]]:
    """Return an experiment whose `free` fields are chosen, of its kind, and the choices in order.

    `seen` are its pairs, `known` the encoders of this machine, `device` is cpu or the name of an
    accelerator. Raises `UserError` where only a user can choose.
    """
    values: dict[str, Any] = {
        "pair": tuple(f"{each.dataset}:{'+'.join(each.joined)}" for each in seen)
    }
    told = [
        Choice("-p", "+".join(each.joined), "all its columns that can be learned, in one network")
        for each in seen
        if not each.tasks
    ]
    for field, value, why in _choices(experiment, free, seen, known, device):
        if field == "size":
            pairs = tuple(_sized(pair, value) for pair in values["pair"])
            if pairs != values["pair"]:
                values["pair"] = pairs
                told.append(Choice("size=", f"{value}", why))
        elif field in free:
            values[field] = value
            shown = value if isinstance(value, str | int | float) else " ".join(value)
            told.append(Choice(f"--{field.replace('_', '-')}", shortened(str(shown)), why))
    if "name" in free:
        values["name"] = _name(seen)
    return type(experiment).model_validate({**experiment.model_dump(), **values}), told


def _name(seen: Sequence[Seen]) -> str:
    """Return a name that says what is asked, so that another question gets another report."""
    tables = dict.fromkeys(Path(each.dataset.rpartition(":")[2]).stem for each in seen)
    tasks = dict.fromkeys(task for each in seen for task in each.joined)
    text = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join([*tables, *tasks])).strip("-._")
    return text[:LONGEST_NAME].rstrip("-._") or "custom"


def _sized(pair: str, side: int) -> str:
    """Return a pair whose images get a side, unless it says one itself."""
    head, _, rest = pair.partition(":")
    name, _, knobs = head.partition("@")
    if any(knob.strip().startswith("size=") for knob in knobs.split(",")):
        return pair
    return f"{name}@{','.join(filter(None, (knobs, f'size={side}')))}:{rest}"


def _choices(
    experiment: Experiment,
    free: Collection[str],
    seen: Sequence[Seen],
    encoders: Encoders,
    device: str,
) -> Iterator[tuple[str, Any, str]]:
    """Yield field, value and reason of each rule. What is not `free` is as the experiment says."""
    known = [each.glance for each in seen if each.glance is not None]
    images = min(glance.train for glance in known)
    side = min(glance.side for glance in known)
    count = f"{images:,} training images"
    photographs = side >= _PHOTOGRAPH
    network = experiment.network
    if "network" in free:
        grey = any(glance.grey for glance in known)
        network, why = _network(encoders, images, photographs, grey)
        yield "network", network, why
    with_weights = "weights=" in network
    if with_weights:
        most = _SIDE if device == HOST else _SIDE_ON_ACCELERATOR
        fitting = max(_PHOTOGRAPH, min(most, side // 32 * 32))
        yield "size", fitting, f"the shorter side has {side} pixels; a {device} affords {most}"
    elif photographs:
        fitting = 32 if images < _SOME or device == HOST else 64
        yield "size", fitting, "a step costs the square of the side, and the network is drawn anew"
    batch = 16 if images < _FEW else 32 if images < _MANY else 64
    yield "batch_size", batch, f"{count}, so that a pass has {max(1, images // batch):,} steps"
    rate = 1e-3 if with_weights else 3e-3
    why = "usual for AdamW with weights" if with_weights else "usual for AdamW"
    yield "learning_rate", rate, why
    if with_weights:
        yield "encoder_rate", 0.1, "pretrained weights need smaller steps than fresh heads"
    if images < _MANY:
        why = "an image is seen many times; mirroring may change a label, so it is left to you"
        yield "augment", "crop", why
    held_out = max(1, min(500, images // 5))
    yield "validation_size", held_out, "a fifth of the training pool, at most 500, for the curves"
    yield "curve_points", 4, "each costs a pass over the validation images"
    yield "budget", "converged", "pilots double it until that brings less than the margin"
    yield "seeds", 10, "verdicts need 8 or more"


def _network(encoders: Encoders, images: int, photographs: bool, grey: bool) -> tuple[str, str]:
    """Return an encoder and why: a pretrained one for photographs in colour, if there is one."""
    if photographs and not grey and encoders.pretrained is not None:
        return encoders.pretrained, "these are photographs, and its weights are on this machine"
    lacking = "no pretrained encoder is on this machine (--download fetches one)"
    if grey:
        lacking = "the images are grey, and pretrained encoders expect colours"
    if not photographs:
        lacking = "the images are small"
    return encoders.suiting(images), f"{lacking}; it suits {images:,} training images"
