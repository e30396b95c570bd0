"""A drawn world of creatures with known properties, for pairs whose relatedness is known.

Each image is one creature on a background, made from six independent factors. So what two tasks
have in common is a fact and not a guess. Dials set how much they have in common, and how many
labels are true, known or present. It needs no files and no Internet. It does not stand in for
photographs: a gain here shows that the harness detects gains, not that sharing helps elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.contracts import Dataset, DataSource, stream
from bench.task_types import MISSING
from bench.tasks import ImageSet, TaskData, classification_tasks

SIDE = 24
TRAIN, TEST = 6000, 2000
LEVELS = 4
FACTORS = ("shape", "coat", "hue", "position", "background", "pose")
#: Smallest and largest side of an image: a pattern needs pixels, and drawing at 64 takes 2.4 GB.
SIDES = 16, 64
#: The factors that `relative` reads, by how many of them `species` reads too: first the one that it
#: shows plainly, then the one that flips it. The coat is given up last: `species` hides it, and a
#: partner can teach what the target hides. The replacement for a factor was chosen to give a task
#: about as hard as `kin` to a single-task network.
RELATIVE = {0: ("hue", "background"), 1: ("coat", "background"), 2: ("coat", "shape")}


def draw_factors(count: int, generator: Generator) -> dict[str, Tensor]:
    """Return each factor's level in 0..3, int64 `[N]`: every level equally often, independently."""
    return {factor: torch.randperm(count, generator=generator) % LEVELS for factor in FACTORS}


def species(shape: Tensor, coat: Tensor) -> Tensor:
    """Return the class that separates two pairs of bodies, and flips within each pair by coat.

    The first bit separates fish or bear from star or ray. The second separates the two of a pair,
    but under spots and checks it means the opposite of what it means under plain and stripes.
    """
    return 2 * (shape // 2) + (shape % 2 ^ coat // 2)


def kin(shape: Tensor, coat: Tensor) -> Tensor:
    """Return the same with the roles of body and coat exchanged.

    A species and a kin together determine body and coat, so neither class says anything about the
    other. But the bit that one task shows plainly is the one that flips the other.
    """
    return species(shape=coat, coat=shape)


def render(factors: Mapping[str, Tensor], generator: Generator, side: int = SIDE) -> Tensor:
    """Return the images of the given factors, uint8 `[N, 3, side, side]`.

    The scene is the same whatever the side; lengths below are in pixels of a 24 × 24 image.
    `generator` draws what no task asks for: size, tilt, place, shade and phase, and pixel noise.
    """
    count = len(factors["shape"])

    def jitter(width: float) -> Tensor:
        return width * (2 * torch.rand(count, 1, 1, generator=generator) - 1)

    def level(factor: str) -> Tensor:
        return factors[factor].float()[:, None, None]

    zoom = side / SIDE
    x = (torch.arange(side) - (side - 1) / 2) / zoom
    y = x[:, None]
    radius = 7.2 + jitter(0.6)
    tilt = torch.deg2rad(26 * (level("pose") - 1.5) + jitter(5.0))
    right = x - 5 * (level("position") % 2 - 0.5) - jitter(0.7)
    down = y - 5 * (level("position") // 2 - 0.5) - jitter(0.7)
    # The creature's own axes, in body radii: `along` towards the head, `across` to its side.
    along = (tilt.cos() * right + tilt.sin() * down) / radius
    across = (tilt.cos() * down - tilt.sin() * right) / radius

    inside = _each(factors["shape"], (_fish, _bear, _star, _ray), along, across)
    body = (inside * radius * zoom + 0.5).clamp(0, 1)[:, None]
    light = _each(
        factors["coat"],
        (_plain, _stripes, _spots, _checks),
        along + jitter(0.1),
        across + jitter(0.1),
    )
    fur = _colour(90 * level("hue") + jitter(20.0), 0.75 + jitter(0.15))
    fur = fur * (0.6 + jitter(0.1) + 0.4 * light)[:, None]
    eyes = torch.hypot(along - 0.4, across.abs() - 0.22) * radius < 0.9
    fur = fur.masked_fill(eyes[:, None], 0.02)
    grey = _each(
        factors["background"], (_even, _waves, _slope, _tiles), x + jitter(4.0), y + jitter(4.0)
    )[:, None]
    scene = grey + body * (fur - grey)
    scene += 0.03 * torch.randn(scene.shape, generator=generator)
    return (255 * scene.clamp(0, 1)).round().byte()


Drawing = Callable[[Tensor, Tensor], Tensor]


def _each(levels: Tensor, drawings: Sequence[Drawing], u: Tensor, v: Tensor) -> Tensor:
    """Return `[N, H, W]`: for each image, the drawing for its level."""
    drawn = torch.empty(len(levels), v.shape[1], u.shape[2])
    u, v = u.expand_as(drawn), v.expand_as(drawn)
    for level, drawing in enumerate(drawings):
        chosen = levels == level
        drawn[chosen] = drawing(u[chosen], v[chosen])
    return drawn


def _wave(x: Tensor, period: float) -> Tensor:
    return torch.sin(2 * pi / period * x)


# Bodies: how far inside the outline a point lies, in body radii.


def _fish(u: Tensor, v: Tensor) -> Tensor:
    tail = torch.minimum(-0.75 * (u + 0.25) - 0.8 * v.abs(), u + 1.0)
    return torch.maximum(0.6 - torch.hypot(0.75 * (u - 0.2), v), tail)


def _bear(u: Tensor, v: Tensor) -> Tensor:
    ears = 0.34 - torch.hypot(u - 0.6, v.abs() - 0.55)
    return torch.maximum(0.72 - torch.hypot(u + 0.1, v), ears)


def _star(u: Tensor, v: Tensor) -> Tensor:
    return 0.68 - torch.hypot(u, v) + 0.27 * torch.cos(5 * torch.atan2(v, u))


def _ray(u: Tensor, v: Tensor) -> Tensor:
    v = v.abs()
    wings = torch.minimum(0.7 + u - 0.35 * v, 0.62 * (1.0 - u) - 0.72 * v)
    tail = torch.minimum(0.1 - v, 0.65 - (u + 0.65).abs())
    return torch.maximum(wings, tail)


# Coats: from -1, dark, to 1, light.


def _plain(u: Tensor, v: Tensor) -> Tensor:
    return torch.zeros_like(u)


def _stripes(u: Tensor, v: Tensor) -> Tensor:
    return _wave(u, 0.62)


def _spots(u: Tensor, v: Tensor) -> Tensor:
    return (12 * torch.hypot(u % 0.62 - 0.31, v % 0.62 - 0.31) - 2.4).clamp(-1, 1)


def _checks(u: Tensor, v: Tensor) -> Tensor:
    return torch.sign(_wave(u, 0.8) * _wave(v, 0.8))


# Backgrounds: the grey of the ground, in 0..1.


def _even(x: Tensor, y: Tensor) -> Tensor:
    return torch.full_like(x, 0.85)


def _waves(x: Tensor, y: Tensor) -> Tensor:
    return 0.85 + 0.08 * _wave(y, 6)


def _slope(x: Tensor, y: Tensor) -> Tensor:
    return 0.85 + 0.012 * x


def _tiles(x: Tensor, y: Tensor) -> Tensor:
    return 0.85 + 0.08 * torch.sign(_wave(x, 12) * _wave(y, 12))


def _colour(degrees: Tensor, saturation: Tensor) -> Tensor:
    """Return RGB at full value, `[N, 3, 1, 1]`, of hues and saturations `[N, 1, 1]`."""
    sixth = (torch.tensor([5, 3, 1])[:, None, None] + degrees[:, None] / 60) % 6
    return 1 - saturation[:, None] * torch.minimum(sixth, 4 - sixth).clamp(0, 1)


@dataclass(frozen=True)
class Creatures(Dataset):
    """Drawn creatures: RGB, 6,000 and 2,000, nine tasks of 4 balanced classes each.

    The images are the same at every seed of a run; seeds draw their subsets from them. Fields are
    dials: each changes one property of the world or of its labels. Whatever their values, test
    labels are complete and true. Images and draws that a dial does not concern stay as they are.
    Raises `ValueError` where a dial is out of its range.
    """

    name = "creatures"
    summary = "drawn creatures of known body, coat, hue, position, background and pose"
    images = "6,000 + 2,000 drawn, 24 × 24 RGB"
    tasks: ClassVar = {
        "species": "a class read from body and coat together",
        "kin": "the same with body and coat in each other's place",
        "relative": "formed like kin, with as many of its factors as the knob 'shared' says",
        "shape": "fish, bear, star or ray",
        "coat": "plain, striped, spotted or checked",
        "hue": "red, green, cyan or violet",
        "position": "the quarter the creature is in",
        "background": "even, waves, slope or tiles",
        "pose": "one of four tilts",
    }
    pairs: ClassVar = (
        (
            ("species", "kin"),
            "positive",
            "both read body and coat, and each shows plainly a bit that the other hides",
        ),
        (
            ("species", "background"),
            "none",
            "the background is independent of body and coat, so its labels teach neither",
        ),
    )

    shared: int = 2
    """How many factors `relative` has in common with `species`: 0, 1 or 2, which is all."""
    noise: float = 0.0
    """Share of the training labels of every task that are redrawn at random; some stay right."""
    labels: float = 1.0
    """Share of the training images whose `species` is known; other tasks know all of theirs."""
    train: int = 0
    """Training images that each seed draws; 0 leaves it to the recipe."""
    side: int = SIDE
    """Height and width of an image in pixels."""
    disjoint: bool = False
    """Whether all tasks but `species` use a second draw of images, so that they add images and not
    labels."""

    def __post_init__(self) -> None:
        lowest, highest = SIDES
        for dial, fits, allowed in (
            ("shared", self.shared in RELATIVE, "0, 1 or 2"),
            ("noise", 0 <= self.noise <= 1, "from 0 to 1"),
            ("labels", 0 < self.labels <= 1, "above 0 and at most 1"),
            ("train", 0 <= self.train <= TRAIN, f"from 1 to {TRAIN}, or 0 for the recipe's"),
            ("side", lowest <= self.side <= highest, f"from {lowest} to {highest}"),
        ):
            if not fits:
                raise ValueError(f"{dial} is {allowed}, not {getattr(self, dial)}")

    def load(self, source: DataSource) -> dict[str, TaskData]:
        """Return every task on images `[N, 3, side, side]`; `source` is not needed."""
        world = self._world(self.name)
        if not self.disjoint:
            return world
        return {**self._world(f"{self.name}-others"), "species": world["species"]}

    def _world(self, name: str) -> dict[str, TaskData]:
        """Return every task on the images of one draw."""
        train, train_labels = self._draw(name, "train", TRAIN)
        test, test_labels = self._draw(name, "test", TEST)
        images = ImageSet(name, train, test, drawn=self.train or None)
        return classification_tasks(
            images,
            {
                task: (LEVELS, self._known(name, task, train_labels[task]), test_labels[task])
                for task in self.tasks
            },
        )

    def _draw(self, name: str, part: str, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return images and the true labels of every task."""
        generator = stream(0, name, part)
        factors = draw_factors(count, generator)
        both = factors["shape"], factors["coat"]
        plain, turning = (factors[factor] for factor in RELATIVE[self.shared])
        classes = {
            "species": species(*both),
            "kin": kin(*both),
            "relative": species(plain, turning),
        }
        return render(factors, generator, self.side), factors | classes

    def _known(self, name: str, task: str, labels: Tensor) -> Tensor:
        """Return the known training labels: some redrawn, some of `species` missing.

        One fixed order decides which, so that a smaller share is a subset of a larger one.
        """
        count, draw = len(labels), stream(0, name, "labels", task)
        redrawn = torch.randperm(count, generator=draw) < round(self.noise * count)
        labels = torch.where(redrawn, torch.randint(LEVELS, (count,), generator=draw), labels)
        if task == "species":
            known = torch.randperm(count, generator=draw) < round(self.labels * count)
            labels = torch.where(known, labels, MISSING)
        return labels
